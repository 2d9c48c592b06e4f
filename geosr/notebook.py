"""What a notebook shows: results as tables, comparisons as their page, progress as a bar. Imports nothing heavy."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

SECONDS = 0.2
"""Least time between two drawings of a bar."""


def facts(title: str, items: Mapping[str, object]) -> str:
    """Return names and values as a table under a title; those without a value are left out.

    >>> facts("scene.tif", {"scale": 2, "CRS": ""})
    '<table><caption>scene.tif</caption><tr><th>scale</th><td>2</td></tr></table>'
    """
    rows = "".join(
        f"<tr><th>{escape(name)}</th><td>{escape(str(value))}</td></tr>"
        for name, value in items.items()
        if value not in (None, "")
    )
    return f"<table><caption>{escape(title)}</caption>{rows}</table>"


def table(title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table under a title; the first column names its rows."""
    top = "".join(f"<th>{escape(text)}</th>" for text in head)
    body = "".join(
        f"<tr><th>{escape(row[0])}</th>{''.join(f'<td>{escape(text)}</td>' for text in row[1:])}</tr>" for row in rows
    )
    return f"<table><caption>{escape(title)}</caption><tr>{top}</tr>{body}</table>"


def frame(page: str, *, height: int = 900) -> str:
    """Return a whole page as a frame in a notebook."""
    return f'<iframe srcdoc="{escape(page)}" style="width: 100%; height: {height}px; border: 0"></iframe>'


class ProgressBar:
    """A progress bar for the jobs of the library: in a notebook and on a terminal.

    Give a new one as `progress` to each job:

        geosr.super_resolve("scene.tif", "scene_x2.tif", progress=geosr.ProgressBar("scene"))
    """

    def __init__(self, label: str = "") -> None:
        self.label = label
        self.done, self.total = 0, 0
        self._start: tuple[float, int] | None = None
        self._drawn = 0.0
        self._display: Any = None

    def __call__(self, done: int, total: int) -> None:
        """Show that `done` of `total` steps are done."""
        now = time.monotonic()
        self._start = self._start or (now, done)
        self.done, self.total = done, total
        if done < total and now - self._drawn < SECONDS:
            return
        self._drawn = now
        if _in_notebook():
            self._show()
        elif sys.stderr.isatty():
            end = "\n" if done >= total else ""
            print(f"\r{self}\x1b[K", end=end, file=sys.stderr, flush=True)
        else:
            print(self, file=sys.stderr)

    def __str__(self) -> str:
        name = f"{self.label}: " if self.label else ""
        return f"{name}{self.done} of {self.total}{self._left()}"

    def _repr_html_(self) -> str:
        share = self.done / self.total if self.total else 0
        return f'<progress value="{share:.4f}" max="1" style="width: 20em"></progress> {escape(str(self))}'

    def _left(self) -> str:
        """Return the time so far, and what is left at the rate so far."""
        if self._start is None:
            return ""
        elapsed, done = time.monotonic() - self._start[0], self.done - self._start[1]
        left = (
            f", {(self.total - self.done) * elapsed / done:.0f} s left" if done > 0 and self.done < self.total else ""
        )
        return f", {elapsed:.0f} s{left}"

    def _show(self) -> None:
        from IPython.display import display

        if self._display is None:
            self._display = display(self, display_id=True)
        else:
            self._display.update(self)


def _in_notebook() -> bool:
    """Return True in a kernel, whose displays can be drawn again."""
    shell = sys.modules.get("IPython")
    return bool(shell and type(shell.get_ipython()).__name__ == "ZMQInteractiveShell")
