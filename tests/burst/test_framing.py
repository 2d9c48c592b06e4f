import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from shapely import intersection_all
from shapely.geometry import Polygon, box

from geosr.burst import framing
from geosr.burst.homography import apply, corners
from geosr.errors import BurstError
from geosr.grid import Window

SIZE = 90, 70
matrices = st.tuples(st.floats(-8, 8), st.floats(-8, 8), st.floats(-0.05, 0.05), st.floats(-2e-4, 2e-4)).map(
    lambda p: np.array([[1, -p[2], p[0]], [p[2], 1, p[1]], [p[3], 0, 1]])
)


def outline(matrix):
    return Polygon(apply(np.linalg.inv(matrix), corners(Window(0, 0, *SIZE))))


@given(st.lists(matrices, min_size=1, max_size=4))
@example([np.array([[1, -1e-9, 0], [1e-9, 1, 0], [0, 0, 1]])])
def test_common_lies_in_every_frame_and_no_side_can_grow(found):
    window = framing.common(found, SIZE)
    shared = intersection_all([outline(matrix) for matrix in found])
    grown = shared.buffer(1e-4)
    assert grown.contains(Polygon(corners(window)))
    left, top, right, bottom = Polygon(corners(window)).bounds
    for bigger in (
        box(left - 1, top, right, bottom),
        box(left, top, right + 1, bottom),
        box(left, top, right, bottom + 1),
    ):
        assert not shared.buffer(-1e-4).contains(bigger)


@given(st.lists(matrices, min_size=1, max_size=3))
def test_union_holds_every_frame(found):
    area = Polygon(corners(framing.union(found, SIZE))).buffer(1.0)
    assert all(area.contains(outline(matrix)) for matrix in found)


def test_one_frame_is_its_own_canvas():
    assert framing.common([np.eye(3)], SIZE) == Window(0, 0, *SIZE)
    assert framing.union([np.eye(3)], SIZE) == Window(0, 0, *SIZE)


@given(st.integers(-20, 20), st.integers(-20, 20))
def test_whole_shifts_share_what_is_left(dx, dy):
    matrix = np.array([[1, 0, dx], [0, 1, dy], [0, 0, 1.0]])
    window = framing.common([np.eye(3), matrix], SIZE)
    assert (window.width, window.height) == (SIZE[0] - abs(dx), SIZE[1] - abs(dy))
    assert (window.col_off, window.row_off) == (max(0, -dx), max(0, -dy))


def test_frames_apart_have_nothing_in_common():
    with pytest.raises(BurstError, match="in common"):
        framing.common([np.eye(3), np.array([[1, 0, 200], [0, 1, 0], [0, 0, 1.0]])], SIZE)


def test_the_largest_window_of_a_mask_lies_inside_it():
    covered = np.zeros((50, 60), bool)
    covered[5:45, 8:50] = True
    window = framing.inside_mask(covered, 4.0, 4.0)
    assert 8 * 4 <= window.col_off < 8 * 4 + 8
    assert window.col_off + window.width <= 50 * 4
    assert window.width * window.height > 0.8 * 42 * 40 * 16
    with pytest.raises(BurstError, match="in common"):
        framing.inside_mask(np.zeros((5, 5), bool), 1, 1)
