"""Dask clusters started by hand for the tests: a scheduler and workers, each a process of its own."""

import os
import re
import shlex
import socket
import subprocess
import sys
import time
from pathlib import Path

from tests.conftest import soon

PAGE = Path(__file__).parents[1] / "docs" / "cluster.md"
ROOT = Path(__file__).parents[1]


def told(name):
    """The words of the command that docs/cluster.md begins with this name."""
    [line] = re.findall(rf"^{name} .*$", PAGE.read_text(), re.M)
    return shlex.split(line)


def free_port(host="127.0.0.1"):
    with socket.socket() as one:
        one.bind((host, 0))
        return one.getsockname()[1]


class Cluster:
    """A scheduler and workers as docs/cluster.md starts them, but at a port that is free; a context manager."""

    def __init__(self, folder, host="127.0.0.1"):
        self.folder, self.host, self.port = Path(folder), host, free_port()
        self.address = f"tcp://{host}:{self.port}"
        self.processes, self.workers = [], []
        self.scheduler = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for process in reversed(self.processes):
            process.kill()
            process.wait()

    def start(self, workers=2, **settings):
        self.start_scheduler()
        for _ in range(workers):
            self.start_worker(**settings)
        self.wait_for(workers)
        return self

    def start_scheduler(self, within=(), **env):
        self.scheduler = self._run(told("dask scheduler"), env, within)

    def start_worker(self, code="", *, nanny=False, path=(), within=()):
        """A worker; without a nanny, so that it stays dead.

        It runs `code` when it starts, finds modules in `path`, and is started by the command `within`.
        """
        words = [*told("dask worker"), "--local-directory", os.fspath(self.folder)]
        if not nanny:
            words.append("--no-nanny")
        if code:
            preload = self.folder / f"preload_{abs(hash(code))}.py"
            preload.write_text(code)
            words += ["--preload", os.fspath(preload)]
        found = {"PYTHONPATH": os.pathsep.join([*map(str, path), os.fspath(ROOT)])}
        self.workers.append(self._run(words, found, within))
        return self.workers[-1]

    def wait_for(self, workers):
        from distributed import Client

        with Client(self.address, timeout=soon(30), set_as_default=False) as client:
            client.wait_for_workers(workers, timeout=soon(30))

    def _run(self, words, env, within):
        words = [word.replace("8786", str(self.port)).replace("127.0.0.1", self.host) for word in words]
        with (self.folder / "cluster.log").open("a") as log:
            process = subprocess.Popen(
                [*within, sys.executable, "-m", *words],
                env={**os.environ, **env},
                stdout=log,
                stderr=log,
                cwd=self.folder,
            )
        self.processes.append(process)
        return process


def command(*args, within=(), **kwargs):
    """The geosr command in a process of its own."""
    words = [*within, sys.executable, "-m", "geosr", *map(os.fspath, args)]
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **kwargs)


def ended(process):
    """The process when it has ended, as subprocess.run gives it."""
    out, err = process.communicate(timeout=soon(120))
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def wait_until(true, process=None, seconds=60):
    """Waits for what a process, if one is given, is to bring about."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it does not come"
        assert process is None or process.poll() is None, process.communicate()
        time.sleep(0.02)
