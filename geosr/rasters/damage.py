"""Damage: blocks of a file that cannot be read, found one by one, remembered, and left out of what is read."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geosr.errors import RasterError
from geosr.grid import Block, Grid, Window
from geosr.rasters import gdal

Damage = tuple[int, Window]
"""A block of the file that cannot be read: the band's number, from 1, or 0 for the mask, and its pixels."""
Read = Callable[[Sequence[int], Window], Block]
"""Reads the pixels (bands, rows, cols) of bands, by their numbers, in a window."""
REMEDY = "superresolve --skip-errors makes nodata of what cannot be read"


class Salvage:
    """The readable blocks of a damaged file, and a memory of those that are not."""

    def __init__(self, whole: Window, block_shapes: Sequence[tuple[int, int]]) -> None:
        self.whole, self._shapes = whole, block_shapes
        self._damaged: set[Damage] = set()

    def damage(self, window: Window) -> list[Damage]:
        """Return the blocks in the window that could not be read, band by band."""
        blocks = [(band, block) for band, block in list(self._damaged) if _overlap(block, window)]
        return sorted(blocks, key=lambda damage: (damage[0], damage[1].row_off, damage[1].col_off))

    def unreadable(self, window: Window, indexes: Sequence[int]) -> NDArray[np.bool_]:
        """Return True (bands, rows, cols) where pixels of the window could not be read."""
        unreadable = np.zeros((len(indexes), window.height, window.width), bool)
        for band, block in self.damage(window):
            rows, cols = block.intersection(window).slices(within=window)
            unreadable[np.equal(indexes, band), rows, cols] = True
        return unreadable

    def block(self, window: Window, indexes: Sequence[int], read: Read, *, fill: float, dtype: str) -> Block:
        """Return the window's pixels, with `fill` in blocks that cannot be read, which are remembered."""
        whole = np.full((len(indexes), window.height, window.width), fill, dtype)
        for position, band, block in self._blocks(window, indexes):
            part = block.intersection(window)
            rows, cols = part.slices(within=window)
            try:
                whole[position, rows, cols] = read([band], part)[0]
            except gdal.ERRORS:
                self._damaged.add((band, block))
        return whole

    def mask(self, window: Window, read: Callable[[Window], NDArray[np.bool_]]) -> NDArray[np.bool_]:
        """Return the window's mask (1, rows, cols), False in blocks that cannot be read, which are remembered."""
        whole = np.zeros((1, window.height, window.width), bool)
        for _, _, block in self._blocks(window, [1]):
            part = block.intersection(window)
            rows, cols = part.slices(within=window)
            try:
                whole[0, rows, cols] = read(part)
            except gdal.ERRORS:
                self._damaged.add((0, block))
        return whole

    def decimated(
        self, data: Any, indexes: Sequence[int], shape: tuple[int, int, int], step: float
    ) -> tuple[Block, NDArray[np.bool_]]:
        """Return a decimated read of an open dataset, in parts, and True where it could be read."""
        _, height, width = shape
        block, valid = np.zeros(shape, data.dtypes[0]), np.zeros(shape, bool)
        for tile in Grid(width, height, 64):
            rows, cols = tile.core.slices(within=Window(0, 0, width, height))
            window = tuple((first * step, end * step) for first, end in tile.core.toranges())
            with suppress(*gdal.ERRORS):
                sides = (len(indexes), tile.core.height, tile.core.width)
                block[:, rows, cols] = data.read(list(indexes), window=window, out_shape=sides)
                valid[:, rows, cols] = True
        return block, valid

    def error(self, path: str, error: BaseException, window: Window, indexes: Sequence[int], read: Read) -> RasterError:
        """Return an error that names the first block of the window that cannot be read."""
        for _, band, block in self._blocks(window, indexes):
            try:
                read([band], block)
            except gdal.ERRORS as cause:
                (top, bottom), (left, right) = block.toranges()
                return RasterError(
                    f"cannot read {path!r}, band {band}, rows {top} to {bottom}, columns {left} to {right}: "
                    f"{gdal.reason(cause)}; {REMEDY}"
                )
        return RasterError(f"cannot read {path!r}: {gdal.reason(error)}")

    def mask_error(self, path: str, error: BaseException) -> RasterError:
        """Return an error for a mask that cannot be read."""
        return RasterError(f"cannot read the mask of {path!r}: {gdal.reason(error)}; {REMEDY}")

    def _blocks(self, window: Window, indexes: Sequence[int]) -> Iterator[tuple[int, int, Window]]:
        """Yield position, number and pixels of each band's blocks that touch the window."""
        for position, band in enumerate(indexes):
            rows, cols = self._shapes[band - 1]
            for row in range(window.row_off // rows * rows, window.row_off + window.height, rows):
                for col in range(window.col_off // cols * cols, window.col_off + window.width, cols):
                    yield position, band, Window(col, row, cols, rows).intersection(self.whole)


def _overlap(first: Window, other: Window) -> bool:
    both = first.intersection(other)
    return both.width > 0 and both.height > 0
