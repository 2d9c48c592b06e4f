"""A stack of aligned frames reduced to one image: mean, median, trimmed, sigma, robust. Knows arrays alone.

A stack is (frames, bands, rows, cols) in floating point; `used` (frames, rows, cols) is True where a frame counts.
Pixels where none does come out as 0.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from geosr.burst.options import METHODS
from geosr.grid import Block

Used = NDArray[np.bool_]
Reducer = Callable[[Block, Used], Block]

REACH = 2
"""Pixels around a pixel that `robust` judges it by."""
TRIMMED = 0.25
"""Share of the values that `trimmed` leaves out at either end."""
SIGMAS = 2.5, 3.0
"""Deviations at which `sigma` begins to leave a value out, and has left it out."""
MAD = 1.4826
"""Standard deviations of a normal distribution in its median absolute deviation."""


def mean(stack: Block, used: Used) -> Block:
    """The mean of the frames that count."""
    return _weighted(stack, used[:, None].astype(stack.dtype))


def median(stack: Block, used: Used) -> Block:
    """The median of the frames that count; of an even number, the mean of the middle two."""
    return _middle(_sorted(stack, used), _counts(used))


def trimmed(stack: Block, used: Used) -> Block:
    """The mean without the lowest and the highest quarter of the values that count, rounded down."""
    count = _counts(used)
    cut = np.floor(TRIMMED * count)
    rank = np.arange(len(stack))[:, None, None, None]
    inside = (rank >= cut) & (rank < count - cut)
    return _weighted(np.where(inside, _sorted(stack, used), 0), inside.astype(stack.dtype))


def sigma(stack: Block, used: Used) -> Block:
    """The mean of the values within 2.5 deviations of the median; beyond 3 they have no weight, between the two some.

    The deviation is taken from the MAD: mean and standard deviation cannot judge few frames, as of ten values the
    farthest is at most 2.85 deviations off.
    """
    middle = median(stack, used)
    distance = np.abs(stack - middle)
    typical = MAD * median(distance, used)
    off = distance / np.maximum(typical, np.finfo(stack.dtype).eps * np.maximum(np.abs(middle), 1))
    weights = used[:, None] * np.clip((SIGMAS[1] - off) / (SIGMAS[1] - SIGMAS[0]), 0, 1)
    return np.where(weights.any(axis=0), _weighted(stack, weights), middle)


def robust(stack: Block, used: Used) -> Block:
    """The mean with soft weights, the same for all bands, that fall with a frame's distance from the median.

    The distance is the mean square over the bands and 5 x 5 pixels, measured against that of the median frame
    there: noise leaves all weights near 1, and things that moved get none.
    """
    middle = median(stack, used)
    off = np.einsum("fbrc,fbrc->frc", *[stack - middle] * 2) * used
    off = _around(off)
    if not used.all():
        off /= np.maximum(_around(used.astype(stack.dtype)), 1e-6)
    typical = median(off[:, None], used)[0]
    ratio = np.minimum(off / (SOFTNESS * np.maximum(typical, np.finfo(stack.dtype).eps)), FARTHEST)
    weights = (used / (1 + ratio**4)).astype(stack.dtype)
    return _weighted(stack, weights[:, None])


SOFTNESS = 3.0
"""Times the typical mean square distance at which `robust` gives half the weight."""
FARTHEST = 1e6
"""Beyond, all weights are as good as 0."""
REDUCERS: dict[str, Reducer] = dict(zip(METHODS, (mean, median, trimmed, sigma, robust), strict=True))


def deviation(stack: Block, used: Used) -> Block:
    """Standard deviation (rows, cols) of the frames that count, the root mean square over the bands."""
    centre = mean(stack, used)
    square = _weighted((stack - centre) ** 2, used[:, None].astype(stack.dtype))
    root: Block = np.sqrt(square.mean(axis=0))
    return root


def comparators(count: int) -> Iterator[tuple[int, int]]:
    """The pairs to put in order, one after another, that sort `count` values.

    Source: K. Batcher's odd-even merge, as algorithm 5.2.2M of D. Knuth, The Art of Computer Programming, volume 3.
    Minimum and maximum of whole frames are several times faster than a sort of each pixel.

    >>> list(comparators(3))
    [(0, 2), (0, 1), (1, 2)]
    """
    top = 1 << max(count - 1, 0).bit_length() - 1 if count > 1 else 0
    p = top
    while p:
        q, r, d = top, 0, p
        while True:
            yield from ((i, i + d) for i in range(count - d) if i & p == r)
            if q == p:
                break
            d, q, r = q - p, q >> 1, p
        p >>= 1


def _sorted(stack: Block, used: Used) -> Block:
    """The values of each pixel in rising order, those that do not count as infinity at the end."""
    ordered = stack.copy() if used.all() else np.where(used[:, None], stack, np.inf)
    low = np.empty_like(ordered[0])
    for i, j in comparators(len(ordered)):
        np.minimum(ordered[i], ordered[j], out=low)
        np.maximum(ordered[i], ordered[j], out=ordered[j])
        ordered[i] = low
    return ordered


def _middle(ordered: Block, count: Block) -> Block:
    if (count == len(ordered)).all():
        low, high = ordered[(len(ordered) - 1) // 2], ordered[len(ordered) // 2]
    else:
        low, high = (
            np.take_along_axis(ordered, np.broadcast_to(np.maximum(i, 0)[None], ordered[:1].shape), axis=0)[0]
            for i in ((count - 1) // 2, np.minimum(count // 2, np.maximum(count - 1, 0)))
        )
    return np.where(count > 0, (low + high) / 2, 0).astype(ordered.dtype, copy=False)


def _around(block: Block) -> Block:
    """The mean of 5 x 5 pixels (frames, rows, cols)."""
    import cv2

    side = 2 * REACH + 1
    return np.stack([cv2.blur(plane, (side, side), borderType=cv2.BORDER_REFLECT) for plane in block])


def _counts(used: Used) -> NDArray[np.int64]:
    """Return the number of frames that count (1, rows, cols)."""
    counts: NDArray[np.int64] = used.sum(axis=0)[None]
    return counts


def _weighted(stack: Block, weights: Block) -> Block:
    total = weights.sum(axis=0)
    summed = np.einsum("fbrc,fbrc->brc", stack, np.broadcast_to(weights, stack.shape))
    averaged: Block = np.divide(summed, total, out=np.zeros_like(summed), where=total > 0)
    return averaged
