"""Sources: blocks of pixels with their validity, from raster files and arrays. Knows no networks."""

from __future__ import annotations

import hashlib
import logging
import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from rasterio.enums import ColorInterp

from geosr.errors import OptionError, RasterError, UnsupportedRaster
from geosr.files import absolute_path
from geosr.grid import Block, Window
from geosr.rasters import gdal, products
from geosr.rasters.compression import was_lossy
from geosr.rasters.containers import MOST_TAGS, TAGS_WANTED, files_of, open_raster
from geosr.rasters.damage import Damage, Salvage
from geosr.rasters.profile import Profile, band_numbers, own_masks, profile_of
from geosr.rasters.radiometry import Range, fixed, sampled

log = logging.getLogger(__name__)

TOLERANCE = 2 * np.finfo(np.float32).eps
"""The share of the sum of two floats by which GDAL lets them differ and still calls them equal, whatever their type."""
THUMBNAIL = 1024
"""Most rows and columns of the decimated read that a range is taken from."""
MOST_BANDS = 4096
SAMPLED_BLOCKS, SAMPLED_BYTES = 64, 2**16
"""The blocks of a file that its checksum is taken of, and the bytes of each."""
WINDOWED_BLOCK = 2**20
"""Most pixels of a block of a file that is read by windows."""


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
    """A provider of blocks of pixels."""

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


def opens(folder: str | os.PathLike[str]) -> bool:
    """Return True if GDAL reads a folder as one raster, as it does a Zarr store."""
    try:
        check_readable(folder)
    except UnsupportedRaster:
        return True
    except RasterError:
        return False
    return True


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
        """Return the pixels that a decimated read with at most `side` rows and columns takes, and their validity."""
        rows, cols = decimated(self.profile.width, self.profile.height, side)
        block = self.array[:, rows][:, :, cols]
        return block, measured(block, self.profile.nodata)


class RasterSource:
    """A raster file as a source: opened on first use, once in each thread; pickled as its arguments.

    GDAL labels the fourth band of many 8-bit files alpha although it is near infrared. `alpha` says how to treat a
    band with that label: `mask` as transparency, `band` as data, `auto` as transparency if nearly all of it is either
    clear or opaque.

    With `skip_errors`, blocks of the file that cannot be read are invalid pixels, not an error; see `damage`.
    Pixels of the value `nodata` are nodata beside those that the raster declares, whose value they take if it has one.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        bands: Sequence[int | str] | None = None,
        *,
        alpha: str = "auto",
        skip_errors: bool = False,
        nodata: float | None = None,
    ) -> None:
        self.path = self.name = os.fspath(path)
        self.skip_errors, self.nodata = skip_errors, nodata
        self._local = threading.local()
        with _errors(self.path), gdal.environment():
            numbers, bands = self._find(bands)
            if self._dataset.count > MOST_BANDS:
                raise RasterError(
                    f"{self.path!r} has {self._dataset.count} bands, and at most {MOST_BANDS} are read; put those that "
                    "you want into a file of their own: gdal_translate -b 1 -b 2 INPUT OUTPUT"
                )
            whole = profile_of(self._dataset)
            if sum(map(len, whole.tags.values())) > MOST_TAGS:
                raise RasterError(f"{self.path!r} has {TAGS_WANTED}")
            self.own_masks = bool(own_masks(self._dataset))
            self.files = files_of(self.name, self._dataset)
            self.block_shapes = tuple(self._dataset.block_shapes)
            self._salvage = Salvage(whole.window, self.block_shapes)
            if whole.alpha is not None and alpha == "auto":
                alpha = self._alpha_mode(whole.alpha + 1)
        if whole.alpha is not None and alpha == "band":
            plain = (ColorInterp.undefined if c is ColorInterp.alpha else c for c in whole.colorinterp)
            whole = replace(whole, alpha=None, colorinterp=tuple(plain))
        if nodata is not None and (whole.nodata is None or not _holds(np.dtype(whole.dtype), whole.nodata)):
            whole = replace(whole, nodata=nodata)
        self.alpha = alpha
        self._mask_band = whole.masked
        self._alpha_band = None if whole.alpha is None else whole.alpha + 1
        try:
            self.indexes = band_numbers(whole, bands or range(1, whole.count + 1))
        except OptionError as error:
            raise OptionError(f"{self.path!r} has {error}; choose others with --bands") from error
        self.numbers = numbers or self.indexes
        self.profile = whole.bands(self.indexes)
        self._check_nodata()

    def _find(self, bands: Sequence[int | str] | None) -> tuple[tuple[int, ...], Sequence[int | str] | None]:
        """Find the raster that holds the bands; return their numbers in a product, none without, and in the raster."""
        product = products.product_at(self.path)
        if product is None and not self._dataset.count:
            product = products.product_of(self.path, self._dataset)
        if product is None:
            return (), bands
        self.close()
        chosen = product.choose(bands)
        self.name, indexes = products.raster_of(chosen)
        return tuple(band.number for band in chosen), indexes

    def __reduce__(self) -> tuple[Any, ...]:
        return _source, (
            absolute_path(self.path),
            self.numbers,
            self.alpha,
            self.skip_errors,
            self.nodata,
            _bytes(self.path),
        )

    @property
    def _dataset(self) -> Any:
        if not hasattr(self._local, "dataset"):
            self._local.dataset = open_raster(self.name)
        return self._local.dataset

    def read(self, window: Window) -> Pixels:
        inside, alpha, colours = window.intersection(self.profile.window), self.profile.alpha, self.profile.colours
        with gdal.environment():
            block, shown = self._block(inside), self._masks(inside)
        self._unify_nodata(block)
        shown = shown & ~self._salvage.unreadable(inside, self.indexes)
        valid = shown & measured(block, self.profile.nodata)
        if alpha is not None:
            valid &= block[alpha] > 0
            valid[alpha] = True
        # One mask for all bands: a pixel that any band shows is shown.
        if self.nodata is not None:
            shown = shown & valid
        mask = np.asarray(shown[colours].any(axis=0)) if self.profile.masked else None
        return Pixels(block, valid, mask).mirrored(inside, window)

    def damage(self, window: Window) -> list[Damage]:
        """Return the blocks in the window that `read` could not read, band by band."""
        return self._salvage.damage(window)

    def thumbnail(self, side: int) -> tuple[Block, NDArray[np.bool_]]:
        """Return a decimated read with at most `side` rows and columns and its validity; overviews are ignored."""
        with gdal.environment():
            block, valid = self._decimated(side, self.indexes)
            self._unify_nodata(block)
            valid &= measured(block, self.profile.nodata)
            try:
                with self._without_overviews() as data:
                    for mask in self._raw_masks(data, out_shape=(1, *block.shape[1:])):
                        valid &= mask > 0
            except gdal.ERRORS as error:
                if not self.skip_errors:
                    raise self._salvage.mask_error(self.path, error) from error
        if self.profile.alpha is not None:
            valid &= block[self.profile.alpha] > 0
        return block, valid

    @property
    def windowed(self) -> bool:
        """True if a window is read without what lies before it: a TIFF of blocks, not one image decoded in order."""
        rows, cols = self.block_shapes[0]
        return bool(self._dataset.driver == "GTiff" and rows * cols <= WINDOWED_BLOCK)

    @property
    def driver(self) -> str:
        """GDAL's name of the format."""
        return str(self._dataset.driver)

    def copy(self, positions: Sequence[int] | None = None) -> RasterSource:
        """Return the same source, or its bands at these positions, from 0, with no file open but its own."""
        bands = self.numbers if positions is None else [self.numbers[i] for i in positions]
        return RasterSource(self.path, bands, alpha=self.alpha, skip_errors=self.skip_errors, nodata=self.nodata)

    def colours(self) -> RasterSource:
        """Return the source without transparency, which becomes a mask."""
        colours = self.profile.colours
        return self if len(colours) == self.profile.count else self.copy(colours)

    def close(self) -> None:
        """Close the file in this thread; it is opened again when it is needed."""
        if hasattr(self._local, "dataset"):
            self._local.dataset.close()
            del self._local.dataset

    @property
    def fingerprint(self) -> list[Any]:
        """The sizes, times, inodes and checksums of the files, which change with them; without files, `digest`."""
        files = [(path, path.stat()) for path in self._on_disk()]
        if not files:
            return [self.digest]
        return [[os.fspath(p.absolute()), s.st_size, s.st_mtime_ns, s.st_ino, sampled_digest([p])] for p, s in files]

    @property
    def digest(self) -> str:
        """A checksum of the files' sizes, beginnings, ends and blocks between; without files, of a thumbnail."""
        files = self._on_disk()
        return sampled_digest(files) if files else hashlib.sha256(self.thumbnail(64)[0].tobytes()).hexdigest()[:32]

    def _on_disk(self) -> list[Path]:
        """Return the files that exist, archives for what is in them; folders are taken as the files in them."""
        # Of a product, the files of the bands; others may come and go beside them.
        whole = (self.path,) if self.name == self.path else ()
        paths = dict.fromkeys(path for file in (*whole, *self.files) if (path := _existing(file)))
        return [
            path
            for found in paths
            for path in (sorted(found.rglob("*")) if found.is_dir() else [found])
            if path.is_file()
        ]

    @property
    def lossy(self) -> bool:
        """True if the file's compression has changed its pixels."""
        with gdal.environment():
            return was_lossy(self._dataset.tags(ns="IMAGE_STRUCTURE"))

    def _alpha_mode(self, band: int) -> str:
        if _is_transparency(self._decimated(THUMBNAIL, [band])[0]):
            return "mask"
        log.warning(
            "%s: band %d is called alpha but holds an image; it is treated as a band (--alpha mask if not)",
            *(self.path, band),
        )
        return "band"

    def _block(self, inside: Window) -> Block:
        try:
            return self._pixels(self.indexes, inside)
        except gdal.ERRORS as error:
            if not self.skip_errors:
                raise self._salvage.error(self.path, error, inside, self.indexes, self._pixels) from error
        block = self._salvage.block(inside, self.indexes, self._pixels, fill=self._fill, dtype=self.profile.dtype)
        if self.profile.alpha is not None:
            block[self.profile.alpha][self._salvage.unreadable(inside, self.indexes).any(axis=0)] = 0
        return block

    @property
    def _fill(self) -> float:
        """The value of pixels that cannot be read."""
        if self.profile.nodata is not None:
            return self.profile.nodata
        return np.nan if np.dtype(self.profile.dtype).kind == "f" else 0

    def _pixels(self, indexes: Sequence[int], window: Window) -> Block:
        block: Block = self._dataset.read(list(indexes), window=window.toranges())
        return block

    def _check_nodata(self) -> None:
        dtype = np.dtype(self.profile.dtype)
        if self.nodata is None or dtype.kind == "f" or _holds(dtype, self.nodata):
            return
        raise OptionError(f"{self.path!r} holds {dtype}, in which there is no {self.nodata:g}; change --nodata-in")

    def _unify_nodata(self, block: Block) -> None:
        """Give pixels of the value that is nodata too the one that the raster declares, but for transparency."""
        if self.nodata is None or self.nodata == self.profile.nodata:
            return
        for position in self.profile.colours:
            band = block[position]
            hidden = ~measured(band, self.nodata)
            band[hidden & np.isfinite(band)] = self.profile.nodata

    def _masks(self, window: Window) -> NDArray[np.bool_]:
        """Return True (1 or bands, rows, cols) where masks, and transparency that was left out, show pixels."""
        try:
            return self._shown(window)
        except gdal.ERRORS as error:
            if not self.skip_errors:
                raise self._salvage.mask_error(self.path, error) from error
        return self._salvage.mask(window, lambda part: np.asarray(self._shown(part).all(axis=0)))

    def _shown(self, window: Window) -> NDArray[np.bool_]:
        whole = np.ones((1, window.height, window.width), bool)
        for mask in self._raw_masks(self._dataset, window=window.toranges()):
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

    @contextmanager
    def _without_overviews(self) -> Iterator[Any]:
        with open_raster(self.name, OVERVIEW_LEVEL="NONE") as data:
            yield data

    def _decimated(self, side: int, indexes: Sequence[int]) -> tuple[Block, NDArray[np.bool_]]:
        """Return a decimated read of the whole raster, and True where it could be read."""
        whole = self._salvage.whole
        step = max(1, whole.width / side, whole.height / side)
        shape = len(indexes), max(1, int(whole.height / step)), max(1, int(whole.width / step))
        with self._without_overviews() as data:
            try:
                block = data.read(list(indexes), out_shape=shape)
                return block, np.ones(block.shape, bool)
            except gdal.ERRORS as error:
                if not self.skip_errors:
                    raise self._salvage.error(self.path, error, whole, indexes, self._pixels) from error
            return self._salvage.decimated(data, indexes, shape, step)


def _source(
    path: str, bands: Sequence[int], alpha: str, skip_errors: bool, nodata: float | None, size: int
) -> RasterSource:
    source = RasterSource(path, bands, alpha=alpha, skip_errors=skip_errors, nodata=nodata)
    if _bytes(path) != size:
        raise RasterError(f"{path!r} is another file here than where it was chosen; put the same where all can read it")
    return source


def _bytes(path: str) -> int:
    """Return the size of a file on a disk; 0 for others."""
    return Path(path).stat().st_size if Path(path).is_file() else 0


def _existing(name: str) -> Path | None:
    """Return the file or folder of a name, or the archive of a name in an archive; None for others, as URLs."""
    if name.startswith("<"):
        return None
    if not name.startswith("/vsi"):
        return Path(name) if Path(name).exists() else None
    _, _, inside = name.removeprefix("/vsi").partition("/")
    path = Path(inside.strip("{}"))
    return next((parent for parent in (path, *path.parents) if parent.is_file()), None)


def sampled_digest(files: Sequence[Path]) -> str:
    """Return a checksum of files: of the whole if they are small, else of blocks from the beginning to the end."""
    digest = hashlib.sha256()
    for path in files:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            digest.update(size.to_bytes(8, "big"))
            count = min(SAMPLED_BLOCKS, -(-size // SAMPLED_BYTES))
            for number in range(count):
                file.seek(number * max(size - SAMPLED_BYTES, 0) // max(count - 1, 1))
                digest.update(file.read(SAMPLED_BYTES))
    return digest.hexdigest()[:32]


def _is_transparency(block: Block) -> bool:
    """Return True if nearly all values are at an end of the dtype's range, or the highest that there is."""
    top = max(float(block.max()), 1.0)
    ends = (block <= 0.02 * top) | (block >= 0.98 * top)
    return bool(ends.mean() > 0.95)


def measured(block: Block, nodata: float | None) -> NDArray[np.bool_]:
    """Return True where a value is a number and not what GDAL takes for `nodata`.

    GDAL compares integers exactly, floats with a tolerance that grows with them: ARE_REAL_EQUAL of gdal_priv.h.
    """
    finite = np.isfinite(block) if block.dtype.kind == "f" else np.ones(block.shape, bool)
    if nodata is None or not _holds(block.dtype, nodata):
        return finite
    if block.dtype.kind != "f":
        return np.asarray(block != block.dtype.type(int(nodata)))
    value, info = np.asarray(nodata).astype(block.dtype), np.finfo(block.dtype)
    if abs(value) > info.max * info.eps / 4:
        # The sum with large values may overflow, and they are nodata then.
        return finite & ~_is_equal(block, value)
    reach = 4 * float(TOLERANCE) * abs(float(value))
    near = (block >= block.dtype.type(value - reach)) & (block <= block.dtype.type(value + reach))
    if near.any():
        near[near] = _is_equal(block[near], value)
    return np.asarray(finite & ~near)


def _is_equal(block: Block, value: Any) -> NDArray[np.bool_]:
    with np.errstate(over="ignore", invalid="ignore"):
        near = np.abs(block - value) < TOLERANCE.astype(block.dtype) * np.abs(block + value)
    return np.asarray(near | (block == value))


def mirrored(block: Block, inside: Window, window: Window) -> Block:
    """Return the window's block, from that of its part inside the raster, mirrored at the edges."""
    top, left = inside.row_off - window.row_off, inside.col_off - window.col_off
    bottom, right = window.height - inside.height - top, window.width - inside.width - left
    if not (top or left or bottom or right):
        return block
    return np.pad(block, ((0, 0), (top, bottom), (left, right)), mode="symmetric")


def decimated(width: int, height: int, side: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the rows and the columns that GDAL takes for a read with at most `side` of each.

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
    """Return the map of a whole scene: the dtype's range for uint8, else robust percentiles of a decimated read."""
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
        return not np.isnan(value)
    info = np.iinfo(dtype)
    return float(value).is_integer() and info.min <= value <= info.max
