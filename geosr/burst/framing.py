"""The part of the reference's plane that is made: what all frames cover, or what any of them does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geosr.burst.homography import Matrix, apply, corners
from geosr.errors import BurstError
from geosr.grid import Block, Window

ROUNDS = 6
SLACK = 1e-6
"""Pixels that are rounding."""
ROWS = 96
"""Rows that a round of the search for the largest rectangle tries as its top and as its bottom."""


def common(matrices: Sequence[Matrix], size: tuple[int, int]) -> Window:
    """The largest window of whole pixels inside all frames of this size, in the reference's pixels.

    Raises:
        BurstError: they share none.
    """
    from shapely import intersection_all

    shared = intersection_all(_outlines(matrices, size))
    window = (
        _grown(_largest_inside(np.array(shared.exterior.coords)), shared) if shared.area > 0 else Window(0, 0, 0, 0)
    )
    if min(window.width, window.height) < 1:
        raise BurstError("the frames have no area in common; leave some out, or use --crop union")
    return window


def union(matrices: Sequence[Matrix], size: tuple[int, int]) -> Window:
    """The least window that holds all frames of this size, in the reference's pixels."""
    from shapely import unary_union

    left, top, right, bottom = unary_union(_outlines(matrices, size)).bounds
    return Window.enclosing(np.array([[left + 0.5, top + 0.5], [right - 0.5, bottom - 0.5]]))


def inside_mask(covered: NDArray[np.bool_], wide: float, high: float) -> Window:
    """The largest window inside the convex area that a thumbnail shows, whose pixels are `wide` x `high` of the whole.

    Raises:
        BurstError: the area is empty.
    """
    from shapely.geometry import MultiPoint

    rows, cols = np.nonzero(covered)
    area = (
        MultiPoint(np.column_stack([(cols + 0.5) * wide, (rows + 0.5) * high]) - 0.5).convex_hull if len(rows) else None
    )
    area = area.buffer(-max(wide, high)) if area is not None and area.area > 0 else None
    if area is None or area.is_empty:
        raise BurstError("the images of the project have no area in common; leave some out, or use --crop union")
    return _largest_inside(np.array(area.exterior.coords))


def _outlines(matrices: Sequence[Matrix], size: tuple[int, int]) -> list[Any]:
    """Each frame's outline as the reference sees it; a matrix goes from the reference to the frame."""
    from shapely.geometry import Polygon

    edge = corners(Window(0, 0, *size))
    return [Polygon(apply(np.linalg.inv(matrix), edge)) for matrix in matrices]


def _largest_inside(outline: Block) -> Window:
    """The largest window inside a convex outline (n, 2).

    Between two rows of a convex outline, the columns inside it at both are inside it all the way: so only the top
    and the bottom are searched for, ever closer to the best found.
    """
    low, high = float(outline[:, 1].min()), float(outline[:, 1].max())
    tops = bottoms = np.linspace(low, high, ROWS)
    best, top, bottom = 0.0, low, low
    for turn in range(ROUNDS):
        (left_t, right_t), (left_b, right_b) = _chords(outline, tops), _chords(outline, bottoms)
        wide = np.minimum(right_t[:, None], right_b) - np.maximum(left_t[:, None], left_b)
        area = np.clip(wide, 0, None) * np.clip(bottoms - tops[:, None], 0, None)
        i, j = np.unravel_index(np.argmax(area), area.shape)
        if area[i, j] > best:
            best, top, bottom = float(area[i, j]), float(tops[i]), float(bottoms[j])
        step = (high - low) / (ROWS / 4) ** (turn + 1)
        tops = np.clip(np.linspace(top - step, top + step, ROWS), low, high)
        bottoms = np.clip(np.linspace(bottom - step, bottom + step, ROWS), low, high)
    first, last = int(np.ceil(top + 0.5 - SLACK)), int(np.floor(bottom - 0.5 + SLACK))
    # Not on the edge of the pixels, where an edge of the outline that is level but for rounding may end anywhere.
    rows = np.array([first - 0.5 + 2 * SLACK, last + 0.5 - 2 * SLACK])
    if last < first:
        return Window(0, 0, 0, 0)
    lefts, rights = _chords(outline, np.clip(rows, low, high))
    left, right = int(np.ceil(lefts.max() + 0.5 - SLACK)), int(np.floor(rights.min() - 0.5 + SLACK))
    return Window(left, first, max(right - left + 1, 0), last - first + 1)


def _grown(window: Window, area: Any) -> Window:
    """The window with each side moved out by the whole pixels that rounding has cost it."""
    from shapely.geometry import Polygon

    area, grown = area.buffer(SLACK), True
    while grown and window.width > 0:
        grown = False
        for left, top, wide, high in ((1, 0, 1, 0), (0, 0, 1, 0), (0, 1, 0, 1), (0, 0, 0, 1)):
            larger = Window(window.col_off - left, window.row_off - top, window.width + wide, window.height + high)
            if area.covers(Polygon(corners(larger))):
                window, grown = larger, True
    return window


def _chords(outline: Block, rows: Block) -> tuple[Block, Block]:
    """The first and last column (n,) of a convex outline, closed, at each row."""
    (x0, y0), (x1, y1) = outline[:-1].T[:, :, None], outline[1:].T[:, :, None]
    with np.errstate(divide="ignore", invalid="ignore"):
        along = (rows - y0) / (y1 - y0)
    met = (along >= -1e-9) & (along <= 1 + 1e-9)
    level = (y0 == y1) & (np.abs(rows - y0) < 1e-9)
    across = x0 + np.where(met, along, 0) * (x1 - x0)
    ends = np.where(met, across, np.nan), np.where(level, x0, np.nan), np.where(level, x1, np.nan)
    columns = np.concatenate([np.broadcast_to(end, met.shape) for end in ends])
    return np.nanmin(columns, axis=0), np.nanmax(columns, axis=0)
