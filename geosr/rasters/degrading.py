"""The steps of degradations, as functions on blocks (bands, rows, cols). Knows arrays alone, no rasters."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq

from geosr.errors import OptionError
from geosr.grid import Block
from geosr.rasters.radiometry import Range
from geosr.rasters.resample import REACH, decimate, shrink, shrinking_taps
from geosr.rasters.sensors import Setting

if TYPE_CHECKING:
    from geosr.rasters.degradation import Degradation

NARROWEST = 0.15
"""Standard deviation in pixels of a Gaussian that is all but the mean of the nearest pixels."""
GAUSSIAN = 0.05
"""Most that the exponent of a Gaussian's transfer, 2, is missed by where transfers are rounded."""
WIDEST_MTF = 0.01
"""The transfer of the widest Gaussian that is searched."""


def degraded(block: Block, degradation: Degradation, scale: int, *, values: Range, seed: Sequence[int] = (0,)) -> Block:
    """Return the block after all steps of a degradation; see `Degradation.__call__`."""
    shrunk = bicubic(block, scale) if degradation.steps[0] == "bicubic" else mtf(block, scale, degradation.mtf)
    for step in degradation.steps[1:]:
        shrunk = SPOILING[step](shrunk, degradation, values, seed)
    return shrunk


def bicubic(block: Block, scale: int) -> Block:
    """Return the block shrunk by the kernel that training, inference and scoring share."""
    return shrink(block, scale)


def mtf(block: Block, scale: int, gains: Sequence[float]) -> Block:
    """Return the block filtered by a Gaussian with these transfers (one, or one a band), at the pixels' centres."""
    bands = gains if len(gains) > 1 else tuple(gains) * len(block)
    return np.stack(
        [decimate(band, scale, gaussian_taps(gain, scale)) for band, gain in zip(block, bands, strict=True)]
    )


def noise(block: Block, degradation: Degradation, values: Range, seed: Sequence[int]) -> Block:
    """Return the block with normal noise of variance shot^2 x + read^2, x its values over the range from 0 to 1.

    Source: A. Foi et al., Practical Poissonian-Gaussian Noise Modeling and Fitting for Single-Image Raw-Data, IEEE
    TIP 17 (2008).
    """
    shot, read = degradation.noise
    x = values.normalise(block)
    deviation = np.sqrt(shot**2 * np.maximum(x, 0) + read**2)
    normal = np.random.default_rng(tuple(seed)).standard_normal(block.shape)
    return np.asarray(values.restore(x + deviation * normal).astype(block.dtype))


def quantise(block: Block, degradation: Degradation, values: Range, seed: Sequence[int]) -> Block:
    """Return the block rounded to the levels of the range, which go on beyond its ends: nothing is clipped."""
    steps = 2**degradation.bits - 1
    low, high = (np.array(ends)[:, None, None] for ends in (values.low, values.high))
    x = (block - low) / (high - low)
    return np.asarray(values.restore(np.rint(x * steps) / steps).astype(block.dtype))


SPOILING: dict[str, Callable[[Block, Degradation, Range, Sequence[int]], Block]] = {
    "noise": noise,
    "quantise": quantise,
}


def sensor_settings(degradation: Degradation, scale: int, levels: Sequence[float]) -> tuple[Setting, ...]:
    """Return what a network that knows sensors is told of bands that were degraded.

    Args:
        degradation: The steps.
        scale: The factor between the two resolutions.
        levels: The mean of each band, from 0 to 1 of the range, which shot noise depends on.
    """
    shot, read = degradation.noise if "noise" in degradation.steps else (0.0, 0.0)
    gains = degradation.mtf if len(degradation.mtf) > 1 else degradation.mtf * len(levels)
    result = []
    for gain, level in zip(gains, levels, strict=True):
        taps = gaussian_taps(gain, scale) if degradation.steps[0] == "mtf" else shrinking_taps(scale)
        noise = (shot**2 * max(level, 0) + read**2) ** 0.5
        result.append(Setting(transfer(taps, 0.5 / scale), transfer(taps, 1 / scale), noise))
    return tuple(result)


def transfer(taps: NDArray[np.float64], frequency: float) -> float:
    """Return the modulation transfer of symmetric weights at a frequency, in parts of the Nyquist frequency.

    >>> round(transfer(shrinking_taps(2), 0.5), 3)
    0.486
    """
    distance = np.arange(len(taps)) - (len(taps) - 1) / 2
    return float(taps @ np.cos(np.pi * frequency * distance))


def reach(degradation: Degradation, scale: int) -> int:
    """Return the pixels on each side that a pixel of the result depends on; a multiple of the scale."""
    if degradation.steps[0] == "mtf":
        return max(_reach(gain, scale) for gain in degradation.mtf)
    return REACH * scale


@cache
def gaussian_taps(gain: float, k: int) -> NDArray[np.float64]:
    """Return the weights of a Gaussian around the centre of `k` pixels with response `gain` at 1 / 2k cycles a pixel.

    The response is that of the sampled weights, not of the function they are taken from: the two differ where the
    Gaussian is narrower than a pixel.

    Raises:
        OptionError: no weights have it: between two pixels, for an even `k`, the best that can be had is their mean.
    """
    reach = _reach(gain, k)
    distance = np.arange(-reach, reach + k) - (k - 1) / 2
    wave = np.cos(np.pi * distance / k)

    def weights(sigma: float) -> NDArray[np.float64]:
        taps = np.exp(-0.5 * (distance / sigma) ** 2)
        normalised: NDArray[np.float64] = taps / taps.sum()
        return normalised

    highest = float(weights(NARROWEST) @ wave)
    if gain >= highest:
        raise OptionError(f"mtf must be below {highest:.3f} at scale {k}, got {gain:g}")
    sigma = brentq(lambda sigma: float(weights(sigma) @ wave) - gain, NARROWEST, 2 * _sigma(WIDEST_MTF, k), xtol=1e-12)
    return weights(sigma)


def power_taps(gain: float, exponent: float, k: int) -> NDArray[np.float64]:
    """Return the weights of a blur with transfer exp(-a f^exponent), which is `gain` at the Nyquist frequency.

    They reach two pixels of the result to each side, where a cosine brings them to 0.
    """
    distance = np.arange(5 * k) - (5 * k - 1) / 2
    frequency = (np.arange(2048) + 0.5) / 2048
    response = np.exp(np.log(gain) * (frequency * k) ** exponent)
    taps = (response * np.cos(np.pi * distance[:, None] * frequency)).mean(axis=1)
    taps *= np.sqrt(np.cos(np.pi * distance / (5 * k + 1)))
    return np.asarray(taps / taps.sum())


def blur_taps(half: float, nyquist: float, k: int) -> NDArray[np.float64]:
    """Return the weights of a blur with these transfers at half of the Nyquist frequency and at it.

    A Gaussian where both are one's, as a setting by MTF has; see `power_taps` otherwise.
    """
    exponent = float(np.log2(np.log(nyquist) / np.log(half)))
    return gaussian_taps(nyquist, k) if abs(exponent - 2) < GAUSSIAN else power_taps(nyquist, exponent, k)


def _sigma(gain: float, k: int) -> float:
    """Return the deviation of the Gaussian whose transform is `gain` at 1 / 2k."""
    return float(2 * k / np.pi * np.sqrt(-np.log(gain) / 2))


def _reach(gain: float, k: int) -> int:
    """Return four standard deviations, as whole squares of `k` pixels: what lies beyond weighs 1e-4 together."""
    return int(np.ceil(4 * _sigma(gain, k) / k)) * k
