"""What a job needs: memory, from which its tiles are chosen, and room on the disk. Knows no files."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from geosr import gdal
from geosr.errors import OptionError
from geosr.grid import Grid
from geosr.profile import Profile
from geosr.upscalers import Upscaler
from geosr.writer import BLOCK_SIZE

MEMORY = 3 * 2**29
"""Bytes that a job may need unless told."""
LARGEST_OUTPUT = 2048
"""Most rows and columns of a part."""
TILE_COST = 20_000
"""What reading, calling the network and encoding cost a tile beside its pixels, in pixels."""
PROGRAM = 140_000_000
"""Bytes of Python with numpy, scipy and rasterio."""
PARTS = 1.1
"""What parts take of the disk, over the output."""
UNITS = ("bytes", "kB", "MB", "GB", "TB", "PB")


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
    pixels = (size + 2 * upscaler.halo) ** 2
    value = np.dtype(profile.dtype).itemsize
    # Of an input value: as read, valid, filled; of its output: in floating point three times, rounded, encoded.
    blocks = batch * pixels * profile.count * (4 * value + 8 + upscaler.scale**2 * (24 + 2 * value))
    largest = max((rows * cols * profile.count * value for rows, cols in block_shapes), default=0)
    return PROGRAM + gdal.CACHE + upscaler.memory(pixels) + workers * (blocks + largest)


def workers(wanted: int, limit: int, needed: int, needed_by_one_more: int) -> int:
    """How many of the wanted workers fit in the limit, if one needs `needed` and each further one as much more."""
    more = needed_by_one_more - needed
    return max(1, min(wanted, 1 + (limit - needed) // max(more, 1)))


def tile_size(
    profile: Profile,
    upscaler: Upscaler,
    *,
    tile: int | None = None,
    limit: int | None = None,
    batch: int = 1,
    block_shapes: Sequence[tuple[int, int]] = (),
) -> int:
    """The core size that makes the least work of a raster, of those whose parts cover whole blocks of the output.

    Or `tile`, where that is given. It is chosen for one worker: larger tiles with fewer workers are less work than
    smaller ones with more, as a network uses all cores by itself. Without a limit, no more than MEMORY if that can be.

    Raises:
        OptionError: the tile, or the smallest one, needs more memory than `limit`.
    """
    step = BLOCK_SIZE // int(np.gcd(BLOCK_SIZE, upscaler.scale))
    largest = max(profile.width, profile.height)
    sizes = [min(tile, largest)] if tile else range(step, max(LARGEST_OUTPUT // upscaler.scale, step) + 1, step)

    def needed(size: int) -> int:
        return memory(size, profile, upscaler, batch=batch, block_shapes=block_shapes)

    def work(size: int) -> int:
        return len(Grid(profile.width, profile.height, size)) * ((size + 2 * upscaler.halo) ** 2 + TILE_COST)

    if limit and (least := needed(sizes[0])) > limit:
        smaller = ", or a smaller --tile" if tile else ""
        raise OptionError(f"tiles of {sizes[0]} need {least / 2**20:.0f} MiB here; give it more with --memory{smaller}")
    fitting = [size for size in sizes if needed(size) <= (limit or MEMORY)]
    return min(fitting or sizes[:1], key=lambda size: (work(size), -size))


def output_bytes(sampled: float, profile: Profile, *, overviews: bool) -> int:
    """Of the output, from the bytes that a pixel of a sample takes; networks' results compress less than a sample."""
    return int(1.1 * sampled * profile.width * profile.height * (4 / 3 if overviews else 1))


def disk_bytes(output: int, *, resume: bool, copied: bool) -> int:
    """At the peak: the parts, the file that they are joined to, and its copy in another format."""
    return int(output * ((PARTS if resume else 0) + 1 + (1 if copied else 0)) * 1.05)


def readable(size: float) -> str:
    """A number of bytes as people write it.

    >>> readable(1_234_567)
    '1.2 MB'
    """
    power = max(i for i in range(len(UNITS)) if i == 0 or size >= 1000**i)
    return f"{size / 1000**power:.1f} {UNITS[power]}" if power else f"{size:.0f} {UNITS[0]}"
