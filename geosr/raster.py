"""Rasters in and out: what a raster is (Profile), where its pixels come from (Source), and encoded parts joined
into a file. The only module that opens GDAL datasets; it knows no networks.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from geosr.backend import silent_stderr
from geosr.errors import OptionError, OutputError, RasterError, UnsupportedRaster
from geosr.grid import Block, Window
from geosr.radiometry import Range, fixed, sampled

_bundled = find_spec("rasterio")
if _bundled and _bundled.origin and (Path(_bundled.origin).parent / "proj_data").exists():
    # A wheel brings PROJ and GDAL along; variables that point to those of QGIS or the system break them, in silence.
    for _name in ("PROJ_LIB", "PROJ_DATA", "GDAL_DATA", "GDAL_DRIVER_PATH"):
        os.environ.pop(_name, None)

import rasterio
from affine import Affine
from rasterio.control import GroundControlPoint
from rasterio.crs import CRS
from rasterio.enums import ColorInterp, MaskFlags
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.io import MemoryFile
from rasterio.rpc import RPC
from rasterio.warp import transform_bounds

Bounds = tuple[float, float, float, float]

log = logging.getLogger(__name__)

GDAL_OPTIONS = {
    "GDAL_CACHEMAX": 128_000_000,
    "GDAL_PAM_ENABLED": True,
    "GDAL_TIFF_INTERNAL_MASK": True,
    "GDAL_DISABLE_READDIR_ON_OPEN": False,
}
THUMBNAIL = 1024
"""Most rows and columns of the decimated read that a range is taken from."""
DTYPES = ("uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64", "float32", "float64")
ALPHA_MODES = ("auto", "band", "mask")
RGB = (ColorInterp.red, ColorInterp.green, ColorInterp.blue)
WINDOWED_BLOCK = 2**20
"""Most pixels of a block of a file that is read by windows."""
BLOCK_SIZE = 256
"""Rows and columns of the output's blocks; a part that covers whole blocks is never compressed twice."""

# Domains that describe the file as it was stored, and tags that GDAL computed from pixels that change.
_STORAGE_DOMAINS = {"IMAGE_STRUCTURE", "DERIVED_SUBDATASETS", "SUBDATASETS", "RPC"}
_STATISTICS = "STATISTICS_"
_LOST_DOMAINS = {"GEOLOCATION": "geolocation arrays", "COLOR_PROFILE": "the colour profile", "xml:XMP": "XMP metadata"}


@dataclass(frozen=True, slots=True)
class Profile:
    """Everything about a raster but its pixels."""

    width: int
    height: int
    count: int
    dtype: str
    crs: CRS | None = None
    transform: Affine = Affine.identity()
    nodata: float | None = None
    descriptions: tuple[str | None, ...] = ()
    units: tuple[str | None, ...] = ()
    scales: tuple[float, ...] = ()
    offsets: tuple[float, ...] = ()
    colorinterp: tuple[ColorInterp, ...] = ()
    tags: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Metadata of the dataset, by domain; the default domain is ''."""
    band_tags: tuple[Mapping[str, Mapping[str, str]], ...] = ()
    gcps: tuple[GroundControlPoint, ...] = ()
    gcps_crs: CRS | None = None
    rpcs: RPC | None = None
    masked: bool = False
    """There is a mask band for the whole dataset, inside the file or beside it."""
    alpha: int | None = None
    """Position, from 0, of the band that holds transparency."""
    lost: tuple[str, ...] = ()
    """What the raster has and an output cannot carry."""

    def scale(self, k: int) -> Profile:
        """The same ground under `k` times as many rows and columns.

        CRS and bounds stay; the pixel size is divided. GCP pixel coordinates are corner-based and scale by `k`;
        RPC line and sample offsets are centre-based: (offset + 0.5) * k - 0.5.
        """
        return replace(
            self,
            width=self.width * k,
            height=self.height * k,
            transform=self.transform @ Affine.scale(1 / k) if self.located else self.transform,
            gcps=tuple(_scaled_gcp(gcp, k) for gcp in self.gcps),
            rpcs=_scaled_rpcs(self.rpcs, k),
        )

    def crop(self, window: Window) -> Profile:
        """The profile of a window, which may hang over the raster's edges."""
        col, row = window.col_off, window.row_off
        return replace(
            self,
            width=window.width,
            height=window.height,
            transform=self.transform @ Affine.translation(col, row) if self.located else self.transform,
            gcps=tuple(_moved_gcp(gcp, row, col) for gcp in self.gcps),
            rpcs=_moved_rpcs(self.rpcs, row, col),
        )

    def bands(self, indexes: Sequence[int]) -> Profile:
        """The profile of the bands with these numbers, from 1, in this order."""
        picked = [i - 1 for i in indexes]
        return replace(
            self,
            count=len(picked),
            descriptions=tuple(self.descriptions[i] for i in picked),
            units=tuple(self.units[i] for i in picked),
            scales=tuple(self.scales[i] for i in picked),
            offsets=tuple(self.offsets[i] for i in picked),
            colorinterp=tuple(self.colorinterp[i] for i in picked),
            band_tags=tuple(self.band_tags[i] for i in picked),
            alpha=picked.index(self.alpha) if self.alpha in picked else None,
            # Without its band, transparency becomes a mask.
            masked=self.masked or (self.alpha is not None and self.alpha not in picked),
        )

    @property
    def colours(self) -> list[int]:
        """Positions, from 0, of the bands that are not transparency."""
        return [i for i in range(self.count) if i != self.alpha]

    @property
    def located(self) -> bool:
        """Whether the transform says where the raster is; without a CRS, GDAL gives the identity for none."""
        return self.crs is not None or not self.transform.is_identity

    @property
    def window(self) -> Window:
        """The whole raster."""
        return Window(0, 0, self.width, self.height)


class Source(Protocol):
    """Where blocks of pixels come from."""

    @property
    def profile(self) -> Profile: ...

    def read(self, window: Window) -> Block:
        """The window's pixels (bands, rows, cols), mirrored past the raster's edges."""
        ...

    def valid(self, window: Window, block: Block) -> NDArray[np.bool_]:
        """True (bands, rows, cols) where the block that `read` gave for the window holds measured values."""
        ...


class ArraySource:
    """An array (bands, rows, cols) as a source."""

    def __init__(self, array: Block, profile: Profile | None = None) -> None:
        count, height, width = array.shape
        self.array = array
        self.profile = profile or Profile(width, height, count, str(array.dtype))

    def read(self, window: Window) -> Block:
        inside = window.intersection(self.profile.window)
        rows, cols = inside.slices(within=self.profile.window)
        return mirrored(self.array[:, rows, cols], inside, window)

    def valid(self, window: Window, block: Block) -> NDArray[np.bool_]:
        return measured(block, self.profile.nodata)


class RasterSource:
    """A raster file as a source: opened on first use, once in each thread; pickled as its arguments.

    GDAL calls the fourth band of many 8-bit files alpha although it is near infrared. `alpha` says how to take a
    band that is called so: `mask` as transparency, `band` as a band like others, `auto` as transparency
    if nearly all of it is either clear or opaque.
    """

    def __init__(
        self, path: str | os.PathLike[str], bands: Sequence[int] | None = None, *, alpha: str = "auto"
    ) -> None:
        self.path = os.fspath(path)
        self._local = threading.local()
        with _errors(self.path), environment():
            whole = profile(self._dataset)
            if whole.alpha is not None and alpha == "auto":
                alpha = "mask" if _is_transparency(self._decimated(THUMBNAIL, [whole.alpha + 1])) else "band"
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
        self.files = tuple(self._dataset.files)
        self.indexes = tuple(bands or range(1, whole.count + 1))
        if wrong := [i for i in self.indexes if not 1 <= i <= whole.count]:
            raise OptionError(f"{self.path!r} has bands 1 to {whole.count}, got {wrong[0]}; choose others with --bands")
        self.profile = whole.bands(self.indexes)

    def __reduce__(self) -> tuple[Any, ...]:
        return _source, (self.path, self.indexes, self.alpha)

    @property
    def _dataset(self) -> Any:
        if not hasattr(self._local, "dataset"):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", NotGeoreferencedWarning)
                self._local.dataset = rasterio.open(self.path)
        return self._local.dataset

    def read(self, window: Window) -> Block:
        inside = window.intersection(self.profile.window)
        with _errors(self.path, inside), environment():
            block = self._dataset.read(self.indexes, window=inside.toranges())
        return mirrored(block, inside, window)

    def valid(self, window: Window, block: Block) -> NDArray[np.bool_]:
        good = measured(block, self.profile.nodata)
        inside = window.intersection(self.profile.window)
        with _errors(self.path, inside), environment():
            for mask in self._masks(window=inside.toranges()):
                good &= mirrored(mask, inside, window) > 0
        if self.profile.alpha is not None:
            good[self.profile.alpha] = True
        return good

    def thumbnail(self, side: int) -> tuple[Block, NDArray[np.bool_]]:
        """A decimated read with at most `side` rows and columns, and where it is valid."""
        with _errors(self.path, self.profile.window), environment():
            block = self._decimated(side, self.indexes)
            good = measured(block, self.profile.nodata)
            for mask in self._masks(out_shape=(1, *block.shape[1:])):
                good &= mask > 0
        return block, good

    @property
    def windowed(self) -> bool:
        """Whether a window is read without what lies before it: a TIFF of blocks, not one image decoded in order."""
        rows, cols = self._dataset.block_shapes[0]
        return bool(self._dataset.driver == "GTiff" and rows * cols <= WINDOWED_BLOCK)

    def copy(self) -> RasterSource:
        """The same, with no file open but its own."""
        return RasterSource(self.path, self.indexes, alpha=self.alpha)

    def close(self) -> None:
        """Closes the file in this thread; it is opened again when it is needed."""
        if hasattr(self._local, "dataset"):
            self._local.dataset.close()
            del self._local.dataset

    def _masks(self, **where: Any) -> Iterator[Block]:
        """What says (1, rows, cols) where all bands are valid, above 0: a mask band, a band of transparency."""
        if self._mask_band:
            yield self._dataset.read_masks([1], **where)
        if self._alpha_band:
            yield self._dataset.read([self._alpha_band], **where)

    def _decimated(self, side: int, indexes: Sequence[int]) -> Block:
        data = self._dataset
        step = max(1, data.width / side, data.height / side)
        shape = (len(indexes), max(1, int(data.height / step)), max(1, int(data.width / step)))
        block: Block = data.read(indexes, out_shape=shape)
        return block


def _source(path: str, bands: Sequence[int], alpha: str) -> RasterSource:
    return RasterSource(path, bands, alpha=alpha)


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


def profile(dataset: Any) -> Profile:
    """What an open rasterio dataset is.

    Raises:
        UnsupportedRaster: it has a palette, single bits, complex numbers, or bands of several dtypes or nodata values.
    """
    _check_kind(dataset)
    gcps, gcps_crs = dataset.gcps
    return Profile(
        width=dataset.width,
        height=dataset.height,
        count=dataset.count,
        dtype=dataset.dtypes[0],
        crs=dataset.crs,
        transform=dataset.transform,
        nodata=dataset.nodata,
        descriptions=dataset.descriptions,
        units=dataset.units,
        scales=dataset.scales,
        offsets=dataset.offsets,
        colorinterp=dataset.colorinterp,
        tags=_tags(dataset),
        band_tags=tuple(_tags(dataset, i) for i in dataset.indexes),
        gcps=tuple(gcps),
        gcps_crs=gcps_crs,
        rpcs=dataset.rpcs,
        masked=any(MaskFlags.per_dataset in f and MaskFlags.alpha not in f for f in dataset.mask_flag_enums),
        alpha=dataset.colorinterp.index(ColorInterp.alpha) if ColorInterp.alpha in dataset.colorinterp else None,
        lost=tuple(_lost(dataset)),
    )


def scene_range(source: RasterSource) -> Range:
    """The map of a whole scene: the dtype's range for uint8, else robust percentiles of a decimated read."""
    if source.profile.dtype == "uint8":
        return fixed(0, 255, source.profile.count)
    return sampled(*source.thumbnail(THUMBNAIL))


def bounds(profile: Profile, window: Window) -> Bounds:
    """Left, bottom, right and top of the window on the map; without a transform x is the column, y the negative row."""
    transform = profile.transform if profile.located else Affine(1, 0, 0, 0, -1, 0)
    (top, bottom), (left, right) = window.toranges()
    corners = [transform @ corner for corner in ((left, top), (right, top), (right, bottom), (left, bottom))]
    xs, ys = zip(*corners, strict=True)
    return min(xs), min(ys), max(xs), max(ys)


def footprint(profile: Profile, window: Window | None = None) -> Bounds | None:
    """West, south, east and north of the window, or all, in degrees; None when that cannot be known."""
    if profile.crs is None:
        return None
    try:
        ground = bounds(profile, window or profile.window)
        west, south, east, north = transform_bounds(profile.crs, "EPSG:4326", *ground)
    except RasterioError:
        return None
    return (west, south, east, north) if np.isfinite([west, south, east, north]).all() else None


def encode(block: Block, mask: NDArray[np.bool_] | None = None) -> bytes:
    """A part: the block (bands, rows, cols), and its mask (rows, cols) if it has one, as the bytes of a GeoTIFF.

    Compressed without loss, whatever the output will be, and quickly: it is read once.
    """
    count, height, width = block.shape
    options = creation_options(str(block.dtype), {"ZLEVEL": "1"})
    with environment(), MemoryFile() as memory:
        with (
            _quiet(),
            memory.open(driver="GTiff", width=width, height=height, count=count, dtype=block.dtype, **options) as part,
        ):
            part.write(block)
            if mask is not None:
                part.write_mask(mask)
        return bytes(memory.getbuffer())


def join(
    parts: Iterable[tuple[Window, Path]], path: Path, profile: Profile, options: Mapping[str, str]
) -> Iterator[Window]:
    """Writes the raster at `path` from parts, in order, and yields each window when it is written.

    Raises:
        OutputError: the file cannot be written whole, for lack of space or permission.
    """
    try:
        with environment(), _quiet():
            out = _create(path, profile, options)
            try:
                for window, part in parts:
                    with rasterio.open(part) as block:
                        out.write(block.read(), window=window.toranges())
                        if profile.masked:
                            out.write_mask(block.dataset_mask() > 0, window=window.toranges())
                    yield window
            except BaseException:
                # What GDAL says of a file that is given up, as on a full disk, is no news.
                with silent_stderr():
                    out.close()
                raise
            out.close()
        _settle_colours(path, profile)
        _check_whole(path, sparse=options.get("SPARSE_OK", "NO").upper() in ("YES", "TRUE", "ON", "1"))
    except RasterioError as error:
        raise OutputError(f"cannot write {os.fspath(path)!r}: {_reason(error)}") from error


def store(path: Path, profile: Profile, blocks: Iterable[tuple[Window, Block]], options: Mapping[str, str]) -> None:
    """Writes blocks, each to its window, into a GeoTIFF at `path`.

    Raises:
        OutputError: the file cannot be written whole.
    """
    try:
        with environment(), _quiet(), _create(path, profile, options) as out:
            for window, block in blocks:
                out.write(block, window=window.toranges())
    except RasterioError as error:
        raise OutputError(f"cannot write {os.fspath(path)!r}: {_reason(error)}") from error


def check_creation(profile: Profile, options: Mapping[str, str]) -> None:
    """Tries GDAL's options on a small raster in memory, since GDAL passes over those that it does not know.

    Raises:
        OptionError: an option is unknown or its value is wrong.
    """
    said, logger = _Said(), logging.getLogger("rasterio")
    level, propagates = logger.level, logger.propagate
    logger.addHandler(said)
    logger.setLevel(logging.WARNING)
    logger.propagate = False
    small = {"driver": "GTiff", "width": 256, "height": 256, "count": profile.count, "dtype": profile.dtype}
    try:
        with environment(), _quiet(), MemoryFile() as memory:
            memory.open(**{**small, **_photometric(profile.colorinterp), **options}).close()
    except (RasterioError, ValueError) as error:
        raise OptionError(
            f"GDAL refuses the creation options {_pairs(options)}: {_reason(error)}; change --co"
        ) from error
    finally:
        logger.removeHandler(said)
        logger.setLevel(level)
        logger.propagate = propagates
    if said.lines:
        raise OptionError(f"GDAL refuses the creation options {_pairs(options)}: {said.lines[0]}; change --co")


def creation_options(dtype: str, extra: Mapping[str, str]) -> dict[str, str]:
    """GDAL's options for a tiled, compressed GeoTIFF with the predictor that fits the dtype; `extra` overrides."""
    options = {
        "TILED": "YES",
        "BLOCKXSIZE": str(BLOCK_SIZE),
        "BLOCKYSIZE": str(BLOCK_SIZE),
        "COMPRESS": "DEFLATE",
        "BIGTIFF": "IF_SAFER",
    } | {name.upper(): value for name, value in extra.items()}
    if options["COMPRESS"].upper() in ("DEFLATE", "LZW", "ZSTD"):
        options.setdefault("PREDICTOR", "3" if np.dtype(dtype).kind == "f" else "2")
    return options


@contextlib.contextmanager
def environment() -> Iterator[None]:
    """GDAL's options for reading and writing: a cache that does not grow with the machine's memory."""
    with rasterio.Env(**GDAL_OPTIONS):
        yield


@contextlib.contextmanager
def _errors(path: str, window: Window | None = None) -> Iterator[None]:
    try:
        yield
    except RasterioError as error:
        what = f" at rows and columns {window.toranges()}" if window else ""
        raise RasterError(f"cannot read {path!r}{what}: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    return " ".join(str(error.__cause__ or error).split())


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without rasterio's warning that an image has no georeferencing, which is as it should be."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        yield


def _create(path: Path, profile: Profile, options: Mapping[str, str]) -> Any:
    """A new GeoTIFF, open for writing, with everything the profile says."""
    out = rasterio.open(
        path,
        "w",
        driver="GTiff",
        width=profile.width,
        height=profile.height,
        count=profile.count,
        dtype=profile.dtype,
        nodata=profile.nodata,
        **{**_photometric(profile.colorinterp), **options},
    )
    # PixelIsPoint first: GDAL shifts the stored tie point by half a pixel when it knows of it.
    for domain, tags in profile.tags.items():
        out.update_tags(ns=domain or None, **tags)
    if profile.located:
        out.transform = profile.transform
        if profile.crs is not None:
            out.crs = profile.crs
    elif profile.gcps:
        out.gcps = list(profile.gcps), profile.gcps_crs
    if profile.rpcs is not None:
        out.rpcs = profile.rpcs
    if profile.colorinterp:
        out.colorinterp = profile.colorinterp
    for i, tags_of_band in enumerate(profile.band_tags, 1):
        for domain, tags in tags_of_band.items():
            out.update_tags(i, ns=domain or None, **tags)
    for i, description in enumerate(profile.descriptions, 1):
        if description:
            out.set_band_description(i, description)
    for i, unit in enumerate(profile.units, 1):
        if unit:
            out.set_band_unit(i, unit)
    if any(scale != 1 for scale in profile.scales) or any(offset != 0 for offset in profile.offsets):
        out.scales, out.offsets = profile.scales, profile.offsets
    return out


def _photometric(colorinterp: Sequence[ColorInterp]) -> dict[str, str]:
    """GDAL guesses a fourth band of 8 bits to be alpha unless told."""
    rgb = tuple(colorinterp[:3]) == RGB
    alpha = ColorInterp.alpha in colorinterp
    return {"PHOTOMETRIC": "RGB" if rgb else "MINISBLACK", "ALPHA": "UNSPECIFIED" if alpha else "NO"}


def _settle_colours(path: Path, profile: Profile) -> None:
    """Colours that a GeoTIFF has no field for, as gray beside red, green and blue, can be set when it exists."""
    with _quiet(), rasterio.open(path) as written:
        wrong = bool(profile.colorinterp) and written.colorinterp != profile.colorinterp
    if wrong:
        with _quiet(), rasterio.open(path, "r+") as written:
            written.colorinterp = profile.colorinterp


def _check_whole(path: Path, *, sparse: bool) -> None:
    """GDAL can close a file on a full disk without an error: every block must lie inside the file.

    In a sparse file, blocks of zeros are not there.
    """
    size = path.stat().st_size
    with _quiet(), rasterio.open(path) as written:
        for i in written.indexes:
            for (row, col), _ in written.block_windows(i):
                place = [
                    written.get_tag_item(f"BLOCK_{what}_{col}_{row}", "TIFF", bidx=i) for what in ("OFFSET", "SIZE")
                ]
                if sparse and None in place:
                    continue
                if None in place or sum(int(x) for x in place) > size:
                    raise OutputError(f"cannot write {os.fspath(path)!r} whole: is the disk full?")


class _Said(logging.Handler):
    """Keeps the warnings that GDAL gives through rasterio."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage().partition(" in ")[2] or record.getMessage())


def _pairs(options: Mapping[str, str]) -> str:
    return " ".join(f"{name}={value}" for name, value in options.items())


def _check_kind(dataset: Any) -> None:
    path = dataset.name
    if not dataset.count:
        raise UnsupportedRaster(f"{path!r} has no bands of its own; name one of its subdatasets: {dataset.subdatasets}")
    if any(dataset.tags(i, ns="IMAGE_STRUCTURE").get("NBITS") == "1" for i in dataset.indexes):
        raise UnsupportedRaster(
            f"{path!r} has 1 bit a pixel; make it gray: gdal_translate -co NBITS=8 -scale 0 1 0 255 IN OUT"
        )
    if ColorInterp.palette in dataset.colorinterp:
        raise UnsupportedRaster(f"{path!r} has a palette; expand it first: gdal_translate -expand rgb IN OUT")
    if len(set(dataset.dtypes)) > 1:
        raise UnsupportedRaster(
            f"{path!r} has bands of several types {dataset.dtypes}; choose one: gdal_translate -ot TYPE IN OUT"
        )
    if len({str(value) for value in dataset.nodatavals}) > 1:
        raise UnsupportedRaster(
            f"{path!r} has a nodata value for each band {dataset.nodatavals}, which a GeoTIFF cannot hold; "
            "set one for all: gdalwarp -dstnodata VALUE IN OUT"
        )
    if not dataset.dtypes[0].startswith("complex") and dataset.dtypes[0] not in DTYPES:
        raise UnsupportedRaster(
            f"{path!r} holds {dataset.dtypes[0]}; convert it first: gdal_translate -ot Float32 IN OUT"
        )
    if dataset.dtypes[0] not in DTYPES:
        raise UnsupportedRaster(
            f"{path!r} holds {dataset.dtypes[0]}; take its amplitude first: "
            "gdal_calc.py -A IN --calc='abs(A)' --type=Float32 --outfile=OUT"
        )


def _lost(dataset: Any) -> Iterator[str]:
    domains = {*dataset.tag_namespaces(), *(ns for i in dataset.indexes for ns in dataset.tag_namespaces(i))}
    for domain in sorted(filter(_cannot_be_written, domains)):
        yield _LOST_DOMAINS.get(domain, f"metadata of the domain {domain}")
    if dataset.gcps[0] and (dataset.crs is not None or not dataset.transform.is_identity):
        yield "ground control points beside a transform"
    if dataset.subdatasets:
        yield "its other pages"
    if any(dataset.overviews(i) for i in dataset.indexes):
        yield "overviews (rio overview makes them again)"
    if bits := {dataset.tags(i, ns="IMAGE_STRUCTURE").get("NBITS") for i in dataset.indexes} - {None}:
        yield f"the limit to {', '.join(sorted(map(str, bits)))} bits a pixel"


def _cannot_be_written(domain: str) -> bool:
    """rasterio writes domains of names and values, not documents."""
    return domain in _LOST_DOMAINS or domain.startswith(("xml:", "json:"))


def _tags(dataset: Any, *band: int) -> dict[str, dict[str, str]]:
    named = [ns for ns in dataset.tag_namespaces(*band) if ns and ns not in _STORAGE_DOMAINS]
    domains = ["", *(ns for ns in named if not _cannot_be_written(ns))]
    found = {ns: dataset.tags(*band, ns=ns) if ns else dataset.tags(*band) for ns in domains}
    kept = {ns: {k: v for k, v in tags.items() if not k.startswith(_STATISTICS)} for ns, tags in found.items()}
    return {ns: tags for ns, tags in kept.items() if tags}


def _holds(dtype: np.dtype[Any], value: float) -> bool:
    if dtype.kind == "f":
        return True
    info = np.iinfo(dtype)
    return float(value).is_integer() and info.min <= value <= info.max


def _scaled_gcp(gcp: GroundControlPoint, k: int) -> GroundControlPoint:
    return GroundControlPoint(gcp.row * k, gcp.col * k, gcp.x, gcp.y, gcp.z, gcp.id, gcp.info)


def _moved_gcp(gcp: GroundControlPoint, row: int, col: int) -> GroundControlPoint:
    return GroundControlPoint(gcp.row - row, gcp.col - col, gcp.x, gcp.y, gcp.z, gcp.id, gcp.info)


def _moved_rpcs(rpcs: RPC | None, row: int, col: int) -> RPC | None:
    if rpcs is None:
        return None
    values = rpcs.to_dict()
    values["line_off"] -= row
    values["samp_off"] -= col
    return RPC(**values)


def _scaled_rpcs(rpcs: RPC | None, k: int) -> RPC | None:
    if rpcs is None:
        return None
    values = rpcs.to_dict()
    for name in ("line", "samp"):
        values[f"{name}_off"] = (values[f"{name}_off"] + 0.5) * k - 0.5
        values[f"{name}_scale"] *= k
    return RPC(**values)
