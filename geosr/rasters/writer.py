"""Rasters written: blocks encoded as parts, parts joined into a GeoTIFF, and copies in any format of GDAL."""

from __future__ import annotations

import glob
import os
import tempfile
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
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
from rasterio.dtypes import dtype_rev, typename_fwd
from rasterio.enums import ColorInterp, Interleaving, Resampling
from rasterio.io import MemoryFile

from geosr.errors import OptionError, OutputError
from geosr.grid import Block, Grid, Window
from geosr.quiet import silent_stderr
from geosr.rasters import compression, gdal
from geosr.rasters.containers import open_raster
from geosr.rasters.profile import RGB, Profile, creation_keywords, described, differences, moved, write_metadata
from geosr.rasters.source import measured

NOTE = "GEOSR_NOTE"
"""The tag of a part with notes on it for the joined raster."""
SMALL = 256
"""Rows and columns of a raster that shows what GDAL does with a larger one."""
_SIDECARS = (".aux.xml", ".ovr", ".msk")


def driver_of(path: Path) -> str:
    """Return GDAL's driver for a file of this name.

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
    """Return a file's name with an ending that fits the driver: its own, if it does."""
    stem, _, ending = name.rpartition(".")
    fitting = [ext for ext, of in raster_driver_extensions().items() if of == ("GTiff" if driver == "COG" else driver)]
    return name if ending.lower() in fitting or not fitting else f"{stem or name}.{fitting[0]}"


def encode(
    block: Block, mask: NDArray[np.bool_] | None = None, *, compress: str | None = None, note: str | None = None
) -> bytes:
    """Return a part: the block (bands, rows, cols), and its mask (rows, cols) if it has one, as the bytes of a GeoTIFF.

    Compressed without loss: quickly, or as an output with `compress`, if that is lossless.
    """
    options: Mapping[str, str] = part_options()
    if compress is not None:
        options = {"COMPRESS": compress if compression.has_predictor(compress) else compression.DEFAULT}
    return _tiff(block, mask, note, compression.creation_options(str(block.dtype), options))


def decode(part: bytes) -> Block:
    """Return the block of a part.

    Raises:
        OutputError: it is none.
    """
    return _read_part(part, masked=False)[0]


@cache
def part_options() -> Mapping[str, str]:
    """Return the options of parts that this build of GDAL has the codec for."""
    try:
        _tiff(np.zeros((1, 1, 1), np.uint8), None, None, compression.PART)
    except gdal.ERRORS:
        return {}
    return compression.PART


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
    parts: Iterable[tuple[Window, bytes]], path: Path, profile: Profile, options: Mapping[str, str]
) -> Iterator[str | None]:
    """Write the GeoTIFF at `path` from parts, in order, and yield each part's note when it is written.

    Raises:
        OutputError: the file cannot be written whole, for lack of space or permission.
    """
    with _writing(path):
        out = _create(path, profile, options)
        try:
            for window, part in parts:
                block, mask, note = _read_part(part, masked=profile.masked)
                if block.shape != (profile.count, window.height, window.width):
                    raise OutputError(
                        f"a part has {block.shape} bands, rows and columns, its window "
                        f"{(profile.count, window.height, window.width)}; discard all parts with --restart"
                    )
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
        _settle_colours(path, profile)
        _settle_control_points(path, profile)
        _settle_crs(path, profile)
    _check_whole(path, sparse=options.get("SPARSE_OK", "NO").upper() in ("YES", "TRUE", "ON", "1"))


def store(path: Path, profile: Profile, blocks: Iterable[tuple[Window, Block]], options: Mapping[str, str]) -> None:
    """Write blocks, each to its window, into a GeoTIFF at `path`.

    Raises:
        OutputError: the file cannot be written whole.
    """
    with _writing(path), _create(path, profile, options) as out:
        for window, block in blocks:
            out.write(block, window=window.toranges())


def add_overviews(path: Path) -> None:
    """Build averages of 2 x 2, 4 x 4 ... pixels inside the GeoTIFF, down to about a block, of valid pixels alone.

    Under a mask, GDAL would average the nodata of single bands with their picture: every second pixel is taken then.
    """
    with _writing(path):
        masks, partial = _hide_nodata(path)
        with rasterio.open(path, "r+") as out:
            levels = [2]
            while min(out.width, out.height) // levels[-1] > compression.BLOCK_SIZE:
                levels.append(2 * levels[-1])
            out.build_overviews(levels, Resampling.nearest if partial else Resampling.average)
        if masks:
            with rasterio.open(path, "r+") as out:
                for window, packed in masks:
                    bits = np.unpackbits(np.frombuffer(zlib.decompress(packed), np.uint8))
                    mask = bits[: window.width * window.height].reshape(window.height, window.width)
                    out.write_mask(mask > 0, window=window.toranges())


def _hide_nodata(path: Path) -> tuple[list[tuple[Window, bytes]], bool]:
    """Let the mask of a raster hide pixels that are nodata in all bands.

    GDAL averages by the mask or else by the nodata value, never by both. Returns the windows' masks as they were, and
    True if the mask shows pixels that are nodata in some bands but not in others.
    """
    before, partial = [], False
    with rasterio.open(path, "r+") as out:
        profile = described(out)
        if profile.nodata is None or not profile.masked:
            return [], False
        for tile in Grid(profile.width, profile.height, 4 * compression.BLOCK_SIZE):
            window = tile.core.toranges()
            shown = out.read_masks(1, window=window) > 0
            valid = measured(out.read(window=window), profile.nodata)
            both = shown & valid.any(axis=0)
            partial = partial or bool((both & ~valid.all(axis=0)).any())
            if (both != shown).any():
                before.append((tile.core, zlib.compress(np.packbits(shown).tobytes())))
                out.write_mask(both, window=window)
    return before, partial


def copy(source: Path, path: Path, driver: str, options: Mapping[str, str]) -> None:
    """Write the raster `source` to `path` in another format.

    Raises:
        OutputError: GDAL cannot.
    """
    with _writing(path):
        with rasterio.open(source) as dataset:
            options = compression.format_options(driver, options, dataset.dtypes[0])
        rasterio.shutil.copy(source, path, driver=driver, **options)
    if driver == "COG":
        _check_whole(path, sparse=False)
    for file in path.parent.iterdir():
        # A header of text, as ENVI's, names the raster, which may be a draft in another folder.
        if file != path and file.suffix in (".hdr", ".xml", ".prj"):
            file.write_bytes(file.read_bytes().replace(os.fsencode(path), os.fsencode(path.name)))


def lost(path: Path, profile: Profile) -> list[str]:
    """Return the words for the items of a profile that are not in the file at `path`."""
    try:
        with gdal.environment(), open_raster(path) as written:
            if written.count != profile.count:
                return ["the bands (see its subdatasets)"]
            return sorted(set(differences(described(written), profile)))
    except gdal.ERRORS as error:
        raise OutputError(
            f"what was written to {os.fspath(path)!r} cannot be read back: {gdal.reason(error)}"
        ) from error


def unkept(profile: Profile, driver: str, name: str) -> list[str]:
    """Return the words for the items of a profile that a format cannot keep, as it shows on a small raster."""
    small = profile.crop(Window(0, 0, min(SMALL, profile.width), min(SMALL, profile.height)))
    zeros = np.zeros((small.count, small.height, small.width), small.dtype)
    with gdal.collected(), tempfile.TemporaryDirectory() as folder:
        whole, path = Path(folder) / "whole.tif", Path(folder) / name
        store(whole, small, [(small.window, zeros)], {})
        copy(whole, path, driver, {})
        return lost(path, small)


def stale(path: Path) -> list[Path]:
    """Return the files beside an older output of this name that GDAL would take for parts of the new one."""
    return [
        *(path.with_name(path.name + ending) for ending in _SIDECARS),
        *(path.with_suffix(ending) for ending in (".tfw", ".tifw") if path.suffix.lower() in (".tif", ".tiff")),
    ]


def stale_files(path: Path, profile: Profile, driver: str) -> list[Path]:
    """Return the files beside an older output that go with it.

    Raises:
        OutputError: GDAL would take a file for a part of the output that is of no older output, or of another raster.
    """
    foreign = companions(path, profile, driver)
    for file in foreign:
        others = [other for other in path.parent.glob(f"{glob.escape(path.stem)}.*") if other not in (path, file)]
        if not file.name.startswith(f"{path.name}.") and (
            not path.exists() or any(file in read_with(other) for other in others)
        ):
            raise OutputError(f"{os.fspath(file)!r} would be taken for a part of the output; choose another output")
    return [*dict.fromkeys([*stale(path), *foreign])]


def companions(path: Path, profile: Profile, driver: str) -> list[Path]:
    """Return the files beside `path` that GDAL would take for parts of such a raster, as world files and RPCs.

    GDAL is asked: it opens a small raster of this name among links to the files whose names begin alike.
    """
    alike = [file for file in path.parent.glob(f"{glob.escape(path.stem)}[._]*") if file.is_file() and file != path]
    if not alike:
        return []
    small = replace(profile, width=SMALL, height=SMALL, rpcs=None)
    with tempfile.TemporaryDirectory() as folder, gdal.environment(), gdal.quiet(), gdal.collected():
        trial = Path(folder) / path.name
        try:
            if driver == "GTiff":
                _create(trial, small, {}).close()
            else:
                with MemoryFile() as memory:
                    _create(Path(memory.name), small, {}).close()
                    rasterio.shutil.copy(
                        memory.name, trial, driver=driver, **compression.format_options(driver, {}, profile.dtype)
                    )
            own = {file.name for file in Path(folder).iterdir()}
            for file in alike:
                if file.name not in own:
                    (Path(folder) / file.name).symlink_to(file.absolute())
            names = {file.name for file in read_with(trial)} - own
        except (*gdal.ERRORS, OSError):
            return []
    return sorted(file for file in alike if file.name in names)


def read_with(path: Path) -> list[Path]:
    """Return the other files that GDAL reads when it opens a raster; none for what is no raster."""
    path = path.absolute()
    try:
        with gdal.environment(), gdal.quiet(), rasterio.open(path) as dataset:
            return [Path(file) for file in dataset.files if Path(file) != path]
    except gdal.ERRORS:
        return []


def driver_named(name: str) -> str:
    """Return GDAL's driver of this name, in whatever case.

    Raises:
        OptionError: there is none.
    """
    with gdal.environment(), rasterio.Env() as env:
        drivers: dict[str, str] = {driver.upper(): driver for driver in env.drivers()}
    if name.upper() not in drivers:
        raise OptionError(f"GDAL has no format {name!r} here; rio env --formats lists those that it has")
    return drivers[name.upper()]


def check_creation(profile: Profile, driver: str, options: Mapping[str, str], name: str = "small.tif") -> list[str]:
    """Try driver and options on a small raster, since GDAL ignores options that it does not know.

    Returns the names of the files that come beside one called `name`.

    Raises:
        OptionError: the driver cannot hold such a raster, an option is unknown or its value is wrong.
    """
    if "NBITS" in options:
        raise OptionError("NBITS would cut values; leave it out")
    if driver == "VRT":
        raise OptionError("a VRT holds no pixels, it refers to those of other files; choose another --format")
    subject = f"the creation options {_pairs(options)}" if options else f"to write this raster as {driver}"
    with gdal.collected() as lines, tempfile.TemporaryDirectory() as folder:
        small = Profile(SMALL, SMALL, profile.count, profile.dtype, colorinterp=profile.colorinterp)
        if profile.located:
            small = replace(small, crs=profile.crs, transform=profile.transform, epoch=profile.epoch)
        path = Path(folder) / name
        extra = compression.creation_options(profile.dtype, options) if driver == "GTiff" else {}
        try:
            with gdal.environment(), gdal.quiet(), MemoryFile() as memory:
                with _create(Path(memory.name), small, extra) as trial:
                    # Codecs are asked for when the first block is written.
                    trial.write(np.zeros((small.count, SMALL, SMALL), small.dtype))
                _settle_colours(Path(memory.name), small)
                if driver != "GTiff":
                    rasterio.shutil.copy(
                        memory.name, path, driver=driver, **compression.format_options(driver, options, profile.dtype)
                    )
            if path.is_dir():
                raise OptionError(f"{driver} makes a folder, not a file; choose another --format")
            if driver != "GTiff":
                # A format that only refers to the pixels of another file holds none now.
                with gdal.environment(), open_raster(path) as written:
                    written.read()
                    _check_grid(written, profile, driver)
            side_files = sorted(file.name for file in Path(folder).iterdir() if file != path)
        except OptionError:
            raise
        except (*gdal.ERRORS, ValueError) as error:
            raise OptionError(f"GDAL refuses {subject}: {gdal.reason(error)}; change --co or --format") from error
    if lines and options:
        raise OptionError(f"GDAL refuses {subject}: {lines[0]}; change --co")
    return side_files


def _check_grid(written: Any, profile: Profile, driver: str) -> None:
    """Refuse a format that resamples pixels to a grid of its own, or adds bands."""
    if written.count != profile.count:
        raise OptionError(f"{driver} would write {written.count} bands for {profile.count}; choose another --format")
    here, there = profile.transform, written.transform
    # Less than a pixel is the rounding of formats that store corners as text, which is named when it is known.
    corners = [np.subtract(~here @ (there @ corner), corner) for corner in ((0, 0), (SMALL, 0), (0, SMALL))]
    resampled = profile.located and not there.is_identity and np.abs(corners).max() > 1
    if written.shape != (SMALL, SMALL) or resampled:
        raise OptionError(
            f"{driver} has a grid of its own and would resample pixels of {abs(here.a):.9g} to {abs(there.a):.9g}; "
            "choose another --format"
        )


def _read_part(part: bytes, *, masked: bool) -> tuple[Block, Block | None, str | None]:
    """Return a part's block, its mask if it has one, and its note.

    Raises:
        OutputError: it was damaged since it was kept.
    """
    try:
        # Whatever the bytes are, no other driver gets them.
        with gdal.environment(), MemoryFile(part) as memory, memory.open(driver="GTiff") as dataset:
            return dataset.read(), dataset.dataset_mask() if masked else None, dataset.tags().get(NOTE)
    except gdal.ERRORS as error:
        raise OutputError("a part is damaged; discard all parts with --restart") from error


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        with gdal.environment(), gdal.quiet():
            yield
    except gdal.ERRORS as error:
        raise OutputError(f"cannot write {os.fspath(path)!r}: {gdal.reason(error)}") from error


def _create(path: Path, profile: Profile, options: Mapping[str, str]) -> Any:
    """Create a GeoTIFF with everything the profile says, and return it open for writing."""
    options = {**_photometric(profile.colorinterp), **options}
    if profile.epoch is not None or isinstance(profile.nodata, int):
        # rasterio has no words for these, but GDAL copies them from an empty raster that it is described.
        with rasterio.open(_described(profile)) as empty:
            rasterio.shutil.copy(empty, path, driver="GTiff", **{**options, "SPARSE_OK": "YES"})
        out = rasterio.open(path, "r+")
    else:
        out = rasterio.open(path, "w", driver="GTiff", **creation_keywords(profile), **options)
    write_metadata(out, profile)
    return out


def _described(profile: Profile) -> str:
    """Return a VRT without pixels that has the CRS with its epoch and the nodata value."""
    srs = ""
    if profile.crs is not None:
        epoch = "" if profile.epoch is None else f' coordinateEpoch="{profile.epoch!r}"'
        srs = f"<SRS{epoch}>{escape(profile.crs.to_wkt(version='WKT2_2019'))}</SRS>"
    nodata = "" if profile.nodata is None else f"<NoDataValue>{profile.nodata!r}</NoDataValue>"
    kind = typename_fwd[dtype_rev[profile.dtype]]
    bands = "".join(
        f'<VRTRasterBand dataType="{kind}" band="{i}">{nodata}</VRTRasterBand>' for i in range(1, profile.count + 1)
    )
    return f'<VRTDataset rasterXSize="{profile.width}" rasterYSize="{profile.height}">{srs}{bands}</VRTDataset>'


def _photometric(colorinterp: Sequence[ColorInterp]) -> dict[str, str]:
    """Return options without which GDAL guesses a fourth band of 8 bits to be alpha."""
    rgb = tuple(colorinterp[:3]) == RGB
    alpha = ColorInterp.alpha in colorinterp
    return {"PHOTOMETRIC": "RGB" if rgb else "MINISBLACK", "ALPHA": "UNSPECIFIED" if alpha else "NO"}


def _settle_colours(path: Path, profile: Profile) -> None:
    """Set colours that a GeoTIFF has no field for, as gray beside red, green and blue, which needs a finished file."""
    with rasterio.open(path) as written:
        wrong = bool(profile.colorinterp) and written.colorinterp != profile.colorinterp
    if wrong:
        with rasterio.open(path, "r+") as written:
            written.colorinterp = profile.colorinterp


def _settle_control_points(path: Path, profile: Profile) -> None:
    """Move control points where pixels are points: GDAL moves them when it reads, but not when it writes."""
    if not profile.gcps or profile.located:
        return
    with rasterio.open(path) as written:
        points, crs = written.gcps
    rows, cols = (float(getattr(points[0], axis) - getattr(profile.gcps[0], axis)) for axis in ("row", "col"))
    if rows or cols:
        with rasterio.open(path, "r+") as written:
            written.gcps = [moved(gcp, gcp.row - rows, gcp.col - cols) for gcp in profile.gcps], crs or CRS()


def _settle_crs(path: Path, profile: Profile) -> None:
    """Write a CRS that GeoTIFF keys cannot spell into a file beside the raster, where GDAL looks first."""
    if profile.crs is None or _crs(path) == profile.crs:
        return
    beside = path.with_name(path.name + ".aux.xml")
    if not beside.exists():
        text = escape(profile.crs.to_wkt(version="WKT2_2019"))
        beside.write_text(f"<PAMDataset>\n  <SRS>{text}</SRS>\n</PAMDataset>\n")
        if _crs(path) != profile.crs:
            beside.unlink()


def _crs(path: Path) -> Any:
    with rasterio.open(path) as written:
        return written.crs


def _check_whole(path: Path, *, sparse: bool) -> None:
    """Refuse a file with blocks beyond its end, which GDAL leaves on a full disk without an error.

    In a sparse file, blocks of zeros are not stored.
    """
    size = path.stat().st_size
    with gdal.quiet(), rasterio.open(path) as written:
        # Interleaved by pixels, all bands are in the blocks of the first.
        for i in written.indexes[:1] if written.interleaving == Interleaving.pixel else written.indexes:
            for (row, col), _ in written.block_windows(i):
                place = [
                    written.get_tag_item(f"BLOCK_{field}_{col}_{row}", "TIFF", bidx=i) for field in ("OFFSET", "SIZE")
                ]
                if sparse and None in place:
                    continue
                if None in place or sum(int(x) for x in place) > size:
                    raise OutputError(f"cannot write {os.fspath(path)!r} whole: is the disk full?")


def _pairs(options: Mapping[str, str]) -> str:
    return " ".join(f"{name}={value}" for name, value in options.items())
