"""Frames on a canvas, reduced window by window: each reads only the pixels of the frames that it needs, resamples them
once, and comes out as finished parts.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from geosr.burst import reducers, sharpening
from geosr.burst.exif import Metadata
from geosr.burst.flow import Flow
from geosr.burst.homography import Mask, Matrix, Places, in_window, known, needed, places, shifting, warped
from geosr.burst.reducers import REDUCERS
from geosr.errors import OptionError
from geosr.grid import Block, Grid, Tile, Window
from geosr.rasters import writer
from geosr.rasters.nodata import off_nodata
from geosr.rasters.profile import Profile
from geosr.rasters.radiometry import to_dtype
from geosr.rasters.source import RasterSource

EXTRAS = {"coverage": "uint16", "deviation": "float32"}
"""Images beside those of the methods, and what they hold."""
TILES = (1024, 512, 256, 128, 64, 32)
BASE_MEMORY = 320 * 2**20
"""Memory of the interpreter with its libraries and GDAL's cache, before a tile is stacked."""


@dataclass(frozen=True, slots=True)
class Layer:
    """A frame in the stack."""

    source: RasterSource
    matrix: Matrix
    """From the output's pixels to the source's."""
    gain: ArrayLike
    """One for all bands, or one for each, as the three that follow."""
    offset: ArrayLike
    low: ArrayLike
    high: ArrayLike
    """Values at and beyond which a pixel has no weight while another frame has one."""
    flow: Flow | None = None
    """How its parts move on top of the matrix."""
    to_flow: Matrix | None = None
    """From the output's pixels to the flow's."""


@dataclass(frozen=True, slots=True)
class Stack:
    """Everything that decides the output's pixels."""

    layers: tuple[Layer, ...]
    metadata: Metadata
    """The reference's."""
    grid: Grid
    profile: Profile
    """The output's."""
    methods: tuple[str, ...]
    extras: tuple[str, ...]
    scale: int
    sharpen: float
    """Amount of the unsharp mask."""
    factor: float
    """From the photos' values to the output's."""
    step: int
    """Every so many pixels one goes to the report's maps."""

    @property
    def planes(self) -> tuple[str, ...]:
        """The images, in the order of their parts."""
        return (*self.methods, *self.extras)

    def part(self, tile: Tile, plane: int) -> int:
        """Return the number of a tile's part: 0 is the alignment, and after the planes come the report's maps."""
        return 1 + tile.index * (len(self.planes) + 1) + plane


def tile_size(frames: int, bands: int, memory: int, *, halo: int, jobs: int) -> int:
    """Rows and columns of the largest tiles of which `jobs` at once fit in the memory.

    Raises:
        OptionError: not even the smallest do.
    """
    values = (3 * bands + 5) * frames + 12 * bands
    for size in TILES:
        if BASE_MEMORY + jobs * 4 * values * (size + 2 * halo) ** 2 <= memory:
            return size
    least = BASE_MEMORY + jobs * 4 * values * (TILES[-1] + 2 * halo) ** 2
    raise OptionError(
        f"{frames} frames need {-(-least // 2**20)} MiB or more; give more with --memory, or fewer --jobs"
    )


def stacked_parts(tile: Tile, *, job: Stack) -> list[bytes]:
    """The tile's finished parts, one for each image and one for the report's maps: pure work that can run anywhere."""
    values, covered, used = stacked(tile, job)
    valid = tile.trim(np.any(covered, axis=0))
    planes = [REDUCERS[method](values, used) for method in job.methods]
    parts = []
    for plane in planes:
        enhanced = (
            tile.trim(sharpening.sharpened(plane, np.any(covered, axis=0), job.sharpen, sharpening.SIGMA * job.scale))
            * job.factor
        )
        block = off_nodata(enhanced, to_dtype(enhanced, job.profile.dtype), job.profile.nodata)
        if job.profile.nodata is not None:
            block = np.where(valid, block, np.asarray(job.profile.nodata, block.dtype))
        elif block.dtype.kind == "f" and not job.profile.masked:
            block = np.where(valid, block, np.asarray(np.nan, block.dtype))
        parts.append(writer.encode(block, valid if job.profile.masked else None))
    count = tile.trim(used.sum(axis=0)).astype(np.float32)
    for extra in job.extras:
        plane = count if extra == "coverage" else job.factor * tile.trim(reducers.deviation(values, used))
        parts.append(writer.encode(plane[None].astype(EXTRAS[extra])))
    spread = job.factor * reducers.deviation(
        *(tile.trim(block)[..., :: job.step, :: job.step] for block in (values, used))
    )
    maps = np.stack([count[:: job.step, :: job.step], spread]).astype(np.float32)
    parts.append(writer.encode(maps))
    return parts


def stacked(tile: Tile, job: Stack) -> tuple[Block, Block, Block]:
    """The frames (frames, bands, rows, cols) on the tile's outer window, where each covers it, and where it counts."""
    size = tile.outer.width, tile.outer.height
    colours = job.layers[0].source.profile.colours
    shape = len(job.layers), size[1], size[0]
    values = np.zeros((len(job.layers), len(colours), *shape[1:]), np.float32)
    covered, used = np.zeros(shape, bool), np.zeros(shape, bool)
    for i, layer in enumerate(job.layers):
        where, fits = _where(layer, tile.outer)
        window = needed(where, Window(0, 0, *size)).intersection(layer.source.profile.window)
        if not (window.width and window.height):
            continue
        pixels, where = layer.source.read(window), in_window(where, window)
        block, valid = pixels.block[colours].astype(np.float32), np.asarray(pixels.valid[colours].all(axis=0))
        moved, covered[i] = warped(np.where(valid, block, 0) if not valid.all() else block, valid, where, size)
        covered[i] &= fits
        gain, offset, low, high = (
            np.asarray(each, np.float32).reshape(-1, 1, 1) for each in (layer.gain, layer.offset, layer.low, layer.high)
        )
        values[i] = gain * moved + offset
        clear = np.all((block > low) & (block < high), axis=0)
        used[i] = covered[i] & known(clear | ~valid, where, size)
    used |= covered & ~used.any(axis=0)
    return values, covered, used


def _where(layer: Layer, window: Window) -> tuple[Matrix | Places, Mask]:
    """Return where the pixels of the output's window lie in a layer, and which of them (rows, cols) fit it."""
    matrix = layer.matrix @ shifting(window.col_off, window.row_off)
    if layer.flow is None or layer.to_flow is None:
        return matrix, np.ones((window.height, window.width), bool)
    moved, fits = layer.flow.within(layer.to_flow, window)
    return (places(matrix, moved) if moved.any() else matrix), fits


def halo_of(scale: int, sharpen: float) -> int:
    """Pixels of the output that a pixel of it depends on, on either side."""
    sigma = sharpening.SIGMA * scale if sharpen else 0.0
    return reducers.REACH + int(np.ceil(sharpening.REACH * sigma))
