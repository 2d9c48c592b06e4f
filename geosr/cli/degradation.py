"""The options that choose a degradation, which several commands may share; the library is not loaded for their help."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

if TYPE_CHECKING:
    from geosr.rasters.degradation import Degradation

STEPS = ("bicubic", "mtf", "noise", "quantise")
SENSORS = (
    "sentinel2-10m",
    "sentinel2-20m",
    "sentinel2-60m",
    "landsat8",
    "quickbird",
    "ikonos",
    "geoeye1",
    "worldview2",
    "worldview3",
)


class Chain(click.ParamType):  # type: ignore[type-arg,unused-ignore]
    """Steps of a degradation with + between: mtf+noise."""

    name = "STEP[+STEP...]"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if isinstance(value, tuple):
            return value
        from geosr.rasters.degradation import Degradation

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
        from geosr.rasters.degradation import SENSORS as KNOWN
        from geosr.rasters.degradation import Degradation

        if value in KNOWN:
            return KNOWN[value]
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
        from geosr.rasters.degradation import Degradation

        try:
            shot, read = (float(part) for part in value.split(","))
            Degradation(noise=(shot, read))
        except ValueError:
            self.fail(f"must be two parts of the range with a comma between, as 0.01,0.002, got {value!r}", param, ctx)
        return shot, read


def options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds --degradation, --mtf, --noise and --bits to a command."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def chosen(values: dict[str, Any]) -> Degradation:
    """The degradation of the four options, which are taken out of the values of a command.

    Raises:
        click.UsageError: a setting was given of a step that is not taken.
    """
    from geosr.rasters.degradation import Degradation

    ctx = click.get_current_context()
    for name, step in (("mtf", "mtf"), ("noise", "noise"), ("bits", "quantise")):
        if ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE and step not in values["degradation"]:
            taken = "+".join(values["degradation"])
            raise click.UsageError(f"--{name} needs --degradation with the step {step}, got {taken}", ctx)
    return Degradation(*(values.pop(name) for name in ("degradation", "mtf", "noise", "bits")))


_OPTIONS = (
    click.option(
        "--degradation",
        type=Chain(),
        default="bicubic",
        show_default=True,
        help=f"How tiles are made small: {', '.join(STEPS)}; the first two shrink, the others may follow, as "
        "mtf+noise.",
    ),
    click.option(
        "--mtf",
        type=Transfer(),
        default="0.3",
        show_default=True,
        help="Modulation transfer at the Nyquist frequency of the small image, of all bands or each; or a sensor: "
        f"{', '.join(SENSORS)}.",
    ),
    click.option(
        "--noise",
        type=Deviations(),
        default="0.01,0.002",
        show_default=True,
        help="Standard deviations of noise, in parts of the scene's range: at its top, growing with the root of the "
        "signal, and everywhere.",
    ),
    click.option(
        "--bits", type=click.IntRange(1, 16), default=8, show_default=True, help="Quantise the range to 2^BITS levels."
    ),
)
