import warnings

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geosr import pictures


@given(st.floats(-1e6, 1e6), st.floats(1e-3, 1e6), st.lists(st.floats(-2e6, 2e6), min_size=1, max_size=20))
def test_values_are_stretched_linearly_between_the_ends(low, span, values):
    plane = np.array([values])
    expected = np.interp(plane, [low, low + span], [0, 255])
    assert np.abs(pictures.stretched(plane, low, low + span) - expected).max() <= 0.5 + 1e-3


@pytest.mark.parametrize("end", [1.7e308, np.finfo(np.float64).max])
def test_the_largest_floats_are_stretched_without_a_warning(end):
    plane = np.array([[-end, 0, end, np.inf, -np.inf, np.nan]])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert pictures.stretched(plane, -end, end).tolist() == [[0, 128, 255, 255, 0, 0]]
        assert pictures.stretched(plane, 0, 1).tolist() == [[0, 0, 255, 255, 0, 0]]
        assert pictures.stretched(np.full((1, 2), end), end, end).tolist() == [[0, 0]]


def test_the_channels_are_red_green_and_blue():
    block = np.arange(4, dtype=np.uint8)[:, None, None] * np.ones((1, 2, 3), np.uint8) * 80
    assert pictures.colours(block, 0, 255)[0, 0].tolist() == [160, 80, 0]
    assert pictures.colours(block, 0, 255, (2, 1, 0))[0, 0].tolist() == [0, 80, 160]
    assert pictures.colours(block[1:2], 0, 255, (0, 0, 0))[0, 0].tolist() == [80, 80, 80]


def test_a_heatmap_has_the_colours_of_opencv():
    plane = np.linspace(0, 10, 256)[None]
    expected = cv2.applyColorMap(np.arange(256, dtype=np.uint8)[None], cv2.COLORMAP_VIRIDIS)
    assert (pictures.heatmap(plane, 10) == expected).all()
    assert pictures.heatmap(np.array([[np.nan]]), 10).tolist() == [[[160, 160, 160]]]


def test_panels_stand_side_by_side_under_their_labels_and_come_back_from_a_png():
    panels = [np.full((10, 40, 3), value, np.uint8) for value in (50, 100)]
    row = pictures.labelled_row(panels, ["a", "b"])
    assert row.shape == (10 + pictures.LABEL, 80, 3)
    assert (row[pictures.LABEL :] == np.hstack(panels)).all()
    assert row[: pictures.LABEL].any()
    assert (cv2.imdecode(np.frombuffer(pictures.png(row), np.uint8), cv2.IMREAD_COLOR) == row).all()


def test_a_panel_keeps_its_shape_and_its_mean():
    picture = np.random.default_rng(0).integers(0, 255, (20, 30, 3)).astype(np.uint8)
    assert (pictures.panel(picture, 60) == picture.repeat(2, 0).repeat(2, 1)).all()
    small = pictures.panel(picture, 15, smooth=True)
    assert small.shape == (10, 15, 3)
    assert abs(small.mean() - picture.mean()) < 1
