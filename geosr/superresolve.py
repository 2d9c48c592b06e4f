"""A raster super-resolved: tile by tile, with the same ground under more pixels and all its metadata kept."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt

from geosr import __version__, engine, raster, upscalers
from geosr.engine import Pool, Progress
from geosr.errors import OptionError, OutputError, RasterError
from geosr.grid import Block, Grid, Tile, Window, batches
from geosr.parts import Parts
from geosr.radiometry import Range, fixed, to_dtype
from geosr.raster import ALPHA_MODES, BLOCK_SIZE, DTYPES, RGB, Profile, RasterSource, Source
from geosr.upscalers import BANDS_MODES, Upscaler

log = logging.getLogger(__name__)

LARGEST_TILE = 512
"""Rows and columns of a core; IDN then needs about a gigabyte."""


TILE_BYTES = 256 * 2**20
"""Most memory for a tile's result before rounding, all bands, 8 bytes a value."""
TILE_COST = 20_000
"""What reading, calling the network and encoding cost a tile beside its pixels, in pixels."""


@dataclass(frozen=True, slots=True)
class Options:
    """What may be chosen about a run; None is decided from the raster and the model.

    Raises:
        OptionError: a value is none of those that are possible.
    """

    scale: int | None = None
    """The model's own by default, or 2."""
    model: str = "idn"
    """`bicubic`, the name of a shipped model, or the path of a .keras file."""
    bands: tuple[int, ...] | None = None
    """Numbers, from 1, of the bands to use, in this order."""
    bands_mode: str = "auto"
    """How a network of one band treats several: `each` by itself, or the `luma` of red, green and blue alone."""
    alpha: str = "auto"
    """How to take a band called alpha: as transparency (`mask`), or as a `band` like others."""
    range: tuple[float, float] | None = None
    """Values that become 0 and 1 for the network, of every band."""
    dtype: str | None = None
    """Of the output; the input's by default. Values are rounded and saturated, not scaled."""
    nodata: float | None = None
    """Of the output; the input's by default."""
    tile: int | None = None
    """Rows and columns of a tile's core."""
    batch: int = 1
    """Tiles in a task."""
    creation: Mapping[str, str] | None = None
    """GDAL's creation options, `--co` on the command line."""

    def __post_init__(self) -> None:
        for name, choices in (("bands_mode", BANDS_MODES), ("alpha", ALPHA_MODES), ("dtype", (None, *DTYPES))):
            if getattr(self, name) not in choices:
                raise OptionError(f"{name} must be one of {choices}, got {getattr(self, name)!r}")
        for name, least in (("scale", 1), ("tile", 1), ("batch", 1)):
            value = getattr(self, name)
            if value is not None and not (isinstance(value, int) and value >= least):
                raise OptionError(f"{name} must be a whole number of {least} or more, got {value!r}")
        if self.bands is not None and not (isinstance(self.bands, Sequence) and self.bands):
            raise OptionError(f"bands must be band numbers from 1, as (4, 3, 2), got {self.bands!r}")


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that decides the output's pixels: made before any work, checked, and the same for the same input."""

    source: RasterSource
    upscaler: Upscaler
    values: Range
    grid: Grid
    profile: Profile
    """The output's."""
    creation: Mapping[str, str]
    batch: int


def super_resolve(
    source: str | os.PathLike[str],
    output: str | os.PathLike[str],
    options: Options = Options(),
    *,
    overwrite: bool = False,
    restart: bool = False,
    pool: Pool | None = None,
    progress: Progress | None = None,
) -> Plan:
    """Writes the raster `source` with `scale` times as many rows and columns to `output`, and returns what was done.

    The output covers the same ground: CRS and bounds are the input's, to 1e-9 pixel. It appears under its name only
    when it is whole. A job that was interrupted leaves its parts in a folder beside the output, and the same call
    takes it up again; `restart` discards them.

    Raises:
        RasterError: the input cannot be read, or is of a kind that must not be super-resolved.
        OutputError: the output exists and not `overwrite`, or cannot be written.
        OptionError, ModelError: the options or the model do not fit the raster.
    """
    check(source, output, overwrite=overwrite)
    job = plan(source, options)
    write(job, output, restart=restart, pool=pool, progress=progress)
    return job


def write(
    job: Plan,
    output: str | os.PathLike[str],
    *,
    restart: bool = False,
    pool: Pool | None = None,
    progress: Progress | None = None,
) -> None:
    """Does what is planned, as `super_resolve` says; an output that exists is replaced when the new one is whole."""
    with Parts(Path(output), manifest(job), restart=restart) as parts:
        written = raster.join(finished(job, parts, pool), parts.draft, job.profile, job.creation)
        already = sum(parts.has(tile.index) for tile in job.grid)
        if progress:
            progress(already, len(job.grid))
        for count, _ in enumerate(written, 1):
            if progress and count > already:
                progress(count, len(job.grid))
        parts.publish(stale=(".aux.xml", ".ovr", ".msk"))


def plan(source: str | os.PathLike[str], options: Options = Options()) -> Plan:
    """What `super_resolve` would do."""
    pixels = RasterSource(source, options.bands, alpha=options.alpha)
    profile = pixels.profile
    upscaler = upscalers.load(options.model, options.scale, mode=bands_mode(profile, options.bands_mode))
    if upscaler.bands not in (None, len(profile.colours)):
        raise OptionError(
            f"{pixels.path!r} gives {len(profile.colours)} bands but {options.model!r} takes {upscaler.bands}; "
            "choose them with --bands"
        )
    values = fixed(*options.range, profile.count) if options.range else raster.scene_range(pixels)
    dtype = options.dtype or profile.dtype
    nodata = profile.nodata if options.nodata is None else options.nodata
    _check_dtype(profile, dtype, nodata)
    scaled = profile.scale(upscaler.scale)
    tile = options.tile or tile_size(profile.width, profile.height, profile.count, upscaler)
    log.info(
        "%s: %d x %d x %d %s, %s, range %s, tiles of %d with a halo of %d",
        *(pixels.path, profile.width, profile.height, profile.count, profile.dtype, upscaler.identity, values),
        *(tile, upscaler.halo),
    )
    if dtype != profile.dtype:
        _warn_of_saturation(pixels, dtype)
    for what in profile.lost:
        log.warning("%s: %s cannot be carried to the output", pixels.path, what)
    made = replace(scaled, dtype=dtype, nodata=nodata, tags=_with_provenance(scaled, upscaler, values))
    creation = raster.creation_options(dtype, options.creation or {})
    if options.creation:
        raster.check_creation(made, creation)
    return Plan(
        source=pixels,
        upscaler=upscaler,
        values=values,
        grid=Grid(profile.width, profile.height, tile, upscaler.halo),
        profile=made,
        creation=creation,
        batch=options.batch,
    )


def finished(job: Plan, parts: Parts, pool: Pool | None = None) -> Iterator[tuple[Window, Path]]:
    """The parts in order, each with its window in the output; those that are missing are made on the way."""
    missing = [tile for tile in job.grid if not parts.has(tile.index)]
    results = engine.run(partial(upscaled_parts, job=job), batches(missing, job.batch), pool)
    for tile in job.grid:
        if not parts.has(tile.index):
            made = zip(*next(results), strict=True)
            for one, part in made:
                parts.save(one.index, part)
        yield tile.core.scale(job.upscaler.scale), parts.path(tile.index)


def upscaled_parts(tiles: Sequence[Tile], *, job: Plan) -> list[bytes]:
    """The tiles' finished parts: pure work that can run anywhere."""
    k = job.upscaler.scale
    read = [job.source.read(tile.outer) for tile in tiles]
    valid = [job.source.valid(tile.outer, block) for tile, block in zip(tiles, read, strict=True)]
    made = upscaled(tiles, read, valid, job=job)
    parts = []
    for tile, block, original, good in zip(tiles, made, read, valid, strict=True):
        good = tile.trim(good)
        out = stamp(block, _invalid_values(tile.trim(original), job), good, job.profile)
        mask = enlarge_nearest(np.any(good, axis=0, keepdims=True), k)[0] if job.profile.masked else None
        parts.append(raster.encode(out, mask))
    return parts


def upscaled(
    tiles: Sequence[Tile], blocks: Sequence[Block], valid: Sequence[NDArray[np.bool_]], *, job: Plan
) -> list[Block]:
    """The tiles' cores (bands, rows, cols), enlarged, before rounding; those without a valid pixel are not computed."""
    k = job.upscaler.scale
    some = [bool(tile.trim(good).any()) for tile, good in zip(tiles, valid, strict=True)]
    filled = [
        filled_block(job.source, tile, block, good)
        for tile, block, good, wanted in zip(tiles, blocks, valid, some, strict=True)
        if wanted
    ]
    colours = job.source.profile.colours
    made = iter(job.upscaler(np.stack(filled)[:, colours], job.values.bands(colours)) if filled else ())
    done: list[Block] = []
    for tile, block, wanted in zip(tiles, blocks, some, strict=True):
        result = tile.scale(k).trim(next(made)) if wanted else None
        if result is None or len(result) < len(block):
            # Transparency is repeated, not computed; so is what will be stamped invalid.
            whole = enlarge_nearest(tile.trim(block), k).astype(np.float64)
            if result is not None:
                whole[colours] = result
            result = whole
        done.append(result)
    return done


def filled_block(source: Source, tile: Tile, block: Block, valid: NDArray[np.bool_]) -> Block:
    """The tile's outer block with the value of the nearest valid pixel in each invalid one.

    That pixel may lie outside the outer window: it is looked for as far as any pixel that the core depends on can
    be from a valid one, so that the value does not depend on the tiling.
    """
    if valid.all():
        return block
    halo = tile.core.col_off - tile.outer.col_off
    wider = tile.outer.pad(int(np.ceil(halo * np.sqrt(2))))
    block = source.read(wider)
    valid = source.valid(wider, block)
    rows, cols = tile.outer.slices(within=wider)
    return np.stack([_filled_band(band, good) for band, good in zip(block, valid, strict=True)])[:, rows, cols]


def stamp(made: Block, invalid: Block, valid: NDArray[np.bool_], profile: Profile) -> Block:
    """The enlarged block in the output's dtype, with the values of `invalid` where the input is not `valid`.

    No valid pixel is equal to nodata. `invalid` and `valid` have the input's rows and columns.
    """
    k = made.shape[-1] // invalid.shape[-1]
    rounded = to_dtype(made, profile.dtype)
    out = _off_nodata(made, rounded, profile.nodata)
    if profile.alpha is not None:
        out[profile.alpha] = rounded[profile.alpha]
    if valid.all():
        return out
    return np.where(enlarge_nearest(valid, k), out, enlarge_nearest(invalid, k))


def enlarge_nearest(block: Block, k: int) -> Block:
    """Each pixel (..., rows, cols) repeated `k` times in both directions."""
    return block.repeat(k, axis=-2).repeat(k, axis=-1)


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


def tile_size(width: int, height: int, bands: int, upscaler: Upscaler) -> int:
    """The core size that makes the least work of a raster, of those whose parts cover whole blocks of the output."""
    step = BLOCK_SIZE // int(np.gcd(BLOCK_SIZE, upscaler.scale))
    largest = min(LARGEST_TILE, int((TILE_BYTES / 8 / bands) ** 0.5 / upscaler.scale))
    sizes = range(step, max(largest, step) + 1, step)

    def work(size: int) -> int:
        return len(Grid(width, height, size)) * ((size + 2 * upscaler.halo) ** 2 + TILE_COST)

    return min(sizes, key=lambda size: (work(size), -size))


def is_done(job: Plan, output: str | os.PathLike[str]) -> bool:
    """Whether `output` says that it was made by this very job, after the input was last changed."""
    inputs = [Path(file) for file in job.source.files if Path(file).exists()]
    if not Path(output).exists() or any(p.stat().st_mtime > Path(output).stat().st_mtime for p in inputs):
        return False
    try:
        found = RasterSource(output).profile
    except RasterError:
        return False
    same = (found.width, found.height, found.count) == (job.profile.width, job.profile.height, job.profile.count)
    told = job.profile.tags[""].items()
    return same and {(k, v) for k, v in told if k.startswith("GEOSR_")} <= set(found.tags.get("", {}).items())


def manifest(job: Plan) -> dict[str, Any]:
    """What the parts of a job depend on."""
    files = [Path(file) for file in job.source.files if Path(file).exists()]
    stats = [(os.fspath(file.absolute()), file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    return {
        "input": job.source.path,
        "size and time of the input's files": stats,
        "bands": list(job.source.indexes),
        "alpha": job.source.alpha,
        "model": job.upscaler.identity,
        "scale": job.upscaler.scale,
        "range": str(job.values),
        "dtype": job.profile.dtype,
        "nodata": str(job.profile.nodata),
        "tile": job.grid.size,
        "options": dict(job.creation),
        "version": __version__,
    }


def _invalid_values(original: Block, job: Plan) -> Block:
    """What stands in invalid pixels: what stood there, or nodata if that or the dtype is another than the input's."""
    was, now = job.source.profile, job.profile
    if now.nodata is None or (str(was.nodata), was.dtype) == (str(now.nodata), now.dtype):
        return original.astype(now.dtype, copy=False)
    return np.full(original.shape, now.nodata, now.dtype)


def _with_provenance(profile: Profile, upscaler: Upscaler, values: Range) -> dict[str, Mapping[str, str]]:
    told = {
        "GEOSR_VERSION": __version__,
        "GEOSR_MODEL": upscaler.identity,
        "GEOSR_SCALE": str(upscaler.scale),
        "GEOSR_RANGE": str(values),
    }
    return {**profile.tags, "": {**profile.tags.get("", {}), **told}}


def _filled_band(band: Block, valid: NDArray[np.bool_]) -> Block:
    if valid.all():
        return band
    if not valid.any():
        return np.zeros_like(band)
    rows, cols = distance_transform_edt(~valid, return_distances=False, return_indices=True)
    nearest: Block = band[rows, cols]
    return nearest


def _off_nodata(made: Block, rounded: Block, nodata: float | None) -> Block:
    """`rounded` with values equal to `nodata` moved to the next value, on the side where `made` is."""
    if nodata is None or np.isnan(nodata):
        return rounded
    hit = rounded == rounded.dtype.type(nodata)
    if not hit.any():
        return rounded
    value = rounded.dtype.type(nodata)
    if rounded.dtype.kind == "f":
        return np.where(hit, np.nextafter(value, rounded.dtype.type(np.inf)), rounded)
    info = np.iinfo(rounded.dtype)
    above = (made >= nodata) if info.min < value < info.max else np.full(made.shape, value == info.min)
    step = np.where(above, rounded.dtype.type(1), rounded.dtype.type(0)) - np.where(above, 0, 1).astype(rounded.dtype)
    return np.where(hit, rounded + step, rounded)


def _check_dtype(profile: Profile, dtype: str, nodata: float | None) -> None:
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


def _warn_of_saturation(source: RasterSource, dtype: str) -> None:
    block, valid = source.thumbnail(raster.THUMBNAIL)
    values = block[valid]
    lost = values.size and np.count_nonzero(to_dtype(values, dtype) != np.rint(values)) / values.size
    if np.dtype(dtype).kind in "iu" and lost > 0.01:
        log.warning("%s: %.0f %% of the values do not fit in %s and saturate", source.path, 100 * lost, dtype)


def check(source: str | os.PathLike[str], output: str | os.PathLike[str], *, overwrite: bool) -> None:
    """Refuses, in this order, an input that cannot be read and an output that cannot be written, or must not be."""
    RasterSource(source, alpha="band").close()
    output = Path(output)
    if output.is_dir():
        raise OutputError(f"{os.fspath(output)!r} is a folder; name a file in it")
    if output.suffix.lower() not in (".tif", ".tiff"):
        raise OptionError(f"geosr writes GeoTIFF; give the output a name that ends in .tif, got {output.name!r}")
    if output.exists():
        if Path(source).exists() and output.samefile(source):
            raise OutputError(f"{os.fspath(output)!r} is the input; choose another output")
        if not overwrite:
            raise OutputError(f"{os.fspath(output)!r} exists; choose another output or --overwrite")
    if not output.parent.is_dir():
        raise OutputError(f"there is no folder {os.fspath(output.parent)!r} to write to; make it first")
    if not os.access(output.parent, os.W_OK):
        raise OutputError(f"cannot write to {os.fspath(output.parent)!r}: no permission")
