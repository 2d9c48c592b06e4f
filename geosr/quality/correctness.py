"""Improvement, omission and hallucination: three shares of what a result makes of the detail that its input lacks.

Source: C. Aybar et al., A Comprehensive Benchmark for Optical Remote Sensing Image Super-Resolution, IEEE GRSL 21
(2024), with the constants of its program opensr-test: a pixel is near the truth, near the input enlarged by bilinear
interpolation, or near neither. Two of its steps are left out, as results here lie on the truth's grid and have its
values: matching of histograms, and a search for shifts. Knows arrays alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geosr.grid import Block
from geosr.quality.metrics import Mask

Floats = NDArray[np.float64]

NAMES = "improvement", "omission", "hallucination"
STEEPNESS = 0.05
"""The exponent's factor in all three distances."""
TEMPERATURE = 0.25
"""Of the softmin that makes shares of them."""
QUANTILE = 0.75
"""Share of the pixels, by their distance between input and truth, that tell of too little."""
BINS = 512
LEAST = 1e-6
"""Distances below are as good as none; they are counted in bins of equal ratios between this and 1."""


@dataclass(frozen=True, slots=True)
class Correctness:
    """Sums over pixels, which add up over tiles, by the largest of a pixel's three distances."""

    shares: Floats
    """Improvement, omission and hallucination (3, bins)."""
    counts: Floats
    """Pixels (bins,) in these sums."""
    references: Floats
    """Pixels (bins,) by the distance between input and truth."""

    def __add__(self, other: Correctness) -> Correctness:
        return Correctness(self.shares + other.shares, self.counts + other.counts, self.references + other.references)

    @property
    def value(self) -> Floats:
        """Improvement, omission and hallucination, which add up to 1; NaN where no pixel tells.

        Pixels none of whose distances exceeds the quantile of those between input and truth tell of too little.
        """
        total = self.references.sum()
        if not total:
            return np.full(3, np.nan)
        least = int(np.searchsorted(np.cumsum(self.references), QUANTILE * total))
        count = self.counts[least + 1 :].sum()
        return self.shares[:, least + 1 :].sum(axis=1) / count if count else np.full(3, np.nan)


def correctness(result: Block, truth: Block, plain: Block, valid: Mask) -> Correctness:
    """Return the sums of a result (bands, rows, cols) beside the truth and the input as `enlarged` has it.

    `valid` (bands, rows, cols) or (rows, cols) says which pixels count; one that does not in a band is left out.
    """
    counted = np.broadcast_to(valid, truth.shape).all(axis=0)
    made, true, interpolated = (block[:, counted].astype(np.float64) for block in (result, truth, plain))
    reference, to_truth, to_input = (
        _distance(*pair) for pair in ((interpolated, true), (made, true), (made, interpolated))
    )
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        near, far = to_truth / reference, to_input / reference
        bend = 1 - np.exp(-STEEPNESS * (near + far - 1))
        distances = np.stack([near + far * bend, far + near * bend, np.exp(-STEEPNESS * near * far)])
        # From the least, so that the exponentials of infinite distances are none.
        weights = np.exp(-(distances - distances.min(axis=0)) / TEMPERATURE)
        shares = weights / weights.sum(axis=0)
    defined = np.isfinite(shares).all(axis=0)
    bins = _bin(np.maximum.reduce([reference, to_truth, to_input])[defined])
    summed = np.stack([np.bincount(bins, share[defined], BINS) for share in shares]).astype(np.float64)
    counts, references = (np.bincount(each, minlength=BINS).astype(np.float64) for each in (bins, _bin(reference)))
    return Correctness(summed, counts, references)


def enlarged(low: Block, scale: int) -> Block:
    """Return a block (bands, rows, cols) enlarged by bilinear interpolation, its edges repeated."""
    import cv2

    size = low.shape[2] * scale, low.shape[1] * scale
    return np.stack([cv2.resize(band.astype(np.float64), size, interpolation=cv2.INTER_LINEAR) for band in low])


def _distance(one: Floats, other: Floats) -> Floats:
    """Return the mean over bands of the normalised difference of two blocks (bands, n)."""
    total = np.abs(one + other)
    ratio = np.divide(np.abs(one - other), total, out=np.zeros_like(total), where=total > 0)
    return np.asarray(np.minimum(ratio.mean(axis=0), 1.0))


def _bin(distance: Floats) -> NDArray[np.int64]:
    place = np.log(np.maximum(distance, LEAST) / LEAST) / np.log(1 / LEAST) * (BINS - 1)
    return np.asarray(place.astype(np.int64))
