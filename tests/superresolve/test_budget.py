import os
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geosr import machine
from geosr.grid import Grid
from geosr.models import runtimes
from geosr.rasters.profile import Profile
from geosr.superresolve import budget, upscalers

GIB = 2**30
SHIPPED = [(name, scale) for name in ("idn", "span") for scale in (2, 3, 4)]
sides = st.integers(1000, 30_000)


def share(profile, upscaler, **limits):
    """What halos add with the chosen tile, as a share of the whole work: the pixels given, counted tile by tile."""
    grid = Grid(profile.width, profile.height, budget.tile_size(profile, upscaler, **limits), upscaler.halo)
    given = sum((tile.core.width + 2 * grid.halo) * (tile.core.height + 2 * grid.halo) for tile in grid)
    assert given == budget.pixels(grid.size, profile, upscaler.halo)
    return 1 - profile.width * profile.height / given


@pytest.mark.parametrize(("model", "scale"), SHIPPED)
def test_halos_are_at_most_12_percent_of_the_work(model, scale):
    upscaler = upscalers.load_upscaler(model, scale)
    for side in (*range(1000, 4200, 37), 5000, 8192, 10_000, 20_000, 50_000):
        assert share(Profile(side, side, 3, "uint8"), upscaler, limit=8 * GIB) <= 0.12, side


@settings(max_examples=50)
@given(sides, sides, st.sampled_from(SHIPPED), st.sampled_from([("uint8", 3), ("uint16", 4), ("float32", 1)]))
def test_nor_are_they_on_oblong_rasters(width, height, model, kind):
    dtype, count = kind
    found = share(Profile(width, height, count, dtype), upscalers.load_upscaler(*model), limit=8 * GIB)
    assert found <= 0.12


def test_a_large_scene_is_cut_into_the_smallest_tiles_that_waste_little():
    profile = Profile(20_000, 20_000, 3, "uint8")
    sizes = {model: budget.tile_size(profile, upscalers.load_upscaler(*model), limit=8 * GIB) for model in SHIPPED}
    assert sizes == dict(zip(SHIPPED, (1152, 1024, 1024, 768, 768, 768), strict=True))
    assert budget.tile_size(profile, upscalers.load_upscaler("bicubic", 2)) <= 1024


def test_less_memory_gives_smaller_tiles_and_keeps_to_it():
    profile, upscaler = Profile(5000, 5000, 3, "uint8"), upscalers.load_upscaler("idn", 2)
    for mib in (1100, 1500, 3000, 6000):
        size = budget.tile_size(profile, upscaler, limit=mib * 2**20)
        assert budget.memory(size, profile, upscaler) <= mib * 2**20
    assert budget.tile_size(profile, upscaler, limit=1100 * 2**20) < size


def test_a_narrow_raster_does_not_get_blocks_of_its_length():
    profile, upscaler = Profile(100, 50_000, 3, "uint8"), upscalers.load_upscaler("span", 2)
    assert budget.memory(50_000, profile, upscaler) < budget.memory(5000, replace(profile, width=5000), upscaler)


def test_small_tiles_share_a_task():
    assert [budget.batch_size(size) for size in (16, 32, 64, 2000)] == [16, 4, 1, 1]


@pytest.mark.parametrize(("told", "size"), [("max\n", 64 * GIB), ("2147483648\n", 2 * GIB), (None, 64 * GIB)])
def test_memory_is_the_container_s_where_that_is_less(tmp_path, monkeypatch, told, size):
    path = tmp_path / "memory.max"
    if told:
        path.write_text(told)
    monkeypatch.setattr(machine, "CONTAINER_LIMITS", (path,))
    monkeypatch.setattr(machine, "_installed", lambda: 64 * GIB)
    assert machine.memory() == size
    assert budget.usual_memory() == min(size // 2, 8 * GIB)


def test_without_a_word_of_the_machine_s_memory_there_is_a_usual_one(monkeypatch):
    monkeypatch.setattr(machine, "memory", lambda: 0)
    assert budget.usual_memory() == budget.USUAL_MEMORY


def on_gpu(monkeypatch, memory, model="span"):
    monkeypatch.setattr(runtimes, "gpu_memory", lambda name: memory)
    return upscalers.load_upscaler(model, 2)


def test_a_gpu_is_given_larger_tiles_which_fit_into_half_of_it(monkeypatch):
    profile = Profile(20_000, 20_000, 3, "uint8")
    sizes = [budget.tile_size(profile, on_gpu(monkeypatch, memory * GIB), limit=8 * GIB) for memory in (0, 8, 24, 80)]
    assert sizes[0] == 768 < sizes[1] < sizes[2] < sizes[3]
    for memory, size in zip((8, 24, 80), sizes[1:], strict=True):
        upscaler = on_gpu(monkeypatch, memory * GIB)
        assert upscaler.card.pixel_bytes * (size + 2 * upscaler.halo) ** 2 <= memory * GIB / 2
        assert budget.memory(size, profile, upscaler) <= 8 * GIB


def test_what_a_network_takes_of_a_gpu_is_not_taken_of_the_machine(monkeypatch):
    profile = Profile(20_000, 20_000, 3, "uint8")
    there, here = (budget.memory(1024, profile, on_gpu(monkeypatch, memory)) for memory in (8 * GIB, 0))
    assert there < here / 2


@pytest.mark.skipif(os.name == "nt", reason="the program that stands for nvidia-smi is a script of a POSIX shell")
@pytest.mark.parametrize(("says", "size"), [("echo 81559\necho 24564", 24564 * 2**20), ("echo none", 0), ("exit 9", 0)])
def test_the_memory_of_the_smallest_gpu_is_what_its_driver_says(tmp_path, monkeypatch, says, size):
    (tmp_path / "nvidia-smi").write_text(f"#!/bin/sh\n{says}\n")
    (tmp_path / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    assert machine.gpu_memory.__wrapped__() == size
    monkeypatch.setenv("PATH", "")
    assert machine.gpu_memory.__wrapped__() == 0
