"""The noise of a band, measured on the calmest of its blocks of 8 x 8 pixels. Knows arrays alone, no rasters.

Source: N. Ponomarenko et al., An Automatic Approach to Lossy Compression of AVIRIS Images, IGARSS 2007; M. Colom,
A. Buades, Analysis and Extension of the Ponomarenko et al. Method, IPOL 3 (2013).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.fft import dctn

from geosr.grid import Block

SIDE = 8
CALM = 0.005
"""Share of the blocks that noise is measured on: those with the least power at low frequencies."""
LEAST = 60
"""Fewest blocks that noise is measured on."""
MOST = 60_000
"""Blocks that are looked at, of all windows together."""
LOW, HIGH = 5, 11
"""Orders of the cosine transform, sums of both indices: texture lies below the first, noise from the second on."""
NORMAL_MEDIAN = 0.4549
"""Median of the square of a normal variable of variance 1."""


def noise_level(windows: Sequence[Block], valid: Sequence[NDArray[np.bool_]]) -> float | None:
    """Return the standard deviation of a band's noise in its unit; None where too few blocks are whole.

    Args:
        windows: Parts of the band (rows, cols).
        valid: Masks of the same shapes, True where valid. Blocks with an invalid pixel or of one value do not count.
    """
    spectra = [_spectra(window, good, MOST // len(windows)) for window, good in zip(windows, valid, strict=True)]
    powers = np.square(np.concatenate(spectra)) if spectra else np.empty((0, SIDE, SIDE))
    if len(powers) < LEAST:
        return None
    order = np.add.outer(np.arange(SIDE), np.arange(SIDE))
    texture = powers[:, (order > 0) & (order < LOW)].mean(axis=1)
    count = max(LEAST, int(len(powers) * CALM))
    calm = np.argpartition(texture, count - 1)[:count]
    return float(np.sqrt(np.median(powers[calm][:, order >= HIGH]) / NORMAL_MEDIAN))


def _spectra(window: Block, valid: NDArray[np.bool_], most: int) -> NDArray[np.float64]:
    """Return the cosine transforms (n, SIDE, SIDE) of at most so many blocks, on an even lattice, of a window."""
    if min(window.shape) < SIDE:
        return np.empty((0, SIDE, SIDE))
    blocks, whole = (np.lib.stride_tricks.sliding_window_view(plane, (SIDE, SIDE)) for plane in (window, valid))
    step = max(1, math.ceil((blocks.shape[0] * blocks.shape[1] / most) ** 0.5))
    blocks, whole = blocks[::step, ::step].reshape(-1, SIDE, SIDE), whole[::step, ::step].reshape(-1, SIDE, SIDE)
    blocks = blocks[whole.all(axis=(1, 2))].astype(np.float64)
    blocks = blocks[np.ptp(blocks, axis=(1, 2)) > 0]
    transforms: NDArray[np.float64] = dctn(blocks, axes=(1, 2), norm="ortho")
    return transforms
