"""Metadata of photographs (EXIF, GPS, ICC profile, XMP), read from JPEG, PNG and TIFF files and put into TIFFs.

Pillow finds the segments of JPEG and PNG. All three keep EXIF in the form of a TIFF directory (EXIF 2.32, TIFF 6.0),
which is read, and written into classic and Big TIFFs, here.
"""

from __future__ import annotations

import io
import logging
import os
import re
import struct
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO

from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile

from geosr.errors import RasterError

log = logging.getLogger(__name__)

ORIENTATION, SOFTWARE, XMP, ICC, EXIF, GPS = 274, 305, 700, 34675, 34665, 34853
CARRIED = (270, 271, 272, 282, 283, 296, 306, 315, 33432)
"""Tags of the main directory: description, make, model, resolution and its unit, date, artist, copyright."""
TAKEN, TAKEN_FRACTION, WIDTH, HEIGHT, INTEROPERABILITY, FOCAL_35MM = 36867, 37521, 40962, 40963, 40965, 41989
# Bytes of a value of each TIFF type, and of the units that byte order turns round (a rational is two of them).
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
_UNITS = {**_SIZES, 5: 4, 10: 4}
_SHORT, _LONG, _ASCII, _BYTES = 3, 4, 2, 7
_LARGEST = 64 * 2**20
"""Bytes of a value: what is larger is no metadata, or a broken count."""
_BROKEN = (struct.error, KeyError, IndexError, ValueError, OSError, SyntaxError)
"""Exceptions that broken metadata raises here and in Pillow."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A value of a directory; its bytes are little-endian."""

    type: int
    data: bytes

    @property
    def count(self) -> int:
        return len(self.data) // _SIZES[self.type]

    def number(self) -> int:
        """Return the first value of a whole-number type."""
        return int.from_bytes(self.data[: _SIZES[self.type]], "little")


Directory = Mapping[int, Entry]


@dataclass(frozen=True, slots=True)
class Metadata:
    """The metadata of a photograph."""

    main: Directory = field(default_factory=dict)
    exif: Directory = field(default_factory=dict)
    gps: Directory = field(default_factory=dict)
    icc: bytes = b""
    xmp: bytes = b""
    progressive: bool = False
    """A JPEG that must be held in memory to be decoded."""
    broken: bool = False
    """Some entries cannot be read; they are left out."""

    @property
    def orientation(self) -> int:
        """1 to 8, as EXIF numbers them; 1, upright, by default."""
        value = self.main[ORIENTATION].number() if ORIENTATION in self.main else 1
        return value if 1 <= value <= 8 else 1

    @property
    def taken(self) -> str:
        """The time of the photo, in a form that sorts; empty if it is unknown."""
        parts = [self.exif[tag].data.rstrip(b"\0 ").decode("ascii", "replace") for tag in (TAKEN, TAKEN_FRACTION)
                 if tag in self.exif]  # fmt: skip
        return ".".join(parts) if TAKEN in self.exif else ""

    @property
    def focal_35mm(self) -> int:
        """Focal length on a frame of 36 mm; 0 if it is unknown."""
        return self.exif[FOCAL_35MM].number() if FOCAL_35MM in self.exif else 0


def read(path: str | os.PathLike[str]) -> Metadata:
    """Return the metadata of a JPEG, PNG or TIFF; none for other files.

    Entries that are broken are left out alone, with one warning for the file.

    Raises:
        RasterError: a JPEG or PNG that ends before its image does.
    """
    with Path(path).open("rb") as file:
        try:
            metadata = _read(file, os.fspath(path))
        except RasterError:
            raise
        except _BROKEN:
            metadata = Metadata(broken=True)  # the pixels may be whole
    if metadata.broken:
        log.warning("%r has broken metadata, of which the readable part is used", os.fspath(path))
    return metadata


def of_raw(path: str | os.PathLike[str], orientation: int, icc: bytes) -> Metadata:
    """Return the metadata of a RAW photo, whose decoder knows its orientation, decoded to the colours of `icc`."""
    metadata = read(path)
    turned = {**metadata.main, ORIENTATION: Entry(_SHORT, struct.pack("<H", orientation))}
    return replace(metadata, main=turned, icc=icc, xmp=b"")


def _read(file: BinaryIO, path: str) -> Metadata:
    start = file.read(8)
    file.seek(0)
    if start[:2] == b"\xff\xd8":
        return _read_jpeg(file, path)
    if start == b"\x89PNG\r\n\x1a\n":
        return _read_png(file, path)
    return read_tiff(file) if start[:2] in (b"II", b"MM") else Metadata()


def suits(icc: bytes, bands: int) -> bool:
    """Return True if a colour profile describes images of so many bands; ICC.1:2022, 7.2.6, has the colour space."""
    return icc[16:20] == {1: b"GRAY", 3: b"RGB "}.get(bands)


def same_colours(icc: bytes, other: bytes) -> bool:
    """Return True if two colour profiles are alike but for their date, creator and ID, ICC.1:2022, table 17."""

    def essence(profile: bytes) -> bytes:
        return profile[:4] + profile[8:24] + profile[36:80] + profile[100:]

    return essence(icc) == essence(other)


def graft(path: Path, metadata: Metadata, *, software: str, size: tuple[int, int]) -> None:
    """Add the metadata to a TIFF, upright and with `size` (width, height), as a new directory at its end."""
    with path.open("r+b") as file:
        tiff = _Tiff(file)
        entries = dict(tiff.raw_entries())
        added: dict[int, Entry] = {tag: metadata.main[tag] for tag in CARRIED if tag in metadata.main}
        added[SOFTWARE] = Entry(_ASCII, software.encode() + b"\0")
        added[ORIENTATION] = Entry(_SHORT, struct.pack("<H", 1))
        if metadata.icc:
            added[ICC] = Entry(_BYTES, metadata.icc)
        if metadata.xmp:
            added[XMP] = Entry(1, _resized(metadata.xmp, size))
        if metadata.exif:
            sizes = {tag: Entry(_LONG, struct.pack("<I", n)) for tag, n in zip((WIDTH, HEIGHT), size, strict=True)}
            exif = {tag: entry for tag, entry in metadata.exif.items() if tag != INTEROPERABILITY} | sizes
            added[EXIF] = tiff.pointer(tiff.append(tiff.packed(exif)))
        if metadata.gps:
            added[GPS] = tiff.pointer(tiff.append(tiff.packed(metadata.gps)))
        tiff.replace(entries | tiff.packed(added))


class _Tiff:
    """The first directory of a TIFF, classic or Big, of either byte order."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        start = file.read(16)
        self.order = "<" if start[:2] == b"II" else ">"
        self.big = struct.unpack(self.order + "H", start[2:4])[0] == 43
        self.count_form, self.offset_form = ("Q", "Q") if self.big else ("H", "I")
        self.entry_form = "HHQ" if self.big else "HHI"
        self.inline = 8 if self.big else 4
        self.header = 8 if self.big else 4
        self.first = self._unpack(self.offset_form, start[self.header : self.header + self.inline])
        self.broken = False

    def _unpack(self, form: str, data: bytes) -> int:
        return int(struct.unpack(self.order + form, data)[0])

    def raw_entries(self, offset: int | None = None) -> Iterator[tuple[int, bytes]]:
        """Yield the entries of a directory as they stand in the file, offsets and all."""
        self.file.seek(self.first if offset is None else offset)
        size = struct.calcsize(self.order + self.count_form)
        count = self._unpack(self.count_form, self.file.read(size))
        length = struct.calcsize(self.order + self.entry_form) + self.inline
        data = self.file.read(count * length + self.inline)
        whole = min(count, len(data) // length)
        self.broken |= whole < count
        for i in range(whole):
            entry = data[i * length : (i + 1) * length]
            yield self._unpack("H", entry[:2]), entry
        self.following = data[count * length :]

    def directory(self, offset: int | None = None) -> dict[int, Entry]:
        """Return the entries of a directory with their values, without those that are broken."""
        entries: dict[int, Entry] = {}
        try:
            raws = list(self.raw_entries(offset))
        except _BROKEN:
            self.broken = True
            return entries
        for tag, raw in raws:
            head = struct.calcsize(self.order + self.entry_form)
            _, kind, count = struct.unpack(self.order + self.entry_form, raw[:head])
            size = count * _SIZES.get(kind, 0)
            if not 0 < size <= _LARGEST:
                self.broken = True
                continue
            data = raw[head : head + size]
            if size > self.inline:
                self.file.seek(self._unpack(self.offset_form, raw[head:]))
                data = self.file.read(size)
            if len(data) == size:
                entries[tag] = Entry(kind, _little(data, _UNITS[kind]) if self.order == ">" else data)
            else:
                self.broken = True
        return entries

    def append(self, entries: Mapping[int, bytes], following: bytes = b"") -> int:
        """Write a directory at the end of the file and returns where it is."""
        self.file.seek(0, os.SEEK_END)
        self.file.write(b"\0" * (-self.file.tell() % 8))
        offset = self.file.tell()
        self.file.write(struct.pack(self.order + self.count_form, len(entries)))
        for tag in sorted(entries):
            self.file.write(entries[tag])
        self.file.write(following or bytes(self.inline))
        return offset

    def packed(self, entries: Directory) -> dict[int, bytes]:
        """Return the entries as they stand in a directory, their longer values written at the end of the file."""
        raw = {}
        for tag, entry in entries.items():
            data = _little(entry.data, _UNITS[entry.type]) if self.order == ">" else entry.data
            if len(data) > self.inline:
                self.file.seek(0, os.SEEK_END)
                self.file.write(b"\0" * (-self.file.tell() % 8))
                offset = self.file.tell()
                self.file.write(data)
                data = struct.pack(self.order + self.offset_form, offset)
            head = struct.pack(self.order + self.entry_form, tag, entry.type, entry.count)
            raw[tag] = head + data.ljust(self.inline, b"\0")
        return raw

    def pointer(self, offset: int) -> Entry:
        """Return the entry that says where a directory is."""
        return Entry(18 if self.big else 13, struct.pack("<Q" if self.big else "<I", offset))

    def replace(self, entries: Mapping[int, bytes]) -> None:
        """Make these entries the first directory."""
        offset = self.append(entries, self.following)
        self.file.seek(self.header)
        self.file.write(struct.pack(self.order + self.offset_form, offset))


def read_tiff(file: BinaryIO) -> Metadata:
    tiff = _Tiff(file)
    main = tiff.directory()
    exif, gps = (tiff.directory(main[tag].number()) if tag in main else {} for tag in (EXIF, GPS))
    icc, xmp = (main[tag].data if tag in main else b"" for tag in (ICC, XMP))
    return Metadata(main, exif, gps, icc, xmp, broken=tiff.broken)


def _read_jpeg(file: BinaryIO, path: str) -> Metadata:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # `read` warns of broken metadata, once
            image = JpegImageFile(file)
    except (OSError, SyntaxError) as error:
        raise RasterError(f"{path!r} is no whole JPEG; copy it again from the camera, or leave it out") from error
    # The coded image follows; in it 0xFF is always followed by 0 or a marker that is not the end's.
    if b"\xff\xd9" not in file.read():
        raise RasterError(f"{path!r} is cut off before the end of its image; copy it again, or leave it out")
    return _parsed(image.info)


def _read_png(file: BinaryIO, path: str) -> Metadata:
    metadata = _parsed(PngImageFile(file).info)
    file.seek(0)
    if b"IEND" not in file.read():
        raise RasterError(f"{path!r} is cut off before the end of its image; copy it again, or leave it out")
    return metadata


def _parsed(info: Mapping[Any, Any]) -> Metadata:
    """Return the metadata in the segments of a JPEG or a PNG, as Pillow finds them."""
    metadata = Metadata(
        icc=info.get("icc_profile") or b"", xmp=info.get("xmp") or b"", progressive="progressive" in info
    )
    if "exif" not in info:
        return metadata
    try:
        exif = read_tiff(io.BytesIO(info["exif"].removeprefix(b"Exif\0\0")))
    except _BROKEN:
        return replace(metadata, broken=True)
    return replace(metadata, main=exif.main, exif=exif.exif, gps=exif.gps, broken=exif.broken)


def _little(data: bytes, unit: int) -> bytes:
    """Return the data with the bytes of each unit reversed."""
    return b"".join(data[i : i + unit][::-1] for i in range(0, len(data), unit)) if unit > 1 else data


def _resized(xmp: bytes, size: tuple[int, int]) -> bytes:
    """Return XMP of an upright image of `size` (width, height), without what it says of a panorama of another."""
    xmp = re.sub(rb"<(GPano:\w+)>[^<]*</\1>|(?<=\s)GPano:\w+=(\"[^\"]*\"|'[^']*')", b"", xmp)
    width, height = size
    values = {
        b"tiff:Orientation": 1,
        b"tiff:ImageWidth": width,
        b"tiff:ImageLength": height,
        b"exif:PixelXDimension": width,
        b"exif:PixelYDimension": height,
    }
    for name, value in values.items():
        xmp = re.sub(rb"(" + name + rb"(?:=[\"']|>))\d+", rb"\g<1>%d" % value, xmp)
    return xmp
