"""geosr train."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from geosr.cli import options
from geosr.cli.echo import echo
from geosr.cli.progress import progress
from geosr.models import MODELS
from geosr.training.options import Options


@click.command()
@click.argument("data", type=click.Path(path_type=Path))
@click.argument("runs", type=click.Path(path_type=Path))
@options.of(
    Options,
    ("scale", "-s"),
    ("model", "-m"),
    "bands",
    "epochs",
    "batch",
    "crop",
    "optimizer",
    "rate",
    "schedule",
    "warmup",
    "loss",
    "clip",
    "decay",
    "average",
    "precision",
    "parallel",
    "mtf",
    "noise",
    "jpeg",
    "bits",
    "fine_tune",
    model={"type": click.Choice(sorted(MODELS))},
    bands={"type": click.IntRange(1)},
    mtf={"type": options.Pair()},
    noise={"type": options.Pair()},
    jpeg={"type": options.Numbers("MIN,MAX", int)},
    bits={"type": options.Numbers("N,N,...", int)},
    average={"type": click.FloatRange(0, 1, max_open=True)},
    fine_tune={"metavar": "MODEL"},
)
@click.option(
    "--restore",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Checkpoint to resume from; the newest in RUNS by default.",
)
@click.option(
    "--options",
    "file",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="A YAML or JSON file of these options, as a run writes it; the command line overrides it.",
)
@options.restart
@options.of(Options, "seed")
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
    **values: Any,
) -> None:
    """Train a network on a set built by geosr dataset.

    Writes RUNS/x<SCALE>/<MODEL>_x<SCALE>.keras, its options to options.json, a checkpoint after each epoch to ckpts,
    and TensorBoard logs to Log. The same command resumes an interrupted run after its last epoch. KERAS_BACKEND=jax
    or torch trains without TensorFlow.

    \b
    Example:
      geosr train out/ runs/ --scale 2 --model span --epochs 50
    """
    options.set_verbosity(verbose, quiet)
    from geosr.training import job

    if file:
        ctx = click.get_current_context()
        explicit = {name for name in values if ctx.get_parameter_source(name) == ParameterSource.COMMANDLINE}
        stored = _check(ctx, file, job.read_options(file))
        values |= {name: value for name, value in stored.items() if name not in explicit}
    with (
        options.ending(),
        progress("train", "steps", quiet=bool(quiet), each=values["batch"], each_unit="examples") as show,
    ):
        network = job.train(
            data,
            runs,
            Options(**values),
            restore=restore,
            restart=restart,
            report=None if quiet else _report,
            progress=show,
        )
    echo(network)
    if not quiet:
        files = sorted(path.name for path in network.parent.glob(f"{network.stem}.*"))
        echo(f"written: {', '.join(files)} in {network.parent}", err=True)


def _check(ctx: click.Context, path: Path, stored: dict[str, Any]) -> dict[str, Any]:
    """Return the options of a file, converted and checked like those of the command line."""
    parameters, defaults = {parameter.name: parameter for parameter in ctx.command.params}, asdict(Options())
    converted = {}
    for name, value in stored.items():
        try:
            # As text, since an option for whole numbers would turn 4.7 into 4.
            ranges = isinstance(value, list) and isinstance(parameters[name].type, options.Numbers)
            text = ",".join(map(str, value)) if ranges else str(value)
            converted[name] = parameters[name].process_value(ctx, None if value is None else text)
            if converted[name] is None and defaults[name] is not None:
                raise click.BadParameter("it has no value")
        except (click.BadParameter, TypeError) as error:
            reason = error.message if isinstance(error, click.BadParameter) else f"{value!r} is not a value for it"
            raise click.ClickException(f"{os.fspath(path)!r}: {name}: {reason}") from error
    return converted


def _report(epoch: int, epochs: int, log: Mapping[str, float]) -> None:
    text = f"epoch {epoch} of {epochs}: loss {log['loss']:.4f}"
    if "val_psnr" in log:
        text += (
            f", validation PSNR {log['val_psnr']:.2f} dB (bicubic {log['val_psnr_bicubic']:.2f}), "
            f"SSIM {log['val_ssim_score']:.4f} (bicubic {log['val_ssim_score_bicubic']:.4f})"
        )
    echo(text, err=True)
