"""Blur of a known width is measured on edges that are drawn."""

import cv2
import numpy as np
import pytest

from geosr.rasters.blur import blur_of, edge_widths, transfer
from geosr.rasters.degrading import gaussian_taps
from geosr.rasters.resample import decimate

FINE = 8


def fields(seed=0, side=256):
    """Polygons of several brightnesses, drawn eight times as fine as the picture will be."""
    rng = np.random.default_rng(seed)
    picture = np.full((side * FINE, side * FINE), 0.4, np.float32)
    for _ in range(160):
        angles = np.sort(rng.uniform(0, 2 * np.pi, rng.integers(3, 7)))
        corners = rng.uniform(0, side * FINE, 2) + rng.uniform(60, 260) * np.stack([np.cos(angles), np.sin(angles)], 1)
        cv2.fillPoly(picture, [corners.astype(np.int32)], float(rng.uniform(0.1, 0.9)))
    return picture


@pytest.fixture(scope="module")
def ground():
    return fields()


@pytest.mark.parametrize("mtf", [0.1, 0.2, 0.3, 0.5])
@pytest.mark.parametrize("noise", [0.002, 0.01])
def test_the_transfer_of_a_known_blur_is_measured_to_0_05(ground, mtf, noise):
    blurred = decimate(ground[None], FINE, gaussian_taps(mtf, FINE))[0]
    blurred = blurred + noise * np.random.default_rng(1).standard_normal(blurred.shape)
    blur = blur_of(edge_widths(blurred, noise))
    assert blur.mtf == pytest.approx(mtf, abs=0.05)
    assert blur.least <= blur.mtf <= blur.most
    assert blur.edges > 100


def test_a_scene_without_edges_tells_nothing():
    rng = np.random.default_rng(0)
    assert blur_of(edge_widths(rng.standard_normal((128, 128)), 1.0)) is None
    assert blur_of(edge_widths(np.zeros((128, 128)), 0.0)) is None
    assert blur_of(edge_widths(np.zeros((5, 5)), 0.0)) is None


def test_the_transfer_is_that_of_the_gaussians_spectrum():
    sigma, x = 0.7, np.arange(-4000, 4001) / 100
    weights = np.exp(-0.5 * (x / sigma) ** 2)
    for frequency in (0.25, 0.5):
        expected = (weights * np.cos(2 * np.pi * frequency * x)).sum() / weights.sum()
        assert transfer(sigma, frequency) == pytest.approx(expected, abs=1e-9)
