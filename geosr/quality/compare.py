"""A raster beside what was made of it, and the truth if there is one: places, scores and spectra for a page."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from math import asin, cos, hypot, radians, sin, sqrt
from pathlib import Path

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from rasterio.warp import transform as transformed

from geosr import pictures
from geosr.errors import RasterError
from geosr.grid import Block, Tile, Window
from geosr.quality import detail, metrics
from geosr.quality.comparison import Comparison, Place
from geosr.quality.correctness import NAMES, correctness, enlarged
from geosr.quality.pairs import Cover, Name, Pair, open_pair, provenance
from geosr.quality.verdict import verdict
from geosr.rasters import gdal
from geosr.rasters.nodata import enlarge_nearest, filled_block
from geosr.rasters.placement import crs_name
from geosr.rasters.profile import Profile, band_name
from geosr.rasters.resample import REACH, enlarge
from geosr.rasters.source import RasterSource

SIDE = 512
"""Most rows and columns of a place, in pixels of the result."""
THUMBNAIL = 1024
"""Most rows and columns of the view of the whole scene, and of what the places are chosen from."""
RING = 8
"""Pixels of the input around a place, which bicubic interpolation both ways needs."""
ENDS = (1, 99)
"""Percentiles of the input that are shown black and white."""
EARTH = 6_371_000
"""The mean radius of the earth, in metres."""
BICUBIC, TRUTH = "bicubic", "truth"
MEANINGS = {
    "consistency": "A picture shrunk back to the input's pixels, less the input: root mean square{unit}. "
    "Near 0, nothing in the picture contradicts the input.",
    "beyond the input": "Share of the power at frequencies that the input cannot hold, in %. Bicubic interpolation "
    "leaves next to none, a network adds some; far more than the truth has is noise or invention.",
    "PSNR": "Peak signal-to-noise ratio against the truth, in dB: 1 dB more is a fifth less error power.",
    "SSIM": "Structural similarity with the truth, 1 at the most.",
    "recovered": "Share of the truth's detail beyond the input that the picture holds, in %. Invented detail does not "
    "count.",
    "improvement": "Share of the detail that the input lacks, or that was made up, that is right, in %; as opensr-test "
    "tells it.",
    "omission": "Share of that detail that is left out, in %.",
    "hallucination": "Share of that detail that is made up, in %.",
}
AGAINST_TRUTH = ("PSNR", "SSIM", "recovered", *NAMES)


def compare_rasters(
    before: Name,
    *results: Name,
    truth: Name | None = None,
    windows: int = 8,
    bands: Sequence[int | str] | None = None,
    rgb: Sequence[int | str] | None = None,
    command: str = "",
) -> Comparison:
    """Compare rasters with the raster `before`, of which they were made, in its most detailed places.

    `before` is shown by its own pixels and enlarged by bicubic interpolation. `results` are one raster or several of
    one scale, whole or a part of the scene; the tags of a result tell which part, where its transform does not.
    `truth` is a raster with the pixels of the results, or a larger part of the scene. `bands` are the bands of the
    first result to compare, by number, from 1, or name: by default those of its colours, and others up to four. `rgb`
    are one or three bands to show first. `command` is shown on the page.

    Raises:
        RasterError: one cannot be read, or they do not cover the same ground.
        OptionError: they have other bands or scales.
    """
    pair = open_pair(before, results, truth, bands=bands, rgb=rgb)
    block, good = (plane[list(pair.bands)] for plane in pair.before.thumbnail(THUMBNAIL))
    ends = [_ends(band[valid]) for band, valid in zip(block, good, strict=True)]
    spans = [high - low if high > low else 1.0 for low, high in ends]
    # Smaller ones in a small scene, so that there are as many as were asked for.
    side = detail.side_for(pair.part, max(SIDE // pair.scale, 1), windows)
    windows_shown = detail.detailed(
        pair.before, pair.part, side=side, count=windows, bands=pair.bands, thumbnail=(block, good)
    )
    if not windows_shown:
        raise RasterError(f"{pair.before.path!r} has no valid pixel where {pair.results[0].source.path!r} lies")
    places = [_place(pair, window, spans) for window in windows_shown]
    frequencies, spectra = _spectra(places, spans, pair.scale)
    totals, names, unit = _totals(places), _names(pair), _unit(pair)
    profile, whole = pair.profile, pair.before.profile
    channels = pair.shown[0].channels
    return Comparison(
        before=Path(pair.before.path).name,
        results=tuple(Path(result.source.path).name for result in pair.results),
        models=tuple(_model(result.source) for result in pair.results),
        names=names,
        scale=pair.scale,
        bands=tuple(", ".join(filter(None, (f"band {i + 1}", band_name(profile, i)))) for i in pair.bands),
        shown=pair.shown,
        crs=crs_name(profile) or "",
        located=whole.located,
        pixel=_pixel(whole),
        unit=unit,
        places=places,
        totals=totals,
        meanings={
            name: text.format(unit=f", in {unit}" if unit else "")
            for name, text in MEANINGS.items()
            if pair.truth or name not in AGAINST_TRUTH
        },
        verdict=verdict(names, totals, results=len(results), span=float(np.mean(spans)), unit=unit),
        frequencies=frequencies,
        spectra=spectra,
        ends=ends,
        overview=np.stack(
            [pictures.stretched(np.where(good[i], block[i], ends[i][0]), *ends[i]) for i in channels], axis=-1
        ),
        size=(whole.width, whole.height),
        date=date.today().isoformat(),
        command=command,
    )


def _names(pair: Pair) -> tuple[str, ...]:
    """Return the names of the pictures that are scored: of bicubic interpolation, the results and the truth."""
    stems = [Path(result.source.path).stem for result in pair.results]
    if len(stems) == 1:
        stems = ["result"]
    elif len(set(stems)) < len(stems):
        stems = [f"{number} {stem}" for number, stem in enumerate(stems, 1)]
    return (BICUBIC, *stems, *((TRUTH,) if pair.truth else ()))


def _model(result: RasterSource) -> str:
    model = provenance(result).model
    return model.words if model else ""


def _unit(pair: Pair) -> str:
    """Return the unit of the values as they are stored, of which DN is that of integers without one."""
    profile = pair.before.profile
    scaled = any(scale != 1 for scale in profile.scales) or any(profile.offsets)
    units = {profile.units[i] for i in pair.bands} if profile.units and not scaled else set()
    unit = units.pop() if len(units) == 1 else None
    return unit or ("DN" if np.dtype(profile.dtype).kind in "iu" else "")


def _pixel(profile: Profile) -> tuple[float, float, str] | None:
    """Return width, height and unit of the input's pixels."""
    if profile.crs is None:
        return None
    transform = profile.transform
    unit = "degrees" if profile.crs.is_geographic else (profile.crs.linear_units or "")
    words = "m" if unit in ("metre", "meter") else unit
    return hypot(transform.a, transform.d), hypot(transform.b, transform.e), words


def _ends(values: Block) -> tuple[float, float]:
    """Return the values that are shown black and white."""
    if not values.size:
        return 0.0, 1.0
    low, high = np.percentile(values, ENDS)
    return float(low), float(high)


def _place(pair: Pair, window: Window, spans: Sequence[float]) -> Place:
    """Return the window in all pictures, with its scores."""
    k, bands = pair.scale, list(pair.bands)
    low, good = _read(pair.before, window)
    ring = Tile(0, window, window.pad(RING))
    wide = ring.scale(k)
    highs = [_read(result.source, window.relative(result.part).scale(k), RING * k) for result in pair.results]
    views = [wide.trim(enlarge(low, k))[bands], *(wide.trim(high)[bands] for high, _ in highs)]
    every = np.all([enlarge_nearest(good, k), *(valid for _, valid in highs)], axis=0)
    shown: NDArray[np.bool_] = np.all(wide.trim(every)[bands], axis=0)
    if pair.truth:
        there = window.relative(pair.results[0].part).scale(k)
        spot = Window(there.col_off + pair.truth.cut.col_off, there.row_off + pair.truth.cut.row_off,
                      there.width, there.height)  # fmt: skip
        real, true = _read(pair.truth.source, spot)
        inner = Tile(0, spot, spot.pad(RING))
        views.append(inner.trim(real)[bands])
        shown &= np.all(inner.trim(true)[bands], axis=0)
    judged = good & _shrunk_mask(every, k)
    for result in pair.results:
        judged = judged & _known(pair.before, result, ring.outer)
    off, usable = zip(
        *(metrics.inconsistencies(view, low, valid=judged) for view in (enlarge(low, k), *(h for h, _ in highs))),
        strict=True,
    )
    errors, counted = [ring.trim(band_errors)[bands] for band_errors in off], ring.trim(usable[0])[bands]
    everywhere = counted.all(axis=0)
    first = window.relative(pair.results[0].part).scale(k)
    transform = pair.profile.transform @ Affine.translation(first.col_off, first.row_off)
    corners = _corners(pair.profile, transform, first)
    return Place(
        window=window,
        native=ring.trim(low)[bands],
        measured=np.all(ring.trim(good)[bands], axis=0),
        pictures=tuple(views),
        valid=shown,
        errors=tuple(np.where(everywhere, np.sqrt(np.mean(np.square(e), axis=0)), np.nan) for e in errors[1:]),
        transform=transform,
        corners=corners,
        metres=_metres(corners, first.width),
        scores=_scores(
            views, wide.trim(enlarged(low, k))[bands], shown, [each[counted] for each in errors], spans, scale=k
        ),
    )


def _read(source: RasterSource, window: Window, ring: int = RING) -> tuple[Block, NDArray[np.bool_]]:
    """Return the window and its ring, in float64, invalid pixels filled, and where it was valid."""
    tile = Tile(0, window, window.pad(ring))
    pixels = source.read(tile.outer)
    return filled_block(source, tile, pixels, halo=REACH).astype(np.float64), pixels.valid


def _shrunk_mask(valid: NDArray[np.bool_], k: int) -> NDArray[np.bool_]:
    """Return True where all of the k x k pixels are."""
    bands, rows, cols = valid.shape
    return np.asarray(valid.reshape(bands, rows // k, k, cols // k, k).all(axis=(2, 4)))


def _known(before: RasterSource, result: Cover, window: Window) -> NDArray[np.bool_]:
    """Return False (rows, cols) of a window of the input where there is an input, but no result of it."""
    whole = np.zeros((window.height, window.width), bool)
    part = whole.copy()
    whole[window.intersection(before.profile.window).slices(within=window)] = True
    part[window.intersection(result.part).slices(within=window)] = True
    return part | ~whole


def _scores(
    pictures: Sequence[Block],
    plain: Block,
    valid_pixels: NDArray[np.bool_],
    off: Sequence[Block],
    spans: Sequence[float],
    *,
    scale: int,
) -> dict[str, tuple[float, ...]]:
    """Return figures for each picture, means over the bands.

    `plain` is the input under bilinear interpolation, `off` are errors against the input, where known.
    """
    none = float("nan")
    scores = {
        "consistency": tuple(float(np.sqrt(np.mean(result**2))) if result.size else none for result in off),
        "beyond the input": tuple(_beyond(picture, valid_pixels, scale) for picture in pictures),
    }
    if len(pictures) > len(off):
        scores["consistency"] += (none,)
        *results, truth = pictures
        valid, peak = np.broadcast_to(valid_pixels, truth.shape), np.array(spans)
        for name, measure in (("PSNR", metrics.psnr), ("SSIM", metrics.ssim)):
            scores[name] = (*(_mean(measure(result, truth, peak=peak, valid=valid)) for result in results), none)
        shares = [metrics.spectra(result, truth, scale=scale, valid=valid).recovered for result in results]
        scores["recovered"] = (*(100 * _mean(result) for result in shares), none)
        percentages = [100 * correctness(result, truth, plain, valid_pixels).value for result in results]
        for i, name in enumerate(NAMES):
            scores[name] = (*(float(values[i]) for values in percentages), none)
    return scores


def _mean(figures: Block) -> float:
    """Return the mean over the bands that have a figure."""
    known = figures[np.isfinite(figures)]
    return float(known.mean()) if known.size else float("nan")


def _beyond(picture: Block, valid: NDArray[np.bool_], scale: int) -> float:
    """Return the percentage of the power at frequencies that the input cannot hold, a mean over the bands."""
    power = metrics.spectra(picture, picture, scale=scale, valid=np.broadcast_to(valid, picture.shape)).truth
    whole = power.sum(axis=(1, 2))
    return 100 * _mean(np.divide(power[:, 1].sum(axis=-1), whole, out=np.full(len(whole), np.nan), where=whole > 0))


def _totals(views: Sequence[Place]) -> dict[str, tuple[float, ...]]:
    """Return the scores of all places together: errors as the root of the mean square, others as the mean."""
    totals: dict[str, tuple[float, ...]] = {}
    for name in views[0].scores:
        figures = np.array([place.scores[name] for place in views])
        known = np.isfinite(figures)
        power = 2 if name == "consistency" else 1
        sums = np.where(known, figures, 0.0) ** power
        means = sums.sum(axis=0) / np.maximum(known.sum(axis=0), 1)
        totals[name] = tuple(
            float(mean ** (1 / power)) if any_known else float("nan")
            for mean, any_known in zip(means, known.any(axis=0), strict=True)
        )
    return totals


def _spectra(views: Sequence[Place], spans: Sequence[float], scale: int) -> tuple[list[float], list[list[float]]]:
    """Return frequencies, as shares of the Nyquist frequency, and the mean power of each picture at each in dB."""
    frequencies, powers = np.zeros(0), []
    for k in range(len(views[0].pictures)):
        spectra = [
            metrics.spectra(picture, picture, scale=scale, valid=np.broadcast_to(place.valid, picture.shape))
            for place in views
            for picture in [place.pictures[k]]
        ]
        whole = sum(spectra[1:], spectra[0])
        frequencies, power = whole.radial(whole.truth)
        powers.append(np.mean(power / np.square(spans)[:, None], axis=0))
    least = max(float(np.max(powers)) * 1e-9, 1e-12)
    return (2 * frequencies).tolist(), [(10 * np.log10(np.maximum(power, least))).tolist() for power in powers]


def _corners(profile: Profile, transform: Affine, window: Window) -> tuple[tuple[float, float], ...] | None:
    """Return longitude and latitude of a window's corners, for pixels of this transform; None if not known."""
    if profile.crs is None:
        return None
    spots = [
        transform @ spot for spot in ((0, 0), (window.width, 0), (0, window.height), (window.width, window.height))
    ]
    try:
        with gdal.environment():
            xs, ys = transformed(profile.crs, "EPSG:4326", *map(list, zip(*spots, strict=True)))
    except gdal.ERRORS:
        return None
    return tuple(zip(xs, ys, strict=True)) if np.isfinite([*xs, *ys]).all() else None


def _metres(corners: tuple[tuple[float, float], ...] | None, columns: int) -> float | None:
    """Return the metres that a pixel is wide on the ground, between the middles of the left and the right edge."""
    if corners is None:
        return None
    (west, south), (east, north) = (
        ((one[0] + other[0]) / 2, (one[1] + other[1]) / 2) for one, other in (corners[::2], corners[1::2])
    )
    lat, other = radians(south), radians(north)
    turn = sin((other - lat) / 2) ** 2 + cos(lat) * cos(other) * sin(radians(east - west) / 2) ** 2
    return 2 * EARTH * asin(min(sqrt(turn), 1.0)) / columns or None
