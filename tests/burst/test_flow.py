import cv2
import numpy as np
import pytest
import rasterio

from geosr.burst import flow, job
from geosr.burst.homography import enlarging, shifting
from geosr.burst.options import Options
from geosr.grid import Window
from tests.photographs import need_hugin, save_burst, scene

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


@pytest.mark.slow
def test_parts_at_another_depth_are_aligned_too(tmp_path):
    """A near disc moves against what is far: with --local the mean is as sharp there as elsewhere."""
    need_hugin()
    size, moved = (640, 480), ((0, 0), (5, 4), (-6, 3), (4, -6))
    far, near = (scene(*size, seed=seed) for seed in (1, 2))
    disc = cv2.circle(np.zeros(size[::-1], np.float32), (300, 240), 130, 1.0, -1, cv2.LINE_AA)
    rng, taken = np.random.default_rng(0), []
    for right, down in moved:
        move = np.float64([[1, 0, right], [0, 1, down]])
        shown, mask = cv2.warpAffine(near, move, size), cv2.warpAffine(disc, move, size)[..., None]
        image = mask * shown + (1 - mask) * far + rng.normal(0, 6, far.shape)
        taken.append(image.clip(0, 255).astype("uint8"))
    folder = save_burst(tmp_path / "in", taken)
    clean, error = disc[..., None] * near + (1 - disc[..., None]) * far, {}
    for local in (True, False):
        options = Options(reference="1.tif", scale=1, sharpen=0, methods=("mean",), local=local, keep_all=True)
        said = job.stack([folder], tmp_path / str(local), options)
        assert [frame["local"] > 0.6 for frame in said["frames"][1:] if frame["kept"]] == [local] * (said["kept"] - 1)
        with rasterio.open(tmp_path / str(local) / "mean.tif") as image:
            made = np.ascontiguousarray(np.moveaxis(image.read(), 0, -1), np.float32)
        _, _, (col, row), _ = cv2.minMaxLoc(cv2.matchTemplate(clean, made, cv2.TM_SQDIFF_NORMED))
        place = slice(row, row + made.shape[0]), slice(col, col + made.shape[1])
        error[local] = np.sqrt(np.mean((made - clean[place])[disc[place] > 0.99] ** 2))
    assert error[True] < 0.6 * error[False]
