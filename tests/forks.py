"""Commands of geosr run in forks of a process that has imported all they need: a run costs no start-up."""

from __future__ import annotations

import ctypes
import importlib
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

ANYONE = ctypes.c_ulong(-1)
PR_SET_PTRACER = 0x59616D61


@dataclass(frozen=True, slots=True)
class End:
    """The end of a fork: its exit status, minus the signal that killed it, and what it wrote."""

    status: int
    text: str
    seconds: float
    """Processor time that it took."""


def can_trace() -> bool:
    """Return True if strace is there and may watch a program."""
    command = ["strace", "-o", os.devnull, "true"]
    return bool(shutil.which("strace")) and not subprocess.run(command, capture_output=True, check=False).returncode


def command(words: Sequence[str], *, log: Path | None = None) -> Callable[[], None]:
    """Return the function that is `geosr WORDS`; it ends by SystemExit. The names of all modules go to `log`."""

    def call() -> None:
        from geosr.cli.main import main

        sys.argv = ["geosr", *words]
        try:
            main()
        finally:
            if log:
                log.write_text("\n".join(sys.modules))

    return call


def load_modules(names: Iterable[str]) -> None:
    """Import what a command has imported."""
    for name in names:
        with suppress(Exception):
            importlib.import_module(name)


def run(
    call: Callable[[], None],
    *,
    folder: Path,
    seconds: int = 60,
    memory: int | None = None,
    tracer: Sequence[str] = (),
) -> End:
    """Call a function in a fork that works in `folder`, with limits on its time and memory, under a tracer if wanted.

    It has `seconds` of processor time and twice as many on the clock.
    """
    with tempfile.TemporaryFile() as output:
        sys.stdout.flush()
        sys.stderr.flush()
        wait, go = os.pipe()
        child = os.fork()
        if not child:
            os.close(go)
            _enter(call, folder, output.fileno(), seconds, memory, wait)
        os.close(wait)
        attached = _attached(tracer, child) if tracer else None
        os.close(go)
        status, used = _ended(child, 2 * seconds)
        if attached:
            attached.communicate()
        output.seek(0)
        return End(status, output.read().decode(errors="replace"), used)


def _enter(call: Callable[[], None], folder: Path, output: int, seconds: int, memory: int | None, wait: int) -> None:
    status = 1
    try:
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(PR_SET_PTRACER, ANYONE, 0, 0, 0)
        nothing = os.open(os.devnull, os.O_RDONLY)
        for descriptor, number in ((nothing, 0), (output, 1), (output, 2)):
            os.dup2(descriptor, number)
        os.chdir(folder)
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 5))
        signal.signal(signal.SIGXCPU, signal.SIG_DFL)
        if memory:
            resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
        os.read(wait, 1)
        call()
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 1 if end.code else 0
    except BaseException:
        traceback.print_exc()
    finally:
        with suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(status)


def _attached(tracer: Sequence[str], child: int) -> subprocess.Popen[str]:
    """Return the tracer when it watches the child."""
    process = subprocess.Popen([*tracer, "-p", str(child)], stderr=subprocess.PIPE, text=True)
    assert process.stderr
    if "attached" not in (line := process.stderr.readline()):
        raise RuntimeError(f"{tracer[0]} cannot watch a process: {line.strip()}")
    return process


def _ended(child: int, seconds: float) -> tuple[int, float]:
    """Return the status of a child and its processor time; one that does not end is killed."""
    end = time.monotonic() + seconds
    while True:
        ended, status, usage = os.wait4(child, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status), usage.ru_utime + usage.ru_stime
        if time.monotonic() > end:
            os.kill(child, signal.SIGALRM)
        time.sleep(0.002)
