"""Progress on a terminal as a bar, elsewhere as a line now and then, or as events for another program."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from pathlib import Path

import click

from geosr.cli import events
from geosr.cli.ending import Ending, holding
from geosr.engine import Progress

LINE_SECONDS = 10
"""Seconds between two lines where there is no terminal."""


@contextmanager
def progress(
    label: str,
    unit: str,
    *,
    quiet: bool,
    end: Ending | None = None,
    temporary: Sequence[Path] = (),
    created: Sequence[Path] = (),
    each: float = 0.0,
    each_unit: str = "",
) -> Iterator[Progress | None]:
    """Open a progress report; None when quiet and without an `end` to inform.

    A step is `each` of `each_unit`, for the rate that is shown. The first call says that the job holds the files and
    folders `temporary`, which must not outlive it when it is cancelled, and the folders `created` for it, from the
    inside out, which must not when they are empty.
    """
    report: AbstractContextManager[Progress | None]
    if quiet:
        report = nullcontext()
    elif events.wanted():
        report = nullcontext(_events(label, unit, temporary=temporary, created=created))
    elif sys.stderr.isatty():
        report = _bar(label, unit, _Rate(each, each_unit))
    else:
        report = nullcontext(_lines(label, unit, _Rate(each, each_unit)))
    with report as show:
        yield holding(end, show, temporary=temporary, created=created) if end else show


@contextmanager
def stages(
    units: dict[str, str], *, quiet: bool, end: Ending, temporary: Sequence[Path], created: Sequence[Path]
) -> Iterator[Callable[[str, int, int], None]]:
    """Open reports one after another, one for each stage, whose units are given."""
    with ExitStack() as stack:
        reports: dict[str, Progress | None] = {}

        def show(stage: str, done: int, total: int) -> None:
            if stage not in reports:
                stack.close()
                opened = progress(stage, units[stage], quiet=quiet, end=end, temporary=temporary, created=created)
                reports[stage] = stack.enter_context(opened)
            if report := reports[stage]:
                report(done, total)

        yield show


def _events(label: str, unit: str, *, temporary: Sequence[Path], created: Sequence[Path]) -> Progress:
    paths = {"temporary": temporary, "made": created}
    first = {name: [os.fspath(path.absolute()) for path in group] for name, group in paths.items()}

    def show(done: int, total: int) -> None:
        events.emit("progress", label=label, unit=unit, done=done, total=total, **first)
        first.clear()

    return show


@contextmanager
def _bar(label: str, unit: str, rate: _Rate) -> Iterator[Progress]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(unit),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    with Bar(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(label, total=None, rate="")

        def show(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total, rate=rate.text(done))

        yield show


def _lines(label: str, unit: str, rate: _Rate) -> Progress:
    last = 0.0

    def show(done: int, total: int) -> None:
        nonlocal last
        now = time.monotonic()
        if done < total and now - last < LINE_SECONDS:
            return
        last = now
        text = rate.text(done)
        click.echo(f"{label}: {done} of {total} {unit}{', ' + text if text else ''}{rate.left(done, total)}", err=True)

    return show


class _Rate:
    """The steps a second since the first report, which a resumed job does not begin with 0."""

    def __init__(self, each: float, unit: str) -> None:
        self.each, self.unit = each, unit
        self.start: tuple[float, int] | None = None

    def pace(self, done: int) -> float:
        if self.start is None:
            self.start = time.monotonic(), done
        elapsed = time.monotonic() - self.start[0]
        return (done - self.start[1]) / elapsed if elapsed > 0 else 0.0

    def text(self, done: int) -> str:
        pace = self.pace(done)
        return f"{pace * self.each:.2f} {self.unit}/s" if pace and self.each else ""

    def left(self, done: int, total: int) -> str:
        pace = self.pace(done)
        return f", {(total - done) / pace:.0f} s left" if pace and done < total else ""
