"""Many rasters super-resolved into a folder, one after the other or each by a worker of a Dask cluster."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from pathlib import Path

from geosr import engine, pools
from geosr.choices import check_options, option
from geosr.engine import Progress
from geosr.errors import GeosrError, OptionError, OutputBusyError, OutputError, RasterError, WorkersDied
from geosr.files import absolute_path, files_in, output_folder
from geosr.models import cards
from geosr.notebook import facts
from geosr.parts import Parts, leftovers
from geosr.rasters.damage import Damage
from geosr.rasters.placement import pixel_size, unit_name
from geosr.rasters.source import check_readable
from geosr.rasters.writer import name_in
from geosr.superresolve import budget, stac
from geosr.superresolve.job import check_paths, is_done, manifest, write
from geosr.superresolve.options import Options
from geosr.superresolve.plan import Plan, make_plan
from geosr.superresolve.upscalers import Upscaler, load_upscaler


@dataclass(frozen=True, slots=True)
class Running:
    """The settings of a run, beside the options that decide the pixels."""

    overwrite: bool = option(False, "Replace an output that exists.")
    restart: bool = option(False, "Discard the parts that an interrupted run left.")
    resume: bool = option(True, "Keep finished parts; without them, half the disk is enough.")
    stac: bool = option(False, "Write a STAC item beside the output, NAME.stac.json.")
    jobs: int = option(1, "Threads that read, compute and write at the same time.", least=1)
    dask: str | None = option(None, "Address of a Dask scheduler, or local for JOBS processes on this machine.")

    def __post_init__(self) -> None:
        check_options(self)


@dataclass(frozen=True, slots=True)
class Result:
    """The outcome for one raster."""

    source: str
    output: str
    model: str = ""
    size: tuple[int, int] = (0, 0)
    """Width and height of the output."""
    pixel: tuple[float, float] = (0.0, 0.0)
    """Width and height of a pixel of the output, in units of the CRS; 0 where it is placed nowhere."""
    unit: str = ""
    """Name of the unit of the CRS, in the plural."""
    seconds: float = 0.0
    damage: Sequence[Damage] = ()
    """The blocks that could not be read and became nodata."""
    done_before: bool = False
    busy: bool = False
    """True if another process is making the output."""
    error: str = ""
    warnings: Sequence[str] = ()
    """Warnings of a worker, in its own log."""

    def _repr_html_(self) -> str:
        """Return the result as a table, for notebooks."""
        width, height = self.pixel
        items = {
            "output": "" if self.error else self.output,
            "model": self.model,
            "size": " x ".join(map(str, self.size)) if any(self.size) else "",
            "pixel size": f"{width:.6g} x {height:.6g} {self.unit}".strip() if width else "",
            "seconds": f"{self.seconds:.1f}" if self.seconds else "",
            "unreadable blocks": len(self.damage) or "",
            "done": "before" if self.done_before else "by another process" if self.busy else "",
            "error": self.error,
        }
        return facts(Path(self.source).name, items)


Watch = Callable[[Plan, Path], AbstractContextManager[Progress | None]]
"""Opens the progress report of one raster's job."""


def unwatched(job: Plan, output: Path) -> AbstractContextManager[Progress | None]:
    """Report no progress."""
    return nullcontext()


def prepare(
    source: str, output: Path, options: Options, running: Running, *, skip_done: bool = False, new_folder: bool = False
) -> Plan | None:
    """Return the plan for one raster, with all that can be refused before work refused; None if it is done already.

    Raises:
        RasterError, OutputError, OptionError, ModelError: as `super_resolve` raises them.
    """
    if running.dask == pools.LOCAL and not options.memory:
        options = replace(options, memory=budget.shared_memory(running.jobs))
    # A run that was killed after it published its output left something of it to do.
    begun = any(map(os.path.lexists, leftovers(output)))
    Parts(output, {}).settle()
    unfinished = begun or (running.stac and not stac.path_of(output).exists())
    known = output.exists() and not running.overwrite and (skip_done or unfinished)
    job = make_plan(source, options, output) if known else None
    if job and is_done(job, output):
        if unfinished:
            with Parts(output, manifest(job), restart=True) as parts:
                if running.stac and not stac.path_of(output).exists():
                    stac.check(job, output, overwrite=True)
                    stac.write(job, output, trial=parts.folder)
                parts.discard()
        return None
    check_paths(source, output, options, overwrite=running.overwrite, new_folder=new_folder)
    job = job or make_plan(source, options, output)
    if running.stac:
        stac.check(job, output, overwrite=running.overwrite)
    return job


def perform(job: Plan, output: Path, running: Running, watch: Watch = unwatched) -> Result:
    """Carry out a plan and write its STAC item, if one is asked for."""
    start = time.monotonic()
    workers = running.jobs if running.dask else job.workers(running.jobs)
    with pools.pool(running.dask, workers) as pool, watch(job, output) as progress:
        damage = write(
            job,
            output,
            overwrite=running.overwrite,
            restart=running.restart,
            resume=running.resume,
            pool=pool,
            progress=progress,
            describe=partial(stac.write, job, output) if running.stac else None,
            stale=stac.stale(output),
        )
    profile = job.profile
    return Result(
        job.source.path,
        str(output),
        str(job.upscaler.identity),
        size=(profile.width, profile.height),
        pixel=pixel_size(profile) if profile.located else (0.0, 0.0),
        unit=unit_name(profile),
        seconds=time.monotonic() - start,
        damage=damage,
    )


def super_resolve_folder(
    scenes: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    output: str | os.PathLike[str],
    options: Options = Options(),
    running: Running = Running(),
    *,
    extension: str = "tif",
    watch: Watch = unwatched,
    progress: Progress | None = None,
) -> Iterator[Result]:
    """Super-resolve rasters, or those of a folder, into the folder `output`, and yield the result of each.

    Outputs keep the names of the rasters, with the ending of their format. Rasters that are done are passed over, and
    one that fails does not stop the others. Processes that have the same folder at the same time share its rasters: one
    that another is making is left to it. `progress` counts the rasters. With `running.dask`, each is the work of
    one worker; else `watch` reports the progress of each.

    Raises:
        RasterError: the folder has no files with this extension.
        OptionError, OutputError: two outputs would have one name, or `output` is a file's name.
    """
    pairs = output_pairs(scenes, output, options, extension=extension)
    with output_folder(Path(output)):
        if running.dask:
            yield from _on_workers(pairs, Path(output), options, running, progress)
        else:
            if progress:
                progress(0, len(pairs))
            count, others = 0, list[tuple[str, Path]]()
            for pair in chain(pairs, others):
                result = _result(pair, options=options, running=running, watch=watch)
                if result.busy and pair not in others:
                    # Looked at again when all else is done.
                    others.append(pair)
                    continue
                count += 1
                yield result
                if progress:
                    progress(count, len(pairs))


def output_pairs(
    scenes: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    output: str | os.PathLike[str],
    options: Options,
    *,
    extension: str,
) -> list[tuple[str, Path]]:
    """Return rasters, or those of a folder, each with its output.

    Raises:
        RasterError, OptionError, OutputError: as `super_resolve_folder` raises them.
    """
    output = Path(output)
    if isinstance(scenes, str | os.PathLike):
        paths = list(map(str, files_in(Path(scenes), extension)))
        if not paths:
            name = os.fspath(scenes)
            raise RasterError(f"no .{extension.lstrip('.')} files in {name!r}; name another kind with --ext")
    else:
        paths = [os.fspath(scene) for scene in scenes]
    if not output.is_dir() and (output.exists() or output.suffix.lower() in (".tif", ".tiff")):
        inputs = "INPUT is a folder" if isinstance(scenes, str | os.PathLike) else "there are several inputs"
        raise OutputError(f"{os.fspath(output)!r} is a file's name, but {inputs}; name a folder")
    outputs = [output / name_in(options.format or "GTiff", Path(path).name) for path in paths]
    if same := [path.name for path in outputs if outputs.count(path) > 1]:
        raise OptionError(f"two files would become {same[0]!r}; give them other names, or one at a time")
    return list(zip(paths, outputs, strict=True))


def _result(pair: tuple[str, Path], *, options: Options, running: Running, watch: Watch = unwatched) -> Result:
    source, output = pair
    try:
        job = prepare(source, output, options, running, skip_done=True)
        return perform(job, output, running, watch) if job else Result(source, str(output), done_before=True)
    except OutputBusyError:
        return Result(source, str(output), busy=True)
    except GeosrError as error:
        if not running.overwrite and _was_done_meanwhile(source, output, options):
            return Result(source, str(output), done_before=True)
        return Result(source, str(output), error=str(error))


def _was_done_meanwhile(source: str, output: Path, options: Options) -> bool:
    """Return True if another process has finished the output since this one looked."""
    try:
        return output.exists() and is_done(make_plan(source, options, output), output)
    except GeosrError:
        return False


def _on_workers(
    pairs: Sequence[tuple[str, Path]], folder: Path, options: Options, running: Running, progress: Progress | None
) -> Iterator[Result]:
    if cards.is_path(options.model):
        options = replace(options, model=absolute_path(options.model))
    # It is sent along, so that workers which have not this very model are found out before they begin.
    upscaler = load_upscaler(options.model, options.scale, computing=options.computing)
    work = partial(_remote_result, upscaler=upscaler, options=options, running=replace(running, dask=None, jobs=1))
    scenes = [(absolute_path(source), output.absolute()) for source, output in pairs]
    with pools.dask(running.dask or pools.LOCAL, workers=running.jobs) as pool:
        pools.check_reach(pool, check_readable, [source for source, _ in scenes if _is_readable(source)], folder)
        if progress:
            progress(0, len(scenes))
        with closing(engine.tried(work, scenes, pool, errors=WorkersDied)) as results:
            for count, ((source, output), result) in enumerate(results, 1):
                if isinstance(result, WorkersDied):
                    result = Result(source, str(output), error=f"{source!r}: {result}")
                yield result
                if progress:
                    progress(count, len(scenes))


def _remote_result(scene: tuple[str, Path], *, upscaler: Upscaler, options: Options, running: Running) -> Result:
    """Super-resolve one raster on a worker, until no one waits for it."""
    with _warnings_of_this_thread() as warnings:
        result = _result(scene, options=options, running=running, watch=_while_wanted)
    return replace(result, warnings=tuple(warnings))


def _while_wanted(job: Plan, output: Path) -> AbstractContextManager[Progress | None]:
    return nullcontext(pools.check_wanted)


def _is_readable(path: str) -> bool:
    """Return True if the raster can be opened here, so that it must be elsewhere; one that cannot fails by itself."""
    try:
        check_readable(path)
    except GeosrError:
        return False
    return True


@contextmanager
def _warnings_of_this_thread() -> Iterator[list[str]]:
    texts: list[str] = []
    thread = threading.get_ident()

    class Texts(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.thread == thread:
                texts.append(record.getMessage())

    handler, logger = Texts(logging.WARNING), logging.getLogger("geosr")
    logger.addHandler(handler)
    try:
        yield texts
    finally:
        logger.removeHandler(handler)
