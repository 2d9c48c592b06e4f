"""The last line of a job: what it wrote, in what time, and how many warnings there were."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from geosr.cli.options import duration
from geosr.files import plural, size_text

if TYPE_CHECKING:
    from geosr.superresolve.folder import Result


class WarningCount(logging.Handler):
    """Counts what is logged as a warning or worse."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.count = 0

    def emit(self, record: logging.LogRecord) -> None:
        self.count += 1


@contextmanager
def warning_count() -> Iterator[WarningCount]:
    """Count the warnings of geosr while the context lasts."""
    handler, logger = WarningCount(), logging.getLogger("geosr")
    logger.addHandler(handler)
    try:
        yield handler
    finally:
        logger.removeHandler(handler)


def raster_line(result: Result) -> str:
    """Return the line for one raster: path, size, pixel size, size of the file and time."""
    width, height = result.size
    x, y = result.pixel
    pixel = f" of {x:.6g} x {y:.6g} {result.unit}".rstrip() if x else ""
    path = Path(result.output)
    file = f", {size_text(path.stat().st_size)}" if path.is_file() else ""
    return f"{result.output}: {width} x {height} pixels{pixel}{file}, in {_time(result.seconds)}"


def folder_line(output: Path, results: Sequence[Result], seconds: float) -> str:
    """Return the line for all rasters of a job: how many were written and how many were not, and the time."""
    counts = {
        "done before": sum(result.done_before for result in results),
        "left to other processes": sum(result.busy for result in results),
        "failed": sum(bool(result.error) for result in results),
    }
    parts = [f"{plural(len(results) - sum(counts.values()), 'raster')} written"]
    parts += [f"{count} {outcome}" for outcome, count in counts.items() if count]
    return f"{output}: {', '.join(parts)}, in {_time(seconds)}"


def _time(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 60 else duration(seconds)


def warnings_text(count: int) -> str:
    """Return the end of a line for a number of warnings; nothing for none."""
    return f"; {plural(count, 'warning')}" if count else ""
