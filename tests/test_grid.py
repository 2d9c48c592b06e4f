import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geosr.grid import Grid, Tile, Window, batches, lattice

sides = st.integers(1, 80)
sizes = st.integers(1, 40)
halos = st.integers(0, 20)


@given(sides, sides, sizes, halos)
def test_cores_cover_every_pixel_once(width, height, size, halo):
    counts = np.zeros((height, width), int)
    for tile in Grid(width, height, size, halo):
        counts[tile.core.slices(within=Window(0, 0, width, height))] += 1
    assert (counts == 1).all()


@given(sides, sides, sizes, halos)
def test_outer_windows_have_one_shape_and_hold_the_core_and_its_halo(width, height, size, halo):
    for tile in Grid(width, height, size, halo):
        assert (tile.outer.width, tile.outer.height) == (min(size, width) + 2 * halo, min(size, height) + 2 * halo)
        assert tile.outer.intersection(tile.core.pad(halo)) == tile.core.pad(halo)


@given(sides, sides, sizes, halos, st.integers(1, 4))
def test_trim_gives_the_pixels_of_the_core_at_any_scale(width, height, size, halo, k):
    image = np.arange(width * height).reshape(height, width)
    padded = np.pad(image, 60 + 20, constant_values=-1)
    for tile in Grid(width, height, size, halo):
        outer = padded[tile.outer.slices(within=Window(-80, -80, width + 160, height + 160))]
        large = outer.repeat(k, 0).repeat(k, 1)
        core = image[tile.core.slices(within=Window(0, 0, width, height))]
        assert (tile.scale(k).trim(large[None])[0] == core.repeat(k, 0).repeat(k, 1)).all()


@given(sides, sides, sizes)
def test_a_grid_is_a_sequence_in_reading_order(width, height, size):
    grid = Grid(width, height, size)
    assert [tile.index for tile in grid] == list(range(len(grid)))
    assert grid[-1].core.col_off + grid[-1].core.width == width
    corners = [(tile.core.row_off, tile.core.col_off) for tile in grid]
    assert corners == sorted(corners)
    with pytest.raises(IndexError):
        grid[len(grid)]


def test_windows_that_do_not_meet_have_no_intersection():
    nothing = Window(0, 0, 5, 5).intersection(Window(7, 0, 5, 5))
    assert (nothing.width, nothing.height) == (0, 5)


@pytest.mark.parametrize("wrong", [(0, 5, 5, 0), (5, 5, 0, 0), (5, 5, 5, -1)])
def test_an_empty_grid_is_refused(wrong):
    with pytest.raises(ValueError, match="a grid needs"):
        Grid(*wrong)


@given(st.lists(st.integers()), st.integers(1, 9))
def test_batches_are_the_items_in_order(items, size):
    made = list(batches(items, size))
    assert [item for batch in made for item in batch] == items
    assert all(len(batch) == size for batch in made[:-1])


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 20), st.integers(-60, 60), st.integers(-60, 60))
def test_a_cut_holds_the_pixels_of_the_window_that_the_raster_has_once(width, height, size, col, row):
    window, whole = Window(col, row, 15, 25), Window(0, 0, width, height)
    expected = np.zeros((200, 200), int)
    expected[max(row, 0) : max(min(row + 25, height), 0), max(col, 0) : max(min(col + 15, width), 0)] = 1
    counts = np.zeros((200, 200), int)
    for tile in Grid(width, height, size, 3).cut(window):
        counts[tile.core.slices(within=whole)] += 1
    assert (counts == expected).all()


@given(st.integers(1, 60), st.integers(1, 60), st.integers(0, 9), st.sampled_from([1, 4, 16]), st.data())
def test_a_cut_tile_needs_its_core_with_the_halo_and_no_more_than_the_step_beside(col, row, halo, step, data):
    core = Window(col, row, data.draw(st.integers(1, 30)), data.draw(st.integers(1, 30)))
    tile = Tile(0, core, Window(0, 0, 128, 128).pad(halo))
    least = tile.least(halo, step)
    assert core.pad(halo).intersection(least.outer) == core.pad(halo)
    assert (least.outer.col_off + halo) % step == (least.outer.row_off + halo) % step == 0
    assert least.outer.width < core.width + 2 * halo + 2 * step
    assert least.outer.height < core.height + 2 * halo + 2 * step


@given(st.integers(1, 5000), st.integers(1, 5000), st.integers(1, 300), st.integers(1, 40))
def test_a_lattice_is_spread_evenly(width, height, side, most):
    part = Window(7, 5, width, height)
    windows = lattice(part, side)
    axes = [
        np.rint(np.linspace(0, whole - min(side, whole), max(whole // min(side, whole), 1))).astype(int).tolist()
        for whole in (width, height)
    ]
    assert [(w.col_off - 7, w.row_off - 5) for w in windows] == [(col, row) for row in axes[1] for col in axes[0]]
    few = lattice(part, side, most)
    assert few == [windows[i] for i in sorted({round(i) for i in np.linspace(0, len(windows) - 1, most)})]


def test_a_few_windows_of_a_raster_without_end_are_there_at_once():
    assert len(lattice(Window(0, 0, 2**31, 2**31), 256, most=16)) == 16
