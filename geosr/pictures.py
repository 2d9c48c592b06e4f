"""Pictures for people: values stretched to 8 bits, planes in colours, labelled panels laid in rows.

Pictures are (rows, cols, 3) in OpenCV's order: blue, green, red.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from geosr.grid import Block

Picture = NDArray[np.uint8]
LABEL = 28
"""Rows of a label."""


def stretched(plane: Block, low: float | Block, high: float | Block) -> Picture:
    """Return values in 8 bits, with `low` as 0 and `high` as 255, values beyond them clipped; NaN becomes 0.

    >>> stretched(np.array([-1.0, 0.0, 1.0, 2.0, np.nan]), 0, 2).tolist()
    [0, 0, 128, 255, 0]
    """
    # In halves, which are exact, as the span of float64 is twice what it can hold.
    low, half = np.multiply(low, 0.5, dtype=np.float64), plane.astype(np.float64) * 0.5
    span = np.maximum(np.multiply(high, 0.5, dtype=np.float64) - low, 5e-13)
    with np.errstate(over="ignore"):
        share = np.nan_to_num((half - low) / span)
    levels: Picture = np.rint(255 * np.clip(share, 0, 1)).astype(np.uint8)
    return levels


def colours(block: Block, low: float | Block, high: float | Block, channels: Sequence[int] = (0, 1, 2)) -> Picture:
    """Return a block (bands, rows, cols) as a picture; `channels` are the positions of red, green and blue."""
    return np.ascontiguousarray(np.moveaxis(stretched(block[list(channels)[::-1]], low, high), 0, -1))


def heatmap(plane: Block, top: float) -> Picture:
    """Return a plane (rows, cols) from 0 to `top` in the colours of viridis, NaN in grey.

    >>> heatmap(np.array([[np.nan, 0.0]]), 1).tolist()
    [[[160, 160, 160], [84, 1, 68]]]
    """
    import cv2

    picture: Picture = np.asarray(cv2.applyColorMap(stretched(plane, 0, max(top, 1e-9)), cv2.COLORMAP_VIRIDIS))
    picture[np.isnan(plane)] = 160
    return picture


def panel(picture: Picture, columns: int, *, smooth: bool = False) -> Picture:
    """Return a picture resized to `columns` columns, its pixels repeated or, with `smooth`, averaged."""
    import cv2

    rows = max(1, round(picture.shape[0] * columns / picture.shape[1]))
    how = cv2.INTER_AREA if smooth else cv2.INTER_NEAREST
    return np.asarray(cv2.resize(picture, (columns, rows), interpolation=how))


def labelled_row(panels: Sequence[Picture], labels: Sequence[str]) -> Picture:
    """Return panels of one height side by side, under their labels."""
    import cv2

    strip = np.zeros((LABEL, sum(image.shape[1] for image in panels), 3), np.uint8)
    left = 0
    for image, text in zip(panels, labels, strict=True):
        cv2.putText(strip, text, (left + 6, LABEL - 8), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (255, 255, 255), 1, cv2.LINE_AA)
        left += image.shape[1]
    return np.vstack([strip, np.hstack(panels)])


def png(picture: Picture) -> bytes:
    """Return a picture as the bytes of a PNG."""
    import cv2

    return bytes(cv2.imencode(".png", picture)[1])
