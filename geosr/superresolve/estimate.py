"""Estimates of what a super-resolution will write and need, for `--dry-run`."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from geosr.grid import Tile, Window
from geosr.rasters.placement import pixel_size
from geosr.rasters.source import THUMBNAIL
from geosr.superresolve.job import encoded_parts, sizes
from geosr.superresolve.plan import Plan

TIMED = 512
"""Most rows and columns of the core that is timed."""
PRODUCT = 1024
"""Rows and columns of the matrices whose product shows how fast the machine multiplies."""
SHARE = 0.6
"""Speed of the networks as a share of that of the product, reading and encoding included."""
WARMING = (32, 40)


@dataclass(frozen=True, slots=True)
class Estimate:
    """The size and the needs of a job."""

    width: int
    height: int
    count: int
    dtype: str
    pixel: tuple[float, float]
    """Width and height of an output pixel, in units of the CRS."""
    tile: int
    tiles: int
    empty: float
    """Share of the tiles without a valid pixel, which are not computed."""
    memory_bytes: int
    output_bytes: int
    """Bytes of the finished file."""
    disk_bytes: int
    """At the peak, that file among them."""
    free_bytes: int
    seconds: float


def estimate_job(job: Plan, output: str | os.PathLike[str], *, workers: int = 1, resume: bool = True) -> Estimate:
    """Estimate a job from a thumbnail and a few windows. Nothing is written.

    A network whose card says what it computes is not run; others, and interpolation, are timed on a part of a tile.
    """
    profile, tiles = job.profile, job.tiles
    shown_tiles = _seen(job, tiles)
    size, disk = sizes(job, resume=resume)
    full = sum(shown_tiles)
    around = job.source.profile.window.pad(job.upscaler.halo)
    pixels_given = sum(
        _area(tile.outer.intersection(around)) for tile, has in zip(tiles, shown_tiles, strict=True) if has
    )
    return Estimate(
        width=profile.width,
        height=profile.height,
        count=profile.count,
        dtype=profile.dtype,
        pixel=pixel_size(profile),
        tile=job.grid.size,
        tiles=len(tiles),
        empty=1 - full / len(tiles),
        memory_bytes=job.memory_needed(job.workers(workers)),
        output_bytes=size,
        disk_bytes=disk,
        free_bytes=shutil.disk_usage(_existing(Path(output).absolute().parent)).free,
        seconds=_pixel_seconds(job, tiles, shown_tiles)
        * pixels_given
        / (job.workers(workers) if job.upscaler.concurrent else 1),
    )


def _existing(folder: Path) -> Path:
    """The folder, or the nearest above it that is there."""
    return folder if folder.exists() else _existing(folder.parent)


def _seen(job: Plan, tiles: Sequence[Tile]) -> list[bool]:
    """Return True for each tile that holds a valid pixel, as far as a thumbnail shows."""
    _, good = job.source.thumbnail(THUMBNAIL)
    valid: NDArray[np.bool_] = np.any(good[job.source.profile.colours], axis=0)
    steps = valid.shape[0] / job.source.profile.height, valid.shape[1] / job.source.profile.width

    def has(tile: Tile) -> bool:
        ranges = [
            slice(int(first * step), max(int(first * step) + 1, int(np.ceil(end * step))))
            for (first, end), step in zip(tile.core.toranges(), steps, strict=True)
        ]
        return bool(valid[ranges[0], ranges[1]].any())

    return [has(tile) for tile in tiles]


def _pixel_seconds(job: Plan, tiles: Sequence[Tile], shown_tiles: Sequence[bool]) -> float:
    """Return the seconds that a tile takes for each pixel that the upscaler is given, the model being loaded."""
    full = [tile for tile, has in zip(tiles, shown_tiles, strict=True) if has]
    if not full:
        return 0.0
    if job.upscaler.multiply_adds:
        passes = 1 if job.upscaler.bands else len(job.source.profile.colours)
        return passes * job.upscaler.multiply_adds / (SHARE * _multiply_adds_per_second())
    colours = job.source.profile.colours
    core, halo = full[len(full) // 2].core, job.upscaler.halo
    # Both sides differ, so that TensorFlow is ready for blocks of any.
    for width, height in (WARMING, WARMING[::-1]):
        block = job.source.read(Window(core.col_off, core.row_off, width, height)).block
        job.upscaler(block[None, colours], job.values.bands(colours))
    timed = core.intersection(Window(core.col_off, core.row_off, TIMED, TIMED))
    start = time.perf_counter()
    encoded_parts([Tile(0, timed, timed.pad(halo))], job=job)
    return (time.perf_counter() - start) / _area(timed.pad(halo))


def _multiply_adds_per_second() -> float:
    matrix = np.ones((PRODUCT, PRODUCT), np.float32)
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        matrix @ matrix
        seconds.append(time.perf_counter() - start)
    return float(PRODUCT**3 / min(seconds))


def _area(window: Window) -> int:
    return window.width * window.height
