"""What a super-resolution will make and need, before it is done: for `--dry-run`."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from geosr import raster
from geosr.grid import Tile, Window
from geosr.plan import Plan
from geosr.superresolve import sizes, upscaled_parts


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a job will make and need."""

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
    """Of the finished file."""
    disk_bytes: int
    """At the peak, that file among them."""
    free_bytes: int
    seconds: float


def estimate(job: Plan, output: str | os.PathLike[str], *, workers: int = 1, resume: bool = True) -> Estimate:
    """What a job will need, from a thumbnail, a few windows and one tile that is timed. Nothing is written."""
    profile, tiles = job.profile, job.tiles
    seen = _seen(job, tiles)
    size, disk = sizes(job, resume=resume)
    x, y = (
        float(np.hypot(*column))
        for column in ((profile.transform.a, profile.transform.d), (profile.transform.b, profile.transform.e))
    )
    full = sum(seen)
    return Estimate(
        width=profile.width,
        height=profile.height,
        count=profile.count,
        dtype=profile.dtype,
        pixel=(x, y),
        tile=job.grid.size,
        tiles=len(tiles),
        empty=1 - full / len(tiles),
        memory_bytes=job.needed(job.workers(workers)),
        output_bytes=size,
        disk_bytes=disk,
        free_bytes=shutil.disk_usage(_existing(Path(output).absolute().parent)).free,
        seconds=_tile_seconds(job, tiles, seen) * full / (job.workers(workers) if job.upscaler.concurrent else 1),
    )


def _existing(folder: Path) -> Path:
    """The folder, or the nearest above it that is there."""
    return folder if folder.exists() else _existing(folder.parent)


def _seen(job: Plan, tiles: Sequence[Tile]) -> list[bool]:
    """Whether each tile holds a valid pixel, as far as a thumbnail shows."""
    _, good = job.source.thumbnail(raster.THUMBNAIL)
    valid: NDArray[np.bool_] = np.any(good[job.source.profile.colours], axis=0)
    steps = valid.shape[0] / job.source.profile.height, valid.shape[1] / job.source.profile.width

    def has(tile: Tile) -> bool:
        ranges = [
            slice(int(first * step), max(int(first * step) + 1, int(np.ceil(end * step))))
            for (first, end), step in zip(tile.core.toranges(), steps, strict=True)
        ]
        return bool(valid[ranges[0], ranges[1]].any())

    return [has(tile) for tile in tiles]


def _tile_seconds(job: Plan, tiles: Sequence[Tile], seen: Sequence[bool]) -> float:
    """What the work of one tile takes, the model being loaded."""
    full = [tile for tile, has in zip(tiles, seen, strict=True) if has]
    if not full:
        return 0.0
    first = job.source.read(full[0].core.intersection(Window(full[0].core.col_off, full[0].core.row_off, 32, 32)))
    job.upscaler(first[None, job.source.profile.colours], job.values.bands(job.source.profile.colours))
    start = time.perf_counter()
    upscaled_parts([full[len(full) // 2]], job=job)
    return time.perf_counter() - start
