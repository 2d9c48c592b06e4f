"""Options are declared once: they are checked, and the command line is made from them."""

from dataclasses import dataclass

import click
import pytest
from click.testing import CliRunner

from geosr.choices import check_options, option
from geosr.cli import options
from geosr.errors import OptionError


@dataclass(frozen=True)
class Options:
    mode: str = option("fast", "How it is done.", choices=("fast", "slow"))
    count: int = option(3, "How many.", least=1, most=9)
    share: float | None = option(None, "A share.", above=0, most=1)
    keep: bool = option(True, "Keep it.")
    dry: bool = option(False, "Do nothing.")

    def __post_init__(self):
        check_options(self)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"mode": "other"}, "mode must be one of fast, slow, got 'other'"),
        ({"count": 0}, "count must be a whole number of 1 or more and at most 9, got 0"),
        ({"count": 2.0}, "count must be a whole number"),
        ({"count": None}, "count must be a whole number"),
        ({"share": 0}, "share must be a number above 0 and at most 1, got 0"),
        ({"share": float("nan")}, "share must be a number above 0"),
    ],
)
def test_values_outside_the_declaration_are_refused(values, message):
    with pytest.raises(OptionError, match=message):
        Options(**values)


def test_the_command_line_has_the_declared_defaults_limits_and_help():
    @click.command()
    @options.of(Options, ("mode", "-m"), "count", "share", "keep", "dry")
    def command(**chosen):
        click.echo(Options(**chosen))

    def run(*args):
        return CliRunner().invoke(command, args)

    assert run().output.strip() == str(Options())
    assert run("-m", "slow", "--share", "0.5", "--no-keep", "--dry").output.strip() == str(
        Options("slow", share=0.5, keep=False, dry=True)
    )
    assert run("--share", "0").exit_code == run("--count", "10").exit_code == run("--mode", "x").exit_code == 2
    shown = " ".join(run("--help").output.split())
    assert "-m, --mode [fast|slow] How it is done. [default: fast]" in shown
