"""Rasters out: blocks encoded as parts, parts joined into a GeoTIFF, and that copied to any format that GDAL writes."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from functools import cache
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import numpy as np
import rasterio
import rasterio.shutil
from numpy.typing import NDArray
from rasterio.crs import CRS
from rasterio.drivers import driver_from_extension, raster_driver_extensions
from rasterio.enums import ColorInterp, Interleaving, Resampling
from rasterio.io import MemoryFile

from geosr.errors import OptionError, OutputError
from geosr.grid import Block, Window
from geosr.quiet import silent_stderr
from geosr.rasters import gdal, profile
from geosr.rasters.profile import RGB, Profile, moved

BLOCK_SIZE = 256
"""Rows and columns of the output's blocks; of parts that cover whole blocks, none is compressed twice."""
LOSSLESS = ("DEFLATE", "LZW", "ZSTD")
LEVEL = "1"
"""Of DEFLATE: with a predictor 1.5 to 2 times as fast as GDAL's own choice, 6, for pictures of 0.975 to 1.008 times the
size; 7 times for large areas of one value, of 1.11 times the size."""
NOTE = "GEOSR_NOTE"
"""The tag of a part that holds what is to be known of it."""
_WITHOUT_LOSS = {"JP2OpenJPEG": {"QUALITY": "100", "REVERSIBLE": "YES"}, "WEBP": {"LOSSLESS": "YES"}}
_SIDECARS = (".aux.xml", ".ovr", ".msk")


def driver_of(path: Path) -> str:
    """GDAL's driver for a file of this name.

    Raises:
        OptionError: no driver that writes has this ending.
    """
    try:
        driver: str = driver_from_extension(path)
    except ValueError as error:
        raise OptionError(
            f"the ending of {path.name!r} is that of no format that GDAL writes; end it in .tif or give --format"
        ) from error
    return driver


def name_in(driver: str, name: str) -> str:
    """A file's name with the ending that fits the driver; it is kept if it does."""
    stem, _, ending = name.rpartition(".")
    fitting = [ext for ext, of in raster_driver_extensions().items() if of == ("GTiff" if driver == "COG" else driver)]
    return name if ending.lower() in fitting or not fitting else f"{stem or name}.{fitting[0]}"


def encode(
    block: Block, mask: NDArray[np.bool_] | None = None, *, compress: str | None = None, note: str | None = None
) -> bytes:
    """A part: the block (bands, rows, cols), and its mask (rows, cols) if it has one, as the bytes of a GeoTIFF.

    Compressed without loss: quickly, see `quickest`; or as an output with `compress`, if that is without loss.
    """
    chosen = quickest() if compress is None else {"COMPRESS": compress if compress in LOSSLESS else "DEFLATE"}
    return _tiff(block, mask, note, creation_options(str(block.dtype), chosen))


@cache
def quickest() -> Mapping[str, str]:
    """The options of a compression that is quick: that of Zstandard, for which some builds of GDAL have no codec.

    It takes a tenth of the time of GDAL's own choice for -1 to 12 % more disk, on 8 to 64 bits, integers and not.
    """
    options = {"COMPRESS": "ZSTD", "ZSTD_LEVEL": "1", "INTERLEAVE": "BAND"}
    try:
        _tiff(np.zeros((1, 1, 1), np.uint8), None, None, options)
    except gdal.ERRORS:
        return {}
    return options


def _tiff(block: Block, mask: NDArray[np.bool_] | None, note: str | None, options: Mapping[str, str]) -> bytes:
    count, height, width = block.shape
    with gdal.environment(), MemoryFile() as memory:
        with (
            gdal.quiet(),
            memory.open(driver="GTiff", width=width, height=height, count=count, dtype=block.dtype, **options) as part,
        ):
            part.write(block)
            if mask is not None:
                part.write_mask(mask)
            if note:
                part.update_tags(**{NOTE: note})
        return bytes(memory.getbuffer())


def join(
    parts: Iterable[tuple[Window, Path | bytes]], path: Path, wanted: Profile, options: Mapping[str, str]
) -> Iterator[str | None]:
    """Writes the GeoTIFF at `path` from parts, in order, and yields each part's note when it is written.

    Raises:
        OutputError: the file cannot be written whole, for lack of space or permission.
    """
    with _writing(path):
        out = _create(path, wanted, options)
        try:
            for window, part in parts:
                block, mask, note = _read_part(part, masked=wanted.masked)
                out.write(block, window=window.toranges())
                if mask is not None:
                    out.write_mask(mask > 0, window=window.toranges())
                yield note
        except BaseException:
            # What GDAL says of a file that is given up, as on a full disk, is no news.
            with silent_stderr():
                out.close()
            raise
        out.close()
        _settle_colours(path, wanted)
        _settle_control_points(path, wanted)
        _settle_crs(path, wanted)
    _check_whole(path, sparse=options.get("SPARSE_OK", "NO").upper() in ("YES", "TRUE", "ON", "1"))


def store(path: Path, wanted: Profile, blocks: Iterable[tuple[Window, Block]], options: Mapping[str, str]) -> None:
    """Writes blocks, each to its window, into a GeoTIFF at `path`.

    Raises:
        OutputError: the file cannot be written whole.
    """
    with _writing(path), _create(path, wanted, options) as out:
        for window, block in blocks:
            out.write(block, window=window.toranges())


def add_overviews(path: Path) -> None:
    """Builds averages of 2 x 2, 4 x 4 ... pixels inside the GeoTIFF, down to about a block."""
    with _writing(path), rasterio.open(path, "r+") as out:
        levels = [2]
        while min(out.width, out.height) // levels[-1] > BLOCK_SIZE:
            levels.append(2 * levels[-1])
        out.build_overviews(levels, Resampling.average)


def copy(source: Path, path: Path, driver: str, options: Mapping[str, str]) -> None:
    """Writes the raster `source` to `path` in another format.

    Raises:
        OutputError: GDAL cannot.
    """
    with _writing(path):
        rasterio.shutil.copy(source, path, driver=driver, **format_options(driver, options))
    if driver == "COG":
        _check_whole(path, sparse=False)


def lost(path: Path, wanted: Profile) -> list[str]:
    """What of a profile is not in the file at `path`, in words."""
    try:
        with gdal.environment(), gdal.quiet(), rasterio.open(path) as written:
            if written.count != wanted.count:
                return ["the bands (see its subdatasets)"]
            return sorted(set(profile.differences(profile.described(written), wanted)))
    except gdal.ERRORS as error:
        raise OutputError(
            f"what was written to {os.fspath(path)!r} cannot be read back: {gdal.reason(error)}"
        ) from error


def stale(path: Path) -> list[Path]:
    """The files beside an older output of this name that GDAL would take for parts of the new one."""
    return [
        *(path.with_name(path.name + ending) for ending in _SIDECARS),
        *(path.with_suffix(ending) for ending in (".tfw", ".tifw") if path.suffix.lower() in (".tif", ".tiff")),
    ]


def driver_named(name: str) -> str:
    """GDAL's driver of this name, in whatever case.

    Raises:
        OptionError: there is none.
    """
    with gdal.environment(), rasterio.Env() as env:
        drivers: dict[str, str] = {driver.upper(): driver for driver in env.drivers()}
    if name.upper() not in drivers:
        raise OptionError(f"GDAL has no format {name!r} here; rio env --formats lists those that it has")
    return drivers[name.upper()]


def check_creation(wanted: Profile, driver: str, options: Mapping[str, str], name: str = "small.tif") -> list[str]:
    """Tries driver and options on a small raster, since GDAL passes over options that it does not know.

    Returns the names of the files that come beside one called `name`.

    Raises:
        OptionError: the driver cannot hold such a raster, an option is unknown or its value is wrong.
    """
    if "NBITS" in options:
        raise OptionError("NBITS would cut values; leave it out")
    told = f"the creation options {_pairs(options)}" if options else f"to write this raster as {driver}"
    with gdal.said() as lines, tempfile.TemporaryDirectory() as folder:
        small = {"driver": "GTiff", "width": 256, "height": 256, "count": wanted.count, "dtype": wanted.dtype}
        if wanted.located:
            small |= {"crs": wanted.crs, "transform": wanted.transform}
        path = Path(folder) / name
        extra = creation_options(wanted.dtype, options) if driver == "GTiff" else {}
        try:
            with gdal.environment(), gdal.quiet(), MemoryFile() as memory:
                memory.open(**{**small, **_photometric(wanted.colorinterp), **extra}).close()
                if driver != "GTiff":
                    rasterio.shutil.copy(memory.name, path, driver=driver, **format_options(driver, options))
            if path.is_dir():
                raise OptionError(f"{driver} makes a folder, not a file; choose another --format")
            if driver != "GTiff":
                # A format that only refers to the pixels of another file, as VRT, holds none now.
                with gdal.environment(), gdal.quiet(), rasterio.open(path) as written:
                    written.read()
            beside = sorted(found.name for found in Path(folder).iterdir() if found != path)
        except OptionError:
            raise
        except (*gdal.ERRORS, ValueError) as error:
            raise OptionError(f"GDAL refuses {told}: {gdal.reason(error)}; change --co or --format") from error
    if lines and options:
        raise OptionError(f"GDAL refuses {told}: {lines[0]}; change --co")
    return beside


def creation_options(dtype: str, extra: Mapping[str, str]) -> dict[str, str]:
    """GDAL's options for a tiled, compressed GeoTIFF with the predictor that fits the dtype; `extra` overrides."""
    options = {
        "TILED": "YES",
        "BLOCKXSIZE": str(BLOCK_SIZE),
        "BLOCKYSIZE": str(BLOCK_SIZE),
        "COMPRESS": "DEFLATE",
        "BIGTIFF": "IF_SAFER",
    } | {name.upper(): value for name, value in extra.items()}
    if options["COMPRESS"].upper() == "DEFLATE":
        options.setdefault("ZLEVEL", LEVEL)
    if options["COMPRESS"].upper() in LOSSLESS:
        options.setdefault("PREDICTOR", "3" if np.dtype(dtype).kind == "f" else "2")
    return options


def format_options(driver: str, extra: Mapping[str, str]) -> dict[str, str]:
    """GDAL's options for a copy in another format, without loss where that can be chosen; `extra` overrides."""
    given = {name.upper(): value for name, value in extra.items()}
    if driver == "COG":
        default = {"COMPRESS": "DEFLATE", "PREDICTOR": "YES", "BIGTIFF": "IF_SAFER"}
        compress = given.get("COMPRESS", "DEFLATE").upper()
        if compress == "DEFLATE":
            default["LEVEL"] = LEVEL
        if compress not in LOSSLESS:
            del default["PREDICTOR"]
    else:
        default = _WITHOUT_LOSS.get(driver, {})
    return default | given


def is_lossy(driver: str, options: Mapping[str, str]) -> bool:
    """Whether these options change pixels, as nodata, by compression."""
    compress = options.get("COMPRESS", "").upper()
    error = float(options.get("MAX_Z_ERROR", "0") or 0)
    return (
        driver == "JPEG"
        or (
            compress in ("JPEG", "WEBP", "JXL")
            and options.get("WEBP_LOSSLESS", options.get("JXL_LOSSLESS", "NO")).upper() not in ("YES", "TRUE", "ON")
        )
        or (compress.startswith("LERC") and error > 0)
    )


def _read_part(part: Path | bytes, *, masked: bool) -> tuple[Block, Block | None, str | None]:
    """A part's block, its mask if it has one, and its note.

    Raises:
        OutputError: it was damaged since it was kept.
    """
    try:
        with (
            MemoryFile(part) if isinstance(part, bytes) else nullcontext() as memory,
            memory.open() if memory else rasterio.open(part) as kept,
        ):
            return kept.read(), kept.dataset_mask() if masked else None, kept.tags().get(NOTE)
    except gdal.ERRORS as error:
        raise OutputError(f"the part {os.fspath(part)!r} is damaged; discard all parts with --restart") from error


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        with gdal.environment(), gdal.quiet():
            yield
    except gdal.ERRORS as error:
        raise OutputError(f"cannot write {os.fspath(path)!r}: {gdal.reason(error)}") from error


def _create(path: Path, wanted: Profile, options: Mapping[str, str]) -> Any:
    """A new GeoTIFF, open for writing, with everything the profile says."""
    out = rasterio.open(
        path,
        "w",
        driver="GTiff",
        width=wanted.width,
        height=wanted.height,
        count=wanted.count,
        dtype=wanted.dtype,
        nodata=wanted.nodata,
        **{**_photometric(wanted.colorinterp), **options},
    )
    # PixelIsPoint first: GDAL shifts the stored tie point by half a pixel when it knows of it.
    for domain, tags in wanted.tags.items():
        out.update_tags(ns=domain or None, **_parted(domain, tags))
    if wanted.located:
        out.transform = wanted.transform
        if wanted.crs is not None:
            out.crs = wanted.crs
    elif wanted.gcps:
        out.gcps = list(wanted.gcps), wanted.gcps_crs or CRS()
    if wanted.rpcs is not None:
        out.rpcs = wanted.rpcs
    if wanted.colorinterp:
        out.colorinterp = wanted.colorinterp
    for i, tags_of_band in enumerate(wanted.band_tags, 1):
        for domain, tags in tags_of_band.items():
            out.update_tags(i, ns=domain or None, **_parted(domain, tags))
    for i, description in enumerate(wanted.descriptions, 1):
        if description:
            out.set_band_description(i, description)
    for i, unit in enumerate(wanted.units, 1):
        if unit:
            out.set_band_unit(i, unit)
    if any(scale != 1 for scale in wanted.scales) or any(offset != 0 for offset in wanted.offsets):
        out.scales, out.offsets = wanted.scales, wanted.offsets
    return out


def _parted(domain: str, tags: Mapping[str, str]) -> Mapping[str, str]:
    """rasterio joins name and value with a sign of equality, so a document is parted there."""
    if domain not in tags:
        return tags
    name, _, value = tags[domain].partition("=")
    return {name: value}


def _photometric(colorinterp: Sequence[ColorInterp]) -> dict[str, str]:
    """GDAL guesses a fourth band of 8 bits to be alpha unless told."""
    rgb = tuple(colorinterp[:3]) == RGB
    alpha = ColorInterp.alpha in colorinterp
    return {"PHOTOMETRIC": "RGB" if rgb else "MINISBLACK", "ALPHA": "UNSPECIFIED" if alpha else "NO"}


def _settle_colours(path: Path, wanted: Profile) -> None:
    """Colours that a GeoTIFF has no field for, as gray beside red, green and blue, can be set when it exists."""
    with rasterio.open(path) as written:
        wrong = bool(wanted.colorinterp) and written.colorinterp != wanted.colorinterp
    if wrong:
        with rasterio.open(path, "r+") as written:
            written.colorinterp = wanted.colorinterp


def _settle_control_points(path: Path, wanted: Profile) -> None:
    """Where pixels are points, GDAL moves control points when it reads them, but not when it writes them."""
    if not wanted.gcps or wanted.located:
        return
    with rasterio.open(path) as written:
        found, crs = written.gcps
    rows, cols = (float(getattr(found[0], axis) - getattr(wanted.gcps[0], axis)) for axis in ("row", "col"))
    if rows or cols:
        with rasterio.open(path, "r+") as written:
            written.gcps = [moved(gcp, gcp.row - rows, gcp.col - cols) for gcp in wanted.gcps], crs or CRS()


def _settle_crs(path: Path, wanted: Profile) -> None:
    """A CRS that GeoTIFF keys cannot spell goes into a file beside the raster, where GDAL looks first."""
    if wanted.crs is None or _crs(path) == wanted.crs:
        return
    beside = path.with_name(path.name + ".aux.xml")
    if not beside.exists():
        text = escape(wanted.crs.to_wkt(version="WKT2_2019"))
        beside.write_text(f"<PAMDataset>\n  <SRS>{text}</SRS>\n</PAMDataset>\n")
        if _crs(path) != wanted.crs:
            beside.unlink()


def _crs(path: Path) -> Any:
    with rasterio.open(path) as written:
        return written.crs


def _check_whole(path: Path, *, sparse: bool) -> None:
    """GDAL can close a file on a full disk without an error: every block must lie inside the file.

    In a sparse file, blocks of zeros are not there.
    """
    size = path.stat().st_size
    with gdal.quiet(), rasterio.open(path) as written:
        # Interleaved by pixels, all bands are in the blocks of the first.
        for i in written.indexes[:1] if written.interleaving == Interleaving.pixel else written.indexes:
            for (row, col), _ in written.block_windows(i):
                place = [
                    written.get_tag_item(f"BLOCK_{what}_{col}_{row}", "TIFF", bidx=i) for what in ("OFFSET", "SIZE")
                ]
                if sparse and None in place:
                    continue
                if None in place or sum(int(x) for x in place) > size:
                    raise OutputError(f"cannot write {os.fspath(path)!r} whole: is the disk full?")


def _pairs(options: Mapping[str, str]) -> str:
    return " ".join(f"{name}={value}" for name, value in options.items())
