"""What a command tells another program with --progress json: one object a line on stdout.

start     the command and its version, before anything else
progress  done of total, in a unit; the first of a job names what is to be removed if the process has to be killed
          from then on: `temporary`, files and folders that go whole, and then `made`, folders that go only when they
          are empty, in this order
warning   a text for people
result    what was made, when all is well
error     a text for people; the last line
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping

import click

from geosr import __version__

KEY = "geosr.progress"
"""Of the choice in a click context."""
CHOICES = ("text", "json")


def wanted() -> bool:
    """Whether the command that runs is to tell what it does as events."""
    ctx = click.get_current_context(silent=True)
    return ctx is not None and ctx.meta.get(KEY) == "json"


def begin(command: str) -> None:
    """Writes the first line, and has what is logged from now on become events."""
    logging.getLogger().handlers[:] = [Warnings()]
    emit("start", command=command, version=__version__)


def emit(event: str, **told: object) -> None:
    """Writes a line, at once."""
    click.echo(json.dumps({"event": event, **told}))


def told(result: Mapping[str, object], text: str = "", *, as_json: bool = False) -> None:
    """Tells the result in the way that was asked for: as an event, as JSON, or as a text for people."""
    if wanted():
        emit("result", **result)
    elif as_json or text:
        click.echo(json.dumps(result) if as_json else text)


def warn(text: str) -> None:
    """Tells what the user should know of, where it is read."""
    if wanted():
        emit("warning", text=text)
    else:
        click.echo(text, err=True)


class Warnings(logging.Handler):
    """Makes events of the warnings that are logged; what is logged beside them goes to stderr."""

    def emit(self, record: logging.LogRecord) -> None:
        text = " ".join(record.getMessage().split())
        if record.levelno >= logging.WARNING:
            emit("warning", text=text)
        else:
            click.echo(f"{record.levelname}: {text}", err=True)
