import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from scipy.ndimage import gaussian_filter

from geosr.burst import report
from tests.photographs import frames


def noisy(count, level, *, seed=0):
    """Gray frames of one scene, and the scene."""
    clean = frames([np.eye(3)], noise=0.0, dtype="uint16")[0].mean(axis=-1)[:200, :200] / 257
    rng = np.random.default_rng(seed)
    return clean, clean + rng.normal(0, level, (count, *clean.shape))


@given(st.floats(-50, 50), st.floats(-50, 50), st.floats(-3, 3), st.floats(0.9, 1.1))
def test_a_movement_is_what_made_it(dx, dy, degrees, zoom):
    turn, centre = np.radians(degrees), np.array([199.5, 149.5])
    matrix = np.eye(3)
    matrix[:2, :2] = zoom * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    matrix[:2, 2] = centre + np.array([dx, dy]) - matrix[:2, :2] @ centre
    found = report.movement(matrix, (400, 300))
    assert found["shift"] == pytest.approx([dx, dy], abs=1e-3)
    assert found["rotation"] == pytest.approx(degrees, abs=1e-3)
    assert found["zoomed"] == pytest.approx(zoom, abs=1e-4)


def test_the_mean_has_the_detail_of_the_frames_and_less_noise():
    _, stack = noisy(8, 5.0)
    found = report.spectrum(stack, stack.mean(axis=0), scale=1)
    assert found["detail near Nyquist, dB"] == pytest.approx(0, abs=0.3)
    assert found["detail to noise near Nyquist, dB"] > 6


def test_blur_takes_detail_and_sharpening_gives_it():
    _, stack = noisy(8, 5.0)
    result = stack.mean(axis=0)
    blurred = gaussian_filter(result, 1.0)
    for made, sign in ((blurred, -1), (2 * result - blurred, 1)):
        assert sign * report.spectrum(stack, made, scale=1)["detail near Nyquist, dB"] > 2


def test_the_picture_and_the_page_are_whole():
    block = np.random.default_rng(0).uniform(0, 255, (3, 100, 100)).astype("f4")
    png = report.picture(block, block, np.stack([block[0], block[1]]), (0, 1, 2), title="before | after")
    with Image.open(io.BytesIO(png)) as image:
        image.load()
        assert image.width == 2 * report.PANEL
    frame = {key: 0.0 for key, _ in report.COLUMNS} | {
        "name": "<a>.jpg",
        "kept": False,
        "reference": False,
        "partial": False,
    }
    said = {
        "frames": [frame | {"reason": "blurred & dark", "shift": [1.0, 2.0]}],
        "kept": 0, "size": [1, 2], "dtype": "uint8", "outputs": ["mean.tif"],
        "coverage": 1.0, "deviation": 2.0, "sharpen": 0.25,
        "spectrum": {"detail near Nyquist, dB": 1.5},
    }  # fmt: skip
    page = report.page(said, png)
    assert "&lt;a&gt;.jpg" in page
    assert "blurred &amp; dark" in page
    assert "+1.5" in page
    assert "0.25" in page
    assert '<meta name="viewport" content="width=device-width' in page
    assert "0 of 1 photos are used" in page
