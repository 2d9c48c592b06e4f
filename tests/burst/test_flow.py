import cv2
import numpy as np
import pytest

from geosr.burst import flow
from geosr.burst.homography import enlarging, shifting
from geosr.grid import Window
from tests.photographs import scene

SIZE = 400, 300
SHIFT = 4.0, -3.0


@pytest.fixture(scope="module")
def depths():
    """Two gray frames of a far scene, which lies still, and a near disc that moves by SHIFT; and the disc."""
    far, near = (scene(*SIZE, seed=seed, bands=1) for seed in (1, 2))
    disc = cv2.circle(np.zeros(SIZE[::-1], np.float32), (200, 150), 70, 1.0, -1, cv2.LINE_AA)
    move = np.float64([[1, 0, SHIFT[0]], [0, 1, SHIFT[1]]])
    frames = []
    for shown, mask in ((near, disc), (cv2.warpAffine(near, move, SIZE), cv2.warpAffine(disc, move, SIZE))):
        noise = np.random.default_rng(len(frames)).normal(0, 2.0, disc.shape)
        frames.append((mask * shown + (1 - mask) * far + noise).astype(np.float32))
    return frames, disc


def proxy(gray):
    return gray, np.ones(gray.shape, bool)


def test_each_depth_moves_as_it_did(depths):
    (first, second), disc = depths
    found = flow.find(proxy(first), proxy(second), np.eye(3))
    for region, (right, down) in ((disc > 0.99, SHIFT), (disc < 0.01, (0, 0))):
        inner = cv2.erode(np.uint8(region), np.ones((13, 13), np.uint8)) > 0
        assert found.fits[inner].mean() > 0.6
        off = np.hypot(found.field[0] - right, found.field[1] - down)[inner & found.fits]
        assert np.percentile(off, 95) < 0.4
        assert np.median(off) < 0.1
    assert found.share == pytest.approx(found.fits.mean())


def test_what_is_hidden_is_not_trusted(depths):
    (first, second), disc = depths
    hidden = (cv2.warpAffine(disc, np.float64([[1, 0, SHIFT[0]], [0, 1, SHIFT[1]]]), SIZE) > 0.99) & (disc < 0.01)
    assert hidden.sum() > 200
    assert flow.find(proxy(first), proxy(second), np.eye(3)).fits[hidden].mean() < 0.02


def test_another_scene_fits_nowhere(depths):
    (first, _), _ = depths
    other = scene(*SIZE, seed=9, bands=1).astype(np.float32)
    assert flow.find(proxy(first), proxy(other), np.eye(3)).share < 0.05


def test_another_exposure_changes_nothing(depths):
    (first, second), _ = depths
    found, darker = (flow.find(proxy(first), proxy(frame), np.eye(3)) for frame in (second, 0.5 * second + 9))
    assert darker.share == pytest.approx(found.share, abs=0.05)


def test_a_field_is_enlarged_with_its_image():
    rows, cols = np.mgrid[:30, :40].astype(np.float32)
    small = flow.Flow(np.stack([cols, rows]), cols >= 10)
    matrix = np.linalg.inv(enlarging(4)) @ shifting(8, 0)
    field, fits = small.within(matrix, Window(20, 12, 60, 50))
    down, right = np.mgrid[12:62, 20:80]
    np.testing.assert_allclose(field[0], 4 * ((right + 8 + 0.5) / 4 - 0.5), atol=0.1)
    np.testing.assert_allclose(field[1], 4 * ((down + 0.5) / 4 - 0.5), atol=0.1)
    assert not fits[:, : 40 - 28].any()
    assert fits[:, 44 - 28 :].all()


def test_a_faded_flow_counts_everywhere_and_moves_only_where_it_is_trusted():
    fits = np.zeros((40, 40), bool)
    fits[10:30, 10:30] = True
    faded = flow.Flow(np.ones((2, 40, 40), np.float32), fits).faded()
    assert faded.fits.all()
    np.testing.assert_allclose(faded.field[:, 14:26, 14:26], 1, atol=0.01)
    assert not faded.field[:, ~fits].any()
