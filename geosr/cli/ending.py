"""Early ends of a command: SIGTERM, and standard input that another program has closed."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

import click

from geosr.errors import Cancelled

CANCELLABLE = "geosr.cancel_on_eof"
"""Name of the choice in a click context."""
CANCELLED = 130
"""Exit status, as of a command that was interrupted."""
GRACE = 0.4
"""Seconds for the job to end by itself: a call into a library ends when it is done, a tile of a network in seconds."""


class Ending:
    """The end of a command, and the files that must not be left behind when it comes early."""

    def __init__(self, *, cancellable: bool = False) -> None:
        self.cancellable = cancellable
        self._cancelled = False
        self.raised: type[KeyboardInterrupt] | None = None
        self._over = False
        self._temporary: Sequence[Path] = ()
        self._created: Sequence[Path] = ()

    def holds(self, temporary: Sequence[Path], created: Sequence[Path] = ()) -> None:
        """Take files and folders as the command's own, to be removed if it is cancelled.

        Folders that it has `created` for its output, from the inside out, are removed only when they are empty: others
        may have put something there since.
        """
        self._temporary, self._created = temporary, created

    def stop(self, *_: object) -> None:
        """Unwind the job: the handler of SIGTERM."""
        self.raised = Cancelled if self._cancelled else KeyboardInterrupt
        raise self.raised

    def interrupt(self, number: int, frame: FrameType | None) -> None:
        """Unwind the job, and say so at once: the handler of Ctrl-C, which is as before from then on."""
        signal.signal(signal.SIGINT, signal.default_int_handler)
        # Not by way of sys.stderr, which this may have interrupted in the middle of a line.
        with suppress(OSError):
            os.write(2, b"\nStopping...\n")
        self.raised = KeyboardInterrupt
        raise self.raised

    def watch(self) -> None:
        """Wait for the end of standard input, then end the process within the grace time."""
        # The descriptor itself: a thread that waits in sys.stdin would make Python abort when it ends.
        with suppress(OSError):
            while os.read(0, 4096):
                pass
        if self._over:
            return
        self._cancelled = True
        _interrupt()
        time.sleep(GRACE)
        # Still here: the job is in a call that does not end, or Python waits for a thread of it.
        self.clear()
        os._exit(CANCELLED)

    def clear(self) -> None:
        """Remove what the command holds, though another thread of it may still be writing there."""
        for path in [path for path in self._temporary for _ in range(3)]:
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            with suppress(OSError):
                path.unlink()
        for path in self._created:
            with suppress(OSError):
                path.rmdir()

    def over(self) -> None:
        """Note that the job has ended, one way or another."""
        if self._cancelled:
            self.clear()
        self._over = True


@contextmanager
def ending() -> Iterator[Ending]:
    """End on SIGTERM as on Ctrl-C: only parts are left behind, and with --cancel-on-eof not even those."""
    ctx = click.get_current_context(silent=True)
    end = Ending(cancellable=ctx is not None and bool(ctx.meta.get(CANCELLABLE)))
    before = signal.signal(signal.SIGTERM, end.stop)
    # A process that is to ignore Ctrl-C, as one that a script runs in the background, goes on to.
    speaks = sys.stderr.isatty() and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if speaks:
        signal.signal(signal.SIGINT, end.interrupt)
    if end.cancellable:
        threading.Thread(target=end.watch, daemon=True).start()
    try:
        yield end
    except Exception as error:
        if end.raised:  # and a library has made another exception of that
            raise end.raised from error
        raise
    finally:
        end.over()
        signal.signal(signal.SIGTERM, before)
        if speaks:
            signal.signal(signal.SIGINT, signal.default_int_handler)


def holding(
    end: Ending, show: Callable[..., None] | None, *, temporary: Sequence[Path], created: Sequence[Path]
) -> Callable[..., None]:
    """Return `show` as a progress callable whose calls also say that the job holds its output."""

    def show_and_hold(*report: object) -> None:
        end.holds(temporary, created)
        if show:
            show(*report)

    return show_and_hold


def missing(folder: Path) -> list[Path]:
    """Return the folders that do not exist on the way to this one, from the inside out."""
    return [path for path in (folder, *folder.parents) if not path.exists()]


def _interrupt() -> None:
    """Have the main thread run the handler of SIGTERM, out of a wait too where the system can do that."""
    if os.name == "nt":
        signal.raise_signal(signal.SIGTERM)
    else:
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM)
