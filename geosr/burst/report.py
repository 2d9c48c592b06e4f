"""The report of a burst: figures as JSON, a picture, and a page with both."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from scipy.ndimage import gaussian_filter, gaussian_gradient_magnitude

from geosr import __version__, pictures, webpage
from geosr.burst import sharpening
from geosr.burst.homography import Matrix, apply, corners
from geosr.burst.judging import Judgement
from geosr.burst.options import Options
from geosr.burst.photos import Photo
from geosr.burst.stacking import Layer, Stack, stacked
from geosr.files import json_text
from geosr.grid import Block, Tile, Window
from geosr.rasters.composites import composites
from geosr.rasters.source import RasterSource
from geosr.rasters.writer import decode

REPORT, PAGE, PICTURE = "report.json", "report.html", "report.png"
MAP_SIDE = 800
"""Most rows and columns of the maps."""
CROP_SIDE = 320
"""Rows and columns of the crop."""

NEAR_NYQUIST = (0.5, 1.0)
"""Shares of the photos' Nyquist frequency between which a stack shows detail that one frame does not."""
PANEL = 480
"""Columns of a panel of the picture."""
DECIMALS = {"rotation": 4, "zoomed": 5, "offset": 1, "rms": 2, "motion": 2}
"""Decimals of the columns of the photos that have not three."""
COLUMNS = (
    ("name", "photo"), ("kept", "used"), ("reason", "why not"), ("still", "share that fits as a whole"),
    ("local", "share that fits in parts"), ("sharpness", "sharpness"), ("shift", "camera moved right and down, px"),
    ("rotation", "turned, degrees"), ("zoomed", "enlarged"), ("inliers", "control points that agree"),
    ("points", "control points"), ("rms", "RMS of these, px"), ("motion", "motion left over, px"), ("gain", "gain"),
    ("offset", "offset"),
)  # fmt: skip


def write(
    work: Stack,
    judgements: Sequence[Judgement],
    maps: Block,
    draft: Path,
    *,
    options: Options,
    outputs: Sequence[str],
    photo: Photo,
) -> dict[str, Any]:
    """Write the report to `draft`, its picture and its page beside it, where the images are, and return it.

    `maps` are coverage and deviation (2, rows, cols).
    """
    best = "robust" if "robust" in work.methods else work.methods[-1]
    used = [judgement for judgement in judgements if judgement.kept]
    first = next(i for i, judgement in enumerate(used) if judgement.reference)
    crop = textured_window(work, work.layers[first])
    values, covered, _ = stacked(Tile(0, crop, crop), work)
    frames, whole = values * work.factor, covered.all(axis=(1, 2))
    covering = frames[whole] if whole.sum() > 1 else frames
    image = RasterSource(draft.with_name(f"{best}.tif"), alpha="band")
    channels = composites(image.profile)[0].channels
    result = image.read(crop).block.astype(np.float32)
    image.close()
    size = photo.profile.width, photo.profile.height
    unknown = dict.fromkeys(("shift", "rotation", "zoomed"), float("nan"))  # of a project, whose photos nona has moved
    rows = [
        {**asdict(judgement), **(unknown if options.project else movement(judgement.homography, size))}
        for judgement in judgements
    ]
    report = {
        "version": __version__,
        "options": asdict(options),
        "size": [work.profile.width, work.profile.height],
        "dtype": work.profile.dtype,
        "outputs": [*outputs],
        "frames": [{name: value for name, value in row.items() if name != "control"} for row in rows],
        "kept": len(used),
        "coverage": round(float(maps[0].mean()), 4),
        "deviation": round(float(maps[1].mean()), 4),
        "spectrum": spectrum(covering.mean(axis=1), result.mean(axis=0), scale=options.scale),
        "crop": crop.toranges(),
        "sharpen": work.sharpen,
    }
    image_bytes = picture(frames[first], result, maps, channels, title=f"reference, bicubic | {best}")
    draft.with_name(PICTURE).write_bytes(image_bytes)
    draft.with_name(PAGE).write_text(page(report, image_bytes))
    draft.write_text(json_text(report) + "\n")
    return report


def maps(work: Stack, parts: Iterable[tuple[Tile, bytes]]) -> Block:
    """Return coverage and deviation (2, rows, cols), every so many pixels, from the parts of the tiles' maps."""
    step = work.step
    planes = np.zeros((2, -(-work.profile.height // step), -(-work.profile.width // step)), np.float32)
    for tile, part in parts:
        block = decode(part)
        row, col = tile.core.row_off // step, tile.core.col_off // step
        planes[:, row : row + block.shape[1], col : col + block.shape[2]] = block
    return planes


def textured_window(work: Stack, layer: Layer) -> Window:
    """Return a window of the output where the layer has much texture."""
    thumbnail, _ = layer.source.thumbnail(MAP_SIDE)
    gray = thumbnail[layer.source.profile.colours].mean(axis=0)
    k = gray.shape[1] / layer.source.profile.width
    edges = gaussian_gradient_magnitude(gray, 1.0)
    texture = gaussian_filter(edges, max(CROP_SIDE * k / 4, 1.0), mode="constant")
    row, col = np.unravel_index(np.argmax(texture), texture.shape)
    centre = apply(np.linalg.inv(layer.matrix), np.array([[col / k, row / k]]))[0].astype(int)
    width, height = (min(CROP_SIDE, side) for side in (work.profile.width, work.profile.height))
    left = int(np.clip(centre[0] - width // 2, 0, work.profile.width - width))
    top = int(np.clip(centre[1] - height // 2, 0, work.profile.height - height))
    return Window(left, top, width, height)


def movement(matrix: Matrix, size: tuple[int, int]) -> dict[str, Any]:
    """Return how a frame moved: pixels at its middle, degrees clockwise, and its enlargement."""
    edge = corners(Window(0, 0, *size))
    centre = edge.mean(axis=0, keepdims=True)
    shift = (apply(matrix, centre) - centre)[0]
    # Around the middle, where perspective neither turns nor enlarges.
    right, down = (apply(matrix, centre + step) - apply(matrix, centre - step) for step in np.eye(2))
    (xx, yx), (xy, yy) = right[0] / 2, down[0] / 2
    return {
        "shift": [round(float(x), 3) for x in shift],
        "rotation": round(float(np.degrees(np.arctan2(yx - xy, xx + yy))), 4),
        "zoomed": round(float(np.sqrt(abs(xx * yy - xy * yx))), 5),
    }


def spectrum(frames: Block, result: Block, *, scale: int) -> dict[str, Any]:
    """Power by spatial frequency of the aligned frames (frames, rows, cols) and of what was made of them.

    What frames have in common is detail, the rest noise: noise has power near the Nyquist frequency too, so that
    power alone is no sharpness. The result's detail is what it shares with the frames, its own share of their noise
    taken off. Frequencies are shares of the Nyquist frequency of the photos.
    """
    transform, count, shape = sharpening.transformed(result), len(frames), result.shape
    power, common, _ = sharpening.spectrum(frames, scale)
    across = (transform * sharpening.transformed(frames.mean(axis=0)).conj()).real
    shared, whole = (sharpening.rings(plane, shape, scale) for plane in (across, abs(transform) ** 2))
    common = np.maximum(common, 1e-6 * power + 1e-12)
    gain = shared / np.maximum(common + (power - common) / count, 1e-12)
    detail = gain**2 * common
    near = slice(int(NEAR_NYQUIST[0] * sharpening.BINS), int(NEAR_NYQUIST[1] * sharpening.BINS))
    before = common[near].sum() / max((power - common)[near].sum(), 1e-9)
    after = detail[near].sum() / max((whole - detail)[near].sum(), 1e-9)
    return {
        "frequency": [round((i + 0.5) / sharpening.BINS, 3) for i in range(sharpening.BINS)],
        "reference": [float(f"{p:.4g}") for p in power],
        "result": [float(f"{p:.4g}") for p in whole],
        "detail near Nyquist, dB": _decibels(detail[near].sum() / common[near].sum()),
        "detail to noise near Nyquist, dB": _decibels(after / before),
    }


def _decibels(ratio: float) -> float:
    return round(10 * float(np.log10(max(ratio, 1e-9))), 2)


def picture(single: Block, result: Block, maps: Block, channels: tuple[int, int, int], *, title: str) -> bytes:
    """Return a PNG: reference and result (bands, rows, cols) side by side, coverage and deviation below.

    `channels` are the positions of red, green and blue.
    """
    low, high = np.percentile(single, 0.5), np.percentile(single, 99.5)
    crops = [pictures.panel(pictures.colours(block, low, high, channels), PANEL) for block in (single, result)]
    planes = [
        pictures.panel(pictures.heatmap(plane, float(np.percentile(plane, 99.5))), PANEL, smooth=True) for plane in maps
    ]
    labels = [f"frames that count, {maps[0].max():g} at most", f"deviation, {maps[1].mean():.3g} on average"]
    rows = [pictures.labelled_row(crops, title.split(" | ")), pictures.labelled_row(planes, labels)]
    return pictures.png(np.vstack(rows))


def page(report: Mapping[str, Any], image: bytes) -> str:
    """Return a page of HTML that needs no other file."""
    columns = [(key, title) for key, title in COLUMNS if any(_cell(frame, key) for frame in report["frames"])]
    frames = [[_cell(frame, key) for key, _ in columns] for frame in report["frames"]]
    gains = {name: value for name, value in report["spectrum"].items() if name.endswith("dB")}
    kept, count = report["kept"], len(report["frames"])
    items = {
        "Photos kept": f"{kept} of {count}",
        "Size": " x ".join(map(str, report["size"])) + f" pixels, {report['dtype']}",
        "Images": ", ".join(report["outputs"]),
        "Frames at a pixel, on average": f"{report['coverage']:.2f}",
        "Standard deviation of the frames, on average": f"{report['deviation']:.4g}",
        "Amount of the unsharp mask": f"{report['sharpen']:.2f}",
        **{f"{name[0].upper()}{name[1:]}, over one photo": f"{value:+.1f}" for name, value in gains.items()},
        "geosr": report.get("version", ""),
    }
    body = (
        f"<header><h1>Burst of {count} photos</h1>"
        f'{webpage.facts(items)}<p class="verdict">{escape(_verdict(report["frames"], gains))}</p></header>\n<main>\n'
        f'<figure class="main">{webpage.picture(image, "one photo beside the result, and maps")}'
        "<figcaption>Top: the reference, enlarged by bicubic interpolation, and the result. Bottom: the number of "
        "photos that count at each pixel, and how far they differ there: bright is movement, noise, highlights, or a "
        "photo that does not fit."
        "</figcaption></figure>\n<h2>Photos</h2>\n"
        + webpage.table([title for _, title in columns], frames, label="photos")
        + "\n</main>"
    )
    return webpage.document(f"geosr burst: {kept} of {count} photos", body)


def used_text(frames: Sequence[Mapping[str, Any]]) -> str:
    """Return how many of the photos are used, and how many of these in parts."""
    kept, partial = (sum(bool(frame[key]) for frame in frames) for key in ("kept", "partial"))
    text = f"{kept} of {len(frames)} photos are used"
    return f"{text}, {partial} of them only where they fit" if partial else text


def _verdict(frames: Sequence[Mapping[str, Any]], gains: Mapping[str, float]) -> str:
    """Return a sentence on what the photos gave."""
    text = used_text(frames)
    detail = next((value for name, value in gains.items() if name.startswith("detail to noise")), None)
    if detail is None:
        return f"{text}."
    change = "better" if detail >= 0 else "worse"
    return (
        f"{text}. In fine detail, the ratio of signal to noise of their stack is {abs(detail):.1f} dB {change} than "
        "that of one photo, in the crop below."
    )


def _cell(frame: Mapping[str, Any], key: str) -> str:
    """Return what a table says of a photo: figures of a column have equal decimals."""
    value = frame[key]
    if key == "kept":
        value = "reference" if frame["reference"] else "yes" if value else "no"
    if isinstance(value, list | tuple):
        value = " ".join(f"{x:.2f}" for x in value)
    if isinstance(value, float):
        value = "" if np.isnan(value) else f"{value:.{DECIMALS.get(key, 3)}f}"
    return str(value)
