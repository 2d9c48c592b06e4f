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
from geosr.rasters.source import Source, mirrored

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

    def read(self, window: Window) -> Block:
        inside = self._inside(window)
        return mirrored(self.source.read(inside), inside, window)

    def valid(self, window: Window, block: Block) -> NDArray[np.bool_]:
        inside = self._inside(window)
        rows, cols = inside.slices(within=window)
        return mirrored(self.source.valid(inside, block[:, rows, cols]), inside, window)

    def mask(self, window: Window) -> NDArray[np.bool_]:
        inside = self._inside(window)
        shown: NDArray[np.bool_] = mirrored(self.source.mask(inside)[None], inside, window)[0]
        return shown

    def _inside(self, window: Window) -> Window:
        return window.intersection(Window(0, 0, self.width, self.height))


@dataclass(frozen=True, slots=True)
class Luma:
    """The 8-bit Y of a source of 8-bit red, green and blue, valid where all three are."""

    source: Source

    @property
    def profile(self) -> Profile:
        was = self.source.profile
        return Profile(was.width, was.height, 1, "uint8")

    def read(self, window: Window) -> Block:
        return luma(self.source.read(window))

    def valid(self, window: Window, block: Block) -> NDArray[np.bool_]:
        return np.asarray(self.source.valid(window, self.source.read(window)).all(axis=0, keepdims=True))

    def mask(self, window: Window) -> NDArray[np.bool_]:
        return self.source.mask(window)


@dataclass(frozen=True, slots=True)
class Degraded:
    """A source with rows and columns divided by `scale`, by which they must be divisible.

    A pixel is valid if all those that it covers are. What is invalid beside them is filled before, and never bleeds.
    Noise depends on the pixel's place alone: it is drawn for cells of a fixed grid.
    """

    source: Source
    scale: int
    dtype: str
    """What values are rounded to, as a file would hold them."""
    values: Range
    """Of the scene, whose parts the settings of noise and quantisation are."""
    how: Degradation = Degradation()

    @property
    def profile(self) -> Profile:
        was = self.source.profile
        return Profile(was.width // self.scale, was.height // self.scale, was.count, self.dtype, nodata=was.nodata)

    def read(self, window: Window) -> Block:
        profile, inside = self.profile, window.intersection(self.profile.window)
        made = np.empty((profile.count, inside.height, inside.width), profile.dtype)
        halo = self.how.reach(self.scale) // self.scale
        for cell in Grid(profile.width, profile.height, CELL, halo).cut(inside):
            rows, cols = cell.core.slices(within=inside)
            made[:, rows, cols] = self._cell(cell, halo)
        return mirrored(made, inside, window)

    def _cell(self, cell: Tile, halo: int) -> Block:
        there = cell.scale(self.scale)
        block = self.source.read(there.outer)
        valid = self.source.valid(there.outer, block)
        filled = filled_block(self.source, there, block, valid, halo=halo * self.scale)
        made = cell.trim(self.how(filled, self.scale, values=self.values, seed=(0, cell.index)))
        return off_nodata(made, to_dtype(made, self.dtype), self.profile.nodata)

    def valid(self, window: Window, block: Block) -> NDArray[np.bool_]:
        inside, k = window.intersection(self.profile.window), self.scale
        there = inside.scale(k)
        good = self.source.valid(there, self.source.read(there))
        covered = np.asarray(good.reshape(len(good), inside.height, k, inside.width, k).all(axis=(2, 4)))
        return mirrored(covered, inside, window)

    def mask(self, window: Window) -> NDArray[np.bool_]:
        return np.ones((window.height, window.width), bool)
