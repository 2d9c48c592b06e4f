"""Sources made of other sources: cut to a part, turned to luma, shrunk. Knows no files and no networks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geosr.grid import Block, Grid, Tile, Window
from geosr.quality.metrics import luma
from geosr.rasters.degradation import Degradation
from geosr.rasters.nodata import filled_block, off_nodata
from geosr.rasters.profile import Profile
from geosr.rasters.radiometry import Range, to_dtype
from geosr.rasters.source import Pixels, Source

CELL = 256
"""Rows and columns of the cells that a shrunk source is made in."""


@dataclass(frozen=True, slots=True)
class Cropped:
    """The first rows and columns of a source, as if there were no others: mirrored past them."""

    source: Source
    width: int
    height: int

    @property
    def profile(self) -> Profile:
        return self.source.profile.crop(Window(0, 0, self.width, self.height))

    def read(self, window: Window) -> Pixels:
        inside = window.intersection(Window(0, 0, self.width, self.height))
        return self.source.read(inside).mirrored(inside, window)


@dataclass(frozen=True, slots=True)
class Luma:
    """The 8-bit Y of a source of 8-bit red, green and blue, valid where all three are."""

    source: Source

    @property
    def profile(self) -> Profile:
        was = self.source.profile
        return Profile(was.width, was.height, 1, "uint8")

    def read(self, window: Window) -> Pixels:
        pixels = self.source.read(window)
        return Pixels(luma(pixels.block), np.asarray(pixels.valid.all(axis=0, keepdims=True)))


@dataclass(frozen=True, slots=True)
class Degraded:
    """A source with rows and columns divided by `scale`, by which they must be divisible.

    A pixel is valid if all those that it covers are. What is invalid beside them is filled before, and never bleeds.
    Noise depends on the pixel's place alone: it is drawn for cells of a fixed grid.
    """

    source: Source
    scale: int
    dtype: str
    """The data type that values are rounded to, as in a file."""
    values: Range
    """The scene's range, whose parts the settings of noise and quantisation are."""
    how: Degradation = Degradation()

    @property
    def profile(self) -> Profile:
        was = self.source.profile
        return Profile(was.width // self.scale, was.height // self.scale, was.count, self.dtype, nodata=was.nodata)

    def read(self, window: Window) -> Pixels:
        profile, inside = self.profile, window.intersection(self.profile.window)
        shape = profile.count, inside.height, inside.width
        block, valid = np.empty(shape, profile.dtype), np.empty(shape, bool)
        halo = self.how.reach(self.scale) // self.scale
        for cell in Grid(profile.width, profile.height, CELL, halo).cut(inside):
            rows, cols = cell.core.slices(within=inside)
            block[:, rows, cols], valid[:, rows, cols] = self._cell(cell, halo)
        return Pixels(block, valid).mirrored(inside, window)

    def _cell(self, cell: Tile, halo: int) -> tuple[Block, NDArray[np.bool_]]:
        there, k = cell.scale(self.scale), self.scale
        pixels = self.source.read(there.outer)
        filled = filled_block(self.source, there, pixels, halo=halo * k)
        low = cell.trim(self.how(filled, k, values=self.values, seed=(0, cell.index)))
        covered = there.trim(pixels.valid).reshape(len(low), cell.core.height, k, cell.core.width, k)
        valid = np.asarray(covered.all(axis=(2, 4)))
        return off_nodata(low, to_dtype(low, self.dtype), self.profile.nodata), valid
