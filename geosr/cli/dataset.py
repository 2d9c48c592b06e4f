"""geosr dataset, which makes a training set, and its sub-commands, which look at one."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from geosr.cli import degradation, events, options
from geosr.cli.ending import missing

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
  geosr dataset preview OUT SHEET.png  draw tiles of a set
  geosr dataset convert OLD... OUT     read the sets of the original program

A folder of scenes with such a name is ./info."""
)
@click.argument("scenes", nargs=-1, required=True, metavar="SCENES...")
@click.argument("out", type=click.Path(path_type=Path))
@click.option(
    "-s", "--scale", type=click.IntRange(2, 8), default=2, show_default=True, help="Factor between the two resolutions."
)
@click.option(
    "--size", type=click.IntRange(16), default=96, show_default=True, help="Rows and columns of a full-resolution tile."
)
@options.bands
@click.option(
    "--each-band", is_flag=True, help="Make every band a sample of its own; scenes may differ in their bands."
)
@click.option(
    "-t",
    "--dtype",
    type=options.DTYPES,
    help="Data type that holds the values of all scenes, as they are; theirs by default, if they have one.",
)
@degradation.options
@click.option(
    "--split",
    type=click.Choice(["scene", "block"]),
    default="scene",
    show_default=True,
    help="Keep scenes whole, or cut the ground into blocks. Scenes of one place stay together.",
)
@click.option(
    "--validation",
    type=click.FloatRange(0, 0.9),
    default=0.1,
    show_default=True,
    help="Share of the tiles kept for validation.",
)
@click.option(
    "--test", type=click.FloatRange(0, 0.9), default=0.0, show_default=True, help="Share of the tiles kept for a test."
)
@click.option(
    "--block", type=click.IntRange(1), help="Rows and columns of a block, in pixels.  [default: those of 8 tiles]"
)
@click.option("--aoi", metavar="FILE", help="Take only tiles wholly inside the polygons of a vector file.")
@click.option("--exclude", metavar="FILE", help="Take no tile that touches the polygons of a vector file.")
@click.option(
    "--min-valid",
    type=click.FloatRange(0, 1),
    default=0.95,
    show_default=True,
    help="Share of a tile's pixels that are not nodata; the others get the value of the nearest valid one, as in "
    "superresolve.",
)
@click.option(
    "--min-variance",
    type=click.FloatRange(0),
    default=0.0,
    show_default=True,
    help="Variance of a tile's values as parts of its scene's range; 0.0001 is a standard deviation of 1 % of it, and "
    "drops still water and even clouds.",
)
@click.option("--max-tiles", type=click.IntRange(1), help="Take that many by chance.")
@click.option("--bic-up/--no-bic-up", default=True, help="Keep the enlarged image too, or make it while reading.")
@click.option("--gzip", is_flag=True, help="Compress the shards; TensorFlow Datasets does not read them then.")
@options.extension
@options.seed
@options.jobs
@options.dask
@options.as_json
@options.overwrite
@options.restart
@options.supervised
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
    **chosen: Any,
) -> None:
    """Build a training set from scenes.

    Cuts SCENES (files, folders of them, quoted patterns as 'scenes/**/*.tif', VRTs, /vsi paths) into tiles, degrades
    each by SCALE, and writes TFRecords to OUT/x<SCALE>/Training and OUT/x<SCALE>/Validation, which never show the same
    place. An interrupted run goes on where it stopped when the same command is given again.

    \b
    Example:
      geosr dataset scenes/*.tif out/ --scale 2 --size 96
    """
    options.set_verbosity(verbose, quiet)
    from geosr.dataset import job
    from geosr.parts import leftovers

    paths = options.rasters(scenes, ext)
    with (
        options.ending() as end,
        options.pool(dask, jobs) as pool,
        options.progress(
            "dataset",
            "tiles",
            quiet=bool(quiet),
            end=end,
            temporary=leftovers(out / f"x{chosen['scale']}"),
            made=missing(out),
        ) as show,
    ):
        made = job.build(
            paths,
            out,
            degradation=degradation.chosen(chosen),
            overwrite=overwrite,
            restart=restart,
            pool=pool,
            progress=show,
            **chosen,
        )
    _say(made, as_json)


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

    found = storage.summary(out)
    if as_json:
        click.echo(json.dumps(found, indent=1))
        return
    for line in storage.lines(found):
        click.echo(line)


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
    from geosr.dataset import audit as job

    with options.progress("audit", "tiles", quiet=bool(quiet) or as_json) as show:
        found = job.audit(out, show)
    if as_json:
        click.echo(json.dumps(found.told, indent=1))
    else:
        tiles = ", ".join(f"{count} in {split}" for split, count in found.tiles.items())
        click.echo(f"{found.folder}: {tiles}")
        _list("share ground", found.overlaps)
        _list("look alike", found.alike)
        if found.nowhere:
            click.echo(f"{found.nowhere} have no CRS: their ground was compared within each scene alone")
        if found.flat:
            click.echo(f"{found.flat} show nothing, so that their pictures were not compared")
    if not found.passed:
        raise click.exceptions.Exit(1)


@dataset.command()
@click.argument("out", type=click.Path(path_type=Path))
@click.argument("sheet", type=click.Path(path_type=Path), metavar="SHEET.png")
@click.option("--tiles", type=click.IntRange(1, 200), default=12, show_default=True, help="Of each split.")
@options.overwrite
def preview(out: Path, sheet: Path, tiles: int, overwrite: bool) -> None:
    """Draw tiles of a training set beside their degraded and enlarged images.

    \b
    Example:
      geosr dataset preview out/ sheet.png
    """
    from geosr.dataset import preview as job

    job.preview(out, sheet, tiles=tiles, overwrite=overwrite)
    click.echo(sheet)


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
    from geosr.dataset import convert as job

    with (
        options.ending(),
        pools.threads(jobs) as pool,
        options.progress("convert", "parts", quiet=bool(quiet)) as show,
    ):
        made = job.convert(
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
    _say(made, as_json)


def _say(made: Summary, as_json: bool) -> None:
    told = {"folder": str(made.folder), "tiles": dict(made.tiles), "left_out": dict(made.left_out)}
    names = {"Training": "training", "Validation": "validation", "Test": "test"}
    tiles = " and ".join(f"{count} tiles for {names[split]}" for split, count in made.tiles.items())
    events.told(told, f"{tiles} in {made.folder}; left out: {made.told}", as_json=as_json)


def _list(what: str, found: Sequence[Any]) -> None:
    """The first pairs, and how many there are."""
    if not found:
        click.echo(f"no two of different splits {what}")
        return
    click.echo(f"{len(found)} pairs of different splits {what}:")
    for one in found[:10]:
        click.echo(f"  {one.one}  {one.other}  {one.share:.0%}")
    if len(found) > 10:
        click.echo(f"  and {len(found) - 10} more (--json lists all)")
