"""The machine that geosr runs on: its memory, and that of the container."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path

CONTAINER_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
"""Where Linux tells what a container may use: control groups of version 2, and of 1."""


def memory() -> int:
    """Bytes that the machine has, or the container that this runs in; 0 where neither is told."""
    found = [_installed(), *(_limit(path) for path in CONTAINER_LIMITS)]
    return min((size for size in found if size), default=0)


def _installed() -> int:
    if sys.platform == "win32":
        return _windows()
    with suppress(ValueError, OSError):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return 0


def _windows() -> int:
    from ctypes import byref, c_ulonglong, windll  # type: ignore[attr-defined,unused-ignore]

    kilobytes = c_ulonglong()
    told = windll.kernel32.GetPhysicallyInstalledSystemMemory(byref(kilobytes))
    return kilobytes.value * 1024 if told else 0


def _limit(path: Path) -> int:
    """What a control group's file says; 0 if there is none, or no limit."""
    with suppress(OSError, ValueError):
        return int(path.read_text())
    return 0
