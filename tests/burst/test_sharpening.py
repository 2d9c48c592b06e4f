import numpy as np
import pytest
from scipy.ndimage import gaussian_filter, uniform_filter

from geosr.burst import sharpening

SCALE = 3


def test_sharpening_keeps_the_level_and_lifts_edges():
    image = np.zeros((1, 40, 40), np.float32)
    image[:, :, 20:] = 100
    out = sharpening.sharpened(image, np.ones((40, 40), bool), 1.0, 1.0)
    assert out.mean() == pytest.approx(image.mean(), abs=0.5)
    assert out.max() > 110
    hidden = sharpening.sharpened(image, np.arange(40) >= np.full((40, 1), 20), 1.0, 1.0)
    np.testing.assert_allclose(hidden[:, :, 20:], 100, atol=1e-3)


@pytest.mark.parametrize("noise", [0.0, 0.5, 2.0, 20.0])
def test_the_amount_is_the_best_for_what_square_pixels_blur(noise):
    """A scene of large pixels, seen eight times; the amounts are tried one after another against the scene."""
    rng = np.random.default_rng(4)
    scene = gaussian_filter(rng.normal(0, 100, (240, 240)), 2.0) * 4
    frames = uniform_filter(scene, SCALE) + gaussian_filter(rng.normal(0, noise, (8, 240, 240)), (0, 1, 1))
    stack = frames.mean(axis=0)[None].astype(np.float32)
    everywhere = np.ones(scene.shape, bool)

    def error(amount):
        made = sharpening.sharpened(stack, everywhere, amount, sharpening.SIGMA * SCALE)[0]
        return np.mean((made - scene)[20:-20, 20:-20] ** 2)

    chosen = sharpening.suitable_amount(frames, SCALE)
    tried = {amount: error(amount) for amount in np.arange(0, 1.01, 0.05)}
    assert chosen == pytest.approx(min(tried, key=tried.get), abs=0.1)
    assert error(chosen) <= error(0)


def test_one_frame_is_left_as_it_is():
    assert sharpening.suitable_amount(np.zeros((1, 40, 40)), 2) == 0
