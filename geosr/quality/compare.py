"""A raster beside what was made of it, and the truth if there is one: places, scores and spectra for a page."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from rasterio.warp import transform as transformed

from geosr import pictures
from geosr.errors import OptionError, RasterError
from geosr.grid import Block, Tile, Window
from geosr.quality import detail, metrics
from geosr.quality.page import Comparison, Place
from geosr.rasters import gdal
from geosr.rasters.nodata import enlarge_nearest, filled_block
from geosr.rasters.placement import crs_name
from geosr.rasters.profile import RGB, Profile, band_name
from geosr.rasters.resample import REACH, enlarge
from geosr.rasters.source import RasterSource
from geosr.superresolve.provenance import Provenance

SIDE = 512
"""Most rows and columns of a place, in pixels of the result."""
THUMBNAIL = 1024
"""Most rows and columns of the view of the whole scene, and of what the places are chosen from."""
RING = 8
"""Pixels of the input around a place, which bicubic interpolation both ways needs."""
ENDS = (1, 99)
"""Percentiles of the input that are shown black and white."""
BANDS = 4
"""Most bands that are shown unless told."""
OFF = 0.01
"""Most that one raster may lie beside another's pixels, in pixels of the input."""
NAMES = ("input (bicubic)", "result", "truth")
MEANINGS = {
    "consistency": "A picture shrunk back to the input's pixels, less the input: root mean square, in the input's "
    "unit. Near 0: nothing that was added contradicts the input.",
    "beyond the input": "Share of the power at frequencies that the input could not hold, in %. Bicubic interpolation "
    "leaves next to none, a network adds some; far more than the truth has is noise or invention.",
    "PSNR": "Peak signal-to-noise ratio against the truth, in dB: 1 dB more is a fifth less error power.",
    "SSIM": "Structural similarity with the truth, 1 at the most.",
    "recovered": "Of the truth's detail that the input could not hold, what is in the picture, in %. Invented detail "
    "does not count.",
}
AGAINST_TRUTH = ("PSNR", "SSIM", "recovered")


@dataclass(frozen=True, slots=True)
class Pair:
    """A raster and the one that was made of it, on the same ground."""

    before: RasterSource
    after: RasterSource
    truth: RasterSource | None
    scale: int
    part: Window
    """The part of `before` that `after` covers."""
    cut: Window
    """The part of `truth` that `after` covers."""
    bands: tuple[int, ...]
    """Positions of the bands that are compared."""


def compare_rasters(
    before: str | os.PathLike[str],
    after: str | os.PathLike[str],
    truth: str | os.PathLike[str] | None = None,
    *,
    windows: int = 8,
    bands: Sequence[int] | None = None,
) -> Comparison:
    """Compare the raster `after` with `before`, of which it was made, in the most detailed places.

    `before` is enlarged by bicubic interpolation. `truth` is a raster with the pixels of `after`, or a larger part of
    the scene. `bands` are numbers of bands of `after`, from 1; by default its first few.

    Raises:
        RasterError: one cannot be read, or they do not cover the same ground.
        OptionError: they have other bands.
    """
    pair = _pair(before, after, truth, bands)
    block, good = (plane[list(pair.bands)] for plane in pair.before.thumbnail(THUMBNAIL))
    ends = [_ends(band[valid]) for band, valid in zip(block, good, strict=True)]
    spans = [high - low if high > low else 1.0 for low, high in ends]
    # Smaller ones in a small scene, so that there are as many as were asked for.
    side = detail.side_for(pair.part, max(SIDE // pair.scale, 1), windows)
    windows_shown = detail.detailed(
        pair.before, pair.part, side=side, count=windows, bands=pair.bands, thumbnail=(block, good)
    )
    if not windows_shown:
        raise RasterError(f"{pair.before.path!r} has no valid pixel where {pair.after.path!r} lies")
    views = [_place(pair, window, spans) for window in windows_shown]
    frequencies, spectra = _spectra(views, spans, pair.scale)
    profile = pair.after.profile
    return Comparison(
        before=Path(pair.before.path).name,
        after=Path(pair.after.path).name,
        model=model.words if (model := _provenance(pair.after).model) else "",
        names=NAMES if pair.truth else NAMES[:2],
        scale=pair.scale,
        bands=tuple(", ".join(filter(None, (f"band {i + 1}", band_name(profile, i)))) for i in pair.bands),
        colours=_colours(profile, pair.bands),
        crs=crs_name(profile) or "",
        located=profile.located,
        places=views,
        totals=_totals(views),
        meanings={name: text for name, text in MEANINGS.items() if pair.truth or name not in AGAINST_TRUTH},
        frequencies=frequencies,
        spectra=spectra,
        ends=ends,
        overview=pictures.stretched(np.where(good[0], block[0], ends[0][0]), *ends[0]),
        size=(pair.before.profile.width, pair.before.profile.height),
    )


def _ends(values: Block) -> tuple[float, float]:
    """The values that are shown black and white."""
    if not values.size:
        return 0.0, 1.0
    low, high = np.percentile(values, ENDS)
    return float(low), float(high)


def _pair(
    before: str | os.PathLike[str],
    after: str | os.PathLike[str],
    truth: str | os.PathLike[str] | None,
    bands: Sequence[int] | None,
) -> Pair:
    """The rasters, checked against each other."""
    result = RasterSource(after, alpha="band")
    provenance = _provenance(result)
    low = RasterSource(before, provenance.bands, alpha=provenance.alpha)
    result = RasterSource(after, alpha=low.alpha)
    if low.profile.colours != result.profile.colours:
        raise OptionError(
            f"{low.path!r} has {len(low.profile.colours)} bands and {result.path!r} {len(result.profile.colours)}, and "
            "no tag says which are which; choose those of one with gdal_translate -b"
        )
    scale, part = _placed(low, result)
    real, cut = (RasterSource(truth, alpha=low.alpha), part.scale(scale)) if truth else (None, part)
    if real:
        if real.profile.colours != result.profile.colours:
            raise OptionError(
                f"{real.path!r} has {len(real.profile.colours)} bands and {result.path!r} "
                f"{len(result.profile.colours)}; choose the same of both"
            )
        beside, cut = _placed(real, result)
        if beside != 1:
            raise RasterError(f"{real.path!r} has larger pixels than {result.path!r}; give a truth with the same")
    positions = [number - 1 for number in bands] if bands else result.profile.colours[:BANDS]
    if wrong := [i + 1 for i in positions if i not in result.profile.colours]:
        raise OptionError(f"{result.path!r} has no band {wrong[0]} to compare; choose others with --bands")
    return Pair(low, result, real, scale, part, cut, tuple(positions))


def _provenance(result: RasterSource) -> Provenance:
    """Return what the tags of a result tell; nothing where they are not geosr's."""
    try:
        return Provenance.from_tags(result.profile.tags.get("", {}))
    except ValueError:
        return Provenance()


def _placed(large: RasterSource, small: RasterSource) -> tuple[int, Window]:
    """Return the factor between the pixels of `large` and `small`, and the part of `large` that `small` covers.

    Raises:
        RasterError: it does not, or its pixels do not divide those of `large`.
    """
    large_profile, small_profile = large.profile, small.profile
    beside = f"{small.path!r} does not cover the ground of {large.path!r}"
    remedy = "compare a raster with what was made of it (gdalwarp -te brings others onto its ground)"
    if large_profile.crs != small_profile.crs:
        raise RasterError(f"{beside}: their CRSs are {crs_name(small_profile)} and {crs_name(large_profile)}; {remedy}")
    if large_profile.located and small_profile.located:
        relative = ~large_profile.transform @ small_profile.transform
        steps, turn = (relative.a, relative.e), max(abs(relative.b), abs(relative.d))
        scale = round(1 / steps[0]) if steps[0] > 0 else 0
        span = max(small_profile.width, small_profile.height)
        if scale < 1 or max(abs(step - 1 / scale) * span for step in (*steps, turn + 1 / scale)) > OFF:
            raise RasterError(
                f"{beside} in whole parts of its pixels: a pixel of one is {steps[0]:.6g} x {steps[1]:.6g} of the "
                f"other's; {remedy}"
            )
        corner = relative.c, relative.f
    else:
        scale, corner = max(1, round(small_profile.width / large_profile.width)), (0.0, 0.0)
    col, row = (round(value) for value in corner)
    width, height = small_profile.width / scale, small_profile.height / scale
    window = Window(col, row, int(width), int(height))
    if max(abs(corner[0] - col), abs(corner[1] - row)) > OFF or (window.width, window.height) != (width, height):
        raise RasterError(f"{beside} in whole pixels; {remedy}")
    if window.intersection(large_profile.window) != window or (
        not large_profile.located and window != large_profile.window
    ):
        raise RasterError(
            f"{beside}: it takes columns {col} to {col + window.width} and rows {row} to {row + window.height} of "
            f"{large_profile.width} x {large_profile.height} pixels; {remedy}"
        )
    return scale, window


def _place(pair: Pair, window: Window, spans: Sequence[float]) -> Place:
    """The window in all pictures, with its scores."""
    k, bands = pair.scale, list(pair.bands)
    low, good = _read(pair.before, window)
    there = window.relative(pair.part).scale(k)
    high, high_valid = _read(pair.after, there, RING * k)
    ring = Tile(0, window, window.pad(RING))
    wide = ring.scale(k)
    pictures = [wide.trim(enlarge(low, k))[bands], wide.trim(high)[bands]]
    valid: NDArray[np.bool_] = np.all(wide.trim(high_valid & enlarge_nearest(good, k))[bands], axis=0)
    if pair.truth:
        real, true = _read(pair.truth, Window(there.col_off + pair.cut.col_off, there.row_off + pair.cut.row_off,
                                              there.width, there.height))  # fmt: skip
        inner = Tile(0, there, there.pad(RING))
        pictures.append(inner.trim(real)[bands])
        valid &= np.all(inner.trim(true)[bands], axis=0)
    judged = good & _shrunk_mask(high_valid, k) & _known(pair, ring.outer)
    off, usable = zip(
        *(metrics.inconsistencies(picture, low, valid=judged) for picture in (enlarge(low, k), high)), strict=True
    )
    errors, counted = [ring.trim(band_errors)[bands] for band_errors in off], ring.trim(usable[0])[bands]
    error = np.sqrt(np.mean(np.square(errors[1]), axis=0))
    profile = pair.after.profile
    transform = profile.transform @ Affine.translation(there.col_off, there.row_off)
    return Place(
        window=window,
        pictures=tuple(pictures),
        valid=valid,
        error=np.where(counted.all(axis=0), error, np.nan),
        transform=transform,
        corners=_corners(profile, transform, there),
        scores=_scores(pictures, valid, [band_errors[counted] for band_errors in errors], spans, k),
    )


def _read(source: RasterSource, window: Window, ring: int = RING) -> tuple[Block, NDArray[np.bool_]]:
    """The window and its ring, in float64, invalid pixels filled, and where it was valid."""
    tile = Tile(0, window, window.pad(ring))
    pixels = source.read(tile.outer)
    return filled_block(source, tile, pixels, halo=REACH).astype(np.float64), pixels.valid


def _shrunk_mask(valid: NDArray[np.bool_], k: int) -> NDArray[np.bool_]:
    """True where all of the k x k pixels are."""
    bands, rows, cols = valid.shape
    return np.asarray(valid.reshape(bands, rows // k, k, cols // k, k).all(axis=(2, 4)))


def _known(pair: Pair, window: Window) -> NDArray[np.bool_]:
    """False (rows, cols) of a window of the input where there is an input, but no result of it."""
    whole = np.zeros((window.height, window.width), bool)
    part = whole.copy()
    whole[window.intersection(pair.before.profile.window).slices(within=window)] = True
    part[window.intersection(pair.part).slices(within=window)] = True
    return part | ~whole


def _scores(
    pictures: Sequence[Block], valid_pixels: NDArray[np.bool_], off: Sequence[Block], spans: Sequence[float], scale: int
) -> dict[str, tuple[float, ...]]:
    """Figures for each picture, means over the bands; `off` is what lies off the input, where it is known."""
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
    return scores


def _mean(figures: Block) -> float:
    """Over the bands that have a figure."""
    known = figures[np.isfinite(figures)]
    return float(known.mean()) if known.size else float("nan")


def _beyond(picture: Block, valid: NDArray[np.bool_], scale: int) -> float:
    """Percent of the power at frequencies that the input could not hold, a mean over the bands."""
    power = metrics.spectra(picture, picture, scale=scale, valid=np.broadcast_to(valid, picture.shape)).truth
    whole = power.sum(axis=(1, 2))
    return 100 * _mean(np.divide(power[:, 1].sum(axis=-1), whole, out=np.full(len(whole), np.nan), where=whole > 0))


def _totals(views: Sequence[Place]) -> dict[str, tuple[float, ...]]:
    """The scores of all places together: errors as the root of the mean square, others as the mean."""
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
    """Frequencies, as shares of the Nyquist frequency, and the mean power of each picture at each in dB."""
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
    """Longitude and latitude of the corners of a window whose pixels have this transform, if they can be known."""
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


def _colours(profile: Profile, bands: Sequence[int]) -> tuple[int, int, int] | None:
    """Positions among `bands` of red, green and blue: as they are called, else the first three."""
    if len(bands) < 3:
        return None
    labels = [profile.colorinterp[i] for i in bands] if profile.colorinterp else []
    if set(RGB) <= set(labels):
        red, green, blue = (labels.index(colour) for colour in RGB)
        return red, green, blue
    return 0, 1, 2
