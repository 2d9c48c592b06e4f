"""The windows of a scene with the most detail, none overlapping another."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import minimum_filter

from geosr.grid import Block, Window, lattice
from geosr.rasters.source import RasterSource

LEAST = 64
"""Rows and columns that a place has at the least, if the scene has them."""
LOOKED_AT = 4
"""Places that are read for each that is chosen."""


def detailed(
    source: RasterSource,
    part: Window,
    *,
    side: int,
    count: int,
    bands: Sequence[int],
    thumbnail: tuple[Block, NDArray[np.bool_]],
) -> list[Window]:
    """At most `count` windows of the part, with `side` rows and columns if it has them, the most detailed first.

    The thumbnail of the whole source, of these `bands`, tells which windows to read; what those hold, which to take.
    """
    block, good = thumbnail
    spreads = [float(band[valid].std()) if valid.any() else 0.0 for band, valid in zip(block, good, strict=True)]
    rough = _detail(block, good, spreads)
    steps = rough.shape[0] / source.profile.height, rough.shape[1] / source.profile.width

    def guess(window: Window) -> float:
        rows, cols = (
            slice(int(first * step), max(int(first * step) + 1, int(end * step)))
            for (first, end), step in zip(window.toranges(), steps, strict=True)
        )
        return float(rough[rows, cols].mean())

    guessed = sorted(lattice(part, side), key=guess, reverse=True)
    scored = []
    for window in guessed[: count * LOOKED_AT]:
        pixels = source.read(window)
        valid = pixels.valid[list(bands)]
        if valid.any():
            scored.append((float(_detail(pixels.block[list(bands)], valid, spreads).mean()), window))
    scored.sort(key=lambda pair: -pair[0])
    return [window for _, window in scored[:count]]


def side_for(part: Window, most: int, count: int) -> int:
    """The largest side, of `most` at the most, with which the part holds `count` windows; LEAST where none does.

    >>> side_for(Window(0, 0, 300, 200), 256, 6)
    100
    """
    sides = range(most, min(most, LEAST) - 1, -1)
    return next((side for side in sides if (part.width // side) * (part.height // side) >= count), sides[-1])


def _detail(block: Block, good: NDArray[np.bool_], spreads: Sequence[float]) -> Block:
    """Return the difference of bands from pixel to pixel (rows, cols), over their spread; 0 where invalid."""
    detail = np.zeros(block.shape[1:])
    for band, valid, spread in zip(block, good, spreads, strict=True):
        plain = np.where(valid, band, 0).astype(np.float64)
        down, right = np.abs(np.diff(plain, axis=0, append=plain[-1:])), np.abs(np.diff(plain, append=plain[:, -1:]))
        detail += np.where(minimum_filter(valid, 3), down + right, 0) / (spread or 1.0)
    return detail
