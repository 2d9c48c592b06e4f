"""geosr superresolve."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from geosr.cli import options
from geosr.errors import GeosrError


@click.command()
@click.argument("source", metavar="INPUT")
@click.argument("output", type=click.Path(path_type=Path))
@options.scale
@click.option("-m", "--model", default="idn", show_default=True, help="bicubic, a shipped model, or a .keras file.")
@options.bands
@click.option(
    "--bands-mode",
    type=click.Choice(["auto", "each", "luma"]),
    default="auto",
    show_default=True,
    help="How a network of one band treats several: each by itself, or the luma of red, green and blue "
    "alone (three times cheaper; for photographs). auto is each.",
)
@click.option(
    "--alpha",
    type=click.Choice(["auto", "band", "mask"]),
    default="auto",
    show_default=True,
    help="How to take a band called alpha: as transparency, or as a band (near infrared often is called so).",
)
@click.option(
    "--range", "values", type=options.Pair(), help="Values that become 0 and 1 for the network, of every band."
)
@click.option(
    "-t",
    "--dtype",
    type=click.Choice(["uint8", "uint16", "int16", "uint32", "int32", "float32", "float64"]),
    help="Data type of the output; the input's by default. Values saturate, they are not scaled.",
)
@click.option("--nodata", type=float, help="Nodata value of the output; the input's by default.")
@click.option(
    "--ext",
    default="tif",
    show_default=True,
    help="Of the files to take when INPUT is a folder, without its subfolders; tif takes .tiff too.",
)
@click.option(
    "--tile", type=click.IntRange(16), help="Rows and columns of a tile; chosen from the raster's size by default."
)
@click.option("--batch", type=click.IntRange(1), default=1, show_default=True, help="Tiles in a task.")
@options.creation
@options.jobs
@options.overwrite
@options.restart
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
    if not Path(source).is_dir():
        _one(source, output, **chosen)
        return
    failed = []
    paths = options.rasters_in(Path(source), chosen["ext"])
    if not paths:
        raise click.ClickException(f"no .{chosen['ext'].lstrip('.')} files in {source!r}; name another kind with --ext")
    if not output.is_dir() and (output.exists() or output.suffix.lower() in (".tif", ".tiff")):
        raise click.ClickException(f"{str(output)!r} is a file's name, but INPUT is a folder; name a folder")
    output.mkdir(parents=True, exist_ok=True)
    for path in paths:
        try:
            _one(str(path), output / _tiff_name(path), skip_done=True, **chosen)
        except GeosrError as error:
            failed.append(path)
            click.echo(f"Error: {error}", err=True)
    if failed:
        raise click.ClickException(f"{len(failed)} of {len(paths)} rasters failed")


def _one(
    source: str,
    output: Path,
    *,
    values: tuple[float, float] | None,
    ext: str,
    jobs: int,
    quiet: int,
    overwrite: bool,
    restart: bool,
    skip_done: bool = False,
    **chosen: Any,
) -> None:
    from geosr import pools
    from geosr.superresolve import Options, check, is_done, plan, write

    asked = Options(range=values, **chosen)
    if skip_done and output.exists() and not overwrite and is_done(plan(source, asked), output):
        if not quiet:
            click.echo(f"{Path(source).name}: done already", err=True)
        return
    check(source, output, overwrite=overwrite)
    job = plan(source, asked)
    tile_megapixels = job.profile.width * job.profile.height / len(job.grid) / 1e6
    with (
        pools.threads(jobs) as pool,
        options.progress(
            Path(source).name, "tiles", quiet=bool(quiet), each=tile_megapixels, each_unit="output Mpx"
        ) as show,
    ):
        write(job, output, restart=restart, pool=pool, progress=show)


def _tiff_name(path: Path) -> str:
    return path.name if path.suffix.lower() in (".tif", ".tiff") else f"{path.stem}.tif"
