"""Work mapped over tasks in order, with a bounded number in flight. Knows no rasters and no Dask."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")

Progress = Callable[[int, int], None]
"""Called with what is done and the total, first when the job holds its output's lock; it may raise, to cancel."""


@dataclass(frozen=True, slots=True)
class Pool:
    """An executor and how many tasks it is given ahead of the first unfinished one."""

    executor: Executor
    ahead: int


def run(work: Callable[[T], R], tasks: Iterable[T], pool: Pool | None = None) -> Generator[tuple[T, R], None, None]:
    """Each task with its result, in the order of the tasks, whatever the pool; without one, in this thread.

    At most `pool.ahead` tasks are in flight, so that memory is bounded. An exception of a task is raised when its
    turn comes; tasks not yet started are then cancelled, as they are when the caller stops early.
    """
    if pool is None:
        for task in tasks:
            yield task, work(task)
        return
    flight: deque[tuple[T, Future[R]]] = deque()
    try:
        for task in tasks:
            flight.append((task, pool.executor.submit(work, task)))
            if len(flight) >= pool.ahead:
                yield _finished(flight)
        while flight:
            yield _finished(flight)
    finally:
        for _, future in flight:
            future.cancel()


def _finished(flight: deque[tuple[T, Future[R]]]) -> tuple[T, R]:
    task, future = flight[0]
    result = future.result()
    flight.popleft()
    return task, result
