"""The needs of a job: memory, from which its tiles are chosen, and room on the disk. Knows no files."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import takewhile
from math import prod

import numpy as np

from geosr import machine
from geosr.errors import OptionError
from geosr.grid import Grid
from geosr.rasters import gdal
from geosr.rasters.compression import BLOCK_SIZE
from geosr.rasters.profile import Profile
from geosr.superresolve.upscalers import Upscaler

LARGEST_MEMORY = 2**33
"""Most bytes that a job may need unless told: what IDN needs for tiles that waste little on any scene."""
USUAL_MEMORY = 3 * 2**29
"""Bytes that a job may need where the machine does not tell its memory; a network with small tiles does with them."""
HALO_SHARE = 0.12
"""Most that halos add to the pixels that a network is given, over those of the raster, where memory allows."""
TILE_COST = 20_000
"""Cost of reading a tile, calling the network and encoding, beside its pixels, in pixels."""
COST_SHARE = 0.05
"""Most that those costs add."""
GPU_SPEED = 50
"""Times as many pixels as a processor that a GPU computes in the time of those costs."""
NEARLY = 0.01
"""Waste that a smaller tile may add where none keeps to those shares."""
TASK = 2**12
"""Least pixels of a task, so that what the pool and the network's call cost is little."""
PROGRAM = 140_000_000
"""Bytes of Python with numpy, scipy and rasterio."""
PARTS = 1.1
"""Disk that parts take, as a multiple of the output."""


def memory(
    size: int,
    profile: Profile,
    upscaler: Upscaler,
    *,
    batch: int = 1,
    workers: int = 1,
    block_shapes: Sequence[tuple[int, int]] = (),
) -> int:
    """Bytes at the peak with tiles of this size: the program, GDAL's cache, the network, and each worker's blocks."""
    halo, sides = upscaler.halo, [min(size, side) for side in (profile.width, profile.height)]
    read, core = prod(side + 2 * halo for side in sides), prod(sides)
    value = np.dtype(profile.dtype).itemsize
    floating, k2 = 4 if value <= 2 else 8, upscaler.scale**2
    # As read, valid, filled, normalised; what comes out in floating point twice, rounded, stamped, encoded, waiting.
    blocks = batch * profile.count * read * (4 * value + 8 + k2 * (2 * floating + 6 * value + 2))
    # While the network works on it, a tile has nothing but its bands in float32; then, the network needs nothing.
    within = batch * profile.count * read * (4 * value + 8 + k2 * 4)
    library = upscaler.memory(0)
    working = 0 if upscaler.gpu else upscaler.memory(read) - library
    first = library + max(working + within, blocks)
    largest = max((rows * cols * profile.count * value for rows, cols in block_shapes), default=0)
    joined = 2 * core * upscaler.scale**2 * profile.count * value
    return PROGRAM + gdal.CACHE + joined + first + (workers - 1) * blocks + workers * largest


def usual_memory() -> int:
    """Bytes that a job may need unless told: half of the machine's, or the container's, memory."""
    return min(machine.memory() // 2, LARGEST_MEMORY) or USUAL_MEMORY


def shared_memory(processes: int) -> int:
    """Bytes for each of several processes on this machine; no less than a network needs for small tiles."""
    return max(usual_memory() // processes, USUAL_MEMORY)


def pixels(size: int, profile: Profile, halo: int) -> int:
    """The pixels that an upscaler is given for a whole raster: all cores, and around each its halo."""
    grid = Grid(profile.width, profile.height, size)
    return (profile.width + 2 * halo * grid.cols) * (profile.height + 2 * halo * grid.rows)


def workers(most: int, limit: int, needed: int, needed_by_one_more: int) -> int:
    """Return how many workers, at most `most`, fit in the limit, if one needs `needed` and each other as much more."""
    more = needed_by_one_more - needed
    return max(1, min(most, 1 + (limit - needed) // max(more, 1)))


def tile_size(
    profile: Profile,
    upscaler: Upscaler,
    *,
    tile: int | None = None,
    limit: int | None = None,
    batch: int = 1,
    block_shapes: Sequence[tuple[int, int]] = (),
) -> int:
    """The core size for a raster, of those whose parts cover whole blocks of the output; or `tile`, where it is given.

    The smallest that wastes no more than HALO_SHARE and COST_SHARE, so that memory, progress and what an interruption
    loses are small too; where memory allows none of these, the smallest that makes nearly the least work. It is chosen
    for one worker: larger tiles with fewer workers are less work than smaller ones with more, as a network uses all
    cores by itself. Without a limit, no more than `usual_memory` if that can be. A network on a GPU uses half of its
    memory, and is given larger tiles there, as reading and encoding them takes it longer than computing them.

    Raises:
        OptionError: the tile, or the smallest one, needs more memory than `limit`.
    """
    step = BLOCK_SIZE // int(np.gcd(BLOCK_SIZE, upscaler.scale))
    largest = max(profile.width, profile.height)
    sizes = [min(tile, largest)] if tile else range(step, largest + step, step)

    def needed(size: int) -> int:
        return memory(size, profile, upscaler, batch=batch, block_shapes=block_shapes)

    if limit and (least := needed(sizes[0])) > limit:
        smaller = ", or a smaller --tile" if tile else ""
        raise OptionError(f"tiles of {sizes[0]} need {least / 2**20:.0f} MiB here; give it more with --memory{smaller}")
    area, allowed = profile.width * profile.height, limit or usual_memory()
    cost = TILE_COST * (GPU_SPEED if upscaler.gpu else 1)
    wasted = {}
    for size in takewhile(lambda size: needed(size) <= allowed and _fits(size, upscaler), sizes):
        halos = pixels(size, profile, upscaler.halo) / area - 1
        costs = len(Grid(profile.width, profile.height, size)) * cost / area
        if halos <= HALO_SHARE and costs <= COST_SHARE:
            return size
        wasted[size] = halos + costs
    near = min(wasted.values(), default=0) + NEARLY
    return next((size for size, waste in wasted.items() if waste <= near), sizes[0])


def _fits(size: int, upscaler: Upscaler) -> bool:
    """Return True if the GPU, if there is one, takes a tile of this size."""
    working = upscaler.memory((size + 2 * upscaler.halo) ** 2) - upscaler.memory(0)
    return not upscaler.gpu or working <= upscaler.gpu // 2


def batch_size(size: int) -> int:
    """Return how many tiles of this size make a task."""
    return max(1, TASK // size**2)


def output_bytes(sampled: float, profile: Profile, *, overviews: bool) -> int:
    """Return the bytes of the output, from those of a sampled pixel; networks' results compress less than a sample."""
    return int(1.1 * sampled * profile.width * profile.height * (4 / 3 if overviews else 1))


def disk_bytes(output: int, *, resume: bool, copied: bool) -> int:
    """At the peak: the parts, the file that they are joined to, and its copy in another format."""
    return int(output * ((PARTS if resume else 0) + 1 + (1 if copied else 0)) * 1.05)
