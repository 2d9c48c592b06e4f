"""Text on the terminal: the control characters in names, tags and cards are shown, never obeyed."""

from __future__ import annotations

import re
from typing import IO, Any

import click

CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""Characters that move the cursor, change colours, ring, or turn the direction of reading; lone bytes of a name."""


def printable(text: str) -> str:
    """Return the text with control characters but line ends and tabulators escaped, as JSON does.

    >>> printable("scene\\x1b[2J.tif"), printable("Z\u00fcrich")
    ('scene\\\\u001b[2J.tif', 'Zürich')
    """
    return CONTROLS.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def echo(message: object = "", *, file: IO[Any] | None = None, err: bool = False) -> None:
    """Write a line to standard output or error, or to a file."""
    click.echo(printable(str(message)), file=file, err=err)
