"""A comparison of a raster with those that were made of it: all that a page or a picture shows of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from affine import Affine
from numpy.typing import NDArray

from geosr.grid import Block, Window
from geosr.notebook import frame
from geosr.rasters.composites import Composite


@dataclass(frozen=True, slots=True)
class Place:
    """One window of the scene, in all pictures."""

    window: Window
    """In pixels of the input."""
    native: Block
    """The input itself (bands, rows, cols)."""
    measured: NDArray[np.bool_]
    """True (rows, cols) where the input holds data."""
    pictures: tuple[Block, ...]
    """Blocks (bands, rows, cols) of one size: bicubic, the results, the truth."""
    valid: NDArray[np.bool_]
    """True (rows, cols) of a picture."""
    errors: tuple[Block, ...]
    """For each result its error, shrunk back, against the input (rows, cols); NaN where unknown."""
    transform: Affine
    """The transform of the pictures' pixels."""
    corners: tuple[tuple[float, float], ...] | None
    """Longitude and latitude of the upper left, upper right, lower left and lower right corner."""
    metres: float | None
    """Width of the pictures' pixels on the ground; None where unknown."""
    scores: Mapping[str, tuple[float, ...]]
    """For each score a figure for each picture; NaN where there is none."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """All that is to be shown."""

    before: str
    """The file name of the input."""
    results: tuple[str, ...]
    """The file names of the results."""
    models: tuple[str, ...]
    """The model of each result and what it was told; empty where that is not known."""
    names: tuple[str, ...]
    """Names of the pictures."""
    scale: int
    bands: tuple[str, ...]
    shown: tuple[Composite, ...]
    """Ways to show several bands, the best first; positions are those in `bands`."""
    crs: str
    located: bool
    pixel: tuple[float, float, str] | None
    """Width, height and unit of the input's pixels; None where unknown."""
    unit: str
    """The unit of the values; empty where unknown."""
    places: Sequence[Place]
    totals: Mapping[str, tuple[float, ...]]
    meanings: Mapping[str, str]
    """A sentence on each score."""
    verdict: str
    """A sentence on the results."""
    frequencies: Sequence[float]
    """Shares of the Nyquist frequency of the pictures."""
    spectra: Sequence[Sequence[float]]
    """Power at those frequencies, in dB, of each picture."""
    ends: Sequence[tuple[float, float]]
    """Values of each band that are shown black and white, where the whole scene is stretched alike."""
    overview: Block
    """The whole scene, small (rows, cols, 3) of 8 bits, in red, green and blue."""
    size: tuple[int, int]
    """Columns and rows of the whole input."""
    date: str
    """The day of the comparison."""
    command: str
    """The command that wrote the page; empty where there was none."""

    def _repr_html_(self) -> str:
        """Return the page, for notebooks."""
        from geosr.quality.page import page

        return frame(page(self))

    @property
    def title(self) -> str:
        return f"{self.before} and {' and '.join(self.results)}"
