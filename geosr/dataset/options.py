"""The options of a training set, declared once for the library and the command line. Imports nothing heavy."""

from __future__ import annotations

import operator
import os
from dataclasses import asdict, dataclass
from typing import Any

from geosr.choices import check_options, option
from geosr.errors import OptionError
from geosr.rasters.degradation import Degradation
from geosr.rasters.kinds import DTYPES

SPLIT_MODES = ("scene", "block")
FORMATS = ("tfrecord", "webdataset", "png")


@dataclass(frozen=True, slots=True)
class Options:
    """The choices of a training set.

    Raises:
        OptionError: a value is not allowed, or two contradict each other.
    """

    scale: int = option(2, "Factor between the two resolutions.", least=1)
    size: int = option(96, "Rows and columns of a full-resolution tile.", least=1)
    bands: tuple[int | str, ...] | None = option(
        None, "Bands to use, in this order: numbers from 1, or names, as B4,red."
    )
    nodata_in: float | None = option(
        None, "Value that is nodata in the scenes although they do not declare it, as 0 beside a swath."
    )
    each_band: bool = option(False, "Make every band a sample of its own; scenes may differ in their bands.")
    dtype: str | None = option(
        None,
        "Data type that holds the values of all scenes, as they are; theirs by default, if they have one.",
        choices=DTYPES,
    )
    degradation: Degradation = Degradation()
    split: str = option(
        "scene",
        "Keep scenes whole, or cut the ground into blocks. Scenes of one place stay together.",
        choices=SPLIT_MODES,
    )
    validation: float = option(0.1, "Share of the tiles for validation.", least=0, most=0.9)
    test: float = option(0.0, "Share of the tiles for a test.", least=0, most=0.9)
    block: int | None = option(None, "Rows and columns of a block, in pixels.  [default: those of 8 tiles]", least=1)
    aoi: str | os.PathLike[str] | None = option(None, "Take only tiles wholly inside the polygons of a vector file.")
    exclude: str | os.PathLike[str] | None = option(None, "Take no tile that touches the polygons of a vector file.")
    min_valid: float = option(
        0.95,
        "Share of a tile's pixels that are not nodata; the others get the value of the nearest valid one, as in "
        "superresolve.",
        least=0,
        most=1,
    )
    min_variance: float = option(
        0.0,
        "Variance of a tile's values as parts of its scene's range; 0.0001 is a standard deviation of 1 % of it, and "
        "drops still water and even clouds.",
        least=0,
    )
    max_tiles: int | None = option(None, "Largest number of tiles, chosen at random.", least=1)
    seed: int = option(0, "Random seed.", least=0, most=2**32 - 1)
    bic_up: bool = option(True, "Store the enlarged image too, or make it while reading.")
    format: str = option(
        "tfrecord",
        "Files of the set: TFRecords, tar files of webdataset, or PNG files in folders HR and LR. The last two have no "
        "enlarged image.",
        choices=FORMATS,
    )
    gzip: bool = option(False, "Compress the shards; TensorFlow Datasets does not read them then.")

    def __post_init__(self) -> None:
        # As JSON holds them.
        for name in ("aoi", "exclude"):
            if (path := getattr(self, name)) is not None:
                object.__setattr__(self, name, os.fspath(path))
        if self.bands is not None:
            object.__setattr__(self, "bands", tuple(b if isinstance(b, str) else operator.index(b) for b in self.bands))
        check_options(self)
        if self.format != FORMATS[0]:
            object.__setattr__(self, "bic_up", False)
            if self.gzip:
                raise OptionError(f"gzip is for --format {FORMATS[0]}, got {self.format}")
        if self.size < self.scale or self.size % self.scale:
            raise OptionError(
                f"the tile size must be a multiple of the scale {self.scale}, got {self.size}; change --size"
            )
        if not 0 <= self.validation + self.test < 1:
            raise OptionError(
                f"validation and test must leave tiles for training, got {self.validation:g} and {self.test:g}"
            )
        splits = 1 + (self.validation > 0) + (self.test > 0)
        if self.max_tiles is not None and self.max_tiles < splits:
            raise OptionError(
                f"max_tiles must hold a tile of each split, {splits} or more, got {self.max_tiles}; take more, or "
                "--validation 0"
            )
        if self.block is not None and self.split != "block":
            raise OptionError("a size of blocks is for --split block")

    @property
    def settings(self) -> dict[str, Any]:
        """The options in words and numbers."""
        return asdict(self) | {"degradation": self.degradation.settings}
