"""geosr train."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from geosr import models
from geosr.cli import options


@click.command()
@click.argument("data", type=click.Path(path_type=Path))
@click.argument("runs", type=click.Path(path_type=Path))
@click.option(
    "-s", "--scale", type=click.IntRange(2, 8), default=2, show_default=True, help="Scale of the set and the network."
)
@click.option(
    "-m",
    "--model",
    type=click.Choice(sorted(models.MODELS)),
    default=models.DEFAULT,
    show_default=True,
    help="Architecture.",
)
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
    "--optimizer",
    type=click.Choice(["muon", "adamw"]),
    default="muon",
    show_default=True,
    help="muon learns more in a step, most of all from random weights.",
)
@click.option(
    "--rate", type=click.FloatRange(0, min_open=True), default=1e-3, show_default=True, help="Highest learning rate."
)
@click.option(
    "--schedule",
    type=click.Choice(["cosine", "step", "constant"]),
    default="cosine",
    show_default=True,
    help="How the learning rate falls; step halves it after 50, 75, 90 and 95 % of the steps.",
)
@click.option(
    "--warmup",
    type=click.FloatRange(0, 1),
    default=0.02,
    show_default=True,
    help="Share of the steps in which the learning rate rises from 0.",
)
@click.option(
    "--loss",
    default="l1",
    show_default=True,
    help="What is minimised: l1, l2, charbonnier, ssim, ms-ssim, or a sum of them, as l1+0.1*ssim.",
)
@click.option(
    "--clip",
    type=click.FloatRange(0),
    default=1.0,
    show_default=True,
    help="Largest norm of a weight's gradient; 0: any.",
)
@click.option("--decay", type=click.FloatRange(0), default=0.0, show_default=True, help="Weight decay, times the rate.")
@click.option(
    "--average",
    type=click.FloatRange(0, 1, max_open=True),
    default=0.99,
    show_default=True,
    help="Of the moving average of the weights, which is what is kept; 0: the last weights are.",
)
@click.option(
    "--precision",
    type=click.Choice(["float32", "mixed_bfloat16"]),
    default="float32",
    show_default=True,
    help="Of the training; mixed_bfloat16 is 2 to 3 times faster on GPUs and on processors with AMX. The result is "
    "float32.",
)
@click.option("--parallel", is_flag=True, help="Share each batch among all devices (KERAS_BACKEND=jax).")
@click.option(
    "--fine-tune", metavar="MODEL", help="Begin with a shipped model, or a .keras file; of another scale too."
)
@click.option(
    "--restore",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Checkpoint to go on from; the newest in RUNS by default.",
)
@click.option(
    "--options",
    "file",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="A YAML or JSON file of these options, as a run writes it; those on the command line come before it.",
)
@options.restart
@options.seed
@options.verbose
@options.quiet
def train(
    data: Path,
    runs: Path,
    restart: bool,
    restore: Path | None,
    file: Path | None,
    verbose: int,
    quiet: int,
    **chosen: Any,
) -> None:
    """Train a network on a set that geosr dataset made.

    Writes RUNS/x<SCALE>/<MODEL>_x<SCALE>.keras, its options to options.json, a checkpoint after each epoch to ckpts,
    and TensorBoard logs to Log. A run that was interrupted goes on after its last epoch when the same command is
    given again. KERAS_BACKEND=jax or torch trains without TensorFlow.

    \b
    Example:
      geosr train out/ runs/ --scale 2 --model span --epochs 50
    """
    options.set_verbosity(verbose, quiet)
    from geosr.training import job

    if file:
        ctx = click.get_current_context()
        given = {name for name in chosen if ctx.get_parameter_source(name) == ParameterSource.COMMANDLINE}
        read = _checked(ctx, file, job.read_options(file))
        chosen |= {name: value for name, value in read.items() if name not in given}
    with (
        options.ending(),
        options.progress("train", "steps", quiet=bool(quiet), each=chosen["batch"], each_unit="examples") as show,
    ):
        made = job.train(
            data,
            runs,
            job.Options(**chosen),
            restore=restore,
            restart=restart,
            report=None if quiet else _report,
            progress=show,
        )
    click.echo(made)


def _checked(ctx: click.Context, path: Path, read: dict[str, Any]) -> dict[str, Any]:
    """The options of a file, converted and refused as those of the command line are."""
    from geosr.training.job import Options

    parameters, defaults = {parameter.name: parameter for parameter in ctx.command.params}, asdict(Options())
    found = {}
    for name, value in read.items():
        try:
            # As text: a whole number's option would take 4.7 for 4.
            found[name] = parameters[name].process_value(ctx, None if value is None else str(value))
            if found[name] is None and defaults[name] is not None:
                raise click.BadParameter("it has no value")
        except (click.BadParameter, TypeError) as error:
            said = error.message if isinstance(error, click.BadParameter) else f"{value!r} is not a value for it"
            raise click.ClickException(f"{os.fspath(path)!r}: {name}: {said}") from error
    return found


def _report(epoch: int, epochs: int, log: Mapping[str, float]) -> None:
    text = f"epoch {epoch} of {epochs}: loss {log['loss']:.4f}"
    if "val_psnr" in log:
        text += (
            f", validation PSNR {log['val_psnr']:.2f} dB (bicubic {log['val_psnr_bicubic']:.2f}), "
            f"SSIM {log['val_ssim_score']:.4f} (bicubic {log['val_ssim_score_bicubic']:.4f})"
        )
    click.echo(text, err=True)
