"""The options that choose a degradation, which several commands share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click
from click.core import ParameterSource

from geosr.rasters.degradation import STEPS, Degradation
from geosr.rasters.sensors import SENSORS


class Chain(click.ParamType):  # type: ignore[type-arg,unused-ignore]
    """Steps of a degradation with + between: mtf+noise."""

    name = "STEP[+STEP...]"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if isinstance(value, tuple):
            return value
        steps = tuple(step.strip() for step in value.split("+"))
        try:
            Degradation(steps)
        except ValueError as error:
            self.fail(str(error), param, ctx)
        return steps


class Transfer(click.ParamType):  # type: ignore[type-arg,unused-ignore]
    """A sensor's name, or numbers with commas between: 0.3 or 0.26,0.28,0.24,0.26."""

    name = "SENSOR|N,N,..."

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if isinstance(value, tuple):
            return value
        if value in SENSORS:
            return tuple(SENSORS[value].values())
        try:
            gains = tuple(float(part) for part in value.split(","))
            Degradation(("mtf",), mtf=gains)
        except ValueError:
            self.fail(
                f"must be numbers from 0.01 to below 1 with commas between, or one of {', '.join(SENSORS)}; "
                f"got {value!r}",
                param,
                ctx,
            )
        return gains


class Deviations(click.ParamType):  # type: ignore[type-arg,unused-ignore]
    """Two standard deviations with a comma between: 0.01,0.002."""

    name = "SHOT,READ"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if isinstance(value, tuple):
            return value
        try:
            shot, read = (float(part) for part in value.split(","))
            Degradation(noise=(shot, read))
        except ValueError:
            self.fail(f"must be two parts of the range with a comma between, as 0.01,0.002, got {value!r}", param, ctx)
        return shot, read


SETTINGS = {"mtf": "mtf", "noise": "noise", "bits": "quantise"}
"""The step that each setting belongs to."""


def options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add --degradation, --mtf, --noise and --bits to a command."""
    for name, kind, text in reversed(
        (
            (
                "steps",
                Chain(),
                f"How tiles are shrunk: {', '.join(STEPS)}; the first two shrink, the others may follow, as mtf+noise.",
            ),
            (
                "mtf",
                Transfer(),
                "Modulation transfer at the Nyquist frequency of the small image, of all bands or each; or a sensor, "
                "as sentinel2-10m.",
            ),
            (
                "noise",
                Deviations(),
                "Standard deviations of noise, in parts of the scene's range: shot noise at its top, growing with the "
                "root of the signal, and read noise everywhere.",
            ),
            ("bits", click.IntRange(1, 16), "Quantise the range to 2^BITS levels."),
        )
    ):
        default = getattr(Degradation(), name)
        default_text = default if isinstance(default, int) else ",".join(map(str, default))
        spelled = ("--degradation", "degradation") if name == "steps" else (f"--{name}",)
        command = click.option(*spelled, type=kind, default=default_text, show_default=True, help=text)(command)
    return command


def taken(values: dict[str, Any]) -> Degradation:
    """Return the degradation of the four options, which are removed from the values of a command.

    Raises:
        click.UsageError: a setting was given for a step that is not taken.
    """
    ctx, steps = click.get_current_context(), values.pop("degradation")
    for name, step in SETTINGS.items():
        if ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE and step not in steps:
            raise click.UsageError(f"--{name} needs --degradation with the step {step}, got {'+'.join(steps)}", ctx)
    return Degradation(steps, **{name: values.pop(name) for name in SETTINGS})
