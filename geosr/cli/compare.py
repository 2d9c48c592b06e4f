"""geosr compare."""

from __future__ import annotations

import math
from pathlib import Path

import click

from geosr.cli import options
from geosr.superresolve.options import Options


@click.command()
@click.argument("before", metavar="BEFORE")
@click.argument("after", metavar="AFTER")
@click.argument("truth", metavar="[TRUTH]", required=False)
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="The page, an HTML file.")
@click.option("--windows", type=click.IntRange(1, 64), default=8, show_default=True, help="Number of windows shown.")
@options.of(Options, ("bands", "-b"), bands={"type": options.BandNumbers()})
@click.option("--png", is_flag=True, help="Also write a picture of the windows, beside the page: NAME.png.")
@options.as_json
@options.overwrite
@options.verbose
@options.quiet
def compare(
    before: str,
    after: str,
    truth: str | None,
    output: Path,
    windows: int,
    bands: tuple[int, ...] | None,
    png: bool,
    as_json: bool,
    overwrite: bool,
    verbose: int,
    quiet: int,
) -> None:
    """Make a page that shows AFTER beside BEFORE, of which it was made.

    The page is one file that needs no network: a divider to drag between the input, enlarged by bicubic interpolation,
    and the result, the errors of the result shrunk back, spectra and scores, in the most detailed windows of the scene.
    TRUTH is a raster with the pixels of AFTER, to be compared with. --bands are those of AFTER; red, green and blue
    first, or the first three, are its colours.

    \b
    Example:
      geosr compare scene.tif scene_x2.tif -o report.html
    """
    options.set_verbosity(verbose, quiet)
    from geosr.files import check_output, write_file
    from geosr.quality import page
    from geosr.quality.compare import compare_rasters

    picture = output.with_suffix(".png")
    if png and picture == output:
        raise click.BadParameter("the page and its picture would be one file; give the page another ending")
    for path in (output, picture) if png else (output,):
        check_output(path, (before, after, truth), overwrite=overwrite)
    comparison = compare_rasters(before, after, truth, windows=windows, bands=bands)
    write_file(output, page.page(comparison).encode())
    if png:
        write_file(picture, page.sheet(comparison))
    totals = {name: dict(zip(comparison.names, values, strict=True)) for name, values in comparison.totals.items()}
    if as_json:
        options.echo_json({"output": str(output), "places": len(comparison.places), "scores": totals})
        return
    for name, scores in totals.items():
        texts = ", ".join(f"{side} {value:.4g}" for side, value in scores.items() if not math.isnan(value))
        click.echo(f"{name:<16} {texts}")
    if not quiet:
        click.echo(f"written: {output}{f', {picture}' if png else ''}", err=True)
