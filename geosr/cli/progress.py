"""Progress on a terminal as a bar, elsewhere as a line now and then, or as events for another program."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from pathlib import Path

from geosr.cli import events
from geosr.cli.echo import echo, printable
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

    A step is `each` of `each_unit`, for the rate that is shown; a report in text takes the amount as a third argument
    where steps differ. The first call says that the job holds the files and
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
def preparation(label: str, *, quiet: bool) -> Iterator[None]:
    """Show on a terminal that a job is being prepared, and for how long, until its progress can be reported."""
    if quiet or events.wanted() or not sys.stderr.isatty():
        yield
        return
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import Progress as Bar
    from rich.progress import SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = SpinnerColumn(), TextColumn("{task.description}: preparing"), TimeElapsedColumn()
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        bar.add_task(escape(printable(label)), total=None)
        yield


class Rasters:
    """The progress of many rasters as one report, which the tiles of each raster move."""

    def __init__(self, report: Callable[..., None]) -> None:
        self._report = report
        self._done, self._total, self._amount = 0, 0, 0.0

    def count(self, done: int, total: int) -> None:
        """Report that so many rasters are done."""
        self._done, self._total = done, total
        self._report(done, total, self._amount)

    def tiles(self, each: float) -> Progress:
        """Return the progress of the next raster, whose tiles are each of this amount."""
        last: int | None = None

        def show(done: int, total: int) -> None:
            nonlocal last
            # The first call counts the tiles of an interrupted run.
            self._amount += each * (0 if last is None else done - last)
            last = done
            # One step more than tiles: the output is still to be finished and published.
            self._report(self._done + done / (total + 1), self._total, self._amount)

        return show


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
    from rich.markup import escape
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        SpinnerColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )
    from rich.progress import Progress as Bar

    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(unit),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
        TextColumn("so far,"),
        TimeRemainingColumn(),
        TextColumn("left"),
    )
    with Bar(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(escape(printable(label)), total=None, rate="")

        def show(done: float, total: int, amount: float | None = None) -> None:
            bar.update(task, completed=done, total=total, rate=rate.text(done, amount))

        yield show


def _lines(label: str, unit: str, rate: _Rate) -> Progress:
    last = 0.0

    def show(done: float, total: int, amount: float | None = None) -> None:
        nonlocal last
        now = time.monotonic()
        if done < total and now - last < LINE_SECONDS:
            return
        last = now
        text = rate.text(done, amount)
        echo(f"{label}: {int(done)} of {total} {unit}{', ' + text if text else ''}{rate.left(done, total)}", err=True)

    return show


class _Rate:
    """The amount a second since the first report, which a resumed job does not begin with 0."""

    def __init__(self, each: float, unit: str) -> None:
        self.each, self.unit = each, unit
        self.start: tuple[float, float, float] | None = None

    def text(self, done: float, amount: float | None = None) -> str:
        amount = done * self.each if amount is None else amount
        now = time.monotonic()
        if self.start is None:
            self.start = now, done, amount
        elapsed, more = now - self.start[0], amount - self.start[2]
        return f"{more / elapsed:.2f} {self.unit}/s" if elapsed > 0 and more > 0 else ""

    def left(self, done: float, total: int) -> str:
        if self.start is None or not self.start[1] < done < total:
            return ""
        elapsed = time.monotonic() - self.start[0]
        return f", {(total - done) * elapsed / (done - self.start[1]):.0f} s left"
