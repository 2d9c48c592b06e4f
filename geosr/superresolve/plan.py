"""The plan of a super-resolution: its options, checked against the raster, before any work."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, replace
from pathlib import Path

import numpy as np

from geosr import __version__
from geosr.errors import OptionError
from geosr.files import plural
from geosr.grid import Grid, Tile, Window
from geosr.notebook import facts
from geosr.rasters import compression, writer
from geosr.rasters.placement import bounds, crs_name, pixel_size, window_of
from geosr.rasters.profile import RGB, Profile
from geosr.rasters.radiometry import Range, fixed, to_dtype
from geosr.rasters.sensors import NATURAL
from geosr.rasters.source import THUMBNAIL, RasterSource, Source, scene_range
from geosr.superresolve import budget
from geosr.superresolve.options import Options
from geosr.superresolve.provenance import Provenance, without_provenance
from geosr.superresolve.settings import scene_settings
from geosr.superresolve.upscalers import Blended, Consistent, Network, Upscaler, check_bands, load_upscaler

log = logging.getLogger(__name__)
MOST_TILES = 2**20
"""Tiles of a job, each of which becomes a file."""
LARGEST_SIDE = 2**31 - 1
"""Rows or columns that GDAL counts to."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that decides the output's pixels: checked before any work, and the same for the same input."""

    source: RasterSource
    upscaler: Upscaler
    values: Range
    grid: Grid
    """The tiles of the whole input, whatever part of it is super-resolved."""
    window: Window
    """The part of the input that is super-resolved."""
    profile: Profile
    """The output's."""
    provenance: Provenance
    driver: str
    side_files: tuple[str, ...]
    """Names of the files that the driver writes beside the output."""
    overviews: bool
    creation: Mapping[str, str]
    batch: int
    memory: int

    def _repr_html_(self) -> str:
        """Return the plan as a table, for notebooks."""
        width, height = pixel_size(self.profile)
        profile, whole = self.profile, self.window == self.source.profile.window
        items = {
            "input": self.source.path,
            "window": "" if whole else ", ".join(map(str, astuple(self.window))),
            "model": self.upscaler.identity.words,
            "scale": self.upscaler.scale,
            "output": f"{profile.width} x {profile.height} pixels, {plural(profile.count, 'band')} of {profile.dtype}",
            "pixel size": f"{width:.6g} x {height:.6g}" if profile.located else "",
            "CRS": crs_name(profile),
            "format": self.driver,
        }
        return facts(Path(self.source.path).name, items)

    @property
    def tiles(self) -> Sequence[Tile]:
        """The tiles of the output; those of a part of the input need that part and its halo alone."""
        tiles = self.grid.cut(self.window)
        if tiles is self.grid:
            return tiles
        return [tile.least(self.upscaler.halo, self.upscaler.step) for tile in tiles]

    @property
    def copied(self) -> bool:
        """True if the output is a copy of a GeoTIFF, in another format."""
        return self.driver != "GTiff"

    def workers(self, limit: int) -> int:
        """Return how many workers, at most `limit`, memory allows."""
        return budget.workers(limit, self.memory, *(self.memory_needed(count) for count in (1, 2)))

    def memory_needed(self, workers: int) -> int:
        """Return the bytes of memory at the peak with so many workers."""
        return budget.memory(
            self.grid.size,
            self.source.profile,
            self.upscaler,
            batch=self.batch,
            workers=workers,
            block_shapes=self.source.block_shapes,
        )


def make_plan(
    raster: str | os.PathLike[str], options: Options = Options(), output: str | os.PathLike[str] | None = None
) -> Plan:
    """Return what `super_resolve` would do; the output's name decides its format unless the options do.

    Raises:
        RasterError, OptionError, ModelError: the raster, the options or the model do not fit together.
    """
    source = RasterSource(
        raster, options.bands, alpha=options.alpha, skip_errors=options.skip_errors, nodata=options.nodata_in
    )
    profile = source.profile
    mode = bands_mode(profile, options.bands_mode)
    upscaler = load_upscaler(options.model, options.scale, mode=mode, computing=options.computing)
    check_bands(upscaler, len(profile.colours), model=options.model, path=source.path)
    window = _window(profile, options)
    output_profile = _output_profile(profile, window, upscaler.scale, options)
    name = Path(output).name if output else "output.tif"
    driver = writer.driver_named(options.format) if options.format else writer.driver_of(Path(name))
    tile = budget.tile_size(
        profile,
        upscaler,
        tile=options.tile,
        limit=options.memory,
        batch=options.batch or 1,
        block_shapes=source.block_shapes,
    )
    _check_count(window, tile, source.path)
    overviews = (profile.overviews or driver == "COG") if options.overviews is None else options.overviews
    output_profile = replace(output_profile, overviews=overviews)
    creation = {name.upper(): value for name, value in (options.creation or {}).items()}
    if driver == "COG" and not overviews:
        creation.setdefault("OVERVIEWS", "NONE")
    side_files: list[str] = []
    if creation or driver != "GTiff":
        side_files = writer.check_creation(output_profile, driver, creation, name)
    # Pixels are read once the cheap checks are passed: the range is that of the whole scene.
    if not options.skip_errors:
        source.read(Window(window.col_off, window.row_off, 1, 1))
    values = fixed(*options.range, profile.count) if options.range else scene_range(source)
    upscaler = upscaler_for(source, upscaler, values, options)
    provenance = _provenance(
        source, upscaler, values, window, options, {"driver": driver, "overviews": overviews, **creation}
    )
    tags = without_provenance(output_profile.tags)
    job = Plan(
        source=source,
        upscaler=upscaler,
        values=values,
        grid=Grid(profile.width, profile.height, tile, upscaler.halo),
        window=window,
        profile=replace(output_profile, tags={**tags, "": {**tags[""], **provenance.to_tags()}}),
        provenance=provenance,
        driver=driver,
        side_files=tuple(side_files),
        overviews=overviews,
        creation=creation,
        batch=options.batch or budget.batch_size(tile),
        memory=options.memory or budget.usual_memory(),
    )
    _warn(job)
    return job


def upscaler_for(source: Source, upscaler: Upscaler, values: Range, options: Options) -> Upscaler:
    """Return the upscaler as the options and the scene want it, or refuse what it cannot do.

    One that knows sensors is told the blur and the noise of the scene's bands.

    Raises:
        OptionError: it does not, and a sensor is named; or the sensor does not fit the bands.
    """
    upscaler = _told(source, upscaler, values, options)
    return Consistent(upscaler, options.consistent) if options.consistent else upscaler


def _told(source: Source, upscaler: Upscaler, values: Range, options: Options) -> Upscaler:
    if isinstance(upscaler, (Network, Blended)) and upscaler.knows_sensors:
        settings = options.settings or scene_settings(source, values, options)
        natural = options.mtf is None and options.sensor == NATURAL and options.settings is None
        return upscaler.for_scene(settings, limit=natural if options.limit is None else options.limit)
    usual = Options()
    for name in ("sensor", "mtf", "noise", "limit", "settings"):
        if getattr(options, name) != getattr(usual, name):
            raise OptionError(
                f"--{name} needs a network that knows sensors, and {options.model!r} x{upscaler.scale} is none; take "
                "span, or one trained with --model span_for_sensors"
            )
    return upscaler


def bands_mode(profile: Profile, mode: str) -> str:
    """Return `each` or `luma`; auto is `each`: what a network can add to a colour differs from band to band.

    Raises:
        OptionError: luma is asked for, and the bands are not red, green and blue.
    """
    labels = tuple(profile.colorinterp[i] for i in profile.colours) if profile.colorinterp else ()
    if mode == "luma" and len(labels) == 3 and set(labels) & set(RGB) and labels != RGB:
        names = ", ".join(label.name for label in labels)
        raise OptionError(f"--bands-mode luma needs red, green and blue, got {names}; choose them with --bands")
    if mode == "luma" and len(profile.colours) != 3:
        raise OptionError(
            f"--bands-mode luma needs red, green and blue, got {len(profile.colours)} bands; choose them with --bands"
        )
    return "luma" if mode == "luma" else "each"


def check_dtype(profile: Profile, dtype: str, nodata: float | None) -> None:
    """Refuse a data type that does not fit the raster, and nodata that the type does not hold.

    Raises:
        OptionError: it says what does.
    """
    kind = np.dtype(dtype)
    if dtype != profile.dtype and profile.alpha is not None:
        raise OptionError(
            "--dtype would change what opaque means in the band of transparency; leave it out with --bands"
        )
    if kind.kind == "f":
        fits = nodata is None or not np.isfinite(nodata) or abs(nodata) <= np.finfo(kind).max
    else:
        info = np.iinfo(kind)
        fits = nodata is None or (float(nodata).is_integer() and info.min <= nodata <= info.max)
        if nodata is None and np.dtype(profile.dtype).kind == "f":
            raise OptionError(f"{dtype} has no value for pixels that are not a number; give one with --nodata")
    if not fits:
        number = nodata if isinstance(nodata, int) else f"{nodata:g}"
        raise OptionError(
            f"nodata {number} does not fit in {dtype}; give one that does with --nodata, or another --dtype"
        )


def _window(profile: Profile, options: Options) -> Window:
    """Return the part of the raster that is asked for.

    Raises:
        OptionError: it is empty, or lies outside.
    """
    if options.window:
        window = Window(*options.window)
    elif options.bounds and (profile.transform.is_identity or not profile.transform.determinant):
        raise OptionError("the raster has no transform that bounds could be told by; give --window")
    elif options.bounds:
        window = window_of(profile, options.bounds)
    else:
        return profile.window
    inside = window.intersection(profile.window)
    if not (inside.width and inside.height):
        whole = bounds(profile, profile.window) if options.bounds else (0, 0, profile.width, profile.height)
        name = "bounds" if options.bounds else "window"
        raise OptionError(f"{name} {_numbers(getattr(options, name))} lies outside the raster's {_numbers(whole)}")
    if options.window and inside != window:
        raise OptionError(
            f"the window {_numbers(options.window)} is not inside {profile.width} x {profile.height} pixels"
        )
    return inside


def _check_count(window: Window, tile: int, path: str) -> None:
    """Refuse a job without end.

    Raises:
        OptionError: it has too many tiles.
    """
    count = -(-window.width // tile) * -(-window.height // tile)
    if count > MOST_TILES:
        raise OptionError(
            f"{path!r}: {window.width} x {window.height} pixels are {count} tiles of {tile} x {tile}, and a job has at "
            f"most {MOST_TILES}; choose a part with --window or --bounds"
        )


def _output_profile(profile: Profile, window: Window, scale: int, options: Options) -> Profile:
    dtype = options.dtype or profile.dtype
    nodata = profile.nodata if options.nodata is None else options.nodata
    check_dtype(profile, dtype, nodata)
    if max(window.width, window.height) * scale > LARGEST_SIDE:
        raise OptionError(
            f"the output would have {window.width * scale} x {window.height * scale} pixels, and GDAL takes at most "
            f"{LARGEST_SIDE} on a side; choose a part with --window or --bounds"
        )
    marked = profile.masked or profile.alpha is not None or np.dtype(dtype).kind == "f"
    if options.skip_errors and nodata is None and not marked:
        raise OptionError("--skip-errors needs a value for what cannot be read; give one with --nodata")
    return replace(profile.crop(window).scale(scale), dtype=dtype, nodata=nodata)


def _provenance(
    source: RasterSource,
    upscaler: Upscaler,
    values: Range,
    window: Window,
    options: Options,
    storage: Mapping[str, object],
) -> Provenance:
    return Provenance(
        version=__version__,
        input=source.digest,
        model=upscaler.identity,
        scale=upscaler.scale,
        range=values,
        bands=source.numbers,
        window=window if window != source.profile.window else None,
        alpha=options.alpha,
        dtype=options.dtype,
        nodata=options.nodata,
        nodata_in=options.nodata_in,
        skip_errors=options.skip_errors,
        stored=" ".join(f"{name}={value}" for name, value in storage.items()),
    )


def _warn(job: Plan) -> None:
    """Log what will be done, and what the user may not expect of it."""
    profile, path = job.source.profile, job.source.path
    log.info(
        "%s: %d x %d x %d %s, %s, range %s, tiles of %d with a halo of %d",
        *(path, profile.width, profile.height, profile.count, profile.dtype, job.upscaler.identity, job.values),
        *(job.grid.size, job.upscaler.halo),
    )
    if job.profile.nodata is not None and job.profile.nodata != profile.nodata:
        _warn_of_values_like_nodata(job)
    if job.profile.dtype != profile.dtype:
        _warn_of_saturation(job.source, job.profile.dtype)
    for item in profile.lost:
        log.warning("%s: %s cannot be carried to the output", path, item)
    if job.profile.nodata is not None and compression.is_lossy(job.driver, job.creation, job.profile.dtype):
        log.warning("%s: compression with loss can change nodata to other values, and others to nodata", path)


def _warn_of_values_like_nodata(job: Plan) -> None:
    block, valid = job.source.thumbnail(THUMBNAIL)
    values = block[valid]
    share = np.count_nonzero(values == job.profile.nodata) / max(values.size, 1)
    if share > 0.001:
        log.warning(
            "%s: %.1f %% of the valid pixels are %g and will be moved off it; if they are nodata, say --nodata-in %g",
            *(job.source.path, 100 * share, job.profile.nodata, job.profile.nodata),
        )


def _warn_of_saturation(source: RasterSource, dtype: str) -> None:
    block, valid = source.thumbnail(THUMBNAIL)
    values = block[valid]
    share = values.size and np.count_nonzero(to_dtype(values, dtype) != np.rint(values)) / values.size
    if np.dtype(dtype).kind in "iu" and share > 0.01:
        log.warning("%s: %.0f %% of the values do not fit in %s and saturate", source.path, 100 * share, dtype)


def _numbers(values: Sequence[float]) -> str:
    return ",".join(f"{value:.12g}" for value in values)
