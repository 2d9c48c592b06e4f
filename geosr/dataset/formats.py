"""The files of a split in each format of a training set: written from examples, and read again as samples.

A webdataset is tar files with key.hr.png, key.lr.png and key.json (.npy in place of .png where PNG does not hold the
values); png is for programs that pair the files of two folders, HR/key.png and LR/key.png, beside a samples.jsonl
that says where each lies.
"""

from __future__ import annotations

import io
import math
import os
import tarfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice, pairwise
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np

from geosr.dataset import records
from geosr.dataset.options import FORMATS
from geosr.dataset.records import Sample
from geosr.errors import DatasetError, OptionError
from geosr.files import json_text, json_value
from geosr.grid import Block, Window
from geosr.rasters.kinds import DTYPES
from geosr.rasters.radiometry import Range

HIGH, LOW = "hr", "lr"
"""The two images of a sample in a tar file; in capitals, the folders of png."""
SAMPLES = "samples.jsonl"
"""A line for each sample of a split, in order: where it lies, and its range."""
LARGEST_IMAGE = 2**26
"""Most pixels of an image of a sample."""
PNG_DTYPES, PNG_BANDS = ("uint8", "uint16"), (1, 3)
"""What a PNG file holds for whoever reads it: four bands would be taken for colours and transparency."""


class Samples(Protocol):
    """The samples of a split by number."""

    paths: list[Path]

    def __len__(self) -> int: ...

    def sample(self, index: int) -> Sample:
        """The sample with a number; a DatasetError names the file."""

    def __iter__(self) -> Iterator[Sample]: ...


def check_images(form: str, dtype: str, bands: int) -> None:
    """Refuse samples that the files of a format do not hold.

    Raises:
        OptionError: it says what they hold.
    """
    if form == "png" and (dtype not in PNG_DTYPES or bands not in PNG_BANDS):
        raise OptionError(
            f"PNG files hold 1 or 3 bands of uint8 or uint16, and the samples have {bands} of {dtype}; choose with "
            "--bands 1,2,3, --each-band or --dtype uint16, or take --format webdataset"
        )


def write_webdataset(folder: Path, name: str, examples: Iterable[bytes], ends: Sequence[int]) -> None:
    """Write the examples as tar files of NAME-000000.tar and so on; `ends` are the first and last numbers of each."""
    numbered = enumerate(map(records.decode, examples))
    for shard, (start, end) in enumerate(pairwise(ends)):
        with (
            (folder / f"{name}-{shard:06d}.tar").open("wb") as file,
            tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as tar,
        ):
            for number, sample in islice(numbered, end - start):
                for image, block in ((HIGH, sample.gt), (LOW, sample.down)):
                    ending, content = _encoded(block)
                    _add(tar, f"{number:08d}.{image}.{ending}", content)
                _add(tar, f"{number:08d}.json", json_text(_described(sample)).encode())
            tar.close()
            file.flush()
            os.fsync(file.fileno())


def write_png(folder: Path, _: str, examples: Iterable[bytes], ends: Sequence[int]) -> None:
    """Write the examples as HR/00000000.png, LR/00000000.png and so on, and samples.jsonl."""
    for image in (HIGH, LOW):
        (folder / image.upper()).mkdir()
    with (folder / SAMPLES).open("w", encoding="utf-8") as file:
        for number, sample in enumerate(map(records.decode, examples)):
            for image, block in ((HIGH, sample.gt), (LOW, sample.down)):
                (folder / image.upper() / f"{number:08d}.png").write_bytes(_encoded(block)[1])
            file.write(json_text({"key": f"{number:08d}", **_described(sample)}, indent=None) + "\n")
    # One call for many small files.
    getattr(os, "sync", int)()


WRITERS: dict[str, Callable[[Path, str, Iterable[bytes], Sequence[int]], None]] = {
    "webdataset": write_webdataset,
    "png": write_png,
}
"""How a split is written in the formats other than TFRecords."""


@dataclass(frozen=True, slots=True)
class _Piece:
    """Bytes of a file."""

    path: Path
    start: int = 0
    size: int = -1
    name: str = ""

    def read(self) -> bytes:
        with self.path.open("rb") as file:
            file.seek(self.start)
            return file.read(self.size)


@dataclass(slots=True)
class _Pairs:
    """Samples whose images are PNG or NPY files, in a tar file or a folder."""

    paths: list[Path]
    pieces: list[dict[str, _Piece]] = field(default_factory=list)
    """The images of each sample, and its description as `json`."""
    descriptions: list[Mapping[str, Any]] = field(default_factory=list)
    """Those of each, where they are known already."""

    def __len__(self) -> int:
        return len(self.pieces)

    def __iter__(self) -> Iterator[Sample]:
        return (self.sample(index) for index in range(len(self)))

    def sample(self, index: int) -> Sample:
        """The sample with a number.

        Raises:
            DatasetError: a file is missing or damaged; it names it.
        """
        pieces = self.pieces[index]
        try:
            told = self.descriptions[index] if self.descriptions else json_value(pieces["json"].read())
            return _sample(told, *(_decoded(pieces[image]) for image in (HIGH, LOW)))
        except OSError as error:
            raise DatasetError(f"{error.filename!r} cannot be read: {error.strerror}") from error
        except (KeyError, ValueError, TypeError, IndexError, AttributeError, OverflowError) as error:
            where = next(iter(pieces.values())).path
            raise DatasetError(f"{os.fspath(where)!r}, sample {index}: it is no sample of geosr: {error}") from error


def _read_webdataset(folder: Path) -> _Pairs:
    """Return the samples in the tar files of a folder."""
    pairs = _Pairs(sorted(folder.glob("*.tar")))
    for path in pairs.paths:
        samples: dict[str, dict[str, _Piece]] = {}
        try:
            size = path.stat().st_size
            with tarfile.open(path, "r:") as tar:
                for member in tar:
                    if not 0 <= member.size <= size - member.offset_data:
                        raise tarfile.ReadError(f"{member.name!r} has {member.size} bytes")
                    key, _, ending = member.name.partition(".")
                    piece = _Piece(path, member.offset_data, member.size, member.name)
                    samples.setdefault(key, {})[ending.partition(".")[0]] = piece
        except (OSError, tarfile.TarError) as error:
            raise DatasetError(f"{os.fspath(path)!r} is no whole tar file: {error}") from error
        pairs.pieces += samples.values()
    return pairs


def _read_png(folder: Path) -> _Pairs:
    """Return the samples in the two folders of a folder."""
    path = folder / SAMPLES
    try:
        told = [json_value(line) for line in path.read_text(encoding="utf-8").splitlines()]
        keys = [Path(str(entry["key"])).name for entry in told]
    except FileNotFoundError:
        told, keys = [], []
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DatasetError(f"{os.fspath(path)!r} is damaged: {error}; make the set again with geosr dataset") from error
    images = [{image: folder / image.upper() / f"{key}.png" for image in (HIGH, LOW)} for key in keys]
    pieces = [{image: _Piece(file, name=file.name) for image, file in one.items()} for one in images]
    return _Pairs([file for one in images for file in one.values() if file.is_file()], pieces, told)


def split(folder: Path, name: str) -> Samples:
    """The samples of a split of the set in a folder; none if it has no files, and its card says so.

    Raises:
        DatasetError: there is no set, or its files hold fewer samples than its card says.
    """
    card = records.read_card(folder)
    count, form = card["tiles"].get(name, 0), card.get("format", FORMATS[0])
    samples: Samples
    if form == "webdataset":
        samples = _read_webdataset(folder / name)
    elif form == "png":
        samples = _read_png(folder / name)
    elif count or any((folder / name).glob("*.tfrecord-*")):
        samples = records.read(folder / name)
    else:
        samples = records.Examples([])
    if len(samples) < count:
        raise DatasetError(
            f"{os.fspath(folder / name)!r} holds {len(samples)} samples, and the set's card says {count}; make the "
            "set again with geosr dataset"
        )
    return samples


def _described(sample: Sample) -> dict[str, Any]:
    """Return what a sample says beside its images."""
    window = sample.window
    return {
        "scene": sample.scene,
        "bands": list(sample.bands),
        "window": [window.col_off, window.row_off, window.width, window.height],
        "crs": sample.crs,
        "transform": list(sample.transform),
        "range": [list(sample.range.low), list(sample.range.high)],
        "scale": sample.scale,
        "dtype": str(sample.gt.dtype),
        "shape": [*sample.gt.shape[1:], sample.gt.shape[0]],
    }


def _sample(told: Mapping[str, Any], high: Block, low: Block) -> Sample:
    ends = [tuple(map(float, values)) for values in told["range"]]
    scale = int(told["scale"])
    if high.shape != (low.shape[0], low.shape[1] * scale, low.shape[2] * scale) or not low.size:
        raise ValueError(f"its images of {high.shape} and {low.shape} are not of scale {scale}")
    return records.checked(
        Sample(
            gt=high,
            down=low,
            bic_up=None,
            range=Range(*ends),
            scene=str(told["scene"]),
            window=Window(*map(int, told["window"])),
            crs=str(told["crs"]),
            transform=tuple(map(float, told["transform"])),
            bands=tuple(map(int, told["bands"])),
        )
    )


def _encoded(block: Block) -> tuple[str, bytes]:
    """Return a block (bands, rows, cols) as a file and its ending: red, green and blue are the bands in order."""
    if str(block.dtype) in PNG_DTYPES and len(block) in PNG_BANDS:
        # OpenCV has blue first.
        pixels = np.ascontiguousarray(block[::-1].transpose(1, 2, 0))
        return "png", cv2.imencode(".png", pixels)[1].tobytes()
    file = io.BytesIO()
    np.save(file, np.ascontiguousarray(block.transpose(1, 2, 0)))
    return "npy", file.getvalue()


def _decoded(piece: _Piece) -> Block:
    """Return an image as a block (bands, rows, cols)."""
    content = piece.read()
    if piece.name.endswith(".npy"):
        pixels = _unpacked(content)
    else:
        # The width and the height stand at the same place in all PNG files.
        width, height = (int.from_bytes(content[at : at + 4], "big") for at in (16, 20))
        if width * height > LARGEST_IMAGE:
            raise ValueError(f"{piece.name!r} has {width} x {height} pixels")
        decoded = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED) if content else None
        if decoded is None:
            raise ValueError(f"{piece.name!r} is no PNG file")
        pixels = np.atleast_3d(decoded)[..., ::-1]
    return np.ascontiguousarray(pixels.transpose(2, 0, 1))


def _unpacked(content: bytes) -> Block:
    """Return the array of an NPY file, of which the header says no more than there is."""
    file = io.BytesIO(content)
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(file)
    if math.prod(shape) * dtype.itemsize != len(content) - file.tell() or str(dtype.newbyteorder("=")) not in DTYPES:
        raise ValueError(f"an array of {shape} and {dtype} has {len(content) - file.tell()} bytes")
    array: Block = np.load(io.BytesIO(content), allow_pickle=False)
    return array


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    """Add a file to a tar file, with no time or owner, so that equal sets have equal bytes."""
    member = tarfile.TarInfo(name)
    member.size, member.mode = len(content), 0o644
    tar.addfile(member, io.BytesIO(content))
