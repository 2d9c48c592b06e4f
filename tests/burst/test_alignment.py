import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geosr.burst import alignment
from geosr.burst.homography import apply, corners
from geosr.grid import Window
from tests.photographs import SIZE, distance, frames, moves

MATRIX = np.array([[1.002, 0.01, 4.2], [-0.01, 0.998, -3.1], [1e-6, 2e-6, 1]])


def points(count=200, seed=0):
    return np.random.default_rng(seed).uniform((5, 5), (SIZE[0] - 5, SIZE[1] - 5), (count, 2))


def proxies(matrix, *, noise=2.0, gain=1.0, offset=0.0):
    """Gray images of a scene and of the scene moved, each with where it can be trusted."""
    here, there = (image.mean(axis=-1).astype(np.float32) for image in frames([np.eye(3), matrix], noise=noise))
    return (here, np.ones(here.shape, bool)), (there * gain + offset, np.ones(there.shape, bool))


@given(st.floats(0, 0.5), st.integers(0, 100))
def test_points_give_the_motion_despite_noise(noise, seed):
    here = points(seed=seed)
    there = apply(MATRIX, here) + np.random.default_rng(seed).normal(0, noise, here.shape)
    fit = alignment.fit_points(here, there, SIZE)
    assert not fit.problem
    assert distance(fit.matrix, MATRIX) < 0.02 + noise / 2


def test_points_that_are_wrong_do_not_count():
    here = points(300)
    there = apply(MATRIX, here)
    there[:100] += np.random.default_rng(1).uniform(-80, 80, (100, 2))
    fit = alignment.fit_points(here, there, SIZE)
    assert distance(fit.matrix, MATRIX) < 0.01
    assert 200 <= fit.inliers <= 205
    assert len(fit.agreed[0]) == fit.inliers


@pytest.mark.parametrize(
    ("here", "there", "why"),
    [
        (points(5), points(5), "5 control points"),
        (points(100), points(100, seed=9), "agree"),
        (points(100), points(100) * 3, "stretch"),
        (points(100), points(100) + 350, "shows less"),
    ],
)
def test_what_cannot_be_is_said(here, there, why):
    assert why in alignment.fit_points(here, there, SIZE).problem


def test_pixels_refine_what_points_began():
    reference, frame = proxies(MATRIX)
    off = np.array([[0, 0, 0.6], [0, 0, -0.5], [0, 0, 0]])
    start = alignment.Fit(MATRIX + off, points=100, inliers=90, rms=0.5)
    fit = alignment.checked(start, reference, frame)
    assert not fit.problem
    assert distance(fit.matrix, MATRIX) < 0.03 < distance(start.matrix, MATRIX)
    assert fit.correlation > 0.99
    assert fit.motion < 0.1
    assert fit.still > 0.95


def test_parallax_is_seen_and_named():
    reference, (frame, usable) = proxies(np.eye(3))
    near = np.zeros(frame.shape, bool)
    near[:, SIZE[0] // 3 : 2 * SIZE[0] // 3] = True
    split = np.where(near, np.roll(frame, 5, axis=1), np.roll(frame, -5, axis=0))
    fit = alignment.checked(alignment.Fit(np.eye(3), points=100, inliers=90), reference, (split, usable))
    assert "parallax" in fit.problem
    assert fit.motion > 2


def test_a_thing_that_moved_is_no_parallax():
    reference, (frame, usable) = proxies(np.eye(3))
    frame[50:120, 60:140] = frame[150:220, 200:280]
    fit = alignment.checked(alignment.Fit(np.eye(3), points=100, inliers=90), reference, (frame, usable))
    assert not fit.problem
    assert distance(fit.matrix, np.eye(3)) < 0.1


def coloured(proxy):
    gray, usable = proxy
    return gray[None], usable


@pytest.mark.slow
@given(st.floats(0.5, 2), st.floats(-20, 20))
def test_exposure_is_found_and_blind_to_noise(gain, offset):
    reference, frame = proxies(MATRIX, noise=4.0, gain=1 / gain, offset=-offset / gain)
    (found_gain,), (found_offset,) = alignment.exposure(coloured(reference), coloured(frame), MATRIX)
    assert found_gain == pytest.approx(gain, rel=0.02)
    assert found_gain * (100 - offset) / gain + found_offset == pytest.approx(100, abs=1.5)


def test_exposure_of_what_shares_nothing_is_left_alone():
    reference, (frame, usable) = proxies(np.eye(3))
    nothing = alignment.exposure(coloured(reference), coloured((frame, np.zeros_like(usable))), np.eye(3))
    assert nothing == ((1.0,), (0.0,))


def test_flat_images_are_matched_by_their_level():
    assert alignment.match(np.full(200, 10.0), np.full(200, 30.0)) == (1.0, 20.0)


def test_the_moves_of_the_tests_are_about_the_middle():
    for matrix in moves(4, reach=0.0):
        middle = corners(Window(0, 0, *SIZE)).mean(axis=0, keepdims=True)
        np.testing.assert_allclose(apply(matrix, middle), middle, atol=1e-9)
