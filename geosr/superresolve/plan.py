"""What is decided about a super-resolution before any work: what is asked for, checked against the raster."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from geosr import __version__, models
from geosr.errors import OptionError
from geosr.grid import Grid, Tile, Window
from geosr.rasters import profile as profiles
from geosr.rasters import source as raster
from geosr.rasters import writer
from geosr.rasters.profile import DTYPES, RGB, Profile
from geosr.rasters.radiometry import Range, fixed, to_dtype
from geosr.rasters.source import ALPHA_MODES, RasterSource
from geosr.superresolve import budget, upscalers
from geosr.superresolve.upscalers import BANDS_MODES, Computing, Upscaler

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Options:
    """What may be chosen about a run; None is decided from the raster and the model.

    Raises:
        OptionError: a value is none of those that are possible.
    """

    scale: int | None = None
    """The model's own by default, or 2."""
    model: str = models.DEFAULT
    """`bicubic`, the name of a shipped model, or the path of a model file."""
    computing: Computing = Computing()
    """How a network is computed."""
    bands: tuple[int, ...] | None = None
    """Numbers, from 1, of the bands to use, in this order."""
    bands_mode: str = "auto"
    """How a network of one band treats several: `each` by itself, or the `luma` of red, green and blue alone."""
    alpha: str = "auto"
    """How to take a band called alpha: as transparency (`mask`), or as a `band` like others."""
    range: tuple[float, float] | None = None
    """Values that become 0 and 1 for the network, of every band."""
    window: tuple[int, int, int, int] | None = None
    """First column, first row, width and height of the part to super-resolve, in pixels of the input."""
    bounds: tuple[float, float, float, float] | None = None
    """Left, bottom, right and top of that part, in the input's CRS; pixels that they touch belong to it."""
    dtype: str | None = None
    """Of the output; the input's by default. Values are rounded and saturated, not scaled."""
    nodata: float | None = None
    """Of the output; the input's by default."""
    format: str | None = None
    """GDAL's driver for the output, as COG; by the ending of its name by default."""
    overviews: bool | None = None
    """Whether to build overviews; by default if the input has them."""
    tile: int | None = None
    """Rows and columns of a tile's core."""
    batch: int | None = None
    """Tiles in a task; by default one, and several where they are small."""
    memory: int | None = None
    """Bytes that the job may need, which its tile is chosen for; by default half of the machine's, at most 8 GiB."""
    skip_errors: bool = False
    """Whether blocks of the input that cannot be read become nodata."""
    creation: Mapping[str, str] | None = None
    """GDAL's creation options, `--co` on the command line."""

    def __post_init__(self) -> None:
        for name, choices in (("bands_mode", BANDS_MODES), ("alpha", ALPHA_MODES), ("dtype", (None, *DTYPES))):
            if getattr(self, name) not in choices:
                raise OptionError(f"{name} must be one of {choices}, got {getattr(self, name)!r}")
        for name, least in (("scale", 1), ("tile", 1), ("batch", 1), ("memory", 1)):
            value = getattr(self, name)
            if value is not None and not (isinstance(value, int) and value >= least):
                raise OptionError(f"{name} must be a whole number of {least} or more, got {value!r}")
        if self.bands is not None and not (isinstance(self.bands, Sequence) and self.bands):
            raise OptionError(f"bands must be band numbers from 1, as (4, 3, 2), got {self.bands!r}")
        if self.window and self.bounds:
            raise OptionError("a part is given by its window or by its bounds, not by both")


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that decides the output's pixels: made before any work, checked, and the same for the same input."""

    source: RasterSource
    upscaler: Upscaler
    values: Range
    grid: Grid
    """Of the whole input, whatever part of it is super-resolved."""
    window: Window
    """The part of the input that is."""
    profile: Profile
    """The output's."""
    driver: str
    beside: tuple[str, ...]
    """Names of the files that come beside the output."""
    overviews: bool
    creation: Mapping[str, str]
    batch: int
    memory: int

    @property
    def tiles(self) -> Sequence[Tile]:
        """The tiles that make the output."""
        return self.grid.cut(self.window)

    @property
    def copied(self) -> bool:
        """Whether the output is a copy of a GeoTIFF, in another format."""
        return self.driver != "GTiff"

    def workers(self, wanted: int) -> int:
        """How many of the wanted workers memory allows."""
        needed = [self.needed(count) for count in (1, 2)]
        return budget.workers(wanted, self.memory, *needed)

    def needed(self, workers: int) -> int:
        """Bytes of memory at the peak with so many workers."""
        return budget.memory(
            self.grid.size,
            self.source.profile,
            self.upscaler,
            batch=self.batch,
            workers=workers,
            block_shapes=self.source.block_shapes,
        )


def plan(
    source: str | os.PathLike[str], options: Options = Options(), output: str | os.PathLike[str] | None = None
) -> Plan:
    """What `super_resolve` would do; the output's name decides its format unless the options do."""
    pixels = RasterSource(source, options.bands, alpha=options.alpha, skip_errors=options.skip_errors)
    profile = pixels.profile
    mode = bands_mode(profile, options.bands_mode)
    upscaler = upscalers.load(options.model, options.scale, mode=mode, computing=options.computing)
    upscalers.check_bands(upscaler, len(profile.colours), model=options.model, path=pixels.path)
    window = _part(profile, options)
    dtype = options.dtype or profile.dtype
    nodata = profile.nodata if options.nodata is None else options.nodata
    check_dtype(profile, dtype, nodata)
    if options.skip_errors:
        _check_marks(profile, dtype, nodata)
    name = Path(output).name if output else "output.tif"
    driver = writer.driver_named(options.format) if options.format else writer.driver_of(Path(name))
    tile = budget.tile_size(
        profile,
        upscaler,
        tile=options.tile,
        limit=options.memory,
        batch=options.batch or 1,
        block_shapes=pixels.block_shapes,
    )
    scaled = profile.crop(window).scale(upscaler.scale)
    overviews = (profile.overviews or driver == "COG") if options.overviews is None else options.overviews
    made = replace(scaled, dtype=dtype, nodata=nodata, overviews=overviews)
    creation = {name.upper(): value for name, value in (options.creation or {}).items()}
    if driver == "COG" and not overviews:
        creation.setdefault("OVERVIEWS", "NONE")
    beside = writer.check_creation(made, driver, creation, name) if creation or driver != "GTiff" else []
    # Read once the cheap checks are passed: the range is that of the whole scene.
    if not options.skip_errors:
        pixels.read(Window(window.col_off, window.row_off, 1, 1))
    values = fixed(*options.range, profile.count) if options.range else raster.scene_range(pixels)
    job = Plan(
        source=pixels,
        upscaler=upscaler,
        values=values,
        grid=Grid(profile.width, profile.height, tile, upscaler.halo),
        window=window,
        profile=made,
        driver=driver,
        beside=tuple(beside),
        overviews=overviews,
        creation=creation,
        batch=options.batch or budget.batch_size(tile),
        memory=options.memory or budget.usual_memory(),
    )
    _warn(job)
    return replace(job, profile=replace(made, tags=_with_provenance(job, options)))


def bands_mode(profile: Profile, mode: str) -> str:
    """`each` or `luma`; auto is `each`: what a network can add to a colour differs from band to band."""
    labels = tuple(profile.colorinterp[i] for i in profile.colours) if profile.colorinterp else ()
    if mode == "luma" and len(labels) == 3 and set(labels) & set(RGB) and labels != RGB:
        names = ", ".join(label.name for label in labels)
        raise OptionError(f"--bands-mode luma needs red, green and blue, got {names}; choose them with --bands")
    if mode == "luma" and len(profile.colours) != 3:
        raise OptionError(
            f"--bands-mode luma needs red, green and blue, got {len(profile.colours)} bands; choose them with --bands"
        )
    return "luma" if mode == "luma" else "each"


def _part(profile: Profile, options: Options) -> Window:
    """The part of the raster that is asked for.

    Raises:
        OptionError: it is empty, or lies outside.
    """
    if options.window:
        asked = Window(*options.window)
    elif options.bounds and (not profile.located or not profile.transform.determinant):
        raise OptionError("the raster has no transform that bounds could be told by; give --window")
    elif options.bounds:
        asked = profiles.window_of(profile, options.bounds)
    else:
        return profile.window
    found = asked.intersection(profile.window)
    if not (found.width and found.height):
        around = profiles.bounds(profile, profile.window) if options.bounds else (0, 0, profile.width, profile.height)
        name = "bounds" if options.bounds else "window"
        raise OptionError(f"{name} {_numbers(getattr(options, name))} lies outside the raster's {_numbers(around)}")
    if options.window and found != asked:
        raise OptionError(
            f"the window {_numbers(options.window)} is not inside {profile.width} x {profile.height} pixels"
        )
    return found


def _with_provenance(job: Plan, options: Options) -> dict[str, Mapping[str, str]]:
    told = {
        "GEOSR_VERSION": __version__,
        "GEOSR_MODEL": job.upscaler.identity,
        "GEOSR_SCALE": str(job.upscaler.scale),
        "GEOSR_RANGE": str(job.values),
        "GEOSR_BANDS": ",".join(map(str, job.source.indexes)),
    }
    if job.window != job.source.profile.window:
        window = job.window
        told["GEOSR_WINDOW"] = f"{window.col_off},{window.row_off},{window.width},{window.height}"
    chosen = {
        "ALPHA": options.alpha if options.alpha != "auto" else None,
        "DTYPE": options.dtype,
        "NODATA": options.nodata,
        "ERRORS": "skipped" if options.skip_errors else None,
    }
    told |= {f"GEOSR_{name}": str(value) for name, value in chosen.items() if value is not None}
    stored = {"driver": job.driver, "overviews": job.overviews, **job.creation}
    told["GEOSR_STORED"] = " ".join(f"{name}={value}" for name, value in stored.items())
    kept = {name: value for name, value in job.profile.tags.get("", {}).items() if not name.startswith("GEOSR_")}
    return {**job.profile.tags, "": {**kept, **told}}


def _warn(job: Plan) -> None:
    """Says what will be done, and what the user may not expect of it."""
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
    for what in profile.lost:
        log.warning("%s: %s cannot be carried to the output", path, what)
    if job.profile.nodata is not None and writer.is_lossy(job.driver, job.creation):
        log.warning("%s: compression with loss can change nodata to other values, and others to nodata", path)


def _numbers(values: Sequence[float]) -> str:
    return ",".join(f"{value:.12g}" for value in values)


def check_dtype(profile: Profile, dtype: str, nodata: float | None) -> None:
    """Refuses a data type that does not fit the raster, and nodata that the type does not hold.

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
        raise OptionError(
            f"nodata {nodata:g} does not fit in {dtype}; give one that does with --nodata, or another --dtype"
        )


def _check_marks(profile: Profile, dtype: str, nodata: float | None) -> None:
    marked = profile.masked or profile.alpha is not None or np.dtype(dtype).kind == "f"
    if nodata is None and not marked:
        raise OptionError("--skip-errors needs a value for what cannot be read; give one with --nodata")


def _warn_of_values_like_nodata(job: Plan) -> None:
    block, valid = job.source.thumbnail(raster.THUMBNAIL)
    values = block[valid]
    share = np.count_nonzero(values == job.profile.nodata) / max(values.size, 1)
    if share > 0.001:
        log.warning(
            "%s: %.1f %% of the valid pixels are %g and will be moved off it; if they are nodata, say so in the input: "
            "gdal_edit.py -a_nodata %g FILE",
            *(job.source.path, 100 * share, job.profile.nodata, job.profile.nodata),
        )


def _warn_of_saturation(source: RasterSource, dtype: str) -> None:
    block, valid = source.thumbnail(raster.THUMBNAIL)
    values = block[valid]
    lost = values.size and np.count_nonzero(to_dtype(values, dtype) != np.rint(values)) / values.size
    if np.dtype(dtype).kind in "iu" and lost > 0.01:
        log.warning("%s: %.0f %% of the values do not fit in %s and saturate", source.path, 100 * lost, dtype)
