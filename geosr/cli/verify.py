"""geosr verify."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from geosr.cli import options
from geosr.cli.echo import echo

OUTCOMES = {True: "ok", False: "OFF", None: "skipped"}


@click.command()
@click.argument("source", metavar="INPUT")
@click.argument("output", type=click.Path(path_type=Path))
@click.option("-m", "--model", help="The model file that made OUTPUT, if it is not a shipped model.")
@options.trust
@click.option("--windows", type=click.IntRange(1), default=16, show_default=True, help="Number of random windows.")
@options.seed
@options.as_json
@options.no_remote
@options.verbose
@options.quiet
def verify(source: str, output: Path, as_json: bool, verbose: int, quiet: int, **values: Any) -> None:
    """Check that OUTPUT is what it claims to be: INPUT super-resolved.

    Compares bounds, CRS and metadata; computes random windows again, with other tiles; measures by phase correlation
    how far the picture has moved; shrinks it back and compares it with INPUT; compares the invalid pixels.
    Exit status 1 when a check fails.

    \b
    Example:
      geosr verify scene.tif scene_x2.tif
    """
    options.set_verbosity(verbose, quiet)
    from geosr.quality.verify import verify_output

    report = verify_output(source, output, **values)
    if as_json:
        options.echo_json({**asdict(report), "ok": report.ok})
    else:
        echo(f"{report.output}: x{report.scale} of {report.input}, {report.model or 'made by another program'}")
        for check in report.checks:
            echo(f"  {OUTCOMES[check.ok]:<7} {check.name:<15} {check.told}")
    if not report.ok:
        sys.exit(1)
