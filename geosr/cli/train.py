"""geosr train."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from geosr.cli import options


@click.command()
@click.argument("data", type=click.Path(path_type=Path))
@click.argument("runs", type=click.Path(path_type=Path))
@click.option(
    "-s", "--scale", type=click.IntRange(2, 8), default=2, show_default=True, help="Scale of the set and the network."
)
@click.option("-m", "--model", type=click.Choice(["idn"]), default="idn", show_default=True, help="Architecture.")
@click.option(
    "--bands",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="Bands that the network takes; 1 makes one for any raster.",
)
@click.option(
    "--epochs",
    type=click.IntRange(1),
    default=50,
    show_default=True,
    help="Passes over the training tiles; the learning rate falls to 0 over all of them, so choose before you begin.",
)
@click.option("--batch", type=click.IntRange(1), default=16, show_default=True, help="Samples in a step.")
@click.option(
    "--crop", type=click.IntRange(8), default=48, show_default=True, help="Rows and columns of the network's input."
)
@click.option(
    "--rate", type=click.FloatRange(0, min_open=True), default=1e-3, show_default=True, help="Highest learning rate."
)
@click.option("--loss", type=click.Choice(["l1", "ssim"]), default="l1", show_default=True, help="What is minimised.")
@click.option(
    "--precision",
    type=click.Choice(["float32", "mixed_bfloat16"]),
    default="float32",
    show_default=True,
    help="Of the training; mixed_bfloat16 is 2 to 3 times faster on processors with AMX. The result is float32.",
)
@click.option(
    "--start",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="A .keras file to begin with; of another scale too.",
)
@click.option(
    "--restore",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Checkpoint to go on from; the newest in RUNS by default.",
)
@options.restart
@options.seed
@options.verbose
@options.quiet
def train(
    data: Path,
    runs: Path,
    restart: bool,
    start: Path | None,
    restore: Path | None,
    verbose: int,
    quiet: int,
    **chosen: Any,
) -> None:
    """Train a network on a set that geosr dataset made.

    Writes RUNS/x<SCALE>/<MODEL>_x<SCALE>.keras, a checkpoint after each epoch to ckpts, and TensorBoard logs to
    Log. A run that was interrupted goes on after its last epoch when the same command is given again.

    \b
    Example:
      geosr train out/ runs/ --scale 2 --model idn --epochs 50
    """
    options.set_verbosity(verbose, quiet)
    from geosr import train as job

    made = job.train(
        data,
        runs,
        job.Options(**chosen),
        start=start,
        restore=restore,
        restart=restart,
        report=None if quiet else _report,
    )
    click.echo(made)


def _report(epoch: int, epochs: int, log: Mapping[str, float]) -> None:
    text = f"epoch {epoch} of {epochs}: loss {log['loss']:.4f}"
    if "val_psnr" in log:
        text += f", validation PSNR {log['val_psnr']:.2f} dB (bicubic {log['val_psnr_bicubic']:.2f})"
    click.echo(text, err=True)
