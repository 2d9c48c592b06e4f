"""The machine that geosr runs on: its memory, that of the container, its GPU, and what its processor is fast in."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from contextlib import suppress
from functools import cache
from pathlib import Path

CONTAINER_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
"""Files in which Linux states the memory limit of a container: control groups of version 2 and of version 1."""
PROCESSOR = Path("/proc/cpuinfo")
"""The file in which Linux lists the features of the processor."""


def memory() -> int:
    """Return the bytes of memory of the machine, or of the container if it has less; 0 if unknown."""
    sizes = [_installed(), *(_limit(path) for path in CONTAINER_LIMITS)]
    return min((size for size in sizes if size), default=0)


@cache
def gpu_memory() -> int:
    """Return the bytes of memory of the smallest NVIDIA GPU, from its driver; 0 without one."""
    program = shutil.which("nvidia-smi")
    arguments = ["--query-gpu=memory.total", "--format=csv,noheader,nounits"]
    with suppress(OSError, ValueError, subprocess.SubprocessError):
        if program:
            output = subprocess.run(
                [program, *arguments], capture_output=True, text=True, timeout=20, check=True
            ).stdout
            return min((int(size) for size in output.split()), default=0) * 2**20
    return 0


def is_fast_in_bfloat16() -> bool:
    """Return True if the processor has AMX, which multiplies matrices of bfloat16."""
    with suppress(OSError):
        return "amx_bf16" in PROCESSOR.read_text().split()
    return False


def _installed() -> int:
    if sys.platform == "win32":
        return _windows()
    with suppress(ValueError, OSError):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return 0


def _windows() -> int:
    from ctypes import byref, c_ulonglong, windll  # type: ignore[attr-defined,unused-ignore]

    kilobytes = c_ulonglong()
    success = windll.kernel32.GetPhysicallyInstalledSystemMemory(byref(kilobytes))
    return kilobytes.value * 1024 if success else 0


def _limit(path: Path) -> int:
    """Return the limit in a control group's file; 0 if there is none."""
    with suppress(OSError, ValueError):
        return int(path.read_text())
    return 0
