"""geosr burst."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import click

from geosr.cli import events, options
from geosr.cli.ending import Ending, missing


@click.command()
@click.argument("photos", nargs=-1, metavar="PHOTOS...")
@click.argument("folder", required=False, type=click.Path(path_type=Path))
@click.option("-o", "--output", type=click.Path(path_type=Path), help="The folder of the results, instead of FOLDER.")
@click.option("-s", "--scale", type=click.IntRange(1, 8), default=2, show_default=True, help="Enlargement.")
@click.option(
    "-m",
    "--method",
    "methods",
    multiple=True,
    type=click.Choice(["mean", "median", "trimmed", "sigma", "robust"]),
    default=("mean", "median", "robust"),
    show_default=True,
    help="How the frames become one image; several give several images.",
)
@click.option("--reference", default="auto", show_default=True, help="The photo that the others are aligned with.")
@click.option(
    "--align",
    type=click.Choice(["hugin", "none"]),
    default="hugin",
    show_default=True,
    help="none: as the photos lie, or where their CRS puts them.",
)
@click.option(
    "--project", type=click.Path(exists=True, dir_okay=False), help="Take the alignment of this Hugin project (.pto)."
)
@click.option("--keep-project", is_flag=True, help="Write a project that Hugin opens.")
@click.option("--keep-all", is_flag=True, help="Keep blurred photos too.")
@click.option("--match/--no-match", default=True, help="Bring all to the exposure of the reference.  [default: match]")
@click.option(
    "--crop",
    type=click.Choice(["common", "union"]),
    default="common",
    show_default=True,
    help="What all photos cover, or what any does, with a mask.",
)
@click.option(
    "--sharpen",
    type=click.FloatRange(0, 5),
    default=1.0,
    show_default=True,
    help="Amount of the unsharp mask; 0 is off.",
)
@click.option("--depth", type=click.Choice(["8", "16"]), help="Bits of the results; the photos' by default.")
@click.option("--coverage", is_flag=True, help="Also write how many photos count at each pixel.")
@click.option("--deviation", is_flag=True, help="Also write the standard deviation of the photos at each pixel.")
@click.option(
    "--time-limit",
    type=click.FloatRange(1),
    default=120.0,
    show_default=True,
    help="Seconds for each call of one of Hugin's tools.",
)
@options.stack_memory
@options.creation
@options.jobs
@options.dry_run
@options.as_json
@options.overwrite
@options.restart
@options.supervised
@options.verbose
@options.quiet
def burst(
    photos: tuple[str, ...],
    folder: Path | None,
    output: Path | None,
    jobs: int,
    dry_run: bool,
    as_json: bool,
    overwrite: bool,
    restart: bool,
    verbose: int,
    quiet: int,
    depth: str | None,
    memory: int | None,
    **chosen: Any,
) -> None:
    """Stack a burst of photos into sharper, cleaner images.

    PHOTOS are files, or folders of them: JPEG, TIFF or PNG, of 8 or 16 bits. They are aligned with Hugin, checked,
    brought to one exposure and reduced to mean.tif, median.tif and robust.tif in FOLDER, with a report. Photos that
    do not fit are left out and named. An interrupted run goes on where it stopped when the same command is given again.

    \b
    Example:
      geosr burst process/ superresolution/
    """
    options.set_verbosity(verbose, quiet)
    paths = list(photos)
    if output is None:
        output = folder
    elif folder is not None:
        paths.append(str(folder))
    if not paths or output is None:
        raise click.UsageError("name the photos and then the folder of the results, or that with --output")
    from geosr import pools
    from geosr.burst import job
    from geosr.parts import leftovers

    asked = job.Options(depth=int(depth) if depth else None, memory=memory or job.MEMORY, **chosen)
    temporary, made = leftovers(output / job.REPORT), missing(output)
    with options.ending() as end:
        plan = job.plan(paths, output, asked, overwrite=overwrite)
        if dry_run:
            events.told(job.told(plan), _planned(job.told(plan)), as_json=as_json)
            return
        with (
            pools.threads(jobs) as pool,
            _stages(quiet=bool(quiet), end=end, temporary=temporary, made=made) as show,
        ):
            said = job.write(plan, restart=restart, pool=pool, progress=show)
    text = f"{said['kept']} of {len(said['frames'])} photos; {', '.join(said['outputs'])} in {output}"
    events.told({"output": str(output), **said}, "" if quiet else text, as_json=as_json)


def _planned(told: dict[str, Any]) -> str:
    lines = [f"{photo['name']}: {photo['size'][0]} x {photo['size'][1]}, {photo['taken']}" for photo in told["photos"]]
    megabytes = told["disk"] / 1e6
    return "\n".join([*lines, f"would write {', '.join(told['outputs'])}; up to {megabytes:.0f} MB of disk"])


@contextmanager
def _stages(
    *, quiet: bool, end: Ending, temporary: Sequence[Path], made: Sequence[Path]
) -> Iterator[Callable[[str, int, int], None]]:
    """A progress callable that shows one bar after another, each for a stage."""
    units = {"read": "photos", "align": "photos", "stack": "tiles", "write": "images"}
    with ExitStack() as stack:
        shown: dict[str, Any] = {}

        def show(stage: str, done: int, total: int) -> None:
            if stage not in shown:
                stack.close()
                one = options.progress(stage, units[stage], quiet=quiet, end=end, temporary=temporary, made=made)
                shown[stage] = stack.enter_context(one)
            shown[stage](done, total)

        yield show
