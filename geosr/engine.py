"""Work mapped over tasks in order, with a bounded number in flight. Knows no rasters and no Dask."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Executor, Future
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")
E = TypeVar("E", bound=Exception)

Progress = Callable[[int, int], None]
"""Called with what is done and the total, first when the job holds its output's lock; it may raise, to cancel."""


@dataclass(frozen=True, slots=True)
class Pool:
    """An executor, its workers, and how many tasks it is given ahead of the first unfinished one."""

    executor: Executor
    workers: int
    ahead: int


def run(work: Callable[[T], R], tasks: Iterable[T], pool: Pool | None = None) -> Generator[tuple[T, R], None, None]:
    """Each task with its result, in the order of the tasks, whatever the pool; without one, in this thread.

    At most `pool.ahead` tasks are in flight, so that memory is bounded. An exception of a task is raised when its
    turn comes; tasks not yet started are then cancelled, as they are when the caller stops early.
    """
    with closing(_flights(work, tasks, pool)) as flights:
        for task, result in flights:
            yield task, result()


def tried(
    work: Callable[[T], R], tasks: Iterable[T], pool: Pool | None = None, *, errors: type[E]
) -> Generator[tuple[T, R | E], None, None]:
    """Like `run`, but yield exceptions of type `errors` in place of results instead of raising them.

    A task that fails after another is done once more, as it may only have waited beside the one that failed.
    """
    failed = False
    with closing(_flights(work, tasks, pool)) as flights:
        for task, result in flights:
            try:
                outcome: R | E = result()
            except errors as error:
                outcome = error
                if failed:
                    [(_, outcome)] = tried(work, [task], pool, errors=errors)
                failed = True
            yield task, outcome


def _flights(
    work: Callable[[T], R], tasks: Iterable[T], pool: Pool | None
) -> Generator[tuple[T, Callable[[], R]], None, None]:
    """Each task in its turn, with what waits for its result."""
    if pool is None:
        for task in tasks:
            yield task, partial(work, task)
        return
    flight: deque[tuple[T, Future[R]]] = deque()
    try:
        for task in tasks:
            flight.append((task, pool.executor.submit(work, task)))
            if len(flight) >= pool.ahead:
                yield _first(flight)
                flight.popleft()
        while flight:
            yield _first(flight)
            flight.popleft()
    finally:
        for _, future in flight:
            future.cancel()


def _first(flight: deque[tuple[T, Future[R]]]) -> tuple[T, Callable[[], R]]:
    task, future = flight[0]
    return task, future.result
