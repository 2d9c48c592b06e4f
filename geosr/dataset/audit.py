"""Audits of a training set: no ground in two of its splits, and no picture.

Both are found from the samples themselves, not from what the set's card says.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import shapely
from affine import Affine
from numpy.typing import NDArray
from rasterio.crs import CRS
from rasterio.errors import CRSError
from scipy.fft import dctn
from shapely import STRtree
from shapely.geometry.base import BaseGeometry

from geosr.dataset import formats, records
from geosr.dataset.records import Sample
from geosr.dataset.storage import TFDS_SPLITS
from geosr.engine import Progress
from geosr.errors import DatasetError
from geosr.grid import Block, Window
from geosr.rasters import gdal, placement
from geosr.rasters.profile import Profile

SIDE = 64
"""Rows and columns that a tile is shrunk to before it is hashed."""
WAVES = 16
"""Rows and columns of its lowest frequencies, whose signs are the hash."""
BITS = WAVES * WAVES - 1
ALIKE = 0.8
"""Share of the bits of two hashes that are equal when the tiles show the same: see docs/datasets.md."""
CONTRAST = 0.004
"""Standard deviation as a part of the range below which a tile shows nothing: one step of 8 bits."""
SHARED = 1e-3
"""Part of a tile that another must cover to overlap: less is rounding."""
_ROWS = 2000
"""Hashes that are compared with all others at once."""


@dataclass(frozen=True, slots=True)
class Found:
    """Two samples of different splits that show the same."""

    one: str
    """Split, scene and window."""
    other: str
    share: float
    """Share of the smaller tile's ground, or of the bits of the hashes."""


@dataclass(frozen=True, slots=True)
class Audit:
    """The findings of an audit."""

    folder: str
    tiles: dict[str, int]
    overlaps: list[Found] = field(default_factory=list)
    """On the ground."""
    alike: list[Found] = field(default_factory=list)
    """Pairs that look alike."""
    nowhere: int = 0
    """Tiles without a CRS, compared within their scene alone."""
    flat: int = 0
    """Tiles that show nothing, whose pictures are not compared."""

    @property
    def passed(self) -> bool:
        return not self.overlaps and not self.alike

    @property
    def told(self) -> dict[str, Any]:
        return asdict(self) | {"passed": self.passed}


@dataclass(frozen=True, slots=True)
class _Seen:
    """The parts of a sample that an audit keeps."""

    split: str
    name: str
    crs: str
    outline: placement.Rings
    """Outline of the tile, in its CRS."""
    scene: str
    window: Window
    hash: NDArray[np.bool_] | None


def audit_set(out: str | os.PathLike[str], progress: Progress | None = None) -> Audit:
    """Compare all samples of different splits of the set in a folder, on the ground and by perceptual hashes.

    Raises:
        DatasetError: there is no set, or it is damaged.
    """
    folder = records.sets_in(Path(out))
    examples = {split: samples for split in TFDS_SPLITS if len(samples := formats.split(folder, split))}
    total = sum(len(samples) for samples in examples.values())
    tiles: list[_Seen] = []
    for split, samples in examples.items():
        for sample in samples:
            tiles.append(_seen(split, sample))
            if progress:
                progress(len(tiles), total)
    return Audit(
        os.fspath(folder),
        {split: len(samples) for split, samples in examples.items()},
        list(_overlaps(tiles)),
        list(_alike(tiles)),
        sum(not tile.crs for tile in tiles),
        sum(tile.hash is None for tile in tiles),
    )


def perceptual_hash(block: Block) -> NDArray[np.bool_] | None:
    """The signs of the lowest frequencies of a block (rows, cols): the same for any gain and offset; None if flat.

    `block` is in parts of the range. After C. Zauner, Implementation and Benchmarking of Perceptual Image Hash
    Functions (2010), with signs for the comparison with the median, and more of them.
    """
    if not np.std(block) >= CONTRAST:
        return None
    small = cv2.resize(np.ascontiguousarray(block, np.float32), (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    waves = dctn(small.astype(np.float64), norm="ortho")[:WAVES, :WAVES]
    signs: NDArray[np.bool_] = waves.ravel()[1:] > 0
    return signs


def _seen(split: str, sample: Sample) -> _Seen:
    window = sample.window
    label = f"{split} {sample.scene} {window.col_off},{window.row_off}"
    bands = f" band {','.join(map(str, sample.bands))}" if len(sample.bands) == 1 else ""
    rows, cols = sample.gt.shape[-2:]
    # The CRS is looked at later, once for all tiles that have it; any does to lay the pixels on the map.
    profile = Profile(cols, rows, 1, "uint8", crs=placement.DEGREES, transform=Affine(*sample.transform))
    return _Seen(
        split,
        label + bands,
        sample.crs,
        placement.outlines(profile, [profile.window]),
        sample.scene,
        window,
        perceptual_hash(sample.range.normalise(sample.gt).mean(axis=0)),
    )


def _places(tiles: Sequence[_Seen]) -> list[BaseGeometry]:
    """The samples' polygons in degrees; empty for those without a CRS."""
    places: list[BaseGeometry] = [shapely.Polygon()] * len(tiles)
    by_crs: dict[str, list[int]] = {}
    for i, tile in enumerate(tiles):
        by_crs.setdefault(tile.crs, []).append(i)
    for crs, numbers in by_crs.items():
        if crs:
            try:
                with gdal.environment():
                    system = CRS.from_wkt(crs)
            except CRSError as error:
                raise DatasetError(
                    f"the CRS of {tiles[numbers[0]].name} cannot be read: {gdal.reason(error)}"
                ) from error
            polygons = placement.areas(np.concatenate([tiles[i].outline for i in numbers]), system)
            for i, place in zip(numbers, polygons, strict=True):
                places[i] = place
    return places


def _overlaps(tiles: Sequence[_Seen]) -> Iterator[Found]:
    """Samples of different splits that share ground; those without a CRS are compared within one scene."""
    yield from _covering(tiles, _places(tiles))
    scenes: dict[str, list[_Seen]] = {}
    for tile in tiles:
        if not tile.crs:
            scenes.setdefault(tile.scene, []).append(tile)
    for group in scenes.values():
        windows = [tile.window for tile in group]
        yield from _covering(
            group, [shapely.box(w.col_off, w.row_off, w.col_off + w.width, w.row_off + w.height) for w in windows]
        )


def _covering(tiles: Sequence[_Seen], places: Sequence[BaseGeometry]) -> Iterator[Found]:
    for first, second in combinations(dict.fromkeys(one.split for one in tiles), 2):
        a = [i for i, one in enumerate(tiles) if one.split == first]
        b = [i for i, one in enumerate(tiles) if one.split == second]
        tree = STRtree([places[i] for i in b])
        for i, j in tree.query([places[i] for i in a], predicate="intersects").T.tolist():
            one, other = places[a[i]], places[b[j]]
            share = one.intersection(other).area / min(one.area, other.area)
            if share > SHARED:
                yield Found(tiles[a[i]].name, tiles[b[j]].name, round(share, 4))


def _alike(tiles: Sequence[_Seen]) -> Iterator[Found]:
    """Samples of different splits whose hashes are alike."""
    known = [tile for tile in tiles if tile.hash is not None]
    for first, second in combinations(dict.fromkeys(tile.split for tile in known), 2):
        a, b = ([tile for tile in known if tile.split == split] for split in (first, second))
        signs = _signs(b).T
        for start in range(0, len(a), _ROWS):
            rows = a[start : start + _ROWS]
            equal = (_signs(rows) @ signs + BITS) / (2 * BITS)
            for i, j in np.argwhere(equal >= ALIKE):
                yield Found(rows[i].name, b[j].name, round(float(equal[i, j]), 4))


def _signs(tiles: Sequence[_Seen]) -> NDArray[np.float32]:
    hashes = np.array([tile.hash for tile in tiles])
    return np.where(hashes, np.float32(1), np.float32(-1))
