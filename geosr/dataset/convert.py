"""Training sets of the original program read into today's: three raw float32 strings a record, less their means.

Those records say neither their shape nor which image is which: the shape follows from the number of rows, the degraded
image is the smallest, and the enlarged one is the nearer to a bicubic enlargement of that.
"""

from __future__ import annotations

import io
import math
import os
import pickle
import pickletools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from geosr import __version__, engine
from geosr.dataset import records, storage
from geosr.dataset.records import IMAGES, Examples, Sample
from geosr.dataset.storage import Place, Summary
from geosr.engine import Pool, Progress
from geosr.errors import DatasetError, OptionError
from geosr.files import output_folder
from geosr.grid import Block, Window, batches
from geosr.parts import Parts
from geosr.rasters.radiometry import fixed
from geosr.rasters.resample import enlarge

BATCH = 256
"""Records in a part."""
PICKLE = "mean_values.pickle"
VALIDATING = ("validation", "val", "valid")
"""Names of folders whose files validate, in upper case or lower."""
INSTRUCTIONS = 2000
"""Most instructions of a pickle of means."""
SHARED = 8
"""Most times that a pickle may name a tuple again: each may double what is to be hashed."""
LARGEST = 2**20
"""Bytes of a pickle that holds three means, at the most."""
Means = dict[str, Block]
"""Means of each image: of all bands together (1,), or of each."""


@dataclass(frozen=True, slots=True)
class Old:
    """Some records of a file."""

    number: int
    path: Path
    name: str
    split: str
    records: tuple[int, ...]


class _Dtype:
    """Stands in for numpy's: only the name of a number's type is believed."""

    def __init__(self, name: object, *_: object) -> None:
        self.name, self.order = name if isinstance(name, str) else "no name", "<"

    def __setstate__(self, state: Sequence[Any]) -> None:
        self.order = state[1] if state[1] in ("<", ">") else "<"

    def read(self, data: object) -> Block:
        if self.name.lstrip("<>=|") not in ("f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8"):
            raise pickle.UnpicklingError(f"it holds {self.name!r}, no numbers")
        raw = data.encode("latin1") if isinstance(data, str) else data
        return np.frombuffer(raw, self.order + self.name.lstrip("<>=|"))  # type: ignore[call-overload, no-any-return]


class _Array(list[float]):
    """Stands in for numpy's, whose state is made a list of numbers."""

    def __setstate__(self, state: Sequence[Any]) -> None:
        _, _, dtype, _, data = state
        self[:] = dtype.read(data).tolist()


def _stand_ins() -> dict[str, Callable[..., Any]]:
    """Stand-ins for what a pickled number of numpy's is built from, by name; none of them runs what it is given."""
    return {
        "dtype": _Dtype,
        "ndarray": lambda *_: _Array(),
        "_reconstruct": lambda *_: _Array(),
        "_frombuffer": lambda data, dtype, *_: dtype.read(bytes(data)).tolist(),
        "scalar": lambda dtype, data: dtype.read(data).tolist()[0],
        "OrderedDict": dict,
        "encode": lambda text, *_: text.encode("latin1"),
    }


class _Reader(pickle.Unpickler):
    """Reads numbers, strings, lists, tuples and dicts of them, and numpy's by stand-ins; imports and calls nothing."""

    def find_class(self, module: str, name: str) -> Any:
        stand_in = _stand_ins().get(name) if module.partition(".")[0] in ("numpy", "_codecs", "collections") else None
        if stand_in is None:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}")
        return stand_in


def convert_sets(
    old: Sequence[str | os.PathLike[str]],
    out: str | os.PathLike[str],
    *,
    size: int,
    means: str | os.PathLike[str] | None = None,
    range: tuple[float, float] | None = None,
    overwrite: bool = False,
    restart: bool = False,
    pool: Pool | None = None,
    progress: Progress | None = None,
) -> Summary:
    """Write the records of old files, or of folders of them, as a set of today's in OUT/x<scale>.

    `size` is the rows and columns of a tile at full resolution; bands and scale follow from it. Files in a folder that
    is called Validation validate, others train. `means` is a pickle of the three means that were taken off; by
    default the one beside the first file, or above it in the folder that was given. `range` holds the values of black
    and white, 0,1 or 0,255 by default.

    Raises:
        DatasetError: a file is no TFRecord, or its records hold no three images of that size; it names both.
        OptionError: the means are missing, or no means.
    """
    paths = _files(old)
    opened = {path: Examples([path]) for path, _ in paths}
    first = next((examples for examples in opened.values() if len(examples)), None)
    if first is None:
        raise DatasetError(f"there are no records in {os.fspath(paths[0][0])!r}")
    means_path = Path(means) if means else _nearest_means(paths[0][0], old)
    if means_path is None:
        raise OptionError(f"the means that were taken off are not beside the records; give them: --means {PICKLE}")
    taken = read_means(means_path)
    images, scale = _images(first, 0, size)
    bands = len(images["gt"])
    if any(len(value) not in (1, bands) for value in taken.values()):
        raise OptionError(
            f"{os.fspath(means_path)!r} holds means of three bands, and the records have {bands}; give others"
        )
    if not any(len(opened[path]) for path, split in paths if split == records.SPLITS[0]):
        raise DatasetError(
            f"nothing would train: all files are in folders called {' or '.join(VALIDATING)}; name the files for "
            "training too"
        )
    folder = Path(out) / f"x{scale}"
    storage.check_folder(folder, overwrite=overwrite)
    values = range or _guessed_range(first, size, taken)
    tasks = list(_tasks(paths, opened))
    job = {
        "files": [[os.fspath(path.absolute()), path.stat().st_size, path.stat().st_mtime_ns] for path, _ in paths],
        "means": {name: value.tolist() for name, value in taken.items()},
        "tile": size,
        "range": list(values),
        "version": __version__,
    }
    locations: dict[str, list[Place]] = {split: [] for split in records.SPLITS}
    mean_rows: list[list[float]] = []
    with output_folder(Path(out)), Parts(folder, job, restart=restart) as parts:
        work = partial(encoded_part, opened=opened, size=size, scale=scale, means=taken, bands=bands, values=values)
        results = engine.run(work, [task for task in tasks if not parts.has(task.number)], pool)
        for done, task in enumerate(tasks, 1):
            if not parts.has(task.number):
                _, part = next(results)
                parts.save(task.number, part)
            header, places = storage.unpack(parts.path(task.number))
            locations[task.split] += places
            mean_rows += header["means"]
            if progress:
                progress(done, len(tasks))
        summary = Summary({split: len(places) for split, places in locations.items()}, {}, folder)
        storage.assemble(
            parts, locations, _card(paths, summary, scale, size, bands, values), storage.mean_values(mean_rows)
        )
    return summary


def read_means(path: str | os.PathLike[str]) -> Means:
    """The three means of a pickle, by image; nothing in it is run.

    Raises:
        OptionError: it holds something else, or asks for code.
    """
    name = os.fspath(path)
    try:
        if Path(path).stat().st_size > LARGEST:
            raise OptionError(f"{name!r} is too large to hold three means")
        data = Path(path).read_bytes()
        if _is_large(data):
            raise OptionError(f"{name!r} is too large to hold three means")
        content = _Reader(io.BytesIO(data), encoding="latin1").load()
    except OSError as error:
        raise OptionError(f"the means in {name!r} cannot be read: {error.strerror}") from error
    except OptionError:
        raise
    except Exception as error:
        # A damaged pickle raises whatever its bytes happen to say.
        raise OptionError(f"the means in {name!r} are not read: {error or type(error).__name__}") from error
    try:
        if isinstance(content, Mapping):
            named = {key.strip().lower() if isinstance(key, str) else key: value for key, value in content.items()}
            values = [named[image] for image in IMAGES] if set(IMAGES) <= set(named) else list(named.values())
        else:
            values = list(content)
        one, two, three = map(_numbers, values)
    except (TypeError, ValueError, OverflowError) as error:
        raise OptionError(f"{name!r} holds no three means, of {', '.join(IMAGES)}") from error
    if not all(len(value) in (1, 3) and np.isfinite(value).all() for value in (one, two, three)):
        raise OptionError(f"{name!r} holds no three means, of {', '.join(IMAGES)}")
    return dict(zip(IMAGES, (one, two, three), strict=True))


def _is_large(data: bytes) -> bool:
    """Return True if a pickle does more than three means need: many steps, or tuples in tuples again and again."""
    previous, shared, memo = "", 0, dict[int, bool]()
    for number, (step, argument, _) in enumerate(pickletools.genops(data)):
        if number >= INSTRUCTIONS or step.name == "DUP":  # pickle itself never writes that one
            return True
        if step.name in ("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"):
            plain = any(word in previous for word in ("UNICODE", "STRING", "BYTES", "GLOBAL", "REDUCE"))
            memo[len(memo) if argument is None else argument] = plain
            continue
        if step.name in ("GET", "BINGET", "LONG_BINGET"):
            shared += not memo.get(argument or 0)
        if shared > SHARED:
            return True
        previous = step.name
    return False


def _numbers(value: object) -> Block:
    """Return the numbers in lists of lists, a few at the most, whatever is nested how deep."""
    numbers, rest = list[float](), [value]
    for _ in range(INSTRUCTIONS):
        item = rest.pop()
        if isinstance(item, list | tuple):
            rest += item[:4][::-1]
        else:
            numbers.append(float(item))  # type: ignore[arg-type]
        if not rest or len(numbers) > 3:
            return np.array(numbers, np.float64)
    raise ValueError("it is nested too deep")


def _files(old: Sequence[str | os.PathLike[str]]) -> list[tuple[Path, str]]:
    """The files, and the split of each."""
    found: dict[Path, tuple[Path, str]] = {}
    for path in map(Path, old):
        files, top = [path], path.absolute().parent.parent
        if path.is_dir():
            inside = sorted(p for p in path.rglob("*") if p.is_file() and not p.name.startswith("."))
            files, top = [p for p in inside if "tfrecord" in p.name.lower()], path.absolute().parent
        for file in files:
            # What is above the folder that was given says nothing of the set.
            folders = file.absolute().relative_to(top).parts[:-1]
            split = records.SPLITS[any(part.lower() in VALIDATING for part in folders)]
            found.setdefault(file.resolve(), (file, split))  # a file counts once, however often it is named
    if not found:
        raise DatasetError(f"there are no TFRecords in {os.fspath(old[0])!r}; name the files")
    return list(found.values())


def _nearest_means(first: Path, old: Sequence[str | os.PathLike[str]]) -> Path | None:
    """The pickle beside the first file, or in the folder above that, and so on up to the one that was given."""
    tops = {path if path.is_dir() else path.parent for path in map(Path, old)}
    for folder in first.parents:
        if (folder / PICKLE).exists():
            return folder / PICKLE
        if folder in tops:
            break
    return None


def _tasks(paths: Sequence[tuple[Path, str]], opened: Mapping[Path, Examples]) -> Iterator[Old]:
    number = 0
    for (path, split), name in zip(paths, storage.scene_names([path for path, _ in paths]), strict=True):
        for numbers in batches(range(len(opened[path])), BATCH):
            yield Old(number, path, name, split, tuple(numbers))
            number += 1


def encoded_part(
    task: Old,
    *,
    opened: Mapping[Path, Examples],
    size: int,
    scale: int,
    bands: int,
    means: Means,
    values: tuple[float, float],
) -> bytes:
    examples, mean_rows = [], []
    for number in task.records:
        images, degraded_by = _images(opened[task.path], number, size)
        if degraded_by != scale:
            raise DatasetError(
                f"{os.fspath(task.path)!r}, record {number}: it is degraded by {degraded_by}, others by {scale}; "
                "convert them by themselves"
            )
        if len(images["gt"]) != bands:
            raise DatasetError(
                f"{os.fspath(task.path)!r}, record {number}: it has {len(images['gt'])} bands, others {bands}; convert "
                "them by themselves"
            )
        gt, down, bic_up = ((images[name] + means[name][:, None, None]).astype(np.float32) for name in IMAGES)
        sample = Sample(
            gt=gt,
            down=down,
            bic_up=bic_up,
            range=fixed(*values, len(images["gt"])),
            scene=f"{task.name}#{number}",
            window=Window(0, 0, size, size),
        )
        examples.append(records.encode(sample))
        mean_rows.append(storage.means_of(sample))
    return storage.pack({"means": mean_rows}, examples)


def _images(examples: Examples, number: int, size: int) -> tuple[dict[str, Block], int]:
    """A record's images (bands, rows, cols), by name, as they are, and their scale."""
    where = f"{os.fspath(examples.paths[0])!r}, record {number}"
    try:
        values = records.features(examples[number])
    except ValueError as error:
        raise DatasetError(f"{where}: {error}") from error
    strings = {
        name: entries[0] for name, entries in sorted(values.items()) if entries and isinstance(entries[0], bytes)
    }
    strings = {name: strings[name] for name in IMAGES} if set(IMAGES) <= set(strings) else strings
    if len(strings) != 3:
        raise DatasetError(f"{where}: it holds {len(strings)} strings, not three images")
    ordered = sorted(strings.items(), key=lambda item: len(item[1]))
    (_, small), *large = ordered
    bands, left = divmod(len(large[0][1]), 4 * size * size)
    if left or bands not in (1, 3) or len(large[0][1]) != len(large[1][1]):
        raise DatasetError(f"{where}: its {len(large[0][1])} bytes are no image of {size} x {size}; change --size")
    side = math.isqrt(len(small) // (4 * bands))
    if not side or side * side * 4 * bands != len(small) or size % side:
        raise DatasetError(f"{where}: no scale makes {len(small)} bytes of {size} x {size} x {bands}; change --size")
    blocks = {
        name: np.frombuffer(data, "<f4").reshape(n, n, bands).transpose(2, 0, 1)
        for (name, data), n in zip(ordered, (side, size, size), strict=True)
    }
    if set(blocks) == set(IMAGES):
        return {name: blocks[name] for name in IMAGES}, size // side
    down, *pair = blocks.values()
    up = enlarge(down, size // side)
    # Each less its own mean: what is compared is the picture.
    far = [float(np.std((image - image.mean()) - (up - up.mean()))) for image in pair]
    gt, bic_up = pair if far[0] > far[1] else pair[::-1]
    return {"gt": gt, "down": down, "bic_up": bic_up}, size // side


def _guessed_range(examples: Examples, size: int, means: Means) -> tuple[float, float]:
    """Return the range of the values, to 1 or to 255, by the first records."""
    images = [_images(examples, number, size)[0]["gt"] for number in range(min(len(examples), 32))]
    return (
        (0.0, 1.0) if max(float((image + means["gt"][:, None, None]).max()) for image in images) <= 2 else (0.0, 255.0)
    )


def _card(
    paths: Sequence[tuple[Path, str]], summary: Summary, scale: int, size: int, bands: int, values: tuple[float, float]
) -> dict[str, Any]:
    return {
        "scale": scale,
        "size": size,
        "degradation": "bicubic",
        "tiles": dict(summary.tiles),
        "left_out": {},
        "options": {"converted": True},
        "version": __version__,
        "scenes": [
            {"file": path.name, "split": split, "bands": bands, "dtype": "float32", "range": str(fixed(*values, bands))}
            for path, split in paths
        ],
    }
