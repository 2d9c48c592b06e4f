"""The events that a command reports to another program with --progress json: one object a line on stdout.

start     the command and its version, before anything else
progress  done of total, in a unit; the first of a job names what is to be removed if the process has to be killed
          from then on: `temporary`, files and folders that go whole, and then `made`, folders that go only when they
          are empty, in this order
warning   a text for people
result    what was written, when all is well
error     a text for people; the last line
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping

import click

from geosr import __version__
from geosr.cli.echo import echo
from geosr.files import json_text

KEY = "geosr.progress"
"""Name of the choice in a click context."""
CHOICES = ("text", "json")


def wanted() -> bool:
    """Return True if the running command reports events."""
    ctx = click.get_current_context(silent=True)
    return ctx is not None and ctx.meta.get(KEY) == "json"


def begin(command: str) -> None:
    """Write the first line, and turn what is logged from now on into events."""
    logging.getLogger().handlers[:] = [Warnings()]
    emit("start", command=command, version=__version__)


def emit(event: str, **values: object) -> None:
    """Write a line, at once."""
    echo(json_text({"event": event, **values}, indent=None))


def result(values: Mapping[str, object], text: str = "", *, as_json: bool = False) -> None:
    """Report the result as an event, as JSON, or as a text for people."""
    if wanted():
        emit("result", **values)
    elif as_json or text:
        echo(json_text(values, indent=None) if as_json else text)


def warn(text: str) -> None:
    """Report what the user should know."""
    if wanted():
        emit("warning", text=text)
    else:
        note(text)


def note(text: str) -> None:
    """Write a line for people to stderr, above a progress bar that is on it."""
    # The stream that the bar has put there, which click passes over unless it is named.
    echo(text, file=sys.stderr)


class Lines(logging.Handler):
    """Writes logged records to stderr, above a progress bar that is on it."""

    def emit(self, record: logging.LogRecord) -> None:
        note(f"{record.levelname}: {record.getMessage()}")


class Warnings(logging.Handler):
    """Turns logged warnings into events; other records go to stderr."""

    def emit(self, record: logging.LogRecord) -> None:
        text = " ".join(record.getMessage().split())
        if record.levelno >= logging.WARNING:
            emit("warning", text=text)
        else:
            note(f"{record.levelname}: {text}")
