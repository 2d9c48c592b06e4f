"""The one linear map per band between a raster's values and the 0..1 that networks see.

A map holds for the whole scene, never for a tile, and takes values outside its range as they come: nothing is
clipped. Knows arrays alone, no rasters.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import DTypeLike, NDArray

from geosr.errors import OptionError
from geosr.grid import Block

PERCENTILES = (0.1, 99.9)
"""Percentiles of a sampled band; robust against a few glints, clouds and dead pixels."""


@dataclass(frozen=True, slots=True)
class Range:
    """The values of each band that become 0 and 1."""

    low: tuple[float, ...]
    high: tuple[float, ...]

    def normalise(self, block: Block) -> NDArray[np.float32]:
        """Return the block (bands, rows, cols) with low as 0 and high as 1, in float32."""
        low, span = self._columns()
        return ((block - low) / span).astype(np.float32)

    def restore(self, block: Block, out: Block | None = None) -> Block:
        """Return the inverse of `normalise`, in float64, or in the floating point of `out`, which may be the block."""
        low, span = (ends if out is None else ends.astype(out.dtype) for ends in self._columns())
        values = np.multiply(block, span, out=out)
        values += low
        return values

    def bands(self, indexes: Sequence[int]) -> Range:
        """Return the map of the bands at these positions, from 0."""
        return Range(tuple(self.low[i] for i in indexes), tuple(self.high[i] for i in indexes))

    def __str__(self) -> str:
        return " ".join(f"{low:.9g},{high:.9g}" for low, high in zip(self.low, self.high, strict=True))

    def _columns(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        low, high = np.array(self.low), np.array(self.high)
        return low[:, None, None], (high - low)[:, None, None]


def fixed(low: float, high: float, bands: int) -> Range:
    """Return the same map for every band.

    Raises:
        OptionError: the two do not rise, or are not finite.
    """
    if not (np.isfinite([low, high]).all() and low < high):
        raise OptionError(f"a range must be two finite numbers that rise, got {low:g},{high:g}; change --range")
    return Range((float(low),) * bands, (float(high),) * bands)


def sampled(block: Block, valid: NDArray[np.bool_]) -> Range:
    """Return the map from the percentiles of each band's valid values; a band without contrast gets a span of 1."""
    ends = [_band_range(band[good]) for band, good in zip(block, valid, strict=True)]
    return Range(tuple(low for low, _ in ends), tuple(high for _, high in ends))


def to_dtype(block: Block, dtype: DTypeLike) -> Block:
    """Return the block in another dtype: saturated, and rounded to the nearest if that holds integers."""
    dtype = np.dtype(dtype)
    if dtype.kind not in "iu":
        ends = np.finfo(dtype)
        return np.clip(block, ends.min, ends.max).astype(dtype)
    info = np.iinfo(dtype)
    # Beyond 16 bits float32 rounds the ends out of range, beyond 32 float64 does: the next value inward is safe.
    block = block.astype(np.float64, copy=False) if info.bits > 16 else block
    top = np.nextafter(float(info.max), 0) if info.bits == 64 else float(info.max)
    rounded = np.rint(block)
    return np.clip(rounded, float(info.min), top, out=rounded).astype(dtype)


def _band_range(values: Block) -> tuple[float, float]:
    if not values.size:
        return 0.0, 1.0
    low, high = (float(v) for v in np.percentile(values.astype(np.float64), PERCENTILES))
    return low, high if high > low else low + 1.0
