"""Results that keep the input's radiometry: seen by the sensor again, they are the input. Knows arrays alone."""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from geosr.grid import Block

SMALL = 1e-4
"""Weights of the inverse, in parts of the largest, that are left out."""
PERIOD = 512
"""Pixels in which the inverse of a blur dies away."""


@dataclass(frozen=True)
class Projection:
    """The projection of results onto the pictures that a blur and its sampling turn into the input.

    The change is the smallest, by its squares, that makes `resample.decimate(result, scale, taps)` the input: with B
    for the blur and its sampling, B^T (B B^T)^-1 (input - B result). Source: A. Ben-Israel, T. Greville, Generalized
    Inverses, 2003; the iteration that tends to it is M. Irani, S. Peleg, Improving Resolution by Image Registration,
    CVGIP 53 (1991).

    Attributes:
        scale: The enlargement.
        taps: The weights of the blur along rows and columns (scale * (2 reach + 1),), whose sum is 1.
        reach: Pixels of the input around a pixel that its results depend on.
    """

    scale: int
    taps: NDArray[np.float64]
    inverse: NDArray[np.float64] = field(init=False)
    reach: int = field(init=False)

    def __post_init__(self) -> None:
        inverse = _inverse(self.taps, self.scale)
        object.__setattr__(self, "inverse", inverse)
        blur = (len(self.taps) // self.scale - 1) // 2
        object.__setattr__(self, "reach", 2 * blur + len(inverse) // 2)

    def __call__(self, high: Block, low: Block) -> Block:
        """Return a band's result (rows * scale, cols * scale) projected for its input (rows, cols), in its type."""
        k, kind = self.scale, high.dtype
        taps, inverse = self.taps.astype(kind), self.inverse.astype(kind)
        start, middle = (len(taps) - k) // 2, len(inverse) // 2
        seen = _filtered(high, taps, taps, (start, start))[::k, ::k]
        change = _filtered(low.astype(kind) - seen, inverse, inverse, (middle, middle))
        # Each phase of the result gets what its weights gathered.
        phases = [np.ascontiguousarray(taps[phase::k][::-1]) for phase in range(k)]
        cells = high.reshape(low.shape[0], k, low.shape[1], k).copy()
        for row, down in enumerate(phases):
            for col, across in enumerate(phases):
                cells[:, row, :, col] += _filtered(change, down, across, (len(down) // 2, len(across) // 2))
        return cells.reshape(high.shape)


def _filtered(band: Block, down: Block, across: Block, first: tuple[int, int]) -> Block:
    """Return a band weighed along its columns and rows, mirrored past the edges."""
    result = cv2.sepFilter2D(band, -1, across, down, anchor=first[::-1], borderType=cv2.BORDER_REFLECT)
    return np.asarray(result)


def _inverse(taps: NDArray[np.float64], k: int) -> NDArray[np.float64]:
    """Return the weights (odd number) of the inverse of gathering by `taps` what was spread by them."""
    middle = len(taps) - 1
    gathered = np.correlate(taps, taps, "full")[middle % k :: k]
    around = np.zeros(PERIOD)
    around[np.arange(-(len(gathered) // 2), len(gathered) // 2 + 1)] = gathered
    inverse = np.fft.irfft(1 / np.fft.rfft(around).real, PERIOD)
    reach = int(np.flatnonzero(np.abs(inverse[: PERIOD // 2]) >= SMALL * inverse[0])[-1])
    return np.roll(inverse, reach)[: 2 * reach + 1]


def with_means(high: Block, low: Block, scale: int, ends: tuple[float, float]) -> Block:
    """Return a band's result whose mean over each input pixel is the input, within the ends of the data type.

    Args:
        high: The result (rows * scale, cols * scale).
        low: The input (rows, cols), within the ends.
        scale: The enlargement.
        ends: The least and the largest value.
    """
    rows, cols = low.shape
    cells = high.astype(np.float64).reshape(rows, scale, cols, scale)
    want = low.astype(np.float64)[:, None, :, None]
    cells = np.clip(cells + (want - cells.mean((1, 3), keepdims=True)), *ends)
    # Where an end was met, all pixels of the cell come nearer to the other by the same share.
    mean = cells.mean((1, 3), keepdims=True)
    for end, beyond in zip(ends, (mean > want, mean < want), strict=True):
        share = (end - want) / np.where(beyond, end - mean, 1)
        cells = np.where(beyond & np.isfinite(share), end - (end - cells) * share, cells)
    result: Block = cells.reshape(high.shape)
    return result
