"""geosr dataset, which makes a training set, and its sub-commands, which look at one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from geosr.cli import degradation, events, options
from geosr.cli.echo import echo
from geosr.cli.ending import missing
from geosr.cli.progress import progress
from geosr.dataset.options import Options
from geosr.files import json_text, plural

if TYPE_CHECKING:
    from geosr.dataset.storage import Summary


class Sets(click.Group):
    """A group that makes a set of whatever is not the name of one of its commands."""

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        if args and args[0] in self.commands:
            return super().make_context(info_name, args, parent, **extra)
        return build.make_context(info_name, args, parent, **extra)


@click.group(cls=Sets)
def dataset() -> None:
    """Build a training set from scenes."""


@click.command(
    epilog="""Commands:

\b
  geosr dataset info OUT               tell what is in a set
  geosr dataset audit OUT              tell whether its splits share ground or pictures
  geosr dataset preview OUT SHEET      draw tiles of a set
  geosr dataset convert OLD... OUT     read the sets of the original program

A folder of scenes with such a name is ./info."""
)
@click.argument("scenes", nargs=-1, required=True, metavar="SCENES...")
@click.argument("out", type=click.Path(path_type=Path))
@options.of(
    Options,
    ("scale", "-s"),
    "size",
    ("bands", "-b"),
    "nodata_in",
    "each_band",
    ("dtype", "-t"),
    size={"type": click.IntRange(16)},
)
@degradation.options
@options.of(Options, "split", "validation", "test", "block", "aoi", "exclude", "min_valid", "min_variance", "max_tiles")
@options.of(Options, "format", "bic_up", "gzip", bic_up={"show_default": False})
@options.extension
@options.of(Options, "seed")
@options.jobs
@options.dask
@options.as_json
@options.overwrite
@options.restart
@options.supervised
@options.no_remote
@options.verbose
@options.quiet
def build(
    scenes: tuple[str, ...],
    out: Path,
    ext: str,
    jobs: int,
    dask: str | None,
    as_json: bool,
    overwrite: bool,
    restart: bool,
    verbose: int,
    quiet: int,
    **values: Any,
) -> None:
    """Build a training set from scenes.

    Cuts SCENES (files, folders of them, quoted patterns as 'scenes/**/*.tif', VRTs, /vsi paths) into tiles, degrades
    each by SCALE, and writes TFRecords, or what --format names, to OUT/x<SCALE>/Training and OUT/x<SCALE>/Validation,
    which never show the same place. An interrupted run continues when the same command is given again.

    \b
    Example:
      geosr dataset scenes/*.tif out/ --scale 2 --size 96
    """
    options.set_verbosity(verbose, quiet)
    from geosr import pools
    from geosr.dataset import job
    from geosr.parts import leftovers

    paths = options.rasters(scenes, ext)
    settings = Options(degradation=degradation.taken(values), **values)
    with (
        options.ending() as end,
        pools.pool(dask, jobs) as pool,
        progress(
            "dataset",
            "tiles",
            quiet=bool(quiet),
            end=end,
            temporary=leftovers(out / f"x{settings.scale}"),
            created=missing(out),
        ) as show,
    ):
        summary = job.build(paths, out, settings, overwrite=overwrite, restart=restart, pool=pool, progress=show)
    _report(summary, as_json)


@dataset.command()
@click.argument("out", type=click.Path(path_type=Path))
@options.as_json
def info(out: Path, as_json: bool) -> None:
    """Tell what is in a training set.

    \b
    Example:
      geosr dataset info out/
    """
    from geosr.dataset import storage

    summary = storage.summary(out)
    if as_json:
        echo(json_text(summary))
        return
    for line in storage.lines(summary):
        echo(line)


@dataset.command()
@click.argument("out", type=click.Path(path_type=Path))
@options.as_json
@options.quiet
def audit(out: Path, as_json: bool, quiet: int) -> None:
    """Tell whether the splits of a training set share ground or pictures.

    Looks at every sample: where its tile lies, and what it shows, by a hash that gains, offsets, noise and lossy
    compression hardly change. Exit status 1 when two splits have something in common.

    \b
    Example:
      geosr dataset audit out/
    """
    from geosr.dataset.audit import audit_set

    with progress("audit", "tiles", quiet=bool(quiet) or as_json) as show:
        report = audit_set(out, show)
    if as_json:
        echo(json_text(report.told))
    else:
        tiles = ", ".join(f"{count} in {split}" for split, count in report.tiles.items())
        echo(f"{report.folder}: {tiles}")
        _list("share ground", report.overlaps)
        _list("look alike", report.alike)
        if report.nowhere:
            echo(f"{report.nowhere} have no CRS: their ground was compared within each scene alone")
        if report.flat:
            echo(f"{report.flat} show nothing, so that their pictures were not compared")
    if not report.passed:
        raise click.exceptions.Exit(1)


@dataset.command()
@click.argument("out", type=click.Path(path_type=Path))
@click.argument("sheet", type=click.Path(path_type=Path), metavar="SHEET")
@click.option("--tiles", type=click.IntRange(1, 200), default=12, show_default=True, help="Of each split.")
@options.rgb
@options.overwrite
def preview(out: Path, sheet: Path, tiles: int, rgb: tuple[int | str, ...] | None, overwrite: bool) -> None:
    """Draw tiles of a training set beside their degraded and enlarged images.

    SHEET is a page (.html) or a picture (.png, .jpg, .webp, .tif).

    \b
    Example:
      geosr dataset preview out/ sheet.html
    """
    from geosr.dataset.preview import draw_sheet

    draw_sheet(out, sheet, tiles=tiles, rgb=rgb, overwrite=overwrite)
    echo(sheet)


@dataset.command()
@click.argument("old", nargs=-1, required=True, metavar="OLD...")
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--size", type=click.IntRange(2), required=True, help="Rows and columns of a full-resolution tile.")
@click.option(
    "--means", metavar="FILE", help="The means that were taken off; mean_values.pickle beside OLD by default."
)
@click.option("--range", "ends", type=options.Pair(), help="Values of black and white; 0,1 or 0,255 by default.")
@options.jobs
@options.as_json
@options.overwrite
@options.restart
@options.quiet
def convert(
    old: tuple[str, ...],
    out: Path,
    size: int,
    means: str | None,
    ends: tuple[float, float] | None,
    jobs: int,
    as_json: bool,
    overwrite: bool,
    restart: bool,
    quiet: int,
) -> None:
    """Convert training sets of the original program.

    OLD are TFRecord files, or folders of them, whose records are three raw float32 images less their means. Bands and
    scale follow from SIZE. Files in a folder called Validation validate, the others train. Nothing in FILE is run.

    \b
    Example:
      geosr dataset convert old/x2/ out/ --size 96
    """
    from geosr import pools
    from geosr.dataset.convert import convert_sets

    with (
        options.ending(),
        pools.threads(jobs) as pool,
        progress("convert", "parts", quiet=bool(quiet)) as show,
    ):
        summary = convert_sets(
            old,
            out,
            size=size,
            means=means,
            range=ends,
            overwrite=overwrite,
            restart=restart,
            pool=pool,
            progress=show,
        )
    _report(summary, as_json)


def _report(summary: Summary, as_json: bool) -> None:
    values = {"folder": str(summary.folder), "tiles": dict(summary.tiles), "left_out": dict(summary.left_out)}
    tiles = " and ".join(f"{plural(count, 'tile')} for {split.lower()}" for split, count in summary.tiles.items())
    events.result(values, f"{tiles} in {summary.folder}; left out: {summary.reasons}", as_json=as_json)


def _list(what: str, pairs: Sequence[Any]) -> None:
    """Print the first pairs, and their number."""
    if not pairs:
        echo(f"no two of different splits {what}")
        return
    echo(f"{len(pairs)} pairs of different splits {what}:")
    for pair in pairs[:10]:
        echo(f"  {pair.one}  {pair.other}  {pair.share:.0%}")
    if len(pairs) > 10:
        echo(f"  and {len(pairs) - 10} more (--json lists all)")
