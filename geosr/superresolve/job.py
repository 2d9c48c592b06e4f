"""A raster super-resolved: tile by tile, with the same ground under more pixels and all its metadata kept."""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from geosr import __version__, engine
from geosr.engine import Pool, Progress
from geosr.errors import OutputError, RasterError, WorkersDied
from geosr.files import absolute_path, check_output, contains, size_text
from geosr.grid import Block, Grid, Tile, Window, batches
from geosr.parts import Parts
from geosr.rasters import writer
from geosr.rasters.nodata import enlarge_nearest, invalid_values, stamp
from geosr.rasters.profile import Profile
from geosr.rasters.resample import enlarge
from geosr.rasters.source import Damage, Pixels, RasterSource, Source
from geosr.superresolve import budget
from geosr.superresolve.plan import Options, Plan, plan
from geosr.superresolve.tiles import upscaled
from geosr.superresolve.upscalers import Upscaler

log = logging.getLogger(__name__)

SAMPLES = 3
"""Rows and columns of windows that the size of the output is guessed from."""


class Job(Protocol):
    """What the output's pixels depend on, beside what is made of them: of a Plan, or of an array."""

    @property
    def source(self) -> Source: ...
    @property
    def upscaler(self) -> Upscaler: ...
    @property
    def profile(self) -> Profile:
        """The output's."""
        ...


def super_resolve(
    source: str | os.PathLike[str],
    output: str | os.PathLike[str],
    options: Options = Options(),
    *,
    overwrite: bool = False,
    restart: bool = False,
    resume: bool = True,
    pool: Pool | None = None,
    progress: Progress | None = None,
) -> Plan:
    """Writes the raster `source` with `scale` times as many rows and columns to `output`, and returns what was done.

    The output covers the same ground: CRS and bounds are the input's, to 1e-9 pixel. It appears under its name only
    when it is whole. A job that was interrupted leaves its parts in a folder beside the output, and the same call
    takes it up again; `restart` discards them. Without `resume` there are no parts, and the disk holds one copy less.

    Raises:
        RasterError: the input cannot be read, or is of a kind that must not be super-resolved.
        OutputError: the output exists and not `overwrite`, or cannot be written.
        OptionError, ModelError: the options or the model do not fit the raster.
    """
    check(source, output, overwrite=overwrite)
    job = plan(source, options, output)
    write(job, output, restart=restart, resume=resume, pool=pool, progress=progress)
    return job


def write(
    job: Plan,
    output: str | os.PathLike[str],
    *,
    restart: bool = False,
    resume: bool = True,
    pool: Pool | None = None,
    progress: Progress | None = None,
) -> list[Damage]:
    """Does what is planned, as `super_resolve` says; an output that exists is replaced when the new one is whole.

    Returns the blocks of the input that could not be read and became nodata.
    """
    tiles = job.tiles
    damaged: set[Damage] = set()
    _check_beside(job, Path(output))
    with Parts(Path(output), manifest(job), restart=restart or not resume) as parts:
        already = sum(parts.has(tile.index) for tile in tiles)
        if progress:
            progress(already, len(tiles))
        check_space(job, output, share=1 - already / len(tiles), resume=resume)
        whole = parts.folder / "whole.tif" if job.copied else parts.draft
        made = finished(job, parts, pool) if resume else streamed(job, pool)
        creation = writer.creation_options(job.profile.dtype, {} if job.copied else job.creation)
        for count, note in enumerate(writer.join(made, whole, job.profile, creation), 1):
            damaged.update((band, Window(*where)) for band, *where in json.loads(note or "[]"))
            if progress and count > already:
                progress(count, len(tiles))
        if job.overviews:
            writer.add_overviews(whole)
        if job.copied:
            writer.copy(whole, parts.draft, job.driver, job.creation)
        for what in writer.lost(parts.draft, job.profile):
            log.warning("%s: %s could not be kept in the format %s", os.fspath(output), what, job.driver)
        parts.publish(stale=writer.stale(Path(output)))
    return sorted(damaged, key=str)


def check(
    source: str | os.PathLike[str], output: str | os.PathLike[str], *, overwrite: bool, made: bool = False
) -> None:
    """Refuses, in this order, an input that cannot be read and an output that cannot be written, or must not be.

    `made` says that the output's folder will be made if it is not there.
    """
    inputs = RasterSource(source, alpha="band")
    inputs.close()
    output = Path(output)
    if not made or output.parent.exists():
        check_output(output, inputs.files, overwrite=overwrite)


def _check_beside(job: Plan, output: Path) -> None:
    """Refuses an output that comes with other files, which would take the place of the input's or of a stranger's."""
    beside = [output.with_name(name) for name in job.beside]
    for path in (*beside, *writer.stale(output)):
        if path.exists() and any(contains(path, file) for file in job.source.files):
            raise OutputError(f"{os.fspath(path)!r} belongs to the input and would be replaced; choose another output")
    for path in beside:
        if path.exists() and not output.exists():
            raise OutputError(f"{os.fspath(path)!r} exists and would be replaced; choose another output")


def check_space(job: Plan, output: str | os.PathLike[str], *, share: float = 1.0, resume: bool = True) -> None:
    """Refuses a job that the disk has no room for; `share` is what is left of the tiles to do.

    Raises:
        OutputError: it says what is needed and what is free.
    """
    folder = Path(output).parent
    size, disk = sizes(job, resume=resume)
    needed, free = disk - (1 - share) * size, shutil.disk_usage(folder).free
    if needed > free:
        less = " or take --no-resume, which needs less" if resume else ""
        raise OutputError(
            f"{os.fspath(output)!r} will need about {size_text(needed)} in {os.fspath(folder)!r}, where "
            f"{size_text(free)} are free; free some, write elsewhere{less}"
        )


def sizes(job: Plan, *, resume: bool) -> tuple[int, int]:
    """Bytes of the output and on the disk at the peak, by a bicubic enlargement of a few windows."""
    k, side = job.upscaler.scale, min(256, job.grid.size)
    lattice = Grid(job.window.width, job.window.height, side)
    rows, cols = (sorted({round(i) for i in np.linspace(0, n - 1, SAMPLES)}) for n in (lattice.rows, lattice.cols))
    compress = "" if job.copied else job.creation.get("COMPRESS", "").upper()
    taken = pixels = 0
    for tile in (lattice[row * lattice.cols + col] for row in rows for col in cols):
        core = tile.core.relative(Window(-job.window.col_off, -job.window.row_off, 0, 0))
        here = Tile(tile.index, core, core)
        pixels_here = job.source.read(core)
        with np.errstate(over="ignore", invalid="ignore"):
            made = enlarge(np.where(pixels_here.valid, pixels_here.block, 0), k)
        taken += len(writer.encode(*stamped(here, made, pixels_here, job=job), compress=compress))
        pixels += made.shape[-1] * made.shape[-2]
    size = budget.output_bytes(taken / pixels, job.profile, overviews=job.overviews)
    return size, budget.disk_bytes(size, resume=resume, copied=job.copied)


def finished(job: Plan, parts: Parts, pool: Pool | None = None) -> Iterator[tuple[Window, Path]]:
    """The parts in order, each with its window in the output; those that are missing are made on the way."""
    tiles = job.tiles
    missing = [tile for tile in tiles if not parts.has(tile.index)]
    tasks = batches(missing, job.batch)
    with closing(engine.tried(partial(upscaled_parts, job=job), tasks, pool, errors=WorkersDied)) as results:
        for tile in tiles:
            if not parts.has(tile.index):
                some, made = next(results)
                if isinstance(made, WorkersDied):
                    _keep_the_rest(results, parts)
                    raise _named(some, made)
                _keep(some, made, parts)
            yield _place(tile, job), parts.path(tile.index)


def streamed(job: Plan, pool: Pool | None = None) -> Iterator[tuple[Window, bytes]]:
    """The parts in order, each with its window in the output, kept nowhere."""
    tasks = batches(job.tiles, job.batch)
    with closing(engine.tried(partial(upscaled_parts, job=job), tasks, pool, errors=WorkersDied)) as results:
        for tiles, made in results:
            if isinstance(made, WorkersDied):
                raise _named(tiles, made)
            for tile, part in zip(tiles, made, strict=True):
                yield _place(tile, job), part


def upscaled_parts(tiles: Sequence[Tile], *, job: Plan) -> list[bytes]:
    """The tiles' finished parts: pure work that can run anywhere."""
    read = [job.source.read(tile.outer) for tile in tiles]
    made = upscaled(tiles, read, source=job.source, upscaler=job.upscaler, values=job.values)
    return [_encoded(tile, block, pixels, job=job) for tile, block, pixels in zip(tiles, made, read, strict=True)]


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
    return {
        "input": absolute_path(job.source.path),
        "size and time of the input's files": job.source.fingerprint,
        "bands": list(job.source.indexes),
        "alpha": job.source.alpha,
        "model": job.upscaler.identity,
        "scale": job.upscaler.scale,
        "range": str(job.values),
        "dtype": job.profile.dtype,
        "nodata": str(job.profile.nodata),
        "tile": job.grid.size,
        "window": str(job.window),
        "format": job.driver,
        "overviews": job.overviews,
        "errors": "skipped" if job.source.skip_errors else "refused",
        "options": dict(job.creation),
        "version": __version__,
    }


def stamped(tile: Tile, made: Block, pixels: Pixels, *, job: Job) -> tuple[Block, NDArray[np.bool_] | None]:
    """What the output holds in the tile's core, of what was `made` of it, and its mask (rows, cols) if it has one."""
    original = invalid_values(tile.trim(pixels.block), job.source.profile, job.profile)
    out = stamp(made, original, tile.trim(pixels.valid), job.profile)
    if pixels.mask is None:
        return out, None
    return out, enlarge_nearest(tile.trim(pixels.mask), job.upscaler.scale)


def _encoded(tile: Tile, made: Block, pixels: Pixels, *, job: Plan) -> bytes:
    damage = job.source.damage(tile.core)
    note = json.dumps([[band, w.col_off, w.row_off, w.width, w.height] for band, w in damage]) if damage else None
    return writer.encode(*stamped(tile, made, pixels, job=job), note=note)


def _keep(tiles: Sequence[Tile], made: Sequence[bytes], parts: Parts) -> None:
    for tile, part in zip(tiles, made, strict=True):
        parts.save(tile.index, part)


def _keep_the_rest(results: Iterator[tuple[Sequence[Tile], list[bytes] | WorkersDied]], parts: Parts) -> None:
    """Keeps what comes after a tile that workers died with, so that it alone is left to do.

    Until they die with another: one is the tile's fault, two are the cluster's.
    """
    for tiles, made in results:
        if isinstance(made, WorkersDied):
            return
        _keep(tiles, made, parts)


def _named(tiles: Sequence[Tile], error: WorkersDied) -> WorkersDied:
    where = tiles[0].core
    return WorkersDied(
        f"the tile of {where.width} x {where.height} pixels at column {where.col_off}, row {where.row_off} could not "
        f"be made: {error}"
    )


def _place(tile: Tile, job: Plan) -> Window:
    """Where the tile's part lies in the output."""
    return tile.core.relative(job.window).scale(job.upscaler.scale)
