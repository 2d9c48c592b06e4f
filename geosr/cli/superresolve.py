"""geosr superresolve."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from geosr.cli import events, options
from geosr.cli.ending import Ending, missing
from geosr.errors import GeosrError

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
@click.option(
    "--range", "values", type=options.Pair(), help="Values that become 0 and 1 for the network, of every band."
)
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
    with options.ending() as end:
        damaged = (_all if Path(source).is_dir() else _one)(source, output, end=end, **chosen)
    if damaged:
        sys.exit(DAMAGED)


def _all(source: str, output: Path, *, end: Ending, **chosen: Any) -> list[Any]:
    """Super-resolves the rasters of a folder; the blocks of them that could not be read."""
    from geosr.parts import existing

    damaged: list[Any] = []
    failed: list[Path] = []
    paths = options.rasters_in(Path(source), chosen["ext"])
    if not paths:
        raise click.ClickException(f"no .{chosen['ext'].lstrip('.')} files in {source!r}; name another kind with --ext")
    if not output.is_dir() and (output.exists() or output.suffix.lower() in (".tif", ".tiff")):
        raise click.ClickException(f"{str(output)!r} is a file's name, but INPUT is a folder; name a folder")
    outputs = [output / _name(path, chosen["format"]) for path in paths]
    if same := [path.name for path in outputs if outputs.count(path) > 1]:
        raise click.ClickException(f"two files would become {same[0]!r}; give them other names, or one at a time")
    folders = [] if chosen["dry_run"] else missing(output)
    with existing(output) if folders else nullcontext():
        end.holds((), folders)
        for path, made in zip(paths, outputs, strict=True):
            try:
                damaged += _one(str(path), made, end=end, skip_done=True, folders=folders, **chosen)
            except GeosrError as error:
                failed.append(path)
                events.warn(f"Error: {error}")
    if failed:
        raise click.ClickException(f"{len(failed)} of {len(paths)} rasters failed")
    return damaged


def _one(
    source: str,
    output: Path,
    *,
    end: Ending,
    values: tuple[float, float] | None,
    ext: str,
    jobs: int,
    quiet: int,
    overwrite: bool,
    restart: bool,
    no_resume: bool,
    dry_run: bool,
    as_json: bool,
    stac: bool,
    skip_done: bool = False,
    folders: Sequence[Path] = (),
    **chosen: Any,
) -> list[Any]:
    """Super-resolves one raster; the blocks of it that could not be read."""
    from geosr import pools
    from geosr import stac as items
    from geosr.parts import leftovers
    from geosr.plan import Options, plan
    from geosr.superresolve import check, is_done, write

    asked = Options(range=values, computing=options.computed(chosen), **chosen)
    job = plan(source, asked, output) if skip_done and output.exists() and not overwrite else None
    if job and is_done(job, output):
        if not quiet:
            click.echo(f"{Path(source).name}: done already", err=True)
        if stac and not items.path_of(output).exists():
            items.check(job, output, overwrite=True)
            items.write(job, output)
        return []
    check(source, output, overwrite=overwrite, made=dry_run and skip_done)
    job = job or plan(source, asked, output)
    if stac:
        items.check(job, output, overwrite=overwrite)
    if dry_run:
        _show_estimate(source, output, job, jobs, resume=not no_resume, as_json=as_json)
        return []
    tile_megapixels = job.profile.width * job.profile.height / len(job.tiles) / 1e6
    with (
        pools.threads(job.workers(jobs)) as pool,
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
        damaged = write(job, output, restart=restart, resume=not no_resume, pool=pool, progress=show)
    if stac:
        items.write(job, output)
    else:
        items.forget(output)
    if damaged:
        band, where = damaged[0]
        events.warn(
            f"{Path(source).name}: {len(damaged)} blocks could not be read and are nodata in {str(output)!r}, "
            f"the first in {f'band {band}' if band else 'the mask'} at column {where.col_off}, row {where.row_off}"
        )
    told = [{"band": band, "window": [w.col_off, w.row_off, w.width, w.height]} for band, w in damaged]
    events.told({"output": str(output), "model": job.upscaler.identity, "unreadable": told}, as_json=as_json)
    return damaged


def _show_estimate(source: str, output: Path, job: Any, jobs: int, *, resume: bool, as_json: bool) -> None:
    from geosr.budget import readable
    from geosr.estimate import estimate

    told = estimate(job, output, workers=jobs, resume=resume)
    minutes, seconds = divmod(round(told.seconds), 60)
    hours, minutes = divmod(minutes, 60)
    text = (
        f"{output}: {told.width} x {told.height} pixels of {told.pixel[0]:.6g} x {told.pixel[1]:.6g}, "
        f"{told.count} bands of {told.dtype}, {job.driver}\n"
        f"  {told.tiles} tiles of {told.tile} x {told.tile} input pixels, about {told.empty:.0%} of them empty\n"
        f"  memory about {readable(told.memory_bytes)}\n"
        f"  disk   about {readable(told.disk_bytes)} at the peak, {readable(told.output_bytes)} in the end; "
        f"{readable(told.free_bytes)} are free\n"
        f"  time   about {hours}:{minutes:02}:{seconds:02}"
    )
    events.told({"input": source, "output": str(output), **asdict(told)}, text, as_json=as_json)


def _name(path: Path, driver: str | None) -> str:
    from geosr.writer import name_in

    return name_in(driver or "GTiff", path.name)
