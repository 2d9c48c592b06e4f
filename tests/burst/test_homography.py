import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geosr.burst import homography
from geosr.grid import Window
from geosr.rasters.resample import enlarge

shifts = st.floats(-3, 3)


def waves(rows, cols):
    y, x = np.mgrid[:rows, :cols]
    return np.stack([100 + 50 * np.sin(x * 0.3) * np.cos(y * 0.2), 100 + 40 * np.cos(x * 0.1 + y * 0.25)]).astype("f4")


@given(shifts, shifts)
def test_a_shift_shows_the_function_there(dx, dy):
    made, inside = homography.warped(
        waves(40, 50), np.ones((40, 50), bool), homography.shifting(10 + dx, 10 + dy), (20, 15)
    )
    y, x = np.mgrid[:15, :20]
    x, y = x + 10 + dx, y + 10 + dy
    assert inside.all()
    np.testing.assert_allclose(made[0], 100 + 50 * np.sin(x * 0.3) * np.cos(y * 0.2), atol=0.8)


def test_an_enlargement_lies_where_the_shared_bicubic_puts_it():
    block = waves(30, 30)
    matrix = np.linalg.inv(homography.enlarging(2))
    made, _ = homography.warped(block, np.ones((30, 30), bool), matrix, (60, 60))
    # OpenCV's cubic is Keys' with a = -0.75: it differs in sharpness, not in place.
    np.testing.assert_allclose(made[:, 8:-8, 8:-8], enlarge(block, 2)[:, 8:-8, 8:-8], atol=1.0)


@given(st.floats(0.2, 4))
def test_at_scale_is_the_same_motion_in_larger_pixels(k):
    matrix = np.array([[1.01, 0.02, 5], [-0.02, 0.99, -3], [1e-5, -2e-5, 1]])
    points = np.array([[10.0, 20], [100, 50], [30, 90]])
    up = homography.enlarging(k)
    there = homography.apply(homography.at_scale(matrix, k), homography.apply(up, points))
    np.testing.assert_allclose(there, homography.apply(up, homography.apply(matrix, points)), atol=1e-6)


def test_needed_holds_every_pixel_that_counts():
    """A window read alone gives what the whole image gives."""
    block = waves(80, 90)
    matrix = np.array([[0.5, 0.03, 21.3], [-0.03, 0.5, 30.7], [1e-4, 0, 1]])
    whole, _ = homography.warped(block, np.ones((80, 90), bool), matrix, (40, 30))
    window = homography.needed(matrix, Window(0, 0, 40, 30))
    rows, cols = window.slices(within=Window(0, 0, 90, 80))
    part = block[:, rows, cols]
    local = homography.shifting(-window.col_off, -window.row_off) @ matrix
    made, _ = homography.warped(part, np.ones(part.shape[1:], bool), local, (40, 30))
    np.testing.assert_allclose(made, whole, atol=1e-3)


def test_beyond_the_block_nothing_is_known():
    _, inside = homography.warped(waves(20, 20), np.ones((20, 20), bool), homography.shifting(-5, 0), (20, 20))
    assert not inside[:, :5].any()
    assert inside[:, 5:].all()


@pytest.mark.parametrize("offset", [0.0, 0.3, 0.5])
def test_what_is_not_usable_never_bleeds(offset):
    block, usable = waves(30, 30), np.ones((30, 30), bool)
    usable[12:15, 12:15] = False
    block[:, 12:15, 12:15] = 1e6
    made, inside = homography.warped(block, usable, homography.shifting(offset, offset), (29, 29))
    assert made[:, inside].max() < 1000
    assert inside.sum() > 29 * 29 - 10 * 10


def test_many_bands_come_out_in_order():
    block = np.stack([np.full((9, 9), i, "f4") for i in range(7)])
    made, _ = homography.warped(block, np.ones((9, 9), bool), np.eye(3), (9, 9))
    assert [band.mean() for band in made] == pytest.approx(range(7))


def test_opencv_agrees_on_a_homography():
    here = np.array([[0, 0], [50, 0], [50, 40], [0, 40]], "f4")
    there = np.array([[1, 2], [52, -1], [49, 43], [-2, 39]], "f4")
    matrix = cv2.getPerspectiveTransform(here, there)
    np.testing.assert_allclose(homography.apply(matrix, here.astype(float)), there, atol=1e-6)


def test_places_one_by_one_are_those_of_the_matrix():
    block = waves(60, 80)
    usable = np.ones((60, 80), bool)
    usable[20:25, 30:33] = False
    matrix = homography.shifting(3.25, -2.5) @ np.array([[0.99, 0.02, 0], [-0.02, 0.99, 0], [1e-5, 0, 1]])
    where = homography.places(matrix, np.zeros((2, 50, 70)))
    for one, other in zip(
        homography.warped(block, usable, where, (70, 50)),
        homography.warped(block, usable, matrix, (70, 50)),
        strict=True,
    ):
        np.testing.assert_allclose(one, other, atol=0.5)
    shifted = homography.places(matrix, np.full((2, 50, 70), 2.0))
    moved, known = homography.warped(block, usable, shifted, (70, 50))
    straight, known_too = homography.warped(block, usable, matrix @ homography.shifting(2, 2), (70, 50))
    np.testing.assert_allclose(moved, straight, atol=0.5)
    np.testing.assert_array_equal(known, known_too)
