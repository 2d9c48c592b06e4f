"""Files and folders: outputs refused before any work, files written whole, sizes in words. Knows no rasters."""

from __future__ import annotations

import errno
import json
import math
import os
import secrets
import stat
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from geosr.errors import OutputError

NO_LINK = getattr(os, "O_NOFOLLOW", 0)
"""Opens a file of this name, not one that a symbolic link of this name leads to."""
DEPTH = 32
"""Most levels of JSON."""
UNITS = ("bytes", "kB", "MB", "GB", "TB", "PB")


def plural(count: int, noun: str) -> str:
    """Return a number with its noun.

    >>> plural(1, "warning"), plural(2, "raster")
    ('1 warning', '2 rasters')
    """
    return f"{count} {noun}{'' if count == 1 else 's'}"


def size_text(size: float) -> str:
    """Return a number of bytes as people write it.

    >>> size_text(1_234_567)
    '1.2 MB'
    """
    power = max(i for i in range(len(UNITS)) if i == 0 or size >= 1000**i)
    return f"{size / 1000**power:.1f} {UNITS[power]}" if power else f"{size:.0f} {UNITS[0]}"


def listed(names: Sequence[str], most: int = 10) -> str:
    """Return the first names in a line, and how many others there are.

    >>> listed(["a.tif", "b.tif", "c.tif"], most=2)
    'a.tif, b.tif and 1 more'
    """
    others = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + others


def json_text(value: object, *, indent: int | None = 1) -> str:
    """Return a value as JSON that every reader takes (RFC 8259): null for numbers that are infinite or no number.

    >>> json_text({"psnr": float("inf"), "scale": 2}, indent=None)
    '{"psnr": null, "scale": 2}'
    """
    return json.dumps(_finite(value), indent=indent, allow_nan=False)


def json_value(text: str | bytes) -> Any:
    """Return what JSON says, whoever wrote it.

    Raises:
        ValueError: it is no JSON, or is nested more deeply than anything that this program reads.

    >>> json_value('{"scale": 2}')
    {'scale': 2}
    """
    try:
        value = json.loads(text)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    level = [value]
    for _ in range(DEPTH):
        level = [item for outer in level if isinstance(outer, dict | list) for item in _items(outer)]
    if level:
        raise ValueError("it is nested too deeply")
    return value


def _items(value: dict[str, Any] | list[Any]) -> Iterable[Any]:
    return value.values() if isinstance(value, dict) else value


def _finite(value: object) -> object:
    if isinstance(value, dict):
        return {name: _finite(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def absolute_path(path: str | os.PathLike[str]) -> str:
    """Return a path that is valid in any working directory; URLs and GDAL's own names stay as they are."""
    return os.fspath(Path(path).absolute() if Path(path).exists() else path)


def contains(path: Path, file: str) -> bool:
    """Return True if `file` is the file at `path`, or lies inside it, as in an archive that GDAL opens."""
    if file.startswith("/vsi"):
        return os.fspath(path.resolve()) in file
    return Path(file).exists() and path.samefile(file)


def files_in(folder: Path, extension: str) -> list[Path]:
    """Return the files in a folder with this extension, in order of name; `tif` takes .tiff too, hidden ones stay."""
    suffix = "." + extension.lstrip(".").lower()
    suffixes = (".tif", ".tiff") if suffix == ".tif" else (suffix,)
    return sorted(p for p in folder.iterdir() if p.suffix.lower() in suffixes and not p.name.startswith("."))


def check_output(path: Path, inputs: Iterable[str | os.PathLike[str] | None], *, overwrite: bool) -> None:
    """Refuse an output that cannot be written, exists, or is one of the inputs, before any work.

    Raises:
        OutputError: it says which of these.
    """
    name, parent = os.fspath(path), path.absolute().parent
    try:
        name.encode()
    except UnicodeEncodeError as error:
        raise OutputError(f"the name {name!r} is not UTF-8; choose another output") from error
    if path.is_dir():
        raise OutputError(f"{name!r} is a folder; name a file in it")
    if path.exists() and any(file and contains(path, os.fspath(file)) for file in inputs):
        raise OutputError(f"{name!r} is an input, or a part of one; choose another output")
    if path.exists() and not overwrite:
        raise OutputError(f"{name!r} exists; choose another output or --overwrite")
    if not parent.is_dir():
        raise OutputError(f"there is no folder {os.fspath(parent)!r} to write to; make it first")
    if not os.access(parent, os.W_OK):
        raise OutputError(f"cannot write to {os.fspath(parent)!r}: no permission")


def write_error(folder: Path, error: OSError) -> OutputError:
    """Return the OutputError for a failed write into a folder."""
    if error.errno == errno.ENOSPC:
        return OutputError(f"no space left in {os.fspath(folder)!r}; free some and run the same command again")
    return OutputError(f"cannot write to {os.fspath(folder)!r}: {error.strerror or error}")


def write_file(path: Path, data: bytes, *, trial: Path | None = None) -> None:
    """Write a file that has its name only when it is whole, on the disk as well.

    Before that it lies in its own folder under another name, or in the folder `trial` of the same file system.

    Raises:
        OutputError: it cannot be written; nothing is left behind.
    """
    temporary = (trial or path.parent) / f".{secrets.token_hex(8)}.tmp"
    try:
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | NO_LINK, 0o666), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise write_error(path.parent, error) from error


def sync_folder(folder: Path) -> None:
    """Bring the names in a folder to the disk, on systems that open folders."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def check_own(path: Path, *, folder: bool) -> None:
    """Refuse what stands in the place of a folder or file of the program's own, and is a link or another user's.

    Raises:
        OutputError: it says which of these.
    """
    try:
        status = path.lstat()
    except OSError:
        return
    kind, fits = ("folder", stat.S_ISDIR) if folder else ("file", stat.S_ISREG)
    if not fits(status.st_mode):
        raise OutputError(f"{os.fspath(path)!r} is no {kind} that geosr created; remove it, or choose another output")
    user = os.geteuid() if hasattr(os, "geteuid") else status.st_uid
    if status.st_uid != user and status.st_uid != _owner_in(path.parent):
        raise OutputError(f"{os.fspath(path)!r} belongs to another user; remove it, or choose another output")


def _owner_in(folder: Path) -> int | None:
    """Return the owner that a new file in the folder gets, which a file system of the network may decide."""
    trial = folder / f".{secrets.token_hex(8)}.tmp"
    with suppress(OSError):
        descriptor = os.open(trial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | NO_LINK, 0o600)
        try:
            return os.fstat(descriptor).st_uid
        finally:
            os.close(descriptor)
            trial.unlink()
    return None


@contextmanager
def output_folder(folder: Path) -> Iterator[None]:
    """Create the folder and its parents; those that were created and are empty at the end are removed again.

    Raises:
        OutputError: it cannot be created or written to.
    """
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot write to {os.fspath(folder)!r}: {error.strerror}; choose another folder") from error
    if not os.access(folder, os.W_OK):
        raise OutputError(f"cannot write to {os.fspath(folder)!r}: no permission; choose another folder")
    try:
        yield
    finally:
        for path in missing:
            if path.is_dir() and not any(path.iterdir()):
                path.rmdir()
