"""The pools that work can run on."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from geosr.engine import Pool


@contextmanager
def threads(count: int) -> Iterator[Pool]:
    """A pool of `count` threads of this process; GDAL and the networks release the interpreter while they work."""
    executor = ThreadPoolExecutor(count, thread_name_prefix="geosr")
    try:
        yield Pool(executor, ahead=2 * count)
    finally:
        # After Ctrl-C, what waits in the queue is not worth waiting for.
        executor.shutdown(wait=True, cancel_futures=True)
