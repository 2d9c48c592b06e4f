"""geosr superresolve."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from geosr.cli import events, options
from geosr.cli.ending import Ending, holding, missing
from geosr.cli.progress import Rasters, preparation, progress
from geosr.cli.summary import WarningCount, folder_line, raster_line, warning_count, warnings_text
from geosr.files import plural
from geosr.models.computing import Computing
from geosr.superresolve.options import Options

if TYPE_CHECKING:
    from geosr.superresolve.folder import Result, Running
    from geosr.superresolve.plan import Plan

log = logging.getLogger(__name__)

QUICK = 128 * 128
"""Pixels of an output that is there before its input could be inspected."""
DAMAGED = 3
"""Exit status when blocks that could not be read became nodata."""


@click.command()
@click.argument("scenes", metavar="INPUT...", nargs=-1, required=True, type=click.Path())
@click.argument("output", type=click.Path())
@options.of(Options, ("scale", "-s"), ("model", "-m"), model={"type": options.Model()})
@options.of(Computing, "backend", "precision", "halo", "blend", "trust")
@options.of(Options, "sensor", "mtf", "noise", "limit", "consistent")
@options.of(
    Options, ("bands", "-b"), "bands_mode", "alpha", "range", "window", "bounds", "nodata_in", ("dtype", "-t"), "nodata"
)
@options.of(Options, ("format", "-f", "--format", "--driver"), "overviews")
@options.extension
@options.of(Options, "tile", "batch", "memory", ("creation", "--co"))
@options.jobs
@options.dask
@click.option("--stac", is_flag=True, help="Write a STAC item beside the output, NAME.stac.json.")
@options.of(Options, "skip_errors")
@options.dry_run
@options.as_json
@options.overwrite
@options.restart
@click.option("--no-resume", is_flag=True, help="Keep no parts: half the disk, but an interrupted run begins again.")
@options.supervised
@options.no_remote
@options.verbose
@options.quiet
def superresolve(
    scenes: tuple[str, ...],
    output: str,
    *,
    ext: str,
    dry_run: bool,
    as_json: bool,
    no_resume: bool,
    verbose: int,
    quiet: int,
    **values: Any,
) -> None:
    """Super-resolve a raster, or many: several files, those of a folder, or the matches of a pattern.

    OUTPUT has SCALE times as many rows and columns on the same ground, with the CRS, the data type and all metadata of
    INPUT. For several inputs OUTPUT is a folder, which is created; files keep their names, with the ending .tif. An
    interrupted run continues when the same command is given again; files that are done are passed over.

    \b
    Example:
      geosr superresolve scene.tif scene_x2.tif
    """
    options.set_verbosity(verbose, quiet)
    target = Path(output)
    with options.ending() as end, warning_count() as warnings:
        speech = Speech(as_json=as_json, quiet=bool(quiet), warnings=warnings)
        with preparation(Path(scenes[0]).name or scenes[0], quiet=not speech.summaries):
            from geosr.rasters.writer import name_in
            from geosr.superresolve.folder import Result, Running, output_pairs, perform, prepare

            settings = options.taken(Options, values, computing=options.taken(Computing, values))
            running = Running(resume=not no_resume, **values)
            inputs = _several(scenes, output, ext)
            if target.is_dir() and not inputs:
                target /= name_in(settings.format or "GTiff", Path(scenes[0]).name)
            job = None if inputs or dry_run else prepare(scenes[0], target, settings, running)
        results: Sequence[Result] = ()
        if dry_run:
            pairs = output_pairs(inputs, target, settings, extension=ext) if inputs else [(scenes[0], target)]
            for raster, path in pairs:
                several = bool(inputs)
                if job := prepare(raster, path, settings, running, skip_done=several, new_folder=several):
                    _show_estimate(path, job, running, as_json=as_json)
        elif inputs:
            results = _perform_all(inputs, target, settings, running, extension=ext, end=end, speech=speech)
        elif job:
            result = perform(job, target, running, _watch(end, quiet=speech.quiet))
            results = [speech.report(result, end=warnings_text(warnings.count))]
        else:
            speech.report(Result(scenes[0], str(target), done_before=True))
    if any(result.damage for result in results):
        sys.exit(DAMAGED)


def _several(scenes: Sequence[str], output: str, extension: str) -> str | list[str] | None:
    """Return a folder of rasters, or the rasters, where there can be several; None for one raster and its output."""
    from geosr.rasters.source import opens

    [first, *others] = scenes
    if not others and Path(first).is_dir():
        return None if opens(first) else first
    rasters = options.rasters(scenes, extension)
    return rasters if others or rasters != [first] or output.endswith(("/", os.sep)) else None


def _perform_all(
    inputs: str | list[str],
    output: Path,
    settings: Options,
    running: Running,
    *,
    extension: str,
    end: Ending,
    speech: Speech,
) -> list[Result]:
    """Super-resolve many rasters, with one progress report, and a line for each and for all."""
    from geosr.superresolve.folder import super_resolve_folder

    if end.cancellable and running.dask:
        raise click.UsageError("--cancel-on-eof cannot end the rasters of a folder that workers of --dask are making")
    created = missing(output)
    end.holds((), created)
    start = time.monotonic()
    results = []
    # Another program gets the events of each raster, as it may have to remove what that one has begun.
    each = events.wanted() and not running.dask
    with progress(output.name or str(output), "rasters", quiet=speech.quiet or each, each_unit="output Mpx") as show:
        rasters = Rasters(show) if show and not events.wanted() else None
        watch = _watch(end, quiet=speech.quiet, created=created, rasters=rasters)
        count = rasters.count if rasters else show
        for result in super_resolve_folder(
            inputs, output, settings, running, extension=extension, watch=watch, progress=count
        ):
            results.append(speech.report(result))
    if speech.summaries:
        seconds = time.monotonic() - start
        events.note(folder_line(output, results, seconds) + warnings_text(speech.warnings.count))
    if failed := sum(bool(result.error) for result in results):
        raise click.ClickException(f"{failed} of {len(results)} rasters failed")
    return results


def _watch(
    end: Ending, *, quiet: bool, created: Sequence[Path] = (), rasters: Rasters | None = None
) -> Callable[[Plan, Path], AbstractContextManager[Any]]:
    """Return a function that opens the progress report of a raster: a bar of its own, or a step of `rasters`."""

    def watch(job: Plan, output: Path) -> AbstractContextManager[Any]:
        from geosr.parts import leftovers

        _warn_of_enlarged(job)
        temporary = leftovers(output)
        each = job.profile.width * job.profile.height / len(job.tiles) / 1e6
        if rasters:
            return nullcontext(holding(end, rasters.tiles(each), temporary=temporary, created=created))
        name = Path(job.source.path).name
        return progress(
            name,
            "tiles",
            quiet=quiet,
            end=end,
            temporary=temporary,
            created=created,
            each=each,
            each_unit="output Mpx",
        )

    return watch


def _warn_of_enlarged(job: Plan) -> None:
    """Warn of bands that a network can add nothing to, as `geosr info` does."""
    # Networks alone have a digest.
    if not job.upscaler.identity.sha256 or job.profile.width * job.profile.height <= QUICK:
        return
    from geosr.quality.info import enlarged_before, enlarged_text

    if bands := enlarged_before(job):
        text = enlarged_text(bands, len(job.source.profile.colours))
        log.warning("%s: %s", Path(job.source.path).name, text)


@dataclass(frozen=True, slots=True)
class Speech:
    """How the command tells its results."""

    as_json: bool
    quiet: bool
    warnings: WarningCount

    @property
    def summaries(self) -> bool:
        """True if there is a line for people about each output."""
        return not (self.as_json or self.quiet or events.wanted())

    def report(self, result: Result, *, end: str = "") -> Result:
        """Tell the result of one raster."""
        name = Path(result.source).name
        for text in result.warnings:
            log.warning("%s", text)
        if result.error:
            events.warn(f"Error: {result.error}")
        elif result.done_before:
            if not self.quiet:
                events.note(f"{name}: done already")
        elif result.busy:
            if not self.quiet:
                events.note(f"{name}: another process is making it")
        else:
            if result.damage:
                band, window = result.damage[0]
                events.warn(
                    f"{name}: {len(result.damage)} blocks could not be read and are nodata in "
                    f"{result.output!r}, the first in {f'band {band}' if band else 'the mask'} at column "
                    f"{window.col_off}, row {window.row_off}"
                )
            unreadable = [
                {"band": band, "window": [w.col_off, w.row_off, w.width, w.height]} for band, w in result.damage
            ]
            report = {"output": result.output, "model": result.model, "unreadable": unreadable}
            events.result(report, as_json=self.as_json)
            if self.summaries:
                events.note(raster_line(result) + end)
        return result


def _show_estimate(output: Path, job: Plan, running: Running, *, as_json: bool) -> None:
    from geosr.files import size_text
    from geosr.superresolve.estimate import estimate_job

    estimate = estimate_job(job, output, workers=running.jobs, resume=running.resume)
    _warn_of_enlarged(job)
    text = (
        f"{output}: {estimate.width} x {estimate.height} pixels of {estimate.pixel[0]:.6g} x {estimate.pixel[1]:.6g}, "
        f"{plural(estimate.count, 'band')} of {estimate.dtype}, {job.driver}\n"
        f"  {plural(estimate.tiles, 'tile')} of {estimate.tile} x {estimate.tile} input pixels, about "
        f"{estimate.empty:.0%} of them empty\n"
        f"  memory about {size_text(estimate.memory_bytes)}\n"
        f"  disk   about {size_text(estimate.disk_bytes)} at the peak, {size_text(estimate.output_bytes)} in the end; "
        f"{size_text(estimate.free_bytes)} are free\n"
        f"  time   about {options.duration(estimate.seconds)}"
    )
    events.result({"input": job.source.path, "output": str(output), **asdict(estimate)}, text, as_json=as_json)
