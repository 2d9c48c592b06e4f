"""Training samples as bytes: one `tf.train.Example` a tile, in shards of TFRecords with a card beside them.

An example describes itself: keys `gt`, `down` and `bic_up` (raw pixels, rows, cols, bands, in `dtype`), `rows`,
`cols` and `bands` of `gt`, `scale`, `range` (low, high of each band, which become 0 and 1), `scene`, and `window`
(col_off, row_off, width, height in the scene).
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from geosr import backend
from geosr.errors import DatasetError, OutputError
from geosr.grid import Block, Window
from geosr.radiometry import Range

SPLITS = ("Training", "Validation")
IMAGES = ("gt", "down", "bic_up")
SHARD_BYTES = 128 * 2**20
CARD = "dataset.json"


@dataclass(frozen=True, slots=True)
class Sample:
    """A tile at full resolution, degraded, and enlarged again: blocks (bands, rows, cols) of one dtype."""

    gt: Block
    down: Block
    bic_up: Block
    range: Range
    scene: str
    window: Window

    @property
    def scale(self) -> int:
        return int(self.gt.shape[-1] // self.down.shape[-1])


def encode(sample: Sample) -> bytes:
    """The sample as a serialised `tf.train.Example`."""
    tf = backend.tensorflow()

    def raw(*values: bytes) -> Any:
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=values))

    def integers(*values: int) -> Any:
        return tf.train.Feature(int64_list=tf.train.Int64List(value=values))

    bands, rows, cols = sample.gt.shape
    window = sample.window
    features = {name: raw(_channels_last(getattr(sample, name)).tobytes()) for name in IMAGES} | {
        "dtype": raw(str(sample.gt.dtype).encode()),
        "rows": integers(rows),
        "cols": integers(cols),
        "bands": integers(bands),
        "scale": integers(sample.scale),
        "range": tf.train.Feature(float_list=tf.train.FloatList(value=[*sample.range.low, *sample.range.high])),
        "scene": raw(sample.scene.encode()),
        "window": integers(window.col_off, window.row_off, window.width, window.height),
    }
    return bytes(tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString())


def decode(example: bytes) -> Sample:
    """The sample of a serialised example.

    Raises:
        DatasetError: the bytes are no example of this program.
    """
    tf = backend.tensorflow()
    try:
        parsed = tf.train.Example.FromString(example).features.feature
        dtype = np.dtype(parsed["dtype"].bytes_list.value[0].decode())
        rows, cols, bands, scale = (parsed[k].int64_list.value[0] for k in ("rows", "cols", "bands", "scale"))
        shapes = {"gt": (rows, cols), "down": (rows // scale, cols // scale), "bic_up": (rows, cols)}
        images = {
            name: np.frombuffer(parsed[name].bytes_list.value[0], dtype).reshape(*shape, bands).transpose(2, 0, 1)
            for name, shape in shapes.items()
        }
        ends = tuple(parsed["range"].float_list.value)
        window = Window(*parsed["window"].int64_list.value)
        scene = parsed["scene"].bytes_list.value[0].decode()
    except Exception as error:
        raise DatasetError(f"a record is not a sample of geosr: {error or type(error).__name__}") from error
    return Sample(**images, range=Range(ends[:bands], ends[bands:]), scene=scene, window=window)


class Shards:
    """Writes the examples of one split into shards; they get their names, NAME-00000-of-00003, when all are whole.

    A context manager: left by an exception it removes what it wrote.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self.folder, self.name = folder, name
        self.count = 0
        self._paths: list[Path] = []
        self._writer: Any = None
        self._room = 0

    def write(self, example: bytes) -> None:
        tf = backend.tensorflow()
        try:
            if self._writer is None or len(example) > self._room:
                self._close()
                self._paths.append(self.folder / f".{self.name}-{len(self._paths):05d}.part")
                self._writer = tf.io.TFRecordWriter(os.fspath(self._paths[-1]))
                self._room = SHARD_BYTES
            self._writer.write(example)
        except tf.errors.OpError as error:
            raise OutputError(f"cannot write to {os.fspath(self.folder)!r}: {_first_line(error)}") from error
        self._room -= len(example)
        self.count += 1

    def _close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def __enter__(self) -> Shards:
        self.folder.mkdir(parents=True, exist_ok=True)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._close()
        for k, path in enumerate(self._paths):
            if kind is None:
                path.replace(self.folder / f"{self.name}.tfrecord-{k:05d}-of-{len(self._paths):05d}")
            else:
                path.unlink(missing_ok=True)


def shards(folder: Path) -> list[Path]:
    """The shards in a folder, in order.

    Raises:
        DatasetError: there are none, or some of a set are missing.
    """
    found = sorted(folder.glob("*.tfrecord-*-of-*"))
    if not found:
        raise DatasetError(f"no training set in {os.fspath(folder)!r}; make one with geosr dataset")
    if {len(found)} != {int(path.name.rpartition("-")[2]) for path in found}:
        raise DatasetError(f"shards are missing in {os.fspath(folder)!r}; make the set again with geosr dataset")
    return found


def read(folder: Path) -> Iterator[Sample]:
    """The samples in a folder's shards, in order; an error names the shard and the record."""
    tf = backend.tensorflow()
    for path in shards(folder):
        count = 0
        try:
            for example in tf.data.TFRecordDataset(os.fspath(path)).as_numpy_iterator():
                yield decode(example)
                count += 1
        except (DatasetError, tf.errors.OpError) as error:
            raise DatasetError(f"{os.fspath(path)!r}, record {count}: {_first_line(error)}") from error


def read_card(folder: Path) -> dict[str, Any]:
    """What the card of a training set says."""
    try:
        card: dict[str, Any] = json.loads((folder / CARD).read_text())
        _ = card["size"], card["scale"], card["scenes"], [card["tiles"][split] for split in SPLITS]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DatasetError(
            f"no training set in {os.fspath(folder)!r} ({error}); make one with geosr dataset"
        ) from error
    return card


def _channels_last(block: Block) -> Block:
    return np.ascontiguousarray(block.transpose(1, 2, 0))


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0]
