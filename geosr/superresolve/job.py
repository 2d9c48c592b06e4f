"""The job of a super-resolution: tile by tile, with the same ground under more pixels and all metadata kept."""

from __future__ import annotations

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
from geosr.files import absolute_path, check_output, contains, json_text, json_value, size_text
from geosr.grid import Block, Grid, Tile, Window, batches
from geosr.parts import Parts
from geosr.rasters import compression, writer
from geosr.rasters.damage import Damage
from geosr.rasters.nodata import enlarge_nearest, invalid_values, stamp
from geosr.rasters.profile import Profile
from geosr.rasters.resample import enlarge
from geosr.rasters.source import Pixels, RasterSource, Source
from geosr.superresolve import budget
from geosr.superresolve.options import Options
from geosr.superresolve.plan import Plan, make_plan
from geosr.superresolve.tiles import enlarged_tiles
from geosr.superresolve.upscalers import Upscaler

log = logging.getLogger(__name__)

SAMPLES = 3
"""Rows and columns of windows that the size of the output is estimated from."""


class Describe(Protocol):
    """Writes a file about the output beside it, while that is still a draft."""

    def __call__(self, *, draft: Path) -> object: ...


class Job(Protocol):
    """The inputs of the output's pixels, beside the enlarged block: a Plan, or an array's job."""

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
    """Write the raster `source` with `scale` times as many rows and columns to `output`, and return the plan.

    The output covers the same ground: CRS and bounds are the input's, to 1e-9 pixel. It appears under its name only
    when it is whole. An interrupted job leaves its parts in a folder beside the output, and the same call takes it up
    again; `restart` discards them. Without `resume` there are no parts, and the disk holds one copy less.

    Raises:
        RasterError: the input cannot be read, or is of a kind that must not be super-resolved.
        OutputError: the output exists and not `overwrite`, or cannot be written.
        OptionError, ModelError: the options or the model do not fit the raster.
    """
    Parts(Path(output), {}).settle()
    check_paths(source, output, options, overwrite=overwrite)
    job = make_plan(source, options, output)
    write(job, output, overwrite=overwrite, restart=restart, resume=resume, pool=pool, progress=progress)
    return job


def write(
    job: Plan,
    output: str | os.PathLike[str],
    *,
    overwrite: bool = True,
    restart: bool = False,
    resume: bool = True,
    pool: Pool | None = None,
    progress: Progress | None = None,
    describe: Describe | None = None,
    stale: Sequence[Path] = (),
) -> list[Damage]:
    """Carry out a plan, as `super_resolve` says; an existing output is replaced when the new one is whole.

    What `describe` writes beside the draft is published with it, and the files `stale` of an older output go.

    Returns the blocks of the input that could not be read and became nodata.

    Raises:
        RasterError: the input changed during the job.
        OutputError: the output exists, now that no other job can make it, and not `overwrite`.
    """
    tiles = job.tiles
    damage: set[Damage] = set()
    stale = [*_stale_files(job, Path(output)), *stale]
    fingerprint = job.source.fingerprint
    with Parts(Path(output), manifest(job), restart=restart or not resume) as parts:
        # Another job may have finished it since it was checked.
        check_output(Path(output), job.source.files, overwrite=overwrite)
        finished = sum(parts.has(tile.index) for tile in tiles)
        if progress:
            progress(finished, len(tiles))
        check_space(job, output, share=1 - finished / len(tiles), resume=resume)
        whole = parts.folder / "whole.tif" if job.copied else parts.draft
        pieces = kept_parts(job, parts, pool) if resume else streamed_parts(job, pool)
        creation = compression.creation_options(job.profile.dtype, {} if job.copied else job.creation)
        for count, note in enumerate(writer.join(pieces, whole, job.profile, creation), 1):
            damage.update((band, Window(*window)) for band, *window in json_value(note or "[]"))
            if progress and count > finished:
                progress(count, len(tiles))
        if job.overviews:
            writer.add_overviews(whole)
        if job.copied:
            writer.copy(whole, parts.draft, job.driver, job.creation)
        for item in writer.lost(parts.draft, job.profile):
            log.warning("%s: %s could not be kept in the format %s", os.fspath(output), item, job.driver)
        if job.source.fingerprint != fingerprint:
            parts.discard()
            raise RasterError(f"{job.source.path!r} changed while it was read; give the same command again")
        if describe:
            describe(draft=parts.draft)
        names = {path.name for path in parts.draft.parent.iterdir()}
        parts.publish(stale=stale)
    for path in writer.read_with(Path(output)):
        if path.name not in names:
            log.warning("%s: GDAL takes %s for a part of it, which it is not", os.fspath(output), path.name)
    return sorted(damage, key=str)


def check_paths(
    source: str | os.PathLike[str],
    output: str | os.PathLike[str],
    options: Options = Options(),
    *,
    overwrite: bool,
    new_folder: bool = False,
) -> None:
    """Refuse, in this order, an input that cannot be read and an output that cannot be written, or must not be.

    With `new_folder`, the output's folder will be created if it does not exist.
    """
    inputs = RasterSource(source, options.bands, alpha="band")
    inputs.close()
    output = Path(output)
    if not new_folder or output.parent.exists():
        check_output(output, inputs.files, overwrite=overwrite)


def _stale_files(job: Plan, output: Path) -> list[Path]:
    """Return the files beside an older output that go with it.

    Raises:
        OutputError: side files of the output would take the place of the input's, or of files that are not the
            output's; or a file beside it would be taken for a part of it.
    """
    side_files = [output.with_name(name) for name in job.side_files]
    beside = [*writer.stale(output), *writer.companions(output, job.profile, job.driver)]
    for path in (*side_files, *beside):
        if path.exists() and any(contains(path, file) for file in job.source.files):
            raise OutputError(f"{os.fspath(path)!r} belongs to the input and would be replaced; choose another output")
    for path in side_files:
        if path.exists() and not output.exists():
            raise OutputError(f"{os.fspath(path)!r} exists and would be replaced; choose another output")
    return writer.stale_files(output, job.profile, job.driver)


def check_space(job: Plan, output: str | os.PathLike[str], *, share: float = 1.0, resume: bool = True) -> None:
    """Refuse a job that the disk has no room for; `share` is the part of the tiles that is still to do.

    Raises:
        OutputError: it says how much is needed and how much is free.
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
    """Return the bytes of the output and those on the disk at the peak, by a bicubic enlargement of a few windows."""
    k, side = job.upscaler.scale, min(256, job.grid.size)
    lattice = Grid(job.window.width, job.window.height, side)
    rows, cols = (sorted({round(i) for i in np.linspace(0, n - 1, SAMPLES)}) for n in (lattice.rows, lattice.cols))
    compress = "" if job.copied else job.creation.get("COMPRESS", "").upper()
    encoded = sampled = 0
    for tile in (lattice[row * lattice.cols + col] for row in rows for col in cols):
        core = tile.core.relative(Window(-job.window.col_off, -job.window.row_off, 0, 0))
        pixels = job.source.read(core)
        with np.errstate(over="ignore", invalid="ignore"):
            enlarged = enlarge(np.where(pixels.valid, pixels.block, 0), k)
        block, mask = output_block(Tile(tile.index, core, core), enlarged, pixels, job=job)
        encoded += len(writer.encode(block, mask, compress=compress))
        sampled += enlarged.shape[-1] * enlarged.shape[-2]
    size = budget.output_bytes(encoded / sampled, job.profile, overviews=job.overviews)
    return size, budget.disk_bytes(size, resume=resume, copied=job.copied)


def kept_parts(job: Plan, parts: Parts, pool: Pool | None = None) -> Iterator[tuple[Window, bytes]]:
    """Yield the parts in order, each with its window in the output; missing ones are computed and kept on the way."""
    tiles = job.tiles
    missing = [tile for tile in tiles if not parts.has(tile.index)]
    tasks = batches(missing, job.batch)
    with closing(engine.tried(partial(encoded_parts, job=job), tasks, pool, errors=WorkersDied)) as results:
        for tile in tiles:
            if not parts.has(tile.index):
                batch, encoded = next(results)
                if isinstance(encoded, WorkersDied):
                    _keep_the_rest(results, parts)
                    raise _named(batch, encoded)
                _keep(batch, encoded, parts)
            yield _window_in_output(tile, job), parts.read(tile.index)


def streamed_parts(job: Plan, pool: Pool | None = None) -> Iterator[tuple[Window, bytes]]:
    """Yield the parts in order, each with its window in the output; they are kept nowhere."""
    tasks = batches(job.tiles, job.batch)
    with closing(engine.tried(partial(encoded_parts, job=job), tasks, pool, errors=WorkersDied)) as results:
        for batch, encoded in results:
            if isinstance(encoded, WorkersDied):
                raise _named(batch, encoded)
            for tile, part in zip(batch, encoded, strict=True):
                yield _window_in_output(tile, job), part


def encoded_parts(tiles: Sequence[Tile], *, job: Plan) -> list[bytes]:
    """Return the tiles' finished parts: pure work that can run anywhere."""
    pixels = [job.source.read(tile.outer) for tile in tiles]
    blocks = enlarged_tiles(tiles, pixels, source=job.source, upscaler=job.upscaler, values=job.values)
    return [_encoded(*pair, job=job) for pair in zip(tiles, blocks, pixels, strict=True)]


def is_done(job: Plan, output: str | os.PathLike[str]) -> bool:
    """Return True if `output` says that it was made by this very job, of an input with this content."""
    if not Path(output).exists():
        return False
    try:
        profile = RasterSource(output).profile
    except RasterError:
        return False
    same_shape = (profile.width, profile.height, profile.count) == (
        job.profile.width,
        job.profile.height,
        job.profile.count,
    )
    return same_shape and job.provenance.to_tags().items() <= dict(profile.tags.get("", {})).items()


def manifest(job: Plan) -> dict[str, Any]:
    """Return what the parts of a job depend on."""
    return {
        "input": absolute_path(job.source.path),
        "size and time of the input's files": job.source.fingerprint,
        "bands": list(job.source.numbers),
        "alpha": job.source.alpha,
        "model": str(job.upscaler.identity),
        "scale": job.upscaler.scale,
        "range": str(job.values),
        "dtype": job.profile.dtype,
        "nodata": str(job.profile.nodata),
        "nodata of the input": str(job.source.nodata),
        "tile": job.grid.size,
        "window": str(job.window),
        "errors": "skipped" if job.source.skip_errors else "refused",
        "version": __version__,
    }


def output_block(tile: Tile, enlarged: Block, pixels: Pixels, *, job: Job) -> tuple[Block, NDArray[np.bool_] | None]:
    """Return the output's pixels of the tile's core, and their mask (rows, cols) if the output has one.

    `enlarged` is the core before rounding, `pixels` are the source's of the tile's outer window.
    """
    invalid = invalid_values(tile.trim(pixels.block), job.source.profile, job.profile)
    block = stamp(enlarged, invalid, tile.trim(pixels.valid), job.profile)
    if pixels.mask is None:
        return block, None
    return block, enlarge_nearest(tile.trim(pixels.mask), job.upscaler.scale)


def _encoded(tile: Tile, enlarged: Block, pixels: Pixels, *, job: Plan) -> bytes:
    damage = job.source.damage(tile.core)
    windows = [[band, w.col_off, w.row_off, w.width, w.height] for band, w in damage]
    note = json_text(windows, indent=None) if damage else None
    return writer.encode(*output_block(tile, enlarged, pixels, job=job), note=note)


def _keep(tiles: Sequence[Tile], encoded: Sequence[bytes], parts: Parts) -> None:
    for tile, part in zip(tiles, encoded, strict=True):
        parts.save(tile.index, part)


def _keep_the_rest(results: Iterator[tuple[Sequence[Tile], list[bytes] | WorkersDied]], parts: Parts) -> None:
    """Keep what comes after a tile that workers died with, so that it alone is left to do.

    Until they die with another: one is the tile's fault, two are the cluster's.
    """
    for tiles, encoded in results:
        if isinstance(encoded, WorkersDied):
            return
        _keep(tiles, encoded, parts)


def _named(tiles: Sequence[Tile], error: WorkersDied) -> WorkersDied:
    core = tiles[0].core
    return WorkersDied(
        f"the tile of {core.width} x {core.height} pixels at column {core.col_off}, row {core.row_off} could not "
        f"be made: {error}"
    )


def _window_in_output(tile: Tile, job: Plan) -> Window:
    return tile.core.relative(job.window).scale(job.upscaler.scale)
