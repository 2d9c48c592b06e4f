"""geosr verify."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path

import click

from geosr.cli import options


@click.command()
@click.argument("source", metavar="INPUT")
@click.argument("output", type=click.Path(path_type=Path))
@click.option("-m", "--model", help="The model file that made OUTPUT, if it is not a shipped model.")
@click.option("--trust", is_flag=True, help="Load a SavedModel, or a .keras file with code in it.")
@click.option("--windows", type=click.IntRange(1), default=16, show_default=True, help="Random windows to look at.")
@options.seed
@options.as_json
@options.verbose
@options.quiet
def verify(
    source: str,
    output: Path,
    model: str | None,
    trust: bool,
    windows: int,
    seed: int,
    as_json: bool,
    verbose: int,
    quiet: int,
) -> None:
    """Tell whether OUTPUT is what it claims to be: INPUT super-resolved.

    Compares bounds, CRS and metadata; computes random windows again, with other tiles; measures by phase correlation
    whether the picture has moved, shrinks it back and compares it with INPUT; compares the share of invalid pixels.
    Exit status 1 when something is off.

    \b
    Example:
      geosr verify scene.tif scene_x2.tif
    """
    options.set_verbosity(verbose, quiet)
    from geosr.quality.verify import verify as look_at

    report = look_at(source, output, model=model, windows=windows, seed=seed, trust=trust)
    if as_json:
        click.echo(json.dumps({**options.for_json(asdict(report)), "ok": report.ok}))
    else:
        click.echo(f"{report.output}: x{report.scale} of {report.input}, {report.model or 'made by another program'}")
        for check in report.checks:
            click.echo(f"  {'ok ' if check.ok else 'OFF'} {check.name:<15} {check.told}")
    if not report.ok:
        sys.exit(1)
