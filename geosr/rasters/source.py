"""Sources: where blocks of pixels come from, and which of them are valid. Knows no networks."""

from __future__ import annotations

import hashlib
import logging
import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.enums import ColorInterp

from geosr.errors import OptionError, RasterError
from geosr.files import absolute_path
from geosr.grid import Block, Grid, Window
from geosr.rasters import gdal, profile
from geosr.rasters.profile import Profile
from geosr.rasters.radiometry import Range, fixed, sampled

log = logging.getLogger(__name__)

THUMBNAIL = 1024
"""Most rows and columns of the decimated read that a range is taken from."""
WINDOWED_BLOCK = 2**20
"""Most pixels of a block of a file that is read by windows."""
LOSSY = ("JPEG", "WEBP", "JXL")
"""Kinds of compression that lose, unless the file says that they did not."""

SKIP = "superresolve --skip-errors makes nodata of what cannot be read"
Damage = tuple[int, Window]
"""A block of the file that cannot be read: the band's number, from 1, or 0 for the mask, and its pixels."""


@dataclass(frozen=True, slots=True)
class Pixels:
    """The pixels of a window and their validity."""

    block: Block
    """(bands, rows, cols), in the raster's dtype."""
    valid: NDArray[np.bool_]
    """True (bands, rows, cols) where the block holds measured values."""
    mask: NDArray[np.bool_] | None = None
    """True (rows, cols) where the raster's mask, or transparency that was left out, hides nothing; None without one."""

    def mirrored(self, inside: Window, window: Window) -> Pixels:
        """Return the pixels of `window`, from those of the part of it that is inside the raster."""
        mask = None if self.mask is None else mirrored(self.mask[None], inside, window)[0]
        return Pixels(mirrored(self.block, inside, window), mirrored(self.valid, inside, window), mask)


class Source(Protocol):
    """Where blocks of pixels come from."""

    @property
    def profile(self) -> Profile: ...

    def read(self, window: Window) -> Pixels:
        """Return the window's pixels, mirrored past the raster's edges."""
        ...


def check_readable(path: str | os.PathLike[str]) -> None:
    """Refuse a raster that cannot be opened.

    Raises:
        RasterError: it cannot be read.
        UnsupportedRaster: it is of a kind that must not be super-resolved.
    """
    RasterSource(path, alpha="band").close()


class ArraySource:
    """An array (bands, rows, cols) as a source."""

    def __init__(self, array: Block, profile: Profile | None = None) -> None:
        count, height, width = array.shape
        self.array = array
        self.profile = profile or Profile(width, height, count, str(array.dtype))

    def read(self, window: Window) -> Pixels:
        inside = window.intersection(self.profile.window)
        rows, cols = inside.slices(within=self.profile.window)
        block = mirrored(self.array[:, rows, cols], inside, window)
        return Pixels(block, measured(block, self.profile.nodata))

    def thumbnail(self, side: int) -> tuple[Block, NDArray[np.bool_]]:
        """The pixels that a decimated read of a file takes, at most `side` rows and columns, and where it is valid."""
        rows, cols = decimated(self.profile.width, self.profile.height, side)
        block = self.array[:, rows][:, :, cols]
        return block, measured(block, self.profile.nodata)


class RasterSource:
    """A raster file as a source: opened on first use, once in each thread; pickled as its arguments.

    GDAL calls the fourth band of many 8-bit files alpha although it is near infrared. `alpha` says how to take a
    band that is called so: `mask` as transparency, `band` as a band like others, `auto` as transparency
    if nearly all of it is either clear or opaque.

    With `skip_errors`, blocks of the file that cannot be read are invalid pixels, not an error; see `damage`.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        bands: Sequence[int] | None = None,
        *,
        alpha: str = "auto",
        skip_errors: bool = False,
    ) -> None:
        self.path = os.fspath(path)
        self.skip_errors = skip_errors
        self._local = threading.local()
        self._damaged: set[Damage] = set()
        self.indexes: tuple[int, ...] = ()
        with _errors(self.path), gdal.environment():
            self._window = Window(0, 0, self._dataset.width, self._dataset.height)
            whole = profile.of(self._dataset)
            self.own_masks = bool(profile.own_masks(self._dataset))
            self.files = tuple(self._dataset.files)
            self.block_shapes = tuple(self._dataset.block_shapes)
            if whole.alpha is not None and alpha == "auto":
                alpha = "mask" if _is_transparency(self._decimated(THUMBNAIL, [whole.alpha + 1])[0]) else "band"
                if alpha == "band":
                    log.warning(
                        "%s: band %d is called alpha but holds an image; it is treated as a band (--alpha mask if not)",
                        self.path,
                        whole.alpha + 1,
                    )
        if whole.alpha is not None and alpha == "band":
            whole = replace(whole, alpha=None, colorinterp=_without_alpha(whole.colorinterp))
        self.alpha = alpha
        self._mask_band = whole.masked
        self._alpha_band = None if whole.alpha is None else whole.alpha + 1
        self.indexes = tuple(bands or range(1, whole.count + 1))
        if wrong := [i for i in self.indexes if not 1 <= i <= whole.count]:
            raise OptionError(f"{self.path!r} has bands 1 to {whole.count}, got {wrong[0]}; choose others with --bands")
        self.profile = whole.bands(self.indexes)

    def __reduce__(self) -> tuple[Any, ...]:
        return _source, (absolute_path(self.path), self.indexes, self.alpha, self.skip_errors, _bytes(self.path))

    @property
    def _dataset(self) -> Any:
        if not hasattr(self._local, "dataset"):
            with gdal.quiet():
                self._local.dataset = rasterio.open(self.path)
        return self._local.dataset

    def read(self, window: Window) -> Pixels:
        inside, alpha, colours = window.intersection(self.profile.window), self.profile.alpha, self.profile.colours
        with gdal.environment():
            try:
                block = self._pixels(self.indexes, inside)
            except gdal.ERRORS as error:
                if not self.skip_errors:
                    raise self._error(error, inside) from error
                block = self._what_is_readable(inside)
        shown = self._masks(inside) & ~self._unreadable_in(inside)
        valid = shown & measured(block, self.profile.nodata)
        if alpha is not None:
            valid &= block[alpha] > 0
            valid[alpha] = True
        # One mask for all bands: a pixel that any band shows is shown.
        mask = np.asarray(shown[colours].any(axis=0)) if self.profile.masked else None
        return Pixels(block, valid, mask).mirrored(inside, window)

    def damage(self, window: Window) -> list[Damage]:
        """The blocks in the window that `read` could not read, band by band."""
        found = [one for one in list(self._damaged) if _overlap(one[1], window)]
        return sorted(found, key=lambda one: (one[0], one[1].row_off, one[1].col_off))

    def thumbnail(self, side: int) -> tuple[Block, NDArray[np.bool_]]:
        """A decimated read with at most `side` rows and columns, and where it is valid; overviews are not believed."""
        with gdal.environment():
            block, good = self._decimated(side, self.indexes)
            good &= measured(block, self.profile.nodata)
            try:
                with self._without_overviews() as data:
                    for mask in self._raw_masks(data, out_shape=(1, *block.shape[1:])):
                        good &= mask > 0
            except gdal.ERRORS as error:
                if not self.skip_errors:
                    raise self._mask_error(error) from error
        if self.profile.alpha is not None:
            good &= block[self.profile.alpha] > 0
        return block, good

    @property
    def windowed(self) -> bool:
        """Whether a window is read without what lies before it: a TIFF of blocks, not one image decoded in order."""
        rows, cols = self.block_shapes[0]
        return bool(self._dataset.driver == "GTiff" and rows * cols <= WINDOWED_BLOCK)

    @property
    def driver(self) -> str:
        """GDAL's name of the format."""
        return str(self._dataset.driver)

    def copy(self) -> RasterSource:
        """The same, with no file open but its own."""
        return RasterSource(self.path, self.indexes, alpha=self.alpha, skip_errors=self.skip_errors)

    def colours(self) -> RasterSource:
        """The same without transparency, which becomes a mask."""
        colours = self.profile.colours
        if len(colours) == self.profile.count:
            return self
        bands = [self.indexes[i] for i in colours]
        return RasterSource(self.path, bands, alpha=self.alpha, skip_errors=self.skip_errors)

    def close(self) -> None:
        """Closes the file in this thread; it is opened again when it is needed."""
        if hasattr(self._local, "dataset"):
            self._local.dataset.close()
            del self._local.dataset

    @property
    def fingerprint(self) -> list[Any]:
        """What changes when the file does: its files' sizes and times; for one on no disk, a digest of a thumbnail."""
        files = [Path(file) for file in self.files if Path(file).exists()]
        if files:
            return [[os.fspath(file.absolute()), file.stat().st_size, file.stat().st_mtime_ns] for file in files]
        block, _ = self.thumbnail(64)
        return [hashlib.sha256(block.tobytes()).hexdigest()]

    @property
    def lossy(self) -> bool:
        """Whether the file's compression has changed its pixels."""
        with gdal.environment():
            stored = self._dataset.tags(ns="IMAGE_STRUCTURE")
        kind, reversible = stored.get("COMPRESSION", ""), stored.get("COMPRESSION_REVERSIBILITY", "")
        if kind.startswith("LERC"):
            return float(stored.get("MAX_Z_ERROR", "0")) > 0
        return "LOSSLESS" not in reversible and (bool(reversible) or any(name in kind for name in LOSSY))

    def _pixels(self, indexes: Sequence[int], window: Window) -> Block:
        block: Block = self._dataset.read(list(indexes), window=window.toranges())
        return block

    def _masks(self, window: Window) -> NDArray[np.bool_]:
        """True (1 or bands, rows, cols) where masks, and transparency that was left out, say that bands are valid."""
        with gdal.environment():
            try:
                masks = list(self._raw_masks(self._dataset, window=window.toranges()))
            except gdal.ERRORS as error:
                if not self.skip_errors:
                    raise self._mask_error(error) from error
                masks = [self._readable_mask(window)]
        whole = np.ones((1, window.height, window.width), bool)
        for mask in masks:
            whole = np.logical_and(whole, mask > 0)
        return whole

    def _raw_masks(self, data: Any, **where: Any) -> Iterator[Block]:
        if self.own_masks:
            shape = {"out_shape": (len(self.indexes), *where["out_shape"][1:])} if "out_shape" in where else {}
            yield data.read_masks(list(self.indexes), **{**where, **shape})
        elif self._mask_band:
            yield data.read_masks([1], **where)
        if self._alpha_band and self.profile.alpha is None:
            yield data.read([self._alpha_band], **where)

    def _readable_mask(self, window: Window) -> Block:
        """The mask, with blocks that cannot be read invalid, and kept in mind as those of band 0."""
        whole = np.zeros((1, window.height, window.width), np.uint8)
        for _, _, block in self._blocks(window, [1]):
            part = block.intersection(window)
            rows, cols = part.slices(within=window)
            try:
                masks = [mask.min(axis=0) for mask in self._raw_masks(self._dataset, window=part.toranges())]
                whole[0, rows, cols] = np.min(masks, axis=0) > 0
            except gdal.ERRORS:
                self._damaged.add((0, block))
        return whole

    def _unreadable_in(self, window: Window) -> NDArray[np.bool_]:
        """True (bands, rows, cols) where `read` found nothing."""
        unreadable = np.zeros((self.profile.count, window.height, window.width), bool)
        for band, where in self.damage(window):
            if band:
                rows, cols = where.intersection(window).slices(within=window)
                unreadable[self.indexes.index(band), rows, cols] = True
        return unreadable

    @contextmanager
    def _without_overviews(self) -> Iterator[Any]:
        with gdal.quiet(), rasterio.open(self.path, OVERVIEW_LEVEL="NONE") as data:
            yield data

    def _decimated(self, side: int, indexes: Sequence[int]) -> tuple[Block, NDArray[np.bool_]]:
        """Of the whole raster, and where that could be read."""
        window = self._window
        step = max(1, window.width / side, window.height / side)
        height, width = max(1, int(window.height / step)), max(1, int(window.width / step))
        with self._without_overviews() as data:
            try:
                block = data.read(list(indexes), out_shape=(len(indexes), height, width))
                return block, np.ones(block.shape, bool)
            except gdal.ERRORS as error:
                if not self.skip_errors:
                    raise self._error(error, window, indexes) from error
            block = np.zeros((len(indexes), height, width), data.dtypes[0])
            good = np.zeros(block.shape, bool)
            for tile in Grid(width, height, 64):
                rows, cols = tile.core.slices(within=Window(0, 0, width, height))
                part = tuple((first * step, end * step) for first, end in tile.core.toranges())
                with suppress(*gdal.ERRORS):
                    shape = (len(indexes), tile.core.height, tile.core.width)
                    block[:, rows, cols] = data.read(list(indexes), window=part, out_shape=shape)
                    good[:, rows, cols] = True
        return block, good

    def _what_is_readable(self, window: Window) -> Block:
        """The window, with blocks of the file that cannot be read invalid in it, and kept in mind."""
        whole = np.full((len(self.indexes), window.height, window.width), self._unreadable, self.profile.dtype)
        for position, band, block in self._blocks(window):
            part = block.intersection(window)
            rows, cols = part.slices(within=window)
            try:
                whole[position, rows, cols] = self._pixels([band], part)[0]
            except gdal.ERRORS:
                self._damaged.add((band, block))
        if self.profile.alpha is not None:
            for _, where in self.damage(window):
                rows, cols = where.intersection(window).slices(within=window)
                whole[self.profile.alpha, rows, cols] = 0
        return whole

    @property
    def _unreadable(self) -> float:
        """What stands where nothing could be read."""
        if self.profile.nodata is not None:
            return self.profile.nodata
        return np.nan if np.dtype(self.profile.dtype).kind == "f" else 0

    def _blocks(self, window: Window, indexes: Sequence[int] = ()) -> Iterator[tuple[int, int, Window]]:
        """Position, number and pixels of each band's blocks, as the file is cut, that touch the window."""
        for position, band in enumerate(indexes or self.indexes):
            rows, cols = self.block_shapes[band - 1]
            for row in range(window.row_off // rows * rows, window.row_off + window.height, rows):
                for col in range(window.col_off // cols * cols, window.col_off + window.width, cols):
                    yield position, band, Window(col, row, cols, rows).intersection(self._window)

    def _mask_error(self, error: BaseException) -> RasterError:
        return RasterError(f"cannot read the mask of {self.path!r}: {gdal.reason(error)}; {SKIP}")

    def _error(self, error: BaseException, window: Window, indexes: Sequence[int] = ()) -> RasterError:
        """An error with the first block of the window that cannot be read."""
        for _, band, block in self._blocks(window, indexes):
            try:
                self._pixels([band], block)
            except gdal.ERRORS as one:
                (top, bottom), (left, right) = block.toranges()
                return RasterError(
                    f"cannot read {self.path!r}, band {band}, rows {top} to {bottom}, columns {left} to {right}: "
                    f"{gdal.reason(one)}; {SKIP}"
                )
        return RasterError(f"cannot read {self.path!r}: {gdal.reason(error)}")


def _source(path: str, bands: Sequence[int], alpha: str, skip_errors: bool, size: int) -> RasterSource:
    source = RasterSource(path, bands, alpha=alpha, skip_errors=skip_errors)
    if _bytes(path) != size:
        raise RasterError(f"{path!r} is another file here than where it was chosen; put the same where all can read it")
    return source


def _bytes(path: str) -> int:
    """Of a file on a disk; 0 of others."""
    return Path(path).stat().st_size if Path(path).is_file() else 0


def _overlap(one: Window, other: Window) -> bool:
    both = one.intersection(other)
    return both.width > 0 and both.height > 0


def _is_transparency(block: Block) -> bool:
    """Whether nearly all values are at an end of the dtype's range, or the highest that there is."""
    top = max(float(block.max()), 1.0)
    ends = (block <= 0.02 * top) | (block >= 0.98 * top)
    return bool(ends.mean() > 0.95)


def _without_alpha(colours: Sequence[ColorInterp]) -> tuple[ColorInterp, ...]:
    return tuple(ColorInterp.undefined if colour is ColorInterp.alpha else colour for colour in colours)


def measured(block: Block, nodata: float | None) -> NDArray[np.bool_]:
    """True where a value is a number and not `nodata`."""
    good = np.isfinite(block) if block.dtype.kind == "f" else np.ones(block.shape, bool)
    if nodata is not None and not np.isnan(nodata):
        good &= block != np.asarray(nodata).astype(block.dtype) if _holds(block.dtype, nodata) else True
    return good


def mirrored(block: Block, inside: Window, window: Window) -> Block:
    """The window's block, from the block of the part of it that is inside the raster; edge pixels are repeated."""
    top, left = inside.row_off - window.row_off, inside.col_off - window.col_off
    bottom, right = window.height - inside.height - top, window.width - inside.width - left
    if not (top or left or bottom or right):
        return block
    return np.pad(block, ((0, 0), (top, bottom), (left, right)), mode="symmetric")


def decimated(width: int, height: int, side: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """The rows and the columns that GDAL takes for a read with at most `side` of each.

    >>> [axis.tolist() for axis in decimated(10, 5, 5)]
    [[1, 3], [1, 3, 5, 7, 9]]
    """
    step = max(1, width / side, height / side)
    counts = max(1, int(height / step)), max(1, int(width / step))
    rows, cols = (
        np.minimum(((np.arange(count) + 0.5) * (whole / count) + 1e-10).astype(np.intp), whole - 1)
        for count, whole in zip(counts, (height, width), strict=True)
    )
    return rows, cols


def scene_range(source: RasterSource | ArraySource) -> Range:
    """The map of a whole scene: the dtype's range for uint8, else robust percentiles of a decimated read."""
    if source.profile.dtype == "uint8":
        return fixed(0, 255, source.profile.count)
    return sampled(*source.thumbnail(THUMBNAIL))


@contextmanager
def _errors(path: str) -> Iterator[None]:
    try:
        yield
    except gdal.ERRORS as error:
        raise RasterError(f"cannot read {path!r}: {gdal.reason(error)}") from error


def _holds(dtype: np.dtype[Any], value: float) -> bool:
    if dtype.kind == "f":
        return True
    info = np.iinfo(dtype)
    return float(value).is_integer() and info.min <= value <= info.max
