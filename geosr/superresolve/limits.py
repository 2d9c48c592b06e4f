"""Limits that keep a result near the values of the input around it. Knows arrays alone."""

from __future__ import annotations

import cv2
import numpy as np

from geosr.grid import Block

SIDE = 5
"""Rows and columns of the input around a pixel whose values limit it."""
REACH = SIDE // 2
SLACK = 0.2
"""Share of their spread by which a result may go beyond them."""


def limited(high: Block, low: Block, scale: int) -> Block:
    """Return results within the values of the input around them, a little widened, and not below the range's lower end.

    A sharper picture of a bright roof is brighter than the blurred one, but not than its surroundings allow: beyond
    that it is overshoot, which no sensor sees. Where the input itself is below 0, its least value there is the end.

    Args:
        high: Results (n, bands, rows * scale, cols * scale), in parts of the range; changed in place.
        low: The input (n, bands, rows, cols), in float32.
        scale: The enlargement.
    """
    kernel = np.ones((SIDE, SIDE), np.uint8)
    for results, bands in zip(high, low, strict=True):
        for result, band in zip(results, bands, strict=True):
            top, bottom = cv2.dilate(band, kernel), cv2.erode(band, kernel)
            slack = SLACK * (top - bottom)
            least = np.maximum(bottom - slack, np.minimum(bottom, 0))
            rows = result.reshape(band.shape[0], scale, band.shape[1], scale)
            np.clip(rows, least[:, None, :, None], (top + slack)[:, None, :, None], out=rows)
    return high
