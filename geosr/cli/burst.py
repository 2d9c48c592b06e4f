"""geosr burst."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from geosr.burst.options import METHODS, Options
from geosr.cli import events, options
from geosr.cli.ending import missing
from geosr.cli.progress import stages

UNITS = {"read": "photos", "align": "photos", "stack": "tiles", "write": "images"}
"""The units of each stage's progress."""


@click.command()
@click.argument("photos", nargs=-1, metavar="PHOTOS...")
@click.argument("folder", required=False, type=click.Path(path_type=Path))
@click.option("-o", "--output", type=click.Path(path_type=Path), help="The folder of the results, instead of FOLDER.")
@options.of(
    Options,
    ("scale", "-s"),
    ("methods", "-m", "--method"),
    "reference",
    "align",
    "project",
    "keep_project",
    "local",
    "keep_all",
    "match",
    "crop",
    "sharpen",
    "depth",
    "coverage",
    "deviation",
    "time_limit",
    "memory",
    ("creation", "--co"),
    scale={"type": click.IntRange(1, 8)},
    methods={"type": click.Choice(METHODS), "multiple": True},
    project={"type": click.Path(exists=True, dir_okay=False)},
    local={"show_default": False},
    match={"show_default": False},
    memory={"show_default": False},
    time_limit={"type": click.FloatRange(1)},
)
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
    **values: Any,
) -> None:
    """Stack a burst of photos into sharper, cleaner images.

    PHOTOS are files, or folders of them: JPEG, TIFF, PNG or RAW. They are aligned with Hugin, checked, matched in
    exposure and white balance, and reduced to mean.tif, median.tif and robust.tif in FOLDER, with a report. Photos that
    do not fit are left out and named. An interrupted run continues when the same command is given again.

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
        raise click.UsageError("name the photos, then the folder for the results (or give it with --output)")
    from geosr import pools
    from geosr.burst import job
    from geosr.burst.report import used_text
    from geosr.parts import leftovers

    settings = Options(depth=int(depth) if depth else None, **values)
    temporary, created = leftovers(output / job.REPORT), missing(output)
    with options.ending() as end:
        plan = job.make_plan(paths, output, settings, overwrite=overwrite)
        if dry_run:
            summary = job.summary(plan)
            events.result(summary, _summary_text(summary), as_json=as_json)
            return
        with (
            pools.threads(jobs) as pool,
            stages(UNITS, quiet=bool(quiet), end=end, temporary=temporary, created=created) as show,
        ):
            report = job.write(plan, restart=restart, pool=pool, progress=show)
    text = f"{used_text(report['frames'])}; {', '.join(report['outputs'])} in {output}"
    events.result({"output": str(output), **report}, "" if quiet else text, as_json=as_json)


def _summary_text(summary: dict[str, Any]) -> str:
    lines = [
        ", ".join(filter(None, (f"{photo['name']}: {photo['size'][0]} x {photo['size'][1]}", photo["taken"])))
        for photo in summary["photos"]
    ]
    lines += [f"{name} would be left out: {reason}" for name, reason in summary["left out"].items()]
    megabytes = summary["disk"] / 1e6
    return "\n".join([*lines, f"would write {', '.join(summary['outputs'])}; up to {megabytes:.0f} MB of disk"])
