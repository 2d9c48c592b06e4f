"""A training set on the disk: shards and their names, the files that tell TensorFlow Datasets of them, and the card.

Examples arrive in parts, which hold what was made of a few tiles each; when all are there, a set is assembled from
them. TensorFlow is never loaded.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import random
import re
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice, pairwise
from pathlib import Path
from typing import IO, Any

import numpy as np

from geosr import __version__
from geosr.dataset import formats, records
from geosr.dataset.options import FORMATS
from geosr.dataset.records import IMAGES, Sample
from geosr.errors import DatasetError, OutputError
from geosr.files import json_text, json_value, plural, size_text, write_error
from geosr.parts import Parts

NAME = "geosr"
MEANS = "mean_values.json"
SHARD_BYTES = 128 * 2**20
"""About what a shard holds."""
TFDS_SPLITS = {"Training": "train", "Validation": "validation", "Test": "test"}
"""The folder of each split, and what TensorFlow Datasets calls it."""
FILES = {*TFDS_SPLITS, records.CARD, MEANS}
SPLIT_FILES = re.compile(
    r".*\.tfrecord-\d+-of-\d+|dataset_info\.json|features\.json|"
    rf"{NAME}-\w+-\d+\.tar|{re.escape(formats.SAMPLES)}|(HR|LR)(/\d+\.png)?"
)
"""Names that may be in the folder of a set, and in that of a split."""

LEFT_OUT = {
    "aoi": "outside the areas of --aoi",
    "exclude": "in the areas of --exclude",
    "guard": "in the guard between the splits",
    "nodata": "with too little valid (--min-valid)",
    "flat": "too flat (--min-variance)",
}
"""Why tiles are left out."""

_LENGTH = struct.Struct("<Q")
# tf.io.decode_raw has no unsigned types of 32 and 64 bits; the bits are the same.
_TFDS_DTYPES = {"uint32": "int32", "uint64": "int64"}


@dataclass(frozen=True, slots=True)
class Summary:
    """Samples written and left out; for the guard and the areas, tiles."""

    tiles: Mapping[str, int]
    """Counts by split."""
    left_out: Mapping[str, int]
    """Counts by reason: see LEFT_OUT."""
    folder: Path

    @property
    def reasons(self) -> str:
        """The left out, in words."""
        return ", ".join(f"{count} {LEFT_OUT[why]}" for why, count in self.left_out.items() if count) or "none"


@dataclass(frozen=True, slots=True)
class Place:
    """Where an example is: in a part, from a byte on."""

    path: Path
    start: int
    size: int

    def read(self) -> bytes:
        with self.path.open("rb") as file:
            file.seek(self.start)
            return file.read(self.size)


def pack(header: Mapping[str, Any], examples: Sequence[bytes]) -> bytes:
    """A part: a header, and examples, each with its length before it."""
    pieces = [json_text(header, indent=None).encode(), *examples]
    return b"".join(_LENGTH.pack(len(piece)) + piece for piece in pieces)


def unpack(path: Path) -> tuple[dict[str, Any], list[Place]]:
    """A part's header, and where its examples are."""
    places, at, end = [], 0, path.stat().st_size
    with path.open("rb") as file:
        while at < end:
            file.seek(at)
            [size] = _LENGTH.unpack(file.read(_LENGTH.size))
            places.append(Place(path, at + _LENGTH.size, size))
            at += _LENGTH.size + size
    header: dict[str, Any] = json_value(places[0].read())
    return header, places[1:]


def scene_names(files: Sequence[str | os.PathLike[str]]) -> list[str]:
    """The scenes' names in a set: those of the files, with as many folders as tell them apart."""
    paths = [Path(file).parts for file in files]
    depth = 1
    while len({path[-depth:] for path in paths}) < len(set(paths)):
        depth += 1
    return ["/".join(path[-depth:]) for path in paths]


def check_folder(folder: Path, *, overwrite: bool) -> None:
    """Refuse a folder that may not become a set: only a set may be replaced, and only on request.

    Raises:
        OutputError: it holds other files, or a set and not `overwrite`.
    """
    if folder.exists() and not folder.is_dir():
        raise OutputError(f"{os.fspath(folder)!r} is a file; choose another folder")
    names = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    inside = (path.relative_to(folder / split) for split in TFDS_SPLITS for path in (folder / split).rglob("*"))
    others = any(not SPLIT_FILES.fullmatch(path.as_posix()) for path in inside)
    if others or names - FILES or (names and records.CARD not in names):
        raise OutputError(f"{os.fspath(folder)!r} holds other files than a training set; choose another folder")
    if names and not overwrite:
        raise OutputError(f"{os.fspath(folder)!r} holds a training set; choose another folder or --overwrite")


def assemble(
    parts: Parts,
    locations: Mapping[str, Sequence[Place]],
    card: Mapping[str, Any],
    means: Mapping[str, float],
    *,
    seed: int = 0,
    zipped: bool = False,
    form: str = FORMATS[0],
) -> None:
    """Publish the set: the examples of each split in an order by chance, that of the seed, and the card.

    The card gets their digest, as `sha256`, whatever the format `form`.
    """
    draft, digest = parts.draft, hashlib.sha256()
    try:
        for split, places in locations.items():
            (draft / split).mkdir(parents=True)
            order = list(places)
            random.Random(seed).shuffle(order)
            if order and form in formats.WRITERS:
                examples = _read_in_order(order, digest)
                formats.WRITERS[form](draft / split, f"{NAME}-{TFDS_SPLITS[split]}", examples, _ends(order))
            elif order:
                _write_split(draft / split, split, order, card, zipped=zipped, digest=digest)
        _write_json(draft / MEANS, means)
        _write_json(draft / records.CARD, {**card, "sha256": digest.hexdigest()})
    except OSError as error:
        raise write_error(draft, error) from error
    parts.publish()


def _ends(places: Sequence[Place]) -> list[int]:
    """Return the numbers between which the examples of each shard lie."""
    count = min(len(places), -(-sum(place.size for place in places) // SHARD_BYTES))
    return [len(places) * k // count for k in range(count + 1)]


def _read_in_order(places: Iterable[Place], digest: Any) -> Iterator[bytes]:
    for place in places:
        example = place.read()
        digest.update(example)
        yield example


def _write_split(
    folder: Path, split: str, places: Sequence[Place], card: Mapping[str, Any], *, zipped: bool, digest: Any
) -> None:
    ends = _ends(places)
    examples, count = _read_in_order(places, digest), len(ends) - 1
    stem = f"{NAME}-{TFDS_SPLITS[split]}.tfrecord"
    for k, (start, end) in enumerate(pairwise(ends)):
        with _shard(folder / f"{stem}-{k:05d}-of-{count:05d}", zipped=zipped) as file:
            for example in islice(examples, end - start):
                file.write(records.framed(example))
    if not zipped:
        lengths = [end - start for start, end in pairwise(ends)]
        _write_json(folder / "dataset_info.json", _info(split, lengths, sum(place.size for place in places), card))
        _write_json(folder / "features.json", _features(records.decode(places[0].read())))


@contextmanager
def _shard(path: Path, *, zipped: bool) -> Iterator[IO[bytes]]:
    """A file to write to, on the disk when it is closed; zipped, without the time that gzip would put in it."""
    with path.open("wb") as plain:
        if zipped:
            with gzip.GzipFile("", "wb", compresslevel=6, fileobj=plain, mtime=0) as packed:
                yield packed  # type: ignore[misc]
        else:
            yield plain
        plain.flush()
        os.fsync(plain.fileno())


def _info(split: str, lengths: Sequence[int], size: int, card: Mapping[str, Any]) -> dict[str, Any]:
    """Return the description of a split for TensorFlow Datasets."""
    return {
        "name": NAME,
        "version": "1.0.0",
        "description": (
            f"Tiles of {card['size']} x {card['size']} pixels, degraded by {card['scale']} ({card['degradation']}), "
            f"made by geosr {__version__}"
        ),
        "fileFormat": "tfrecord",
        "splits": [
            {
                "name": TFDS_SPLITS[split],
                "filepathTemplate": "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}",
                "shardLengths": [str(length) for length in lengths],
                "numBytes": str(size),
            }
        ],
    }


def _features(sample: Sample) -> dict[str, Any]:
    """The shapes and types of an example, in the words of TensorFlow Datasets."""

    def tensor(dtype: str, *shape: int, encoding: str = "none") -> dict[str, Any]:
        told = {"shape": {"dimensions": [str(n) for n in shape]}, "dtype": dtype, "encoding": encoding}
        return {"pythonClassName": "tensorflow_datasets.core.features.tensor_feature.Tensor", "tensor": told}

    text = {"pythonClassName": "tensorflow_datasets.core.features.text_feature.Text", "text": {}}
    images = {name: image for name in IMAGES if (image := getattr(sample, name)) is not None}
    bands, dtype = sample.gt.shape[0], str(sample.gt.dtype)
    pixels = {
        name: tensor(_TFDS_DTYPES.get(dtype, dtype), *image.shape[1:], bands, encoding="bytes")
        for name, image in images.items()
    }
    rest = {
        "shape": tensor("int64", 3),
        "scale": tensor("int64", 1),
        "window": tensor("int64", 4),
        "range": tensor("float64", 2 * bands, encoding="bytes"),
        "transform": tensor("float64", 6, encoding="bytes"),
        "scene": text,
        "crs": text,
        "dtype": text,
        **({"bands": tensor("int64", len(sample.bands))} if sample.bands else {}),
    }
    return {
        "pythonClassName": "tensorflow_datasets.core.features.features_dict.FeaturesDict",
        "featuresDict": {"features": pixels | rest},
    }


def means_of(sample: Sample) -> list[float]:
    """The mean of each image's values over the range, which the means of a set are made from."""
    images = [getattr(sample, name) for name in IMAGES]
    return [float(sample.range.normalise(image).mean(dtype=np.float64)) for image in images if image is not None]


def mean_values(means: Sequence[Sequence[float]]) -> dict[str, float]:
    """The mean of each image over all examples, of the means in each."""
    return dict(zip(IMAGES, np.mean(np.array(means, np.float64), axis=0).tolist(), strict=False)) if means else {}


def summary(out: Path) -> dict[str, Any]:
    """Return the content of a set, from its card and its files.

    Raises:
        DatasetError: there is none, or it is damaged.
    """
    folder = records.sets_in(out)
    card = records.read_card(folder)
    splits = {}
    for split in TFDS_SPLITS:
        examples = formats.split(folder, split)
        if len(examples):
            splits[split] = {
                "tiles": len(examples),
                "share": round(len(examples) / max(1, sum(card["tiles"].values())), 4),
                "shards": len(examples.paths),
                "bytes": sum(path.stat().st_size for path in examples.paths),
            }
    if not splits:
        raise DatasetError(f"{os.fspath(folder)!r} has a card but no tiles; make the set again with geosr dataset")
    first = formats.split(folder, next(iter(splits))).sample(0)
    return {
        "folder": os.fspath(folder),
        "scale": card["scale"],
        "size": card["size"],
        "bands": len(first.gt),
        "dtype": str(first.gt.dtype),
        "degradation": card.get("degradation", "bicubic"),
        "bic_up": first.bic_up is not None,
        "format": card.get("format", FORMATS[0]),
        "splits": splits,
        "left_out": card.get("left_out", {}),
        "options": card.get("options", {}),
        "version": card.get("version"),
        "scenes": card["scenes"],
    }


def lines(card: Mapping[str, Any]) -> Iterator[str]:
    """A summary in words."""
    yield f"{card['folder']}: tiles of {card['size']} x {card['size']} pixels, degraded by {card['scale']}"
    yield f"bands: {card['bands']}, {card['dtype']}; degradation: {card['degradation']}"
    yield f"images: {', '.join(name for name in IMAGES if name != 'bic_up' or card['bic_up'])}"
    for split, entry in card["splits"].items():
        size, files = size_text(entry["bytes"]), plural(entry["shards"], "file")
        yield f"{split}: {plural(entry['tiles'], 'tile')} ({entry['share']:.1%}), {size} in {files} ({card['format']})"
    yield f"left out: {Summary({}, card['left_out'], Path()).reasons}"
    options = {name: value for name, value in card["options"].items() if value not in (None, False)}
    yield f"options: {', '.join(f'{name} {_short(value)}' for name, value in options.items()) or 'not known'}"
    yield f"scenes: {len(card['scenes'])}"
    for scene in card["scenes"]:
        tiles = scene.get("tiles", {scene.get("split", "cut"): ""})
        where = ", ".join(f"{split} {count}".strip() for split, count in tiles.items() if count != 0)
        bands = plural(scene["bands"], "band")
        yield f"  {scene['file']}: {bands}, {scene['dtype']}, range {scene['range']}; {where or 'none'}"


def _short(value: object) -> str:
    return json_text(value, indent=None).replace('"', "")


def _write_json(path: Path, content: object) -> None:
    path.write_text(json_text(content) + "\n")
