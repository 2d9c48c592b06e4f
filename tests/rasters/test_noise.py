"""Noise of a known level, added to scenes that have next to none of their own, is measured."""

import numpy as np
import pytest
import rasterio
from scipy.ndimage import gaussian_filter

from geosr.rasters.noise import noise_level


def fractal(side, seed=0):
    """A picture whose power falls as 1 / f^3, as those of land do, from 0 to 1."""
    f = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.fftfreq(side)[None, :])
    f[0, 0] = 1
    rng = np.random.default_rng(seed)
    picture = np.fft.ifft2(np.fft.fft2(rng.standard_normal((side, side))) * f**-1.5).real
    return (picture - picture.min()) / np.ptp(picture)


@pytest.mark.parametrize("sigma", [0.002, 0.004, 0.01, 0.03])
def test_noise_on_smooth_ground_is_measured_to_ten_per_cent(sigma):
    ground = gaussian_filter(fractal(400), 3)
    noisy = ground + sigma * np.random.default_rng(1).standard_normal(ground.shape)
    assert noise_level([noisy], [np.ones(noisy.shape, bool)]) == pytest.approx(sigma, rel=0.1)


@pytest.mark.parametrize("sigma", [0.004, 0.01, 0.03])
def test_noise_on_a_real_scene_is_measured_to_twenty_per_cent(shared, sigma):
    with rasterio.open(shared / "val/s2_t49jgm_b2b3b4b8.tif") as file:
        band = file.read(4)[:512, :512].astype(float)
    band = band.reshape(256, 2, 256, 2).mean(axis=(1, 3)) / 6000  # its own noise is halved
    noisy = band + sigma * np.random.default_rng(1).standard_normal(band.shape)
    assert noise_level([noisy], [np.ones(noisy.shape, bool)]) == pytest.approx(sigma, rel=0.2)


def test_invalid_and_constant_blocks_do_not_count():
    noisy = 100 + 5 * np.random.default_rng(0).standard_normal((256, 256))
    valid = np.ones(noisy.shape, bool)
    valid[:100] = False
    noisy[:100] = 1e6 * np.random.default_rng(1).standard_normal((100, 256))
    noisy[100:160] = 0
    assert noise_level([noisy], [valid]) == pytest.approx(5, rel=0.1)


def test_too_few_blocks_tell_nothing():
    assert noise_level([], []) is None
    assert noise_level([np.random.default_rng(0).random((7, 500))], [np.ones((7, 500), bool)]) is None
    assert noise_level([np.zeros((64, 64))], [np.ones((64, 64), bool)]) is None
