"""Windows, tiles and grids: whole-number pixel arithmetic, nothing else.

A grid cuts a raster into cores that every pixel belongs to exactly once; a tile adds to its core the halo of
pixels that a result in the core depends on.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, TypeVar, overload

import numpy as np
from numpy.typing import NDArray

T = TypeVar("T")
Block = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Window:
    """A rectangle of pixels, with rasterio's fields in rasterio's order; it may hang over a raster's edges."""

    col_off: int
    row_off: int
    width: int
    height: int

    def pad(self, n: int) -> Window:
        """Return this window with `n` more pixels on each side.

        >>> Window(10, 20, 5, 5).pad(2)
        Window(col_off=8, row_off=18, width=9, height=9)
        """
        return Window(self.col_off - n, self.row_off - n, self.width + 2 * n, self.height + 2 * n)

    def scale(self, k: int) -> Window:
        """Return the same ground in a raster with `k` times as many rows and columns."""
        return Window(self.col_off * k, self.row_off * k, self.width * k, self.height * k)

    def relative(self, to: Window) -> Window:
        """Return this window as it lies in the block of pixels of another."""
        return Window(self.col_off - to.col_off, self.row_off - to.row_off, self.width, self.height)

    def intersection(self, other: Window) -> Window:
        """Return the pixels in both; without any, width or height is 0."""
        col, row = max(self.col_off, other.col_off), max(self.row_off, other.row_off)
        right = min(self.col_off + self.width, other.col_off + other.width)
        bottom = min(self.row_off + self.height, other.row_off + other.height)
        return Window(col, row, max(0, right - col), max(0, bottom - row))

    @classmethod
    def enclosing(cls, points: Block) -> Window:
        """Return the least window that holds the pixels around the points (n, 2) of columns and rows, on all sides.

        >>> Window.enclosing(np.array([[0.5, 2.0], [3.5, 4.0]]))
        Window(col_off=0, row_off=2, width=5, height=3)
        """
        left, top = (int(low) for low in np.floor(points.min(axis=0)))
        right, bottom = (int(high) for high in np.ceil(points.max(axis=0)))
        return cls(left, top, right - left + 1, bottom - top + 1)

    def slices(self, within: Window) -> tuple[slice, slice]:
        """Return the rows and columns of this window in a block that holds the pixels of `within`."""
        (top, bottom), (left, right) = self.relative(within).toranges()
        return slice(top, bottom), slice(left, right)

    def toranges(self) -> tuple[tuple[int, int], tuple[int, int]]:
        """Return ((first row, end row), (first column, end column)), which rasterio takes as a window."""
        return (self.row_off, self.row_off + self.height), (self.col_off, self.col_off + self.width)


@dataclass(frozen=True, slots=True)
class Tile:
    """One task's pixels: the core that it owns and the outer window that it needs."""

    index: int
    core: Window
    outer: Window

    def scale(self, k: int) -> Tile:
        """Return the same ground in a raster with `k` times as many rows and columns."""
        return Tile(self.index, self.core.scale(k), self.outer.scale(k))

    def least(self, halo: int, step: int = 1) -> Tile:
        """The tile with no more outer pixels than the core's, rounded out to multiples of `step`, and the halo.

        >>> Tile(0, Window(70, 0, 10, 10), Window(-8, -8, 528, 528)).least(8, 64).outer
        Window(col_off=56, row_off=-8, width=80, height=80)
        """
        left, top = (offset // step * step for offset in (self.core.col_off, self.core.row_off))
        right, bottom = (
            -(-end // step) * step
            for end in (self.core.col_off + self.core.width, self.core.row_off + self.core.height)
        )
        needed = Window(left, top, right - left, bottom - top).pad(halo)
        return Tile(self.index, self.core, needed.intersection(self.outer))

    def trim(self, block: Block) -> Block:
        """Return the core's pixels (..., rows, cols) of a block that holds the outer window's."""
        rows, cols = self.core.slices(within=self.outer)
        return block[..., rows, cols]


@dataclass(frozen=True, slots=True)
class Grid(Sequence[Tile]):
    """The tiles of a raster in reading order; cores partition it, every outer window has one shape."""

    width: int
    height: int
    size: int
    """Rows and columns of a core; at the right and bottom edges a core is what is left."""
    halo: int = 0

    def __post_init__(self) -> None:
        if min(self.width, self.height, self.size) < 1 or self.halo < 0:
            raise ValueError(f"a grid needs a width, height and size of 1 or more and a halo of 0 or more, got {self}")

    @property
    def cols(self) -> int:
        """Tiles in a row."""
        return -(-self.width // self.size)

    @property
    def rows(self) -> int:
        """Tiles in a column."""
        return -(-self.height // self.size)

    def __len__(self) -> int:
        return self.rows * self.cols

    @overload
    def __getitem__(self, index: int) -> Tile: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Tile]: ...
    def __getitem__(self, index: int | slice) -> Tile | Sequence[Tile]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(f"tile {index} of a grid of {len(self)}")
        index %= len(self)
        row, col = divmod(index, self.cols)
        whole = Window(col * self.size, row * self.size, self.size, self.size)
        core = whole.intersection(Window(0, 0, self.width, self.height))
        needed = Window(whole.col_off, whole.row_off, min(self.size, self.width), min(self.size, self.height))
        return Tile(index, core, needed.pad(self.halo))

    def cut(self, window: Window) -> Sequence[Tile]:
        """Return the tiles that own pixels of the window, each core cut to it; what they need stays the same."""
        if window == Window(0, 0, self.width, self.height):
            return self
        inside = window.intersection(Window(0, 0, self.width, self.height))
        if not (inside.width and inside.height):
            return []
        (top, bottom), (left, right) = inside.toranges()
        rows = range(top // self.size, -(-bottom // self.size))
        cols = range(left // self.size, -(-right // self.size))
        tiles = [self[row * self.cols + col] for row in rows for col in cols]
        return [Tile(tile.index, tile.core.intersection(inside), tile.outer) for tile in tiles]


def batches(items: Sequence[T], size: int) -> Iterator[list[T]]:
    """Yield the items in order, `size` at a time; the last batch may be shorter.

    >>> list(batches([1, 2, 3], 2))
    [[1, 2], [3]]
    """
    rest = iter(items)
    while batch := list(islice(rest, size)):
        yield batch


def lattice(part: Window, side: int, most: int | None = None) -> list[Window]:
    """Return windows spread evenly over the part, with `side` rows and columns if it has them.

    Of more than `most`, that many are returned, from the first to the last.

    >>> [window.col_off for window in lattice(Window(0, 0, 320, 100), 100)]
    [0, 110, 220]
    >>> [window.col_off for window in lattice(Window(0, 0, 320, 100), 100, most=2)]
    [0, 220]
    """
    width, height = min(side, part.width), min(side, part.height)
    cols, rows = max(part.width // width, 1), max(part.height // height, 1)
    count = cols * rows

    if most is None or count <= most:
        chosen: Iterable[int] = range(count)
    else:
        chosen = (_spread(number, most, count - 1) for number in range(most))
    return [
        Window(
            part.col_off + _spread(index % cols, cols, part.width - width),
            part.row_off + _spread(index // cols, rows, part.height - height),
            width,
            height,
        )
        for index in chosen
    ]


def _spread(number: int, count: int, end: int) -> int:
    """Return the number-th of `count` whole numbers that are spread evenly from 0 to `end`."""
    if number == 0 or count < 2:
        return 0
    return end if number == count - 1 else round(number * (end / (count - 1)))
