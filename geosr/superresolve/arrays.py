"""A model as a function on arrays: numpy's, Dask's, and DataArrays of rioxarray, by the steps of the job on files."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from geosr import __version__, models
from geosr.errors import OptionError
from geosr.grid import Block, Grid, Tile, Window
from geosr.models.computing import Computing
from geosr.rasters.kinds import DTYPES
from geosr.rasters.nodata import search
from geosr.rasters.profile import Profile
from geosr.rasters.radiometry import Range, fixed, sampled
from geosr.rasters.source import THUMBNAIL, ArraySource, decimated, measured, scene_range
from geosr.superresolve import budget, dataarrays
from geosr.superresolve.job import output_block
from geosr.superresolve.options import BANDS_MODES
from geosr.superresolve.plan import bands_mode, check_dtype
from geosr.superresolve.provenance import Provenance
from geosr.superresolve.tiles import enlarged_tiles
from geosr.superresolve.upscalers import Upscaler, load_upscaler


@dataclass(frozen=True, slots=True)
class ArrayJob:
    """Everything that decides the pixels that are made of an array."""

    source: ArraySource
    upscaler: Upscaler
    values: Range
    profile: Profile
    """The result's."""


@dataclass(frozen=True, slots=True)
class Resolver:
    """A function that super-resolves arrays; made by `load`, picklable."""

    upscaler: Upscaler
    bands_mode: str = "auto"
    range: tuple[float, float] | None = None
    tile: int | None = None

    @property
    def scale(self) -> int:
        """The factor by which rows and columns grow."""
        return self.upscaler.scale

    def __call__(self, array: Any, *, nodata: float | None = None) -> Any:
        """The array (bands, rows, cols) with `scale` times as many rows and columns, in its data type.

        A Dask array gives a Dask array: nothing is computed, and what will be is what numpy would give, to the bit. A
        DataArray gives a DataArray with its coordinates, CRS, transform and attributes; its own nodata holds unless
        another is given. Pixels that are nodata, infinite or not a number come out as they went in, and do not touch
        others.

        Raises:
            OptionError: the array is of another shape or type, or has other bands than the model takes.
        """
        if _is("xarray", "DataArray", array):
            nodata = dataarrays.nodata(array) if nodata is None else nodata
            pixels = self(dataarrays.pixels(array), nodata=nodata)
            tags = Provenance(__version__, model=self.upscaler.identity, scale=self.scale).to_tags()
            return dataarrays.enlarged(array, pixels, scale=self.scale, tags=tags)
        lazy = _is("dask.array", "Array", array)
        array = array if lazy else np.asarray(array)
        profile = self._profile(array, nodata)
        size = budget.tile_size(profile, self.upscaler, tile=self.tile)
        grid = Grid(profile.width, profile.height, size, self.upscaler.halo)
        values = fixed(*self.range, profile.count) if self.range else None
        if lazy:
            return _lazy(array, profile, self.upscaler, grid, values)
        source = ArraySource(array, profile)
        job = ArrayJob(source, self.upscaler, values or scene_range(source), profile.scale(self.scale))
        return _enlarged(job, grid)

    def _profile(self, array: Any, nodata: float | None) -> Profile:
        """Return the profile of an array, if it can be super-resolved."""
        if array.ndim != 3 or not all(array.shape):
            raise OptionError(f"an array must be (bands, rows, cols), none of them 0, got the shape {array.shape}")
        if str(array.dtype) not in DTYPES:
            raise OptionError(f"an array must hold one of {', '.join(DTYPES)}, got {array.dtype}; convert it first")
        count, height, width = array.shape
        profile = Profile(width, height, count, str(array.dtype), nodata=nodata)
        bands_mode(profile, self.bands_mode)
        if self.upscaler.bands not in (None, count):
            raise OptionError(f"the array has {count} bands but {self.upscaler.identity} takes {self.upscaler.bands}")
        check_dtype(profile, profile.dtype, nodata)
        return profile


def load(
    model: str | os.PathLike[str] = models.DEFAULT,
    scale: int | None = None,
    *,
    bands_mode: str = "auto",
    range: tuple[float, float] | None = None,
    tile: int | None = None,
    computing: Computing = Computing(),
) -> Resolver:
    """The model as a function on arrays (bands, rows, cols), Dask arrays and DataArrays.

    `model` is `bicubic`, a shipped model, or the path of a model file; `scale` its own by default, or 2. `range` gives
    the values that become 0 and 1 for the network, of every band; by default they are those of the whole array that
    is given, so give a range where arrays are parts of one scene. `tile` is the side of a tile;
    `computing` says how a network is computed.

    Raises:
        ModelError: there is no such model, or none for this scale.
        OptionError: the mode is none, the range does not rise, or the tile is no size.
    """
    if bands_mode not in BANDS_MODES:
        raise OptionError(f"bands_mode must be one of {', '.join(BANDS_MODES)}, got {bands_mode!r}")
    if tile is not None and tile < 1:
        raise OptionError(f"tile must be a whole number of 1 or more, got {tile!r}")
    if range:
        fixed(*range, 1)
    mode = "luma" if bands_mode == "luma" else "each"
    return Resolver(load_upscaler(os.fspath(model), scale, mode=mode, computing=computing), bands_mode, range, tile)


def _enlarged(job: ArrayJob, tiles: Sequence[Tile]) -> Block:
    """The tiles' results, where they lie in the part of the source that their cores cover."""
    windows = [tile.core for tile in tiles]
    left, top = min(w.col_off for w in windows), min(w.row_off for w in windows)
    right, bottom = max(w.col_off + w.width for w in windows), max(w.row_off + w.height for w in windows)
    k, part = job.upscaler.scale, Window(left, top, right - left, bottom - top)
    out = np.empty((job.profile.count, part.height * k, part.width * k), job.profile.dtype)
    for tile in tiles:
        pixels = job.source.read(tile.outer)
        [result] = enlarged_tiles([tile], [pixels], source=job.source, upscaler=job.upscaler, values=job.values)
        rows, cols = tile.core.relative(part).scale(k).slices(within=Window(0, 0, out.shape[2], out.shape[1]))
        out[:, rows, cols], _ = output_block(tile, result, pixels, job=job)
    return out


def _lazy(array: Any, profile: Profile, upscaler: Upscaler, grid: Grid, values: Range | None) -> Any:
    """A Dask array whose chunks are whole tiles of the grid, so that each tile is computed as it would be by itself."""
    import dask.array as da
    from dask.delayed import delayed

    reach = grid.halo + search(grid.halo)
    sides = [aligned(sum(lengths), max(lengths), grid.size, reach) for lengths in array.chunks[1:]]
    array = array.rechunk((profile.count, *sides))
    if values is None and profile.dtype == "uint8":
        values = fixed(0, 255, profile.count)
    if values is None:
        rows, cols = decimated(profile.width, profile.height, THUMBNAIL)
        values = delayed(_range, pure=True)(array[:, rows][:, :, cols], profile.nodata)
    depth = [reach if len(side) > 1 else 0 for side in sides]
    work = partial(_chunk, profile=profile, upscaler=upscaler, grid=grid, sides=sides, depth=depth)
    return da.map_overlap(
        work,
        array,
        depth={0: 0, 1: depth[0], 2: depth[1]},
        boundary="none",
        trim=False,
        allow_rechunk=False,
        values=values,
        chunks=((profile.count,), *(tuple(upscaler.scale * length for length in side) for side in sides)),
        dtype=array.dtype,
        meta=np.empty((0, 0, 0), array.dtype),
    )


def aligned(side: int, chunk: int, size: int, reach: int) -> tuple[int, ...]:
    """Lengths of chunks along an axis: whole tiles, near the length `chunk`, and none shorter than `reach`.

    >>> aligned(1000, 300, 128, 73)
    (256, 256, 256, 232)
    >>> aligned(540, 300, 128, 73)
    (256, 284)
    """
    length = max(chunk // size, -(-reach // size), 1) * size
    whole, rest = divmod(side, length)
    lengths = [length] * whole
    if rest >= reach or not whole:
        return (*lengths, rest) if rest else tuple(lengths)
    return (*lengths[:-1], length + rest)


def _range(block: Block, nodata: float | None) -> Range:
    return sampled(block, measured(block, nodata))


def _chunk(
    block: Block,
    *,
    values: Range,
    block_id: tuple[int, int, int],
    profile: Profile,
    upscaler: Upscaler,
    grid: Grid,
    sides: Sequence[Sequence[int]],
    depth: Sequence[int],
) -> Block:
    """Return the result of one chunk, from it and its surroundings."""
    (row, height), (col, width) = ((sum(s[:i]), s[i]) for s, i in zip(sides, block_id[1:], strict=True))
    window = Window(max(0, col - depth[1]), max(0, row - depth[0]), block.shape[2], block.shape[1])
    tiles = [
        Tile(tile.index, tile.core.relative(window), tile.outer.relative(window))
        for tile in grid.cut(Window(col, row, width, height))
    ]
    part = Profile(window.width, window.height, profile.count, profile.dtype, nodata=profile.nodata)
    return _enlarged(ArrayJob(ArraySource(block, part), upscaler, values, part.scale(upscaler.scale)), tiles)


def _is(module: str, name: str, value: object) -> bool:
    """Return True if this is an instance of a class whose module need not be installed."""
    return module in sys.modules and isinstance(value, getattr(sys.modules[module], name))
