"""Training samples as bytes: one `tf.train.Example` a tile, in shards of TFRecords. TensorFlow is never loaded.

An example describes itself: `gt`, `down` and (unless it was left out) `bic_up` are raw pixels (rows, cols, bands) in
`dtype`; `shape` holds rows, cols and bands of `gt`, `scale` the factor, `range` the values of each band that become 0
and then those that become 1; `scene`, `bands` (numbers, from 1), `window` (col_off, row_off, width, height in the
scene), `crs` (WKT) and `transform` (a to f, of the tile) say where it lies. Numbers are little-endian; `range` and
`transform` are float64.
"""

from __future__ import annotations

import gzip
import math
import os
import struct
import tempfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
from google.protobuf.message import DecodeError

from geosr.dataset.options import FORMATS
from geosr.errors import DatasetError
from geosr.files import json_value, size_text
from geosr.grid import Block, Window
from geosr.protobuf import message_classes
from geosr.rasters.kinds import DTYPES
from geosr.rasters.radiometry import Range
from geosr.rasters.resample import enlarge

SPLITS = ("Training", "Validation")
"""Splits of every set; a Test beside them if one was asked for."""
IMAGES = ("gt", "down", "bic_up")
CARD = "dataset.json"

LARGEST_SCALE = 64
UNPACKED = 2**30
"""Most bytes of an unpacked shard: eight times what this program puts in one."""
PIECE = 2**22
_CARD = {"size": int, "scale": int, "tiles": dict, "scenes": list}
"""Entries of every card."""
_SCENE = ("file", "bands", "dtype", "range")
"""Entries for every scene."""
_FRAME = struct.Struct("<QI")
_CRC = struct.Struct("<I")


@dataclass(frozen=True, slots=True)
class Sample:
    """A tile at full resolution, degraded, and enlarged again: blocks (bands, rows, cols) of one dtype."""

    gt: Block
    down: Block
    bic_up: Block | None
    """None: it is made from `down` where it is wanted."""
    range: Range
    scene: str
    window: Window
    crs: str = ""
    """WKT; empty where the scene has none."""
    transform: tuple[float, ...] = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
    """The transform of the tile, a to f, as rasterio orders them."""
    bands: tuple[int, ...] = ()
    """Their numbers in the scene, from 1; none where they are not known."""

    @property
    def scale(self) -> int:
        return int(self.gt.shape[-1] // self.down.shape[-1])

    def enlarged(self) -> Block:
        """`bic_up`, or else the bicubic enlargement of `down` alone, whose edges are mirrored ones."""
        return self.bic_up if self.bic_up is not None else enlarge(self.down, self.scale)


def encode(sample: Sample) -> bytes:
    """The sample as a serialised `tf.train.Example`; equal samples give equal bytes."""
    bands, rows, cols = sample.gt.shape
    window = sample.window
    features: dict[str, Any] = {
        name: _little(image.transpose(1, 2, 0)) for name in IMAGES if (image := getattr(sample, name)) is not None
    }
    features |= {
        "dtype": str(sample.gt.dtype).encode(),
        "shape": [rows, cols, bands],
        "scale": [sample.scale],
        "range": _little(np.array([*sample.range.low, *sample.range.high], np.float64)),
        "scene": sample.scene.encode(),
        "window": [window.col_off, window.row_off, window.width, window.height],
        "crs": sample.crs.encode(),
        "transform": _little(np.array(sample.transform, np.float64)),
        "bands": list(sample.bands),
    }
    return serialise(features)


def decode(example: bytes) -> Sample:
    """The sample of a serialised example.

    Raises:
        DatasetError: the bytes are no example of this program.
    """
    try:
        values = features(example)
        dtype = np.dtype(values["dtype"][0].decode()).newbyteorder("<")
        (rows, cols, bands), [scale] = values["shape"], values["scale"]
        if min(scale, rows, cols, bands) < 1:
            raise ValueError(f"its scale is {scale}, its shape {(rows, cols, bands)}")
        shapes = {"gt": (rows, cols), "down": (rows // scale, cols // scale), "bic_up": (rows, cols)}
        images = {
            name: np.frombuffer(values[name][0], dtype).reshape(*shape, bands).transpose(2, 0, 1)
            for name, shape in shapes.items()
            if name in values or name != "bic_up"
        }
        ends = tuple(np.frombuffer(values["range"][0], "<f8").tolist())
        return checked(
            Sample(
                gt=images["gt"],
                down=images["down"],
                bic_up=images.get("bic_up"),
                range=Range(ends[:bands], ends[bands:]),
                scene=values["scene"][0].decode(),
                window=Window(*values["window"]),
                crs=values["crs"][0].decode(),
                transform=tuple(np.frombuffer(values["transform"][0], "<f8").tolist()),
                bands=tuple(values.get("bands", ())),
            )
        )
    except (KeyError, IndexError, ValueError, TypeError, AttributeError, OverflowError) as error:
        raise DatasetError(f"a record is not a sample of geosr: {error or type(error).__name__}") from error


def checked(sample: Sample) -> Sample:
    """Return a sample that was read from a file.

    Raises:
        ValueError: its values do not fit each other, or are out of all bounds.
    """
    bands, rows, cols = sample.gt.shape
    scale = sample.scale if sample.down.size else 0
    if str(sample.gt.dtype) not in DTYPES or sample.down.dtype != sample.gt.dtype:
        raise ValueError(f"it holds {sample.gt.dtype}")
    if not 1 <= scale <= LARGEST_SCALE or sample.down.shape != (bands, rows // scale, cols // scale):
        raise ValueError(f"its images of {sample.gt.shape} and {sample.down.shape} are not of one scale")
    ends = [*sample.range.low, *sample.range.high]
    if len(sample.range.low) != bands or len(sample.range.high) != bands or not all(map(math.isfinite, ends)):
        raise ValueError(f"its range is {sample.range}")
    if len(sample.transform) != 6 or not all(map(math.isfinite, sample.transform)):
        raise ValueError(f"its transform is {sample.transform}")
    window = sample.window
    if not all(abs(n) < 2**31 for n in (window.col_off, window.row_off, window.width, window.height, *sample.bands)):
        raise ValueError(f"its window is {window} and its bands are {sample.bands}")
    return sample


def serialise(features: Mapping[str, bytes | list[int] | list[float]]) -> bytes:
    """A `tf.train.Example`: bytes as a bytes_list of one, integers as an int64_list, other numbers as a float_list."""
    example = _example()()
    for name, value in sorted(features.items()):
        feature = example.features.feature.add(key=name).value
        if isinstance(value, bytes):
            feature.bytes_list.value.append(value)
        elif all(isinstance(number, int) for number in value):
            feature.int64_list.value.extend(value)
        else:
            feature.float_list.value.extend(value)
    return bytes(example.SerializeToString(deterministic=True))


def features(example: bytes) -> dict[str, list[Any]]:
    """The values of each feature of a serialised `tf.train.Example`.

    Raises:
        ValueError: the bytes are none.
    """
    try:
        parsed = _example().FromString(example).features.feature
    except DecodeError as error:
        raise ValueError("it is no tf.train.Example") from error
    # A feature holds one list, of bytes, floats or integers, or none.
    return {entry.key: list(lists[0][1].value) if (lists := entry.value.ListFields()) else [] for entry in parsed}


def framed(example: bytes) -> bytes:
    """An example as it stands in a TFRecord file: length, data, and the masked CRC-32C of each."""
    length = struct.pack("<Q", len(example))
    return length + _CRC.pack(_masked(length)) + example + _CRC.pack(_masked(example))


class Examples:
    """The examples of TFRecord files by number, over all files in order; a file is mapped, and indexed on first use.

    Raises:
        DatasetError: a file is truncated or no TFRecord file; it names file and record.
    """

    def __init__(self, paths: list[Path]) -> None:
        self.paths = paths
        self._maps = [_content(path) for path in paths]
        offsets = [_offsets(path, content) for path, content in zip(paths, self._maps, strict=True)]
        self._where = [
            (file, number, at) for file, file_offsets in enumerate(offsets) for number, at in enumerate(file_offsets)
        ]

    def __len__(self) -> int:
        return len(self._where)

    def __getitem__(self, index: int) -> bytes:
        file, number, at = self._where[index]
        content = self._maps[file]
        size, _ = _FRAME.unpack_from(content, at)
        data = bytes(content[at + _FRAME.size : at + _FRAME.size + size])
        [check] = _CRC.unpack_from(content, at + _FRAME.size + size)
        if check != _masked(data):
            raise DatasetError(f"{os.fspath(self.paths[file])!r}, record {number}: it is damaged (its checksum is off)")
        return data

    def sample(self, index: int) -> Sample:
        """The sample with a number; an error names the file and the record."""
        example = self[index]
        try:
            return decode(example)
        except DatasetError as error:
            file, number, _ = self._where[index]
            raise DatasetError(f"{os.fspath(self.paths[file])!r}, record {number}: {error}") from error

    def __iter__(self) -> Iterator[Sample]:
        return (self.sample(index) for index in range(len(self)))


def shards(folder: Path) -> list[Path]:
    """The shards in a folder, in order.

    Raises:
        DatasetError: there are none, or some of a set are missing.
    """
    paths = sorted(path for path in folder.glob("*.tfrecord-*-of-*") if path.name.rpartition("-")[2].isdecimal())
    if not paths:
        raise DatasetError(f"no training set in {os.fspath(folder)!r}; make one with geosr dataset")
    if {len(paths)} != {int(path.name.rpartition("-")[2]) for path in paths}:
        raise DatasetError(f"shards are missing in {os.fspath(folder)!r}; make the set again with geosr dataset")
    return paths


def read(folder: str | os.PathLike[str]) -> Examples:
    """The samples in a folder's shards, in order."""
    return Examples(shards(Path(folder)))


def sets_in(folder: Path) -> Path:
    """The folder of the one set that is in a folder, or is it.

    Raises:
        DatasetError: there is none, or sets of several scales, or its card is damaged.
    """
    if (folder / CARD).exists():
        read_card(folder)
        return folder
    folders = sorted(path.parent for path in folder.glob(f"x*/{CARD}"))
    if not folders:
        raise DatasetError(f"no training set in {os.fspath(folder)!r}; make one with geosr dataset")
    if len(folders) > 1:
        names = ", ".join(os.fspath(path) for path in folders)
        raise DatasetError(f"{os.fspath(folder)!r} holds several training sets; name one of {names}")
    read_card(folders[0])
    return folders[0]


def read_card(folder: Path) -> dict[str, Any]:
    """Return the card of a training set.

    Raises:
        DatasetError: there is none, or it lacks what all cards have.
    """
    path = folder / CARD
    try:
        card = json_value(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise DatasetError(f"no training set in {os.fspath(folder)!r}; make one with geosr dataset") from error
    except OSError as error:
        raise DatasetError(f"the card {os.fspath(path)!r} cannot be read: {error.strerror}") from error
    except ValueError:
        damage: str | None = "it is no JSON"
    else:
        damage = _damage(card)
    if damage:
        raise DatasetError(f"the card {os.fspath(path)!r} is damaged: {damage}; make the set again with geosr dataset")
    content: dict[str, Any] = card
    return content


def _damage(card: Any) -> str | None:
    """Return the fault of a card; None without one."""
    if not isinstance(card, dict):
        return "it is no JSON object"
    for name, kind in _CARD.items():
        if name not in card:
            return f"it has no {name!r}"
        # A truth is a whole number to Python.
        if not isinstance(card[name], kind) or isinstance(card[name], bool):
            return f"its {name!r} is {card[name]!r}"
    if not (1 <= card["scale"] <= LARGEST_SCALE and 1 <= card["size"] < 2**31):
        return f"its tiles are of {card['size']} pixels, degraded by {card['scale']}"
    if missing := [split for split in SPLITS if split not in card["tiles"]]:
        return f"its 'tiles' have no {missing[0]!r}"
    if wrong := [split for split, count in card["tiles"].items() if not _is_count(count)]:
        return f"its 'tiles' for {wrong[0]!r} are {card['tiles'][wrong[0]]!r}"
    for i, scene in enumerate(card["scenes"], 1):
        if not isinstance(scene, dict):
            return f"scene {i} is {scene!r}"
        if lacking := [name for name in _SCENE if name not in scene]:
            return f"scene {i} has no {lacking[0]!r}"
        if not isinstance(scene.get("tiles", {}), dict):
            return f"the 'tiles' of scene {i} are {scene['tiles']!r}"
        if not (isinstance(scene["file"], str) and isinstance(scene["dtype"], str) and _is_count(scene["bands"])):
            return f"scene {i} is {scene!r:.80}"
        names = scene.get("names", [])
        if not (isinstance(names, list) and all(name is None or isinstance(name, str) for name in names)):
            return f"the 'names' of scene {i} are {names!r:.80}"
    if card.get("format", FORMATS[0]) not in FORMATS:
        return f"its 'format' is {card['format']!r}"
    for name in ("left_out", "options"):
        if not isinstance(card.get(name, {}), dict):
            return f"its {name!r} is {card[name]!r}"
    if not all(map(_is_count, card.get("left_out", {}).values())):
        return "its 'left_out' holds what is no number"
    for name in ("degradation", "version", "sha256"):
        if not isinstance(card.get(name, ""), str):
            return f"its {name!r} is {card[name]!r:.80}"
    return None


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 2**62


def _content(path: Path) -> Any:
    """Return the bytes of a file without reading them yet; those of a GZIP file lie in a temporary file."""
    try:
        with path.open("rb") as file:
            zipped = file.read(2) == b"\x1f\x8b"
        if zipped:
            with gzip.open(path) as packed, tempfile.TemporaryFile() as plain:
                while piece := packed.read(PIECE):
                    if plain.tell() + len(piece) > UNPACKED:
                        raise DatasetError(
                            f"{os.fspath(path)!r} unpacks to more than {size_text(UNPACKED)}, which no shard does; if "
                            "you trust it, unpack it with gunzip"
                        )
                    plain.write(piece)
                plain.flush()
                return np.memmap(plain, np.uint8, "r") if plain.tell() else b""
        return np.memmap(path, np.uint8, "r") if path.stat().st_size else b""
    except (OSError, EOFError, zlib.error) as error:
        why = getattr(error, "strerror", None) or error
        raise DatasetError(f"{os.fspath(path)!r} cannot be read: {why}") from error


def _offsets(path: Path, content: Any) -> list[int]:
    """Where each record begins."""
    offsets: list[int] = []
    at, end = 0, len(content)
    while at < end:
        whole = at + _FRAME.size <= end
        size, check = _FRAME.unpack_from(content, at) if whole else (0, 0)
        if whole and check != _masked(bytes(content[at : at + 8])):
            raise DatasetError(f"{os.fspath(path)!r}, record {len(offsets)}: it is damaged, or no TFRecord file")
        if not whole or at + _FRAME.size + size + _CRC.size > end:
            raise DatasetError(f"{os.fspath(path)!r}, record {len(offsets)}: it is truncated")
        offsets.append(at)
        at += _FRAME.size + size + _CRC.size
    return offsets


def _masked(data: bytes) -> int:
    """The checksum that TFRecord files hold: CRC-32C, turned by 15 bits, and a constant added."""
    crc = int(google_crc32c.value(data))
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def _little(values: Block) -> bytes:
    return np.ascontiguousarray(values, values.dtype.newbyteorder("<")).tobytes()


@cache
def _example() -> Any:
    """Return the message class tf.train.Example. Source: tensorflow/core/example/feature.proto.

    The map of features is written as the list of entries that it is on the wire.
    """
    messages = {
        "Example": {"features": (1, "Features")},
        "Features": {"feature": (1, "repeated FeatureEntry")},
        "FeatureEntry": {"key": (1, "string"), "value": (2, "Feature")},
        "Feature": {"bytes_list": (1, "BytesList"), "float_list": (2, "FloatList"), "int64_list": (3, "Int64List")},
        "BytesList": {"value": (1, "repeated bytes")},
        "FloatList": {"value": (1, "repeated float")},
        "Int64List": {"value": (1, "repeated int64")},
    }
    return message_classes("tensorflow", messages)["Example"]
