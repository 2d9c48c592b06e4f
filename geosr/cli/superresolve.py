"""geosr superresolve."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from geosr.cli import events, options
from geosr.cli.ending import Ending, missing
from geosr.cli.progress import progress
from geosr.models.computing import Computing
from geosr.superresolve.options import Options

if TYPE_CHECKING:
    from geosr.superresolve.folder import Result, Running
    from geosr.superresolve.plan import Plan

log = logging.getLogger(__name__)

DAMAGED = 3
"""Exit status when blocks that could not be read became nodata."""


@click.command()
@click.argument("source", metavar="INPUT")
@click.argument("output", type=click.Path(path_type=Path))
@options.of(Options, ("scale", "-s"), ("model", "-m"))
@options.of(Computing, "backend", "precision", "halo", "blend", "trust")
@options.of(Options, "sensor", "mtf", "noise", "limit")
@options.of(Options, ("bands", "-b"), "bands_mode", "alpha", "range", "window", "bounds", ("dtype", "-t"), "nodata")
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
@options.verbose
@options.quiet
def superresolve(
    source: str,
    output: Path,
    *,
    ext: str,
    dry_run: bool,
    as_json: bool,
    no_resume: bool,
    verbose: int,
    quiet: int,
    **values: Any,
) -> None:
    """Super-resolve a raster, or all rasters of a folder.

    OUTPUT has SCALE times as many rows and columns on the same ground, with the CRS, the data type and all metadata of
    INPUT. When INPUT is a folder, OUTPUT is one too, which is created; files keep their names, with the ending .tif.
    An interrupted run continues when the same command is given again; files that are done are passed over.

    \b
    Example:
      geosr superresolve scene.tif scene_x2.tif
    """
    options.set_verbosity(verbose, quiet)
    from geosr.superresolve.folder import Running, output_pairs, perform, prepare, super_resolve_folder

    settings = options.taken(Options, values, computing=options.taken(Computing, values))
    running = Running(resume=not no_resume, **values)
    show = partial(_report, as_json=as_json, quiet=quiet)
    folder = Path(source).is_dir()
    damage = False
    with options.ending() as end:
        if dry_run:
            pairs = output_pairs(source, output, settings, extension=ext) if folder else [(source, output)]
            for raster, target in pairs:
                job = prepare(raster, target, settings, running, skip_done=folder, new_folder=folder)
                if job:
                    _show_estimate(target, job, running, as_json=as_json)
        elif folder:
            if end.cancellable and running.dask:
                raise click.UsageError(
                    "--cancel-on-eof cannot end the rasters of a folder that workers of --dask are making"
                )
            created = missing(output)
            end.holds((), created)
            watch = _watch(end, quiet=bool(quiet), created=created)
            with progress(
                output.name, "rasters", quiet=bool(quiet) or not running.dask, end=end, created=created
            ) as count:
                results = list(
                    map(
                        show,
                        super_resolve_folder(
                            source, output, settings, running, extension=ext, watch=watch, progress=count
                        ),
                    )
                )
            damage = any(result.damage for result in results)
            if failed := sum(bool(result.error) for result in results):
                raise click.ClickException(f"{failed} of {len(results)} rasters failed")
        elif job := prepare(source, output, settings, running):
            damage = bool(show(perform(job, output, running, _watch(end, quiet=bool(quiet)))).damage)
    if damage:
        sys.exit(DAMAGED)


def _watch(
    end: Ending, *, quiet: bool, created: Sequence[Path] = ()
) -> Callable[[Plan, Path], AbstractContextManager[Any]]:
    """Return a function that opens the progress bar of a raster."""

    def watch(job: Plan, output: Path) -> AbstractContextManager[Any]:
        from geosr.parts import leftovers

        return progress(
            Path(job.source.path).name,
            "tiles",
            quiet=quiet,
            end=end,
            temporary=leftovers(output),
            created=created,
            each=job.profile.width * job.profile.height / len(job.tiles) / 1e6,
            each_unit="output Mpx",
        )

    return watch


def _report(result: Result, *, as_json: bool, quiet: int) -> Result:
    """Tell the result of one raster."""
    name = Path(result.source).name
    for text in result.warnings:
        log.warning("%s", text)
    if result.error:
        events.warn(f"Error: {result.error}")
    elif result.done_before:
        if not quiet:
            click.echo(f"{name}: done already", err=True)
    else:
        if result.damage:
            band, window = result.damage[0]
            events.warn(
                f"{name}: {len(result.damage)} blocks could not be read and are nodata in {result.output!r}, the first "
                f"in {f'band {band}' if band else 'the mask'} at column {window.col_off}, row {window.row_off}"
            )
        unreadable = [{"band": band, "window": [w.col_off, w.row_off, w.width, w.height]} for band, w in result.damage]
        report = {"output": result.output, "model": result.model, "unreadable": unreadable}
        events.result(report, as_json=as_json)
    return result


def _show_estimate(output: Path, job: Plan, running: Running, *, as_json: bool) -> None:
    from geosr.files import size_text
    from geosr.superresolve.estimate import estimate_job

    estimate = estimate_job(job, output, workers=running.jobs, resume=running.resume)
    text = (
        f"{output}: {estimate.width} x {estimate.height} pixels of {estimate.pixel[0]:.6g} x {estimate.pixel[1]:.6g}, "
        f"{estimate.count} bands of {estimate.dtype}, {job.driver}\n"
        f"  {estimate.tiles} tiles of {estimate.tile} x {estimate.tile} input pixels, about {estimate.empty:.0%} of "
        "them empty\n"
        f"  memory about {size_text(estimate.memory_bytes)}\n"
        f"  disk   about {size_text(estimate.disk_bytes)} at the peak, {size_text(estimate.output_bytes)} in the end; "
        f"{size_text(estimate.free_bytes)} are free\n"
        f"  time   about {options.duration(estimate.seconds)}"
    )
    events.result({"input": job.source.path, "output": str(output), **asdict(estimate)}, text, as_json=as_json)
