"""Bicubic enlargement and reduction by a whole factor: the one kernel that training, inference and scoring share.

Keys' cubic convolution with a = -0.5, antialiased when shrinking, aligned on pixel areas, mirrored past the
edges: the convention of Matlab's imresize. Knows arrays alone, no rasters.
"""

from __future__ import annotations

from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray

from geosr.grid import Block

REACH = 2
"""Input pixels that an output pixel of `enlarge` sees on either side of the one it lies in."""
FILTERED = ("uint8", "uint16", "int16", "float32", "float64")
"""Data types that OpenCV filters as they are, to floating point."""


def keys(x: Block) -> Block:
    """Keys' cubic kernel (a = -0.5) at the distances `x`, in pixels.

    Source: R. Keys, Cubic Convolution Interpolation for Digital Image Processing, IEEE TASSP 29 (1981).

    >>> keys(np.array([0.0, 0.5, 1.0, 1.5, 2.0])).tolist()
    [1.0, 0.5625, 0.0, -0.0625, 0.0]
    """
    x = np.abs(x)
    near = (1.5 * x - 2.5) * x * x + 1
    far = ((-0.5 * x + 2.5) * x - 4) * x + 2
    return np.where(x < 1, near, np.where(x < 2, far, 0.0))


@cache
def enlarging_taps(k: int) -> NDArray[np.float64]:
    """Weights (k, 5) of the pixels -2..2 around an input pixel for each of its `k` output pixels, in order."""
    _check_factor(k)
    centres = (np.arange(k) + 0.5) / k - 0.5
    taps = keys(np.arange(-REACH, REACH + 1) - centres[:, None])
    normalised: NDArray[np.float64] = taps / taps.sum(axis=1, keepdims=True)
    return normalised


@cache
def shrinking_taps(k: int) -> NDArray[np.float64]:
    """Weights (5k,) of the pixels that make one output pixel: its own k, and 2k on either side."""
    _check_factor(k)
    reach = 2 * k
    distance = (np.arange(-reach, reach + k) - (k - 1) / 2) / k
    taps = keys(distance)
    normalised: NDArray[np.float64] = taps / taps.sum()
    return normalised


def enlarge(block: Block, k: int) -> Block:
    """The block (..., rows, cols) with `k` times as many rows and columns, in floating point, not clipped.

    float64 for dtypes that float32 cannot hold (float64 and integers of 32 bits and more), else float32.
    """
    dtype = np.result_type(block.dtype, np.float32)
    if k == 1 or not block.size:
        return block.astype(dtype, copy=False).repeat(k, axis=-2).repeat(k, axis=-1)
    bands = block.reshape(-1, *block.shape[-2:])
    if block.dtype not in FILTERED:
        bands = bands.astype(dtype)
    out = np.empty((len(bands), block.shape[-2], k, block.shape[-1], k), dtype)
    for band, result in zip(bands, out, strict=True):
        _enlarge_band(band, k, result)
    return out.reshape(*block.shape[:-2], k * block.shape[-2], k * block.shape[-1])


def shrink(block: Block, k: int) -> Block:
    """The block (..., rows, cols) with rows and columns divided by `k`, antialiased, in floating point.

    Raises:
        ValueError: rows or columns are not a multiple of `k`.
    """
    rows, cols = block.shape[-2:]
    if rows % k or cols % k:
        raise ValueError(f"rows and columns must be multiples of {k}, got {rows} x {cols}")
    return decimate(block, k, shrinking_taps(k)) if k > 1 else _as_float(block)


def decimate(block: Block, k: int, taps: NDArray[np.float64]) -> Block:
    """The block (..., rows, cols) filtered and taken at the centres of its squares of `k` pixels, in floating point.

    `taps` weigh, in rows and in columns, a square's own `k` pixels and as many on either side; past the edges the
    block is mirrored.
    """
    block = _as_float(block)
    return _decimate_rows(_decimate_rows(block, k, taps, axis=-2), k, taps, axis=-1)


def _enlarge_band(band: Block, k: int, out: Block) -> None:
    """Fill `out` (rows, k, cols, k), in floating point, with a band (rows, cols) enlarged by k."""
    depth = cv2.CV_64F if out.dtype == np.float64 else cv2.CV_32F
    phases = [_cut(taps) for taps in enlarging_taps(k).astype(out.dtype)]
    for row, (down, top) in enumerate(phases):
        strips = [
            cv2.sepFilter2D(band, depth, across, down, anchor=(left, top), borderType=cv2.BORDER_REFLECT)
            for across, left in phases
        ]
        cv2.merge(strips, out[:, row])


def _cut(taps: Block) -> tuple[Block, int]:
    """The taps without zeros at the ends, which would spread infinities, and where the middle one is among them."""
    (used,) = np.nonzero(taps)
    return taps[used[0] : used[-1] + 1], REACH - int(used[0])


def _decimate_rows(block: Block, k: int, taps: NDArray[np.float64], *, axis: int) -> Block:
    rows = np.moveaxis(block, axis, 0)
    count, reach = rows.shape[0] // k, (len(taps) - k) // 2
    padded = np.pad(rows, [(reach, reach)] + [(0, 0)] * (rows.ndim - 1), mode="symmetric")
    out = np.zeros((count, *rows.shape[1:]), block.dtype)
    for tap, weight in enumerate(taps.astype(block.dtype)):
        if weight:
            out += weight * padded[tap : tap + count * k : k]
    return np.moveaxis(out, 0, axis)


def _as_float(block: Block) -> Block:
    return block.astype(np.result_type(block.dtype, np.float32), copy=False)


def _check_factor(k: int) -> None:
    if k < 1:
        raise ValueError(f"the factor must be 1 or more, got {k}")
