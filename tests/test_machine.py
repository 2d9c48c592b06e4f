import os
import sys
from pathlib import Path

import pytest

from geosr import machine


@pytest.mark.skipif(not Path("/proc/meminfo").exists(), reason="needs Linux, which tells the memory in /proc/meminfo")
def test_the_memory_is_what_the_system_says(monkeypatch):
    monkeypatch.setattr(machine, "CONTAINER_LIMITS", ())
    total = next(line for line in Path("/proc/meminfo").read_text().splitlines() if line.startswith("MemTotal"))
    assert machine.memory() == pytest.approx(int(total.split()[1]) * 1024, rel=0.05)


@pytest.mark.parametrize(("content", "limit"), [("1048576\n", 1048576), ("max\n", None), ("", None), (None, None)])
def test_the_limit_of_a_container_holds(monkeypatch, tmp_path, content, limit):
    path = tmp_path / "memory.max"
    if content is not None:
        path.write_text(content)
    monkeypatch.setattr(machine, "CONTAINER_LIMITS", ())
    installed = machine.memory()
    monkeypatch.setattr(machine, "CONTAINER_LIMITS", (path,))
    assert machine.memory() == (limit or installed)


def test_the_processor_is_fast_in_bfloat16_when_it_names_that(monkeypatch, tmp_path):
    monkeypatch.setattr(machine, "PROCESSOR", tmp_path / "cpuinfo")
    assert not machine.is_fast_in_bfloat16()
    for flags, fast in (("sse avx512f", False), ("sse amx_bf16 amx_tile", True)):
        (tmp_path / "cpuinfo").write_text(f"flags : {flags}\n")
        assert machine.is_fast_in_bfloat16() == fast


@pytest.mark.skipif(sys.platform == "win32", reason="needs a shell script in place of nvidia-smi")
@pytest.mark.parametrize(("lines", "size"), [("24576\n8192\n", 8192 * 2**20), ("no devices\n", 0), ("", 0)])
def test_the_smallest_gpu_counts(monkeypatch, tmp_path, lines, size):
    program = tmp_path / "nvidia-smi"
    program.write_text(f"#!/bin/sh\nprintf '{lines}'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", os.fspath(tmp_path) + os.pathsep + os.environ["PATH"])
    assert machine.gpu_memory.__wrapped__() == size
