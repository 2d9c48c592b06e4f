"""geosr dataset."""

from __future__ import annotations

from pathlib import Path

import click

from geosr.cli import events, options
from geosr.cli.ending import first_made


@click.command()
@click.argument("scenes", nargs=-1, required=True, metavar="SCENES...")
@click.argument("out", type=click.Path(path_type=Path))
@click.option(
    "-s", "--scale", type=click.IntRange(2, 8), default=2, show_default=True, help="Factor between the two resolutions."
)
@click.option(
    "--size", type=click.IntRange(16), default=96, show_default=True, help="Rows and columns of a full-resolution tile."
)
@click.option(
    "--validation",
    type=click.FloatRange(0, 0.9),
    default=0.1,
    show_default=True,
    help="Share of the tiles kept for validation.",
)
@click.option("--ext", default="tif", show_default=True, help="Of the files to take from SCENES that are folders.")
@options.seed
@options.jobs
@options.overwrite
@options.supervised
@options.verbose
@options.quiet
def dataset(
    scenes: tuple[str, ...],
    out: Path,
    scale: int,
    size: int,
    validation: float,
    ext: str,
    seed: int,
    jobs: int,
    overwrite: bool,
    verbose: int,
    quiet: int,
) -> None:
    """Build a training set from scenes.

    Cuts scenes (files, or folders of them) into tiles, degrades each by SCALE, and writes TFRecords to
    OUT/x<SCALE>/Training and OUT/x<SCALE>/Validation, which never show the same place.

    \b
    Example:
      geosr dataset scenes/*.tif out/ --scale 2 --size 96
    """
    options.set_verbosity(verbose, quiet)
    from geosr import dataset as job
    from geosr import pools

    paths = [
        path for name in scenes for path in (options.rasters_in(Path(name), ext) if Path(name).is_dir() else [name])
    ]
    if not paths:
        raise click.ClickException(f"no .{ext.lstrip('.')} files in {', '.join(scenes)}; name another kind with --ext")
    temporary = [first_made(out) or job.draft_of(out / f"x{scale}")]
    with (
        options.ending() as end,
        pools.threads(jobs) as pool,
        options.progress("dataset", "tiles", quiet=bool(quiet), end=end, temporary=temporary) as show,
    ):
        made = job.build(
            paths,
            out,
            scale=scale,
            size=size,
            validation=validation,
            seed=seed,
            overwrite=overwrite,
            pool=pool,
            progress=show,
        )
    text = (
        f"{made.training} tiles for training and {made.validation} for validation in {out / f'x{scale}'}; left out: "
        f"{made.invalid} with nodata, {made.guard} between the two"
    )
    events.told(
        {
            "folder": str(out / f"x{scale}"),
            "tiles": {"Training": made.training, "Validation": made.validation},
            "left_out": {"nodata": made.invalid, "guard": made.guard},
        },
        text,
    )
