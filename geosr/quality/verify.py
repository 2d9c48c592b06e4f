"""Outputs verified: where they are, pixels computed again, and what their tags claim of their input."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import astuple, dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rasterio.enums import ColorInterp
from scipy.ndimage import minimum_filter
from skimage import filters
from skimage.registration import phase_cross_correlation

from geosr.errors import RasterError
from geosr.grid import Block, Tile, Window
from geosr.models import cards
from geosr.models.computing import Computing
from geosr.quality.metrics import inconsistencies, inner
from geosr.rasters import writer
from geosr.rasters.containers import open_raster
from geosr.rasters.nodata import enlarge_nearest
from geosr.rasters.profile import Profile, differences
from geosr.rasters.source import Pixels, RasterSource
from geosr.superresolve.job import output_block
from geosr.superresolve.options import Options
from geosr.superresolve.plan import Plan, make_plan
from geosr.superresolve.provenance import Identity, Provenance, without_provenance
from geosr.superresolve.tiles import enlarged_tiles
from geosr.superresolve.upscalers import Consistent

SIDE = 256
"""Rows and columns of a window, in pixels of the input."""
AGAIN = 64
"""Rows and columns of the part of a window that is computed again."""
RING = 8
"""Pixels around a window that its shrunk output needs."""
BOUNDS = 1e-6
"""Most that a corner may be off, in pixels of the input; what is more than rounding of coordinates."""
SHIFT = 0.05
"""Most that the picture may have moved, in pixels of the input."""
STEPS = 1.0
"""Most that a pixel computed again may differ, in steps of an integer; of floats in thousandths of the range."""
FLOAT32 = 5e-4
"""The same in shares of the range, where that is more: a network in float32 sums tiles of another size in another
order, and a large blur that is undone makes more of it."""
UNLIKE = 1e-3
"""Most that what the sensor would see of a result with the input's radiometry may differ, in shares of the range."""
LOSS = 0.25
"""The same after a compression with loss."""
BIAS, RMSE = 0.02, 0.1
"""Most that the output, shrunk back, may differ from the input, in shares of the range."""
ENOUGH = 256
"""Pixels that are too few to judge that by."""


@dataclass(frozen=True, slots=True)
class Check:
    """One check and its outcome."""

    name: str
    ok: bool | None
    """None: it could not be made."""
    told: str


@dataclass(frozen=True, slots=True)
class Report:
    """The findings; numbers are None where there was nothing to measure."""

    input: str
    output: str
    scale: int
    model: str | None
    windows: int
    bounds_error: float
    """Pixels of the input."""
    missing: list[str]
    """Items of the input's metadata that the output lacks."""
    recomputed: float | None
    """Largest difference, in steps of an integer or thousandths of the range."""
    unlike: float | None
    """Largest difference of what the sensor would see of the output from the input, in the input's unit, where
    the output was made to keep the input's radiometry."""
    shift: tuple[float, ...] | None
    """Rows and columns, in pixels of the input."""
    rmse: float | None
    bias: float | None
    """Mean difference of the shrunk output from the input, in the input's unit."""
    worst_rmse: float | None
    worst_window: tuple[int, int, int, int] | None
    """Column, row, width and height in the input."""
    invalid_before: float
    invalid_after: float
    """Shares of the values that are not valid in the windows of the input and of the output."""
    checks: list[Check]

    @property
    def ok(self) -> bool:
        return all(check.ok is not False for check in self.checks)


@dataclass(frozen=True, slots=True)
class Measured:
    """The findings in one window."""

    window: Window
    same_holes: bool
    invalid: tuple[float, float]
    """Shares of the values that are not valid, in the input and in the output."""
    errors: NDArray[np.float64]
    """Shrunk output less input, of the valid pixels."""
    shift: tuple[float, float] | None
    recomputed: float | None
    unlike: float | None
    """Largest difference of what the sensor would see of the output from the input, where the two are to be equal."""


def verify_output(
    source: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    model: str | None = None,
    windows: int = 16,
    seed: int = 0,
    trust: bool = False,
) -> Report:
    """Compare `output` with the raster `source` that it was made of, in random windows.

    The tags say how it was made; `model` is needed for a network that is not shipped, `trust` for one whose file may
    hold code. An output of another program
    is compared, but not computed again.

    Raises:
        RasterError: one of the two cannot be read, or they cannot belong together.
        ModelError: the model that is given cannot be loaded.
    """
    result = RasterSource(output, alpha="band")
    provenance = _provenance(result)
    result = RasterSource(output, alpha=provenance.alpha)
    job = _job(source, result, provenance, model, trust=trust)
    again = str(provenance.model) == str(job.upscaler.identity)
    output_source = result
    return _report(
        job,
        output_source,
        [_measured(job, output_source, spot, again=again) for spot in _spots(job.window, windows, seed)],
    )


def _provenance(output: RasterSource) -> Provenance:
    try:
        return Provenance.from_tags(output.profile.tags.get("", {}))
    except ValueError as error:
        raise RasterError(f"the GEOSR_ tags of {output.path!r} are not those that geosr writes: {error}") from error


def _job(
    source: str | os.PathLike[str], output: RasterSource, provenance: Provenance, model: str | None, *, trust: bool
) -> Plan:
    """Return the plan for such an output, with other tiles; bicubic where its model is not at hand."""
    whole = RasterSource(source, provenance.bands, alpha="band").profile
    part = provenance.window or whole.window
    profile, scale = output.profile, max(output.profile.width // part.width, 1)
    if (profile.width, profile.height) != (part.width * scale, part.height * scale):
        raise RasterError(
            f"{output.path!r} has {profile.width} x {profile.height} pixels, which is no multiple of the "
            f"{part.width} x {part.height} of {os.fspath(source)!r}"
        )
    if scale == 1 and not provenance.model:
        raise RasterError(f"{output.path!r} is no larger than {os.fspath(source)!r}, and no tag says what made it")
    identity = provenance.model or Identity("bicubic", scale)
    shipped = {f"{card.name}_x{card.scale}": card.name for card in cards.shipped()}
    known = bool(model) or identity.name in (*shipped, "bicubic")
    options = Options(
        scale=scale,
        model=model or shipped.get(identity.name, "bicubic"),
        bands=provenance.bands,
        computing=replace(identity.computing, trust=trust) if known else Computing(),
        bands_mode="luma" if identity.mode == "luma" and known else "auto",
        alpha=provenance.alpha,
        settings=identity.settings or None if known else None,
        limit=identity.limit if known and identity.settings else None,
        consistent=identity.consistent or None if known else None,
        window=astuple(provenance.window) if provenance.window else None,
        # Of another program's output, what it chose is not known.
        dtype=provenance.dtype if provenance.model else profile.dtype,
        nodata=provenance.nodata if provenance.model else profile.nodata,
        nodata_in=provenance.nodata_in,
        skip_errors=provenance.skip_errors,
        tile=AGAIN,
    )
    job = make_plan(source, options)
    if job.profile.count != profile.count:
        raise RasterError(
            f"{output.path!r} has {profile.count} bands and {os.fspath(source)!r} {job.profile.count}, and no tag "
            "says which are which"
        )
    return replace(job, values=provenance.range or job.values)


def _spots(window: Window, count: int, seed: int) -> list[Window]:
    """Random windows inside a window, all different."""
    rng = np.random.default_rng(seed)
    width, height = min(SIDE, window.width), min(SIDE, window.height)
    cols = rng.integers(0, window.width - width + 1, count) + window.col_off
    rows = rng.integers(0, window.height - height + 1, count) + window.row_off
    return [Window(int(col), int(row), width, height) for row, col in sorted(set(zip(rows, cols, strict=True)))]


def _measured(job: Plan, result: RasterSource, spot: Window, *, again: bool) -> Measured:
    k, colours = job.upscaler.scale, job.source.profile.colours
    ring = Tile(0, spot, spot.pad(RING))
    there = Tile(0, spot.relative(job.window), ring.outer.relative(job.window)).scale(k)
    before_pixels, after_pixels = job.source.read(ring.outer), result.read(there.outer)
    low, high, good, after_valid = before_pixels.block, after_pixels.block, before_pixels.valid, after_pixels.valid
    if job.source.own_masks:
        # One mask for all bands takes the place of theirs.
        good = np.broadcast_to(good[colours].any(axis=0), good.shape)
    off, counted = inconsistencies(np.where(after_valid, high, 0), low, valid=good)
    errors, usable = ring.trim(off)[colours], ring.trim(counted)[colours]
    before = ring.trim(low)[colours].astype(np.float64)
    after = before + errors
    masks = _gdal_masks(job.source, spot), _gdal_masks(result, there.core)
    same_masks = masks[0] is None or masks[1] is None or (enlarge_nearest(masks[0], k) == masks[1]).all()
    return Measured(
        spot,
        bool((there.trim(after_valid) == enlarge_nearest(ring.trim(good), k)).all() and same_masks),
        (1 - float(ring.trim(good).mean()), 1 - float(there.trim(after_valid).mean())),
        errors[usable],
        _shift(before, after, usable),
        _recomputed(job, result, spot) if again else None,
        _unlike(job, ring, before_pixels, after_pixels) if again else None,
    )


def _unlike(job: Plan, ring: Tile, before: Pixels, after: Pixels) -> float | None:
    """Return the largest difference in a window, or None if nothing was promised or no pixel can be judged.

    Pixels count whose blur sees valid pixels of the output alone and, but for means over a pixel, none at an end of
    the data type.
    """
    upscaler, colours = job.upscaler, job.source.profile.colours
    if not isinstance(upscaler, Consistent):
        return None
    low, high = before.block[colours], after.block[colours]
    seen = upscaler.observed(np.where(after.valid[colours], high, 0))
    usable = after.valid[colours]
    if upscaler.kind == "sensor" and high.dtype.kind in "iu":
        usable = usable & (high > np.iinfo(low.dtype).min) & (high < np.iinfo(low.dtype).max)
    k, side = upscaler.scale, max(map(len, upscaler.taps)) // upscaler.scale
    cells = usable.reshape(len(low), low.shape[1], k, low.shape[2], k).all((2, 4))
    counted = minimum_filter(cells, (1, side, side), mode="nearest") & inner(ring.outer, job.window, side // 2)
    counted = ring.trim(counted)
    off = np.abs(ring.trim(seen) - ring.trim(low))[counted]
    return float(off.max()) if off.size else None


def _gdal_masks(source: RasterSource, window: Window) -> NDArray[np.bool_] | None:
    """Return True (rows, cols) where a band has a finite pixel that GDAL's masks show, whatever geosr reads there.

    None where GDAL is not believed: of a band of data called alpha, and of blocks that cannot be read.
    """
    with open_raster(source.name) as dataset:
        labelled = ColorInterp.alpha in dataset.colorinterp
        if source.skip_errors or (labelled and source.profile.alpha is None and source.alpha == "band"):
            return None
        indexes = [source.indexes[i] for i in source.profile.colours]
        shown = dataset.read_masks(indexes, window=window.toranges()) > 0
        block = dataset.read(indexes, window=window.toranges())
        shown &= np.isfinite(block)
        if source.nodata is not None:
            shown &= block != block.dtype.type(source.nodata)
    return np.asarray(shown.any(axis=0))


def _shift(before: Block, after: Block, usable: NDArray[np.bool_]) -> tuple[float, float] | None:
    """Rows and columns by which `after` has moved, by phase correlation; None without texture.

    Source: M. Guizar-Sicairos, S. Thurman, J. Fienup, Efficient subpixel image registration algorithms, 2008.
    """
    here = usable.all(axis=0)
    if min(here.shape) < 32 or here.mean() < 0.5:
        return None
    first, other = (np.where(here, block.mean(axis=0), block.mean(axis=0)[here].mean()) for block in (before, after))
    scale = np.max(np.abs([first, other]))
    if not np.isfinite(scale) or first.std() == 0 or other.std() == 0:
        return None
    # Without the window, the edges of the picture, which stay where they are, pull the shift towards 0.
    fade = filters.window("hann", first.shape)
    first, other = ((block / scale - (block / scale).mean()) * fade for block in (first, other))
    moved, _, _ = phase_cross_correlation(first, other, upsample_factor=100, normalization=None)
    return -float(moved[0]), -float(moved[1])


def _recomputed(job: Plan, output: RasterSource, spot: Window) -> float:
    """The largest difference from what is computed again in the middle of the window."""
    width, height = min(AGAIN, spot.width), min(AGAIN, spot.height)
    core = Window(spot.col_off + (spot.width - width) // 2, spot.row_off + (spot.height - height) // 2, width, height)
    tile = Tile(0, core, core.pad(job.upscaler.halo))
    pixels = job.source.read(tile.outer)
    [result] = enlarged_tiles([tile], [pixels], source=job.source, upscaler=job.upscaler, values=job.values)
    expected, _ = output_block(tile, result, pixels, job=job)
    block = output.read(core.relative(job.window).scale(job.upscaler.scale)).block
    if expected.dtype.kind != "f":
        return float(np.abs(expected.astype(np.float64) - block.astype(np.float64)).max())
    steps = (np.array(job.values.high) - np.array(job.values.low))[:, None, None] / 1000
    if (np.isfinite(expected) != np.isfinite(block)).any():
        return float("inf")
    with np.errstate(invalid="ignore"):
        return float(np.nanmax(np.where(np.isfinite(expected), np.abs(expected - block), 0) / steps))


def _report(job: Plan, result: RasterSource, measured: Sequence[Measured]) -> Report:
    expected = replace(job.profile, tags=without_provenance(job.profile.tags))
    missing = [what for what in sorted(set(differences(result.profile, expected))) if what != "the transform"]
    driver = _provenance(result).driver or result.driver
    if missing and driver != "GTiff":
        unkept = writer.unkept(expected, driver, Path(result.path).name)
        missing = [item for item in missing if item not in unkept]
    moved = np.array([window.shift for window in measured if window.shift is not None])
    again = [window.recomputed for window in measured if window.recomputed is not None]
    errors = np.concatenate([window.errors for window in measured])
    rmses = [float(np.sqrt(np.mean(window.errors**2))) if window.errors.size else 0.0 for window in measured]
    worst = int(np.argmax(rmses))
    before, after = np.mean([window.invalid for window in measured], axis=0).tolist()
    report = Report(
        input=job.source.path,
        output=result.path,
        scale=job.upscaler.scale,
        model=result.profile.tags.get("", {}).get("GEOSR_MODEL"),
        windows=len(measured),
        bounds_error=_bounds_error(job, result.profile),
        missing=missing,
        recomputed=max(again) if again else None,
        unlike=max((window.unlike for window in measured if window.unlike is not None), default=None),
        shift=tuple(np.median(moved, axis=0).tolist()) if moved.size else None,
        rmse=float(np.sqrt(np.mean(errors**2))) if errors.size else None,
        bias=float(errors.mean()) if errors.size else None,
        worst_rmse=rmses[worst] if errors.size else None,
        worst_window=astuple(measured[worst].window) if errors.size else None,
        invalid_before=before,
        invalid_after=after,
        checks=[],
    )
    same_holes = all(window.same_holes for window in measured)
    checks = _judged(report, job, same_holes=same_holes, lossy=result.lossy, pixels=errors.size)
    return replace(report, checks=checks)


def _judged(report: Report, job: Plan, *, same_holes: bool, lossy: bool, pixels: int) -> list[Check]:
    span = float(np.mean(np.array(job.values.high) - np.array(job.values.low)))
    checks = [
        Check("bounds", report.bounds_error <= BOUNDS, f"{report.bounds_error:.2g} pixels off"),
        Check("metadata", not report.missing, f"missing: {', '.join(report.missing)}" if report.missing else "kept"),
        Check(
            "invalid pixels",
            same_holes or lossy,
            f"{report.invalid_before:.2%} before, {report.invalid_after:.2%} after, "
            + ("the same in all windows" if same_holes else "not the same in all windows"),
        ),
    ]
    same = False
    if report.recomputed is None:
        checks.append(Check("computed again", None, "the model is not at hand; name it with --model"))
    else:
        unit = "thousandths of the range" if np.dtype(job.profile.dtype).kind == "f" else "steps"
        whole = 1000 if np.dtype(job.profile.dtype).kind == "f" else span
        allowed = max(STEPS, (LOSS if lossy else FLOAT32) * whole)
        same = report.recomputed <= allowed
        text = f"differs by at most {report.recomputed:.3g} {unit} ({allowed:.3g} allowed)"
        checks.append(Check("computed again", same, text + (", lossy compression" if lossy else "")))
    if report.unlike is not None:
        checks.append(_radiometry(report.unlike, job, lossy=lossy, span=span))
    if report.shift is None:
        checks.append(Check("shift", None, "there is too little texture to measure it"))
    else:
        row, col = report.shift
        moved = max(abs(row), abs(col)) <= SHIFT
        checks.append(Check("shift", moved, f"{row:+.2f} rows, {col:+.2f} columns of the input"))
    if report.rmse is not None and report.bias is not None:
        text = f"shrunk back: RMSE {report.rmse:.4g}, bias {report.bias:+.4g}, range {span:.4g}"
        text += f"; worst window {','.join(map(str, report.worst_window or ()))}: RMSE {report.worst_rmse:.4g}"
        close = abs(report.bias) <= BIAS * span and report.rmse <= RMSE * span
        # What the model makes of this scene is what was claimed, however far from the scene it is.
        consistent = same or (bool(np.isfinite(report.rmse)) and (pixels < ENOUGH or close))
        checks.append(Check("consistency", consistent, text))
    return checks


def _radiometry(unlike: float, job: Plan, *, lossy: bool, span: float) -> Check:
    """Return the check that the sensor would see the input in the output, but for rounding."""
    whole = np.dtype(job.profile.dtype).kind in "iu"
    weights = (
        max(float(np.abs(taps).sum() ** 2) for taps in job.upscaler.taps)
        if isinstance(job.upscaler, Consistent)
        else 1.0
    )
    most = 0.5 * weights + UNLIKE * span if whole else UNLIKE * span
    return Check("radiometry", None if lossy else unlike <= most, f"seen by the sensor again: {unlike:.3g} off at most")


def _bounds_error(job: Plan, profile: Profile) -> float:
    """The most that a corner is off, in pixels of the input."""
    if not job.profile.located:
        return 0.0
    corners = [(col * profile.width, row * profile.height) for col in (0, 1) for row in (0, 1)]
    off = [np.subtract(profile.transform @ corner, job.profile.transform @ corner) for corner in corners]
    a, b, _, d, e, *_ = job.source.profile.transform
    return float(np.max(np.hypot(*np.transpose(off))) / min(np.hypot(a, d), np.hypot(b, e)))
