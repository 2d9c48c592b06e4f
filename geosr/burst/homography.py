"""Blocks seen through a homography, or at places given one by one, resampled once by cubic convolution.

A matrix takes a position of the result to that of the same thing in the block; positions are (column, row), whole
numbers at pixel centres. Knows arrays alone.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from geosr.grid import Block, Window

Matrix = Block
Mask = NDArray[np.bool_]
Places = tuple[Block, Block]
"""Columns and rows (rows, cols) of a block where the pixels of the result lie."""

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


def places(matrix: Matrix, moved: Block) -> Places:
    """Where the matrix puts the pixels of a result, each moved by `moved` (2, rows, cols) pixels right and down."""
    right = moved[0] + np.arange(moved.shape[2], dtype=np.float64)
    down = moved[1] + np.arange(moved.shape[1], dtype=np.float64)[:, None]
    cols, rows, depth = (across * right + along * down + start for across, along, start in matrix)
    return (cols / depth).astype(np.float32), (rows / depth).astype(np.float32)


def in_window(where: Matrix | Places, window: Window) -> Matrix | Places:
    """The same for a block that is a window of the one before."""
    cols, rows = window.col_off, window.row_off
    if isinstance(where, tuple):
        return where[0] - np.float32(cols), where[1] - np.float32(rows)
    return shifting(-cols, -rows) @ where


def needed(where: Matrix | Places, window: Window) -> Window:
    """The pixels that the result's pixels in `window` depend on."""
    if isinstance(where, tuple):
        ends = np.array([[plane.min() for plane in where], [plane.max() for plane in where]])
        return Window.enclosing(ends).pad(REACH)
    return Window.enclosing(apply(where, corners(window))).pad(REACH)


def warped(block: Block, usable: Mask, where: Matrix | Places, size: tuple[int, int]) -> tuple[Block, Mask]:
    """A result of `size` (width, height) from a block (bands, rows, cols), and where it is known (rows, cols).

    It is known inside the block, where every pixel it depends on is `usable` (rows, cols). The block is mirrored past
    its edges.
    """
    import cv2

    image = np.ascontiguousarray(np.moveaxis(block, 0, -1), np.float32)
    parts = [
        _resampled(image[..., i : i + MOST_BANDS], where, size, cv2.INTER_CUBIC, cv2.BORDER_REFLECT)
        for i in range(0, len(block), MOST_BANDS)
    ]
    moved = np.concatenate([np.moveaxis(np.atleast_3d(part), -1, 0) for part in parts])
    return moved, _inside(usable.shape, where, size) & known(usable, where, size)


def known(usable: Mask, where: Matrix | Places, size: tuple[int, int]) -> Mask:
    """Where (rows, cols) a result of `size` depends on usable pixels alone; past the edges all are as at the edges."""
    import cv2

    if usable.all():
        return np.ones(size[::-1], bool)
    square = np.ones((2 * REACH + 1, 2 * REACH + 1), np.uint8)
    sure = cv2.erode(usable.astype(np.uint8), square, borderType=cv2.BORDER_REPLICATE).astype(np.float32)
    return _resampled(sure, where, size, cv2.INTER_LINEAR, cv2.BORDER_REPLICATE) > 0.999


def _inside(shape: tuple[int, ...], where: Matrix | Places, size: tuple[int, int]) -> Mask:
    import cv2

    rows, cols = shape
    if isinstance(where, tuple):
        return (where[0] >= -0.5) & (where[0] <= cols - 0.5) & (where[1] >= -0.5) & (where[1] <= rows - 0.5)
    edge = apply(where, corners(Window(0, 0, *size)))
    if (edge >= -0.5).all() and (edge <= (cols - 0.5, rows - 0.5)).all():
        return np.ones(size[::-1], bool)
    return _resampled(np.ones(shape, np.float32), where, size, cv2.INTER_LINEAR, cv2.BORDER_CONSTANT) >= 0.5


def _resampled(image: Block, where: Matrix | Places, size: tuple[int, int], how: int, border: int) -> Block:
    """Return the image (rows, cols, ...) resampled in the way `how`, past its edges as `border` says."""
    import cv2

    if isinstance(where, tuple):
        return np.asarray(cv2.remap(image, *where, how, borderMode=border))
    how |= cv2.WARP_INVERSE_MAP
    return np.asarray(cv2.warpPerspective(image, where, size, flags=how, borderMode=border))
