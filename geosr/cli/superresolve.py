"""geosr superresolve."""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, nullcontext
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import click

from geosr.cli import events, options
from geosr.cli.ending import Ending, missing
from geosr.engine import Progress
from geosr.errors import GeosrError

log = logging.getLogger(__name__)

DAMAGED = 3
"""Exit status when what could not be read became nodata."""


@click.command()
@click.argument("source", metavar="INPUT")
@click.argument("output", type=click.Path(path_type=Path))
@options.scale
@options.model
@options.computing
@options.bands
@click.option(
    "--bands-mode",
    type=click.Choice(["auto", "each", "luma"]),
    default="auto",
    show_default=True,
    help="How a network of one band treats several: each by itself, or the luma of red, green and blue "
    "alone (three times cheaper; for photographs). auto is each.",
)
@options.alpha
@options.values
@click.option(
    "--window",
    type=options.Numbers("COL,ROW,WIDTH,HEIGHT", int),
    help="Super-resolve only these pixels of the input; the result is that part of the whole's.",
)
@click.option(
    "--bounds",
    type=options.Numbers("LEFT,BOTTOM,RIGHT,TOP", float),
    help="Super-resolve only the pixels that these bounds in the CRS of the input touch.",
)
@click.option(
    "-t",
    "--dtype",
    type=options.DTYPES,
    help="Data type of the output; the input's by default. Values saturate, they are not scaled.",
)
@click.option("--nodata", type=float, help="Nodata value of the output; the input's by default.")
@click.option(
    "-f", "--format", "--driver", help="GDAL driver of the output, as COG; by the ending of OUTPUT by default."
)
@click.option(
    "--overviews/--no-overviews", default=None, help="Build overviews in the output; by default if the input has them."
)
@options.extension
@click.option(
    "--tile",
    type=click.IntRange(16),
    help="Rows and columns of a tile; chosen from the raster, the model and the memory by default.",
)
@click.option("--batch", type=click.IntRange(1), help="Tiles in a task; one by default, and more if they are small.")
@options.memory
@options.creation
@options.jobs
@options.dask
@click.option("--stac", is_flag=True, help="Write a STAC item beside the output, NAME.stac.json.")
@click.option("--skip-errors", is_flag=True, help="Make nodata of blocks that cannot be read; exit status 3.")
@options.dry_run
@options.as_json
@options.overwrite
@options.restart
@click.option("--no-resume", is_flag=True, help="Keep no parts: half the disk, but an interrupted run begins again.")
@options.supervised
@options.verbose
@options.quiet
def superresolve(source: str, output: Path, **chosen: Any) -> None:
    """Super-resolve a raster, or all rasters of a folder.

    OUTPUT has SCALE times as many rows and columns on the same ground, with the CRS, the data type and all metadata of
    INPUT. When INPUT is a folder, OUTPUT is one too, which is made; files keep their names, with the ending .tif. An
    interrupted run goes on where it stopped when the same command is given again; files that are done are passed over.

    \b
    Example:
      geosr superresolve scene.tif scene_x2.tif
    """
    options.set_verbosity(chosen.pop("verbose"), chosen["quiet"])
    if chosen["dask"] == "local" and not chosen["memory"]:
        from geosr.superresolve.budget import shared_memory

        chosen["memory"] = shared_memory(chosen["jobs"])
    with options.ending() as end:
        damaged = (_all if Path(source).is_dir() else _single)(source, output, end=end, **chosen)
    if damaged:
        sys.exit(DAMAGED)


@dataclass(frozen=True, slots=True)
class _Made:
    """What became of a raster."""

    source: str
    output: str
    model: str = ""
    damaged: Sequence[Any] = ()
    """The blocks that could not be read."""
    already: bool = False
    error: str = ""
    warnings: Sequence[str] = ()
    """What a worker would have told."""


def _single(source: str, output: Path, *, as_json: bool, quiet: int, **chosen: Any) -> bool:
    """Super-resolves one raster; whether blocks of it could not be read."""
    return _told(_one(source, output, as_json=as_json, quiet=quiet, **chosen), as_json=as_json, quiet=quiet)


def _all(source: str, output: Path, *, end: Ending, as_json: bool, quiet: int, **chosen: Any) -> bool:
    """Super-resolves the rasters of a folder; whether blocks of them could not be read."""
    from geosr.files import output_folder

    paths = options.rasters_in(Path(source), chosen["ext"])
    if not paths:
        raise click.ClickException(f"no .{chosen['ext'].lstrip('.')} files in {source!r}; name another kind with --ext")
    if not output.is_dir() and (output.exists() or output.suffix.lower() in (".tif", ".tiff")):
        raise click.ClickException(f"{str(output)!r} is a file's name, but INPUT is a folder; name a folder")
    outputs = [output / _name(path, chosen["format"]) for path in paths]
    if same := [path.name for path in outputs if outputs.count(path) > 1]:
        raise click.ClickException(f"two files would become {same[0]!r}; give them other names, or one at a time")
    folders = [] if chosen["dry_run"] else missing(output)
    damaged, failed = False, 0
    pairs = [(str(path), made) for path, made in zip(paths, outputs, strict=True)]
    with output_folder(output) if folders else nullcontext():
        end.holds((), folders)
        todo = {"as_json": as_json, "quiet": quiet, "end": end, "folders": folders, **chosen}
        many = _on_workers if chosen["dask"] and not chosen["dry_run"] else _in_turn
        for made in many(pairs, output, **todo):
            damaged |= _told(made, as_json=as_json, quiet=quiet)
            failed += bool(made and made.error)
    if failed:
        raise click.ClickException(f"{failed} of {len(paths)} rasters failed")
    return damaged


def _in_turn(pairs: Sequence[tuple[str, Path]], output: Path, **chosen: Any) -> Iterator[_Made | None]:
    """The rasters one after the other."""
    for source, made in pairs:
        try:
            yield _one(source, made, skip_done=True, **chosen)
        except GeosrError as error:
            yield _Made(source, str(made), error=str(error))


def _on_workers(
    pairs: Sequence[tuple[str, Path]],
    output: Path,
    *,
    end: Ending,
    folders: Sequence[Path],
    dask: str,
    jobs: int,
    quiet: int,
    **chosen: Any,
) -> Iterator[_Made]:
    """The rasters, each as a whole by a worker of a Dask cluster, which writes the output itself."""
    from geosr import engine, pools
    from geosr.errors import WorkersDied
    from geosr.files import absolute_path
    from geosr.models import cards
    from geosr.rasters.source import check_readable
    from geosr.superresolve import upscalers

    if end.cancellable:
        raise click.UsageError("--cancel-on-eof cannot end the rasters of a folder that workers of --dask are making")
    if cards.is_path(chosen["model"]):
        chosen["model"] = absolute_path(chosen["model"])
    # It is sent along, so that workers which have not this very model are found out before they begin.
    computing = options.computed(dict(chosen))
    upscaler = upscalers.load(chosen["model"], chosen["scale"], computing=computing)
    work = partial(_scene, upscaler=upscaler, chosen=chosen)
    scenes = [(absolute_path(source), made.absolute()) for source, made in pairs]
    with (
        pools.dask(dask, workers=jobs) as pool,
        options.progress(output.name, "rasters", quiet=bool(quiet), end=end, made=folders) as show,
    ):
        pools.check_reach(pool, check_readable, [source for source, _ in scenes if _is_raster(source)], output)
        if show:
            show(0, len(scenes))
        with closing(engine.tried(work, scenes, pool, errors=WorkersDied)) as results:
            for done, ((source, path), made) in enumerate(results, 1):
                yield _Made(source, str(path), error=f"{source!r}: {made}") if isinstance(made, WorkersDied) else made
                if show:
                    show(done, len(scenes))


def _is_raster(path: str) -> bool:
    """Whether it can be opened here, so that it must be elsewhere; what cannot fails by itself."""
    from geosr.rasters.source import check_readable

    try:
        check_readable(path)
    except GeosrError:
        return False
    return True


def _scene(scene: tuple[str, Path], *, upscaler: object, chosen: dict[str, Any]) -> _Made:
    """Super-resolves one raster on a worker, until no one waits for it."""
    from geosr import pools

    source, output = scene
    with _warned() as warnings:
        try:
            made = _one(
                source, output, skip_done=True, end=None, watch=pools.check_wanted, dask=None, jobs=1, quiet=2, **chosen
            )
        except GeosrError as error:
            made = _Made(source, str(output), error=str(error))
    return replace(made or _Made(source, str(output)), warnings=tuple(warnings))


@contextmanager
def _warned() -> Iterator[list[str]]:
    """The warnings that geosr logs in this thread meanwhile."""
    texts: list[str] = []
    thread = threading.get_ident()

    class Kept(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.thread == thread:
                texts.append(record.getMessage())

    kept, logger = Kept(logging.WARNING), logging.getLogger("geosr")
    logger.addHandler(kept)
    try:
        yield texts
    finally:
        logger.removeHandler(kept)


def _told(made: _Made | None, *, as_json: bool, quiet: int) -> bool:
    """Tells what became of a raster; whether blocks of it could not be read."""
    if made is None:
        return False
    name = Path(made.source).name
    for text in made.warnings:
        log.warning("%s", text)
    if made.error:
        events.warn(f"Error: {made.error}")
    elif made.already:
        if not quiet:
            click.echo(f"{name}: done already", err=True)
    else:
        if made.damaged:
            band, where = made.damaged[0]
            events.warn(
                f"{name}: {len(made.damaged)} blocks could not be read and are nodata in {made.output!r}, "
                f"the first in {f'band {band}' if band else 'the mask'} at column {where.col_off}, row {where.row_off}"
            )
        told = [{"band": band, "window": [w.col_off, w.row_off, w.width, w.height]} for band, w in made.damaged]
        events.told({"output": made.output, "model": made.model, "unreadable": told}, as_json=as_json)
    return bool(made.damaged)


def _one(
    source: str,
    output: Path,
    *,
    end: Ending | None,
    values: tuple[float, float] | None,
    ext: str,
    jobs: int,
    dask: str | None,
    quiet: int,
    overwrite: bool,
    restart: bool,
    no_resume: bool,
    dry_run: bool,
    as_json: bool,
    stac: bool,
    skip_done: bool = False,
    folders: Sequence[Path] = (),
    watch: Progress | None = None,
    **chosen: Any,
) -> _Made | None:
    """Super-resolves one raster; None if it was to be told only what that would need."""
    from geosr.parts import leftovers
    from geosr.superresolve import stac as items
    from geosr.superresolve.job import check, is_done, write
    from geosr.superresolve.plan import Options, plan

    asked = Options(range=values, computing=options.computed(chosen), **chosen)
    job = plan(source, asked, output) if skip_done and output.exists() and not overwrite else None
    if job and is_done(job, output):
        if stac and not items.path_of(output).exists():
            items.check(job, output, overwrite=True)
            items.write(job, output)
        return _Made(source, str(output), already=True)
    check(source, output, overwrite=overwrite, made=dry_run and skip_done)
    job = job or plan(source, asked, output)
    if stac:
        items.check(job, output, overwrite=overwrite)
    if dry_run:
        _show_estimate(source, output, job, jobs, resume=not no_resume, as_json=as_json)
        return None
    tile_megapixels = job.profile.width * job.profile.height / len(job.tiles) / 1e6
    with (
        options.pool(dask, jobs if dask else job.workers(jobs)) as pool,
        options.progress(
            Path(source).name,
            "tiles",
            quiet=bool(quiet),
            end=end,
            temporary=leftovers(output),
            made=folders,
            each=tile_megapixels,
            each_unit="output Mpx",
        ) as show,
    ):
        damaged = write(job, output, restart=restart, resume=not no_resume, pool=pool, progress=show or watch)
    if stac:
        items.write(job, output)
    else:
        items.forget(output)
    return _Made(source, str(output), job.upscaler.identity, damaged)


def _show_estimate(source: str, output: Path, job: Any, jobs: int, *, resume: bool, as_json: bool) -> None:
    from geosr.files import size_text
    from geosr.superresolve.estimate import estimate

    told = estimate(job, output, workers=jobs, resume=resume)
    minutes, seconds = divmod(round(told.seconds), 60)
    hours, minutes = divmod(minutes, 60)
    text = (
        f"{output}: {told.width} x {told.height} pixels of {told.pixel[0]:.6g} x {told.pixel[1]:.6g}, "
        f"{told.count} bands of {told.dtype}, {job.driver}\n"
        f"  {told.tiles} tiles of {told.tile} x {told.tile} input pixels, about {told.empty:.0%} of them empty\n"
        f"  memory about {size_text(told.memory_bytes)}\n"
        f"  disk   about {size_text(told.disk_bytes)} at the peak, {size_text(told.output_bytes)} in the end; "
        f"{size_text(told.free_bytes)} are free\n"
        f"  time   about {hours}:{minutes:02}:{seconds:02}"
    )
    events.told({"input": source, "output": str(output), **asdict(told)}, text, as_json=as_json)


def _name(path: Path, driver: str | None) -> str:
    from geosr.rasters.writer import name_in

    return name_in(driver or "GTiff", path.name)
