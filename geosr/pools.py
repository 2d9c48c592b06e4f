"""The pools that work can run on: threads of this process, and the workers of a Dask cluster.

What a cluster is sent is small: work that pickles as paths and names, and tasks that are windows. Each worker opens
what the work is made of once. Dask is loaded only for a cluster.
"""

from __future__ import annotations

import asyncio
import logging
import os
import pickle
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import CancelledError, Executor, Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

from geosr import __version__
from geosr.engine import Pool
from geosr.errors import ClusterError, GeosrError, WorkersDied
from geosr.files import absolute_path

R = TypeVar("R")

LOCAL = "local"
"""In place of a scheduler's address: workers on this machine."""
ANSWER = 10
"""Seconds for a scheduler to answer."""
FIRST_WORKER = 30
"""Seconds for a scheduler to have a worker, as one that starts them when a client comes."""
THREADS = "geosr"
"""The beginning of the names of a pool's threads."""
MOMENT = 1.0
"""Seconds that they have to end after Ctrl-C."""
RETRIES = 2
"""Times that a task which ended with an error is done again, as storage may be away for a moment."""
VERSION = "__import__('geosr').__version__"


def pool(address: str | None, workers: int) -> AbstractContextManager[Pool]:
    """Return the Dask workers at this address as a pool, or without one threads of this process."""
    return dask(address, workers=workers) if address else threads(workers)


@contextmanager
def threads(count: int) -> Iterator[Pool]:
    """A pool of `count` threads of this process; GDAL and the networks release the interpreter while they work.

    After Ctrl-C threads have a moment to end: a network's call may take minutes, and its result is not needed.
    """
    executor = ThreadPoolExecutor(count, thread_name_prefix=THREADS)
    wait = True
    try:
        yield Pool(executor, workers=count, ahead=2 * count)
    except KeyboardInterrupt:
        wait = False
        raise
    finally:
        executor.shutdown(wait=wait, cancel_futures=True)
        end = time.monotonic() + MOMENT
        for thread in threading.enumerate():
            if thread.name.startswith(THREADS) and not wait:
                thread.join(max(0.0, end - time.monotonic()))


@contextmanager
def dask(address: str, *, workers: int = 1) -> Iterator[Pool]:
    """A pool of the workers that the Dask scheduler at `address` has; or of `workers` processes here, for `local`.

    A worker that dies has its tasks done again by others. Work must be of the same geosr on every worker, and open
    there: what it is made of is tried on each before its first task.

    Raises:
        ClusterError: Dask is not installed, no scheduler answers, it has no workers, or one has another geosr.
    """
    with _client(address, workers) as client:
        _wait_for_workers(client, address)
        # Not by the class: a worker may have no geosr to find it in.
        for worker, version in client.run(eval, VERSION, on_error="return").items():
            if version != __version__:
                version_text = f"geosr {version}" if isinstance(version, str) else f"no geosr ({version})"
                raise ClusterError(f"worker {worker} has {version_text}, not {__version__}; install the same on all")
        executor = _Cluster(client, address)
        try:
            count = sum(client.nthreads().values())
            yield Pool(executor, workers=count, ahead=2 * max(2, count))
        finally:
            executor.shutdown()


def check_reach(
    pool: Pool | None,
    check_input: Callable[[str], None],
    inputs: Iterable[str | os.PathLike[str]],
    folder: Path | None = None,
) -> None:
    """Refuse inputs that workers of the pool cannot read, and an output folder that they do not share.

    `check_input` runs on each worker and raises a GeosrError for an input that it cannot read there.

    Raises:
        ClusterError: it names the worker and the file.
    """
    if pool is None or not isinstance(pool.executor, _Cluster):
        return
    paths = [absolute_path(path) for path in inputs]
    with tempfile.NamedTemporaryFile(prefix=".", suffix=".geosr", dir=folder) as probe:
        pool.executor.on_all(unreachable, check_input, paths, Path(probe.name).absolute() if folder else None)


def check_wanted(*_: object) -> None:
    """A progress callable for long work on a worker, which ends it when no one waits for it any more.

    Raises:
        ClusterError: the task was cancelled, or its client has gone.
    """
    from distributed import get_worker

    worker = get_worker()
    state = worker.state.tasks.get(worker.get_current_task())
    if state is None or state.state == "cancelled":
        raise ClusterError("no one waits for this any more")


class _Cluster(Executor):
    """A Dask client as an executor, which sends a function whole to each worker but once.

    Unlike the client's own executor, it does not wait for ever when the scheduler goes.
    """

    def __init__(self, client: Any, address: str) -> None:
        self._client, self._address = client, address
        self._work: Callable[..., Any] | None = None
        self._sent: tuple[str, bytes] = "", b""

    def submit(self, fn: Callable[..., R], /, *args: Any, **kwargs: Any) -> Future[R]:
        with _spoken_to(self._address):
            if self._client.status != "running":
                raise CancelledError
            if fn is not self._work:
                # The mark: a file may have changed by the time that the same work is submitted again.
                self._work, self._sent = fn, (uuid4().hex, pickle.dumps(fn))
                self.on_all(_not_opened, *self._sent)
            # As bytes: the scheduler, which need not reach any file, would open what is in them.
            pickled = pickle.dumps((args, kwargs))
            future = self._client.submit(
                _run, __version__, *self._sent, pickled, pure=False, retries=RETRIES, key=f"geosr-{uuid4().hex}"
            )
        return _Promise(future, self._address)

    def on_all(self, check: Callable[..., str], *args: Any) -> None:
        """Refuse what a worker has something to say against."""
        with _spoken_to(self._address):
            answers = self._client.run(check, *args, on_error="return")
        for worker, answer in answers.items():
            if answer:
                raise ClusterError(f"worker {worker}: {answer}")


class _Promise(Future[R]):
    """The result of a task on a cluster; it is fetched, and released there, on the first call of `result`."""

    def __init__(self, remote: Any, address: str) -> None:
        super().__init__()
        self._remote, self._address = remote, address

    def result(self, timeout: float | None = None) -> R:
        from distributed import KilledWorker

        with _spoken_to(self._address):
            try:
                result: R = self._remote.result(timeout)
            except KilledWorker as error:
                last = getattr(error.last_worker, "address", "")
                raise WorkersDied(
                    f"each worker that had it died, {last} as the last, which may be for want of memory; look at "
                    "their logs, then run the same command again"
                ) from error
            self._remote.release()
        return result

    def cancel(self) -> bool:
        # What is left of a client whose scheduler has gone may say so in many ways.
        with suppress(Exception):
            self._remote.cancel()
        return True


@contextmanager
def _spoken_to(address: str) -> Iterator[None]:
    """Turn the loss of a scheduler into one line."""
    from distributed.comm.core import CommClosedError

    try:
        yield
    except (CancelledError, CommClosedError) as error:
        raise ClusterError(
            f"the Dask scheduler at {address!r} has gone; what is finished is kept: run the same command again"
        ) from error


@contextmanager
def _client(address: str, workers: int) -> Iterator[Any]:
    try:
        import distributed
    except ModuleNotFoundError as error:
        raise ClusterError("--dask needs Dask's distributed, which is not there: pip install 'geosr[dask]'") from error
    # The errors raised here report a failure once.
    if not logging.getLogger().isEnabledFor(logging.INFO):
        for name in ("distributed", "distributed.client", "distributed.core", "distributed.scheduler"):
            logging.getLogger(name).setLevel(logging.CRITICAL)
    if address != LOCAL:
        try:
            client = distributed.Client(address, timeout=ANSWER, set_as_default=False)
        except (OSError, ValueError, TypeError) as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            raise ClusterError(f"no Dask scheduler answers at {address!r}: {reason}") from error
        with client:
            yield client
        return
    share = str(max(1, (os.cpu_count() or 1) // workers))
    settings = {
        "TF_NUM_INTRAOP_THREADS": share,
        "TF_NUM_INTEROP_THREADS": "1",
        "OMP_NUM_THREADS": share,
        "TF_CPP_MIN_LOG_LEVEL": os.environ.get("TF_CPP_MIN_LOG_LEVEL", "3"),
        "DASK_LOGGING__DISTRIBUTED": "critical",
    }
    with (
        # Dask's limit would stop a worker that holds TensorFlow; --memory chooses the tiles.
        distributed.LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            processes=True,
            host="127.0.0.1",
            memory_limit=0,
            dashboard_address="127.0.0.1:0",
            silence_logs=logging.CRITICAL,
            env=settings,
            # A terminal sends Ctrl-C to them too, but they end with this process.
            preload=["import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\n"],
        ) as cluster,
        distributed.Client(cluster, set_as_default=False) as client,
    ):
        yield client


def _wait_for_workers(client: Any, address: str) -> None:
    try:
        client.wait_for_workers(1, timeout=FIRST_WORKER)
    except (TimeoutError, asyncio.TimeoutError) as error:  # which are two before Python 3.11
        raise ClusterError(
            f"the Dask scheduler at {address!r} has no workers; start some: dask worker {address}"
        ) from error


def _run(version: str, mark: str, work: bytes, arguments: bytes) -> Any:
    """Work on a worker; one that came later may have another geosr."""
    if version != __version__:
        raise ClusterError(f"a worker has geosr {__version__}, not {version}; install the same on all")
    args, kwargs = pickle.loads(arguments)
    return _opened(mark, work)(*args, **kwargs)


def _not_opened(mark: str, work: bytes) -> str:
    """Return what keeps a worker from doing the work; empty if nothing does."""
    try:
        _opened(mark, work)
    except GeosrError as error:
        return str(error)
    return ""


def unreachable(check_input: Callable[[str], None], inputs: list[str], probe: Path | None) -> str:
    """Return why a worker cannot reach a file; empty if it reaches all."""
    if probe is not None:
        folder = os.fspath(probe.parent)
        if not probe.exists():
            return f"{folder!r} is not the folder here that it is where outputs are wanted; all must share it"
        if not os.access(folder, os.W_OK):
            return f"cannot write to {folder!r}: no permission"
    for path in inputs:
        try:
            check_input(path)
        except GeosrError as error:
            return str(error)
    return ""


@lru_cache(maxsize=2)
def _opened(mark: str, work: bytes) -> Callable[..., Any]:
    """The work, with what it is made of: opened once a worker, for all tasks."""
    function: Callable[..., Any] = pickle.loads(work)
    return function
