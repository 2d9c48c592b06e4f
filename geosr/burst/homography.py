"""Blocks seen through a homography, resampled once by cubic convolution. Knows arrays alone.

A matrix takes a position of the result to that of the same thing in the block; positions are (column, row), whole
numbers at pixel centres.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from geosr.grid import Block, Window

Matrix = Block
Mask = NDArray[np.bool_]

REACH = 2
"""Pixels that a result depends on, on either side of where it lies."""
MOST_BANDS = 4
"""Most rows and columns that OpenCV warps at once."""


def apply(matrix: Matrix, points: Block) -> Block:
    """Where the matrix puts the points (n, 2)."""
    there = np.column_stack([points, np.ones(len(points))]) @ matrix.T
    moved: Block = there[:, :2] / there[:, 2:]
    return moved


def at_scale(matrix: Matrix, k: float) -> Matrix:
    """The same for images with `k` times as many rows and columns; pixels' edges, not centres, stay where they are."""
    up = enlarging(k)
    scaled = up @ matrix @ np.linalg.inv(up)
    return np.asarray(scaled / scaled[2, 2])


def enlarging(k: float) -> Matrix:
    """Take a position of an image to that in the image with `k` times as many rows and columns.

    >>> apply(enlarging(2), np.array([[0.0, 0.0]])).tolist()
    [[0.5, 0.5]]
    """
    return np.array([[k, 0, (k - 1) / 2], [0, k, (k - 1) / 2], [0, 0, 1.0]])


def shifting(cols: float, rows: float) -> Matrix:
    """Take a position to the one so many columns and rows further."""
    return np.array([[1, 0, cols], [0, 1, rows], [0, 0, 1.0]])


def corners(window: Window) -> Block:
    """The outer corners (4, 2) of a window's corner pixels, clockwise from the first."""
    (top, bottom), (left, right) = window.toranges()
    outer = [[left, top], [right, top], [right, bottom], [left, bottom]]
    return np.array(outer) - 0.5


def needed(matrix: Matrix, window: Window) -> Window:
    """The pixels that the result's pixels in `window` depend on."""
    return Window.enclosing(apply(matrix, corners(window))).pad(REACH)


def warped(block: Block, usable: Mask, matrix: Matrix, size: tuple[int, int]) -> tuple[Block, Mask]:
    """A result of `size` (width, height) from a block (bands, rows, cols), and where it is known (rows, cols).

    It is known inside the block, where every pixel it depends on is `usable` (rows, cols). The block is mirrored past
    its edges.
    """
    import cv2

    how = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
    image = np.ascontiguousarray(np.moveaxis(block, 0, -1), np.float32)
    parts = [
        cv2.warpPerspective(image[..., i : i + MOST_BANDS], matrix, size, flags=how, borderMode=cv2.BORDER_REFLECT)
        for i in range(0, len(block), MOST_BANDS)
    ]
    moved = np.concatenate([np.moveaxis(np.atleast_3d(part), -1, 0) for part in parts])
    return moved, _inside(usable.shape, matrix, size) & known(usable, matrix, size)


def known(usable: Mask, matrix: Matrix, size: tuple[int, int]) -> Mask:
    """Where (rows, cols) a result of `size` depends on usable pixels alone; past the edges all are as at the edges."""
    import cv2

    if usable.all():
        return np.ones(size[::-1], bool)
    square = np.ones((2 * REACH + 1, 2 * REACH + 1), np.uint8)
    sure = cv2.erode(usable.astype(np.uint8), square, borderType=cv2.BORDER_REPLICATE).astype(np.float32)
    how = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return np.asarray(cv2.warpPerspective(sure, matrix, size, flags=how, borderMode=cv2.BORDER_REPLICATE) > 0.999)


def _inside(shape: tuple[int, ...], matrix: Matrix, size: tuple[int, int]) -> Mask:
    import cv2

    rows, cols = shape
    edge = apply(matrix, corners(Window(0, 0, *size)))
    if (edge >= -0.5).all() and (edge <= (cols - 0.5, rows - 0.5)).all():
        return np.ones(size[::-1], bool)
    how = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return np.asarray(cv2.warpPerspective(np.ones(shape, np.float32), matrix, size, flags=how, borderValue=0) >= 0.5)
