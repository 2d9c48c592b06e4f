"""geosr compare."""

from __future__ import annotations

import math
import shlex
import webbrowser
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from geosr.cli import options
from geosr.cli.echo import echo
from geosr.superresolve.options import Options

if TYPE_CHECKING:
    from geosr.quality.comparison import Comparison


@click.command()
@click.argument("before", metavar="SCENE")
@click.argument("results", metavar="RESULT...", nargs=-1, required=True)
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="The page, an HTML file.")
@click.option("--truth", metavar="FILE", help="A raster with the pixels of RESULT, to score against.")
@click.option("--windows", type=click.IntRange(1, 64), default=8, show_default=True, help="Number of places shown.")
@options.of(Options, ("bands", "-b"))
@options.rgb
@click.option("--png", is_flag=True, help="Also write a picture of the places, beside the page: NAME.png.")
@click.option("--open", "opened", is_flag=True, help="Open the page in the browser.")
@options.as_json
@options.overwrite
@options.no_remote
@options.verbose
@options.quiet
def compare(
    before: str,
    results: tuple[str, ...],
    output: Path,
    truth: str | None,
    windows: int,
    bands: tuple[int | str, ...] | None,
    rgb: tuple[int | str, ...] | None,
    png: bool,
    opened: bool,
    as_json: bool,
    overwrite: bool,
    verbose: int,
    quiet: int,
) -> None:
    """Make a page that shows RESULT beside SCENE, of which it was made.

    The page is one file that needs no network. It shows the most detailed places of the scene with a divider to drag:
    the pixels of the input, their bicubic interpolation, each RESULT, and the truth if one is given. Below are scores,
    the errors of the results shrunk back, and spectra. Colours are chosen by the names of the bands; --bands and --rgb
    name those of the first RESULT.

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
        check_output(path, (before, *results, truth), overwrite=overwrite)
    comparison = compare_rasters(
        before, *results, truth=truth, windows=windows, bands=bands, rgb=rgb, command=_command(before, results, truth)
    )
    write_file(output, page.page(comparison).encode())
    if png:
        write_file(picture, page.sheet(comparison))
    _report(comparison, output, as_json=as_json)
    if not quiet:
        echo(f"written: {output}{f', {picture}' if png else ''}", err=True)
    if opened and not webbrowser.open(output.resolve().as_uri()):
        echo(f"no browser could be started; open {output} yourself", err=True)


def _command(before: str, results: tuple[str, ...], truth: str | None) -> str:
    """Return the command by which the same page is made, without the folders of this machine."""
    names = [Path(path).name for path in (before, *results)]
    return shlex.join(["geosr", "compare", *names, *(("--truth", Path(truth).name) if truth else ())])


def _report(comparison: Comparison, output: Path, *, as_json: bool) -> None:
    """Print the verdict and the scores."""
    totals = {name: dict(zip(comparison.names, values, strict=True)) for name, values in comparison.totals.items()}
    if as_json:
        report: dict[str, Any] = {
            "output": str(output),
            "places": len(comparison.places),
            "verdict": comparison.verdict,
            "scores": totals,
        }
        options.echo_json(report)
        return
    echo(comparison.verdict)
    for name, scores in totals.items():
        texts = ", ".join(f"{side} {value:.4g}" for side, value in scores.items() if not math.isnan(value))
        echo(f"{name:<16} {texts}")
