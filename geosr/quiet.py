"""The standard error stream kept silent while libraries written in C, which know no Python streams, are at work."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

_lock = Lock()


@contextmanager
def silent_stderr() -> Iterator[None]:
    """Discard everything written to stderr, by the file descriptor too."""
    with _lock:
        sys.stderr.flush()
        original, null = os.dup(2), os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 2)
        try:
            yield
        finally:
            os.dup2(original, 2)
            os.close(original)
            os.close(null)
