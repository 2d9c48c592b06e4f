"""The file in which QGIS notes the plugins that are enabled: one entry is set or removed, all other bytes stay."""

from __future__ import annotations

import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

SECTION = b"[PythonPlugins]"


def with_plugin(content: bytes, name: str) -> bytes:
    r"""Return the settings with a plugin enabled.

    >>> with_plugin(b"[PythonPlugins]\nother=true\n\n[qgis]\na=1\n", "geosr")
    b'[PythonPlugins]\nother=true\ngeosr=true\n\n[qgis]\na=1\n'
    """
    lines = content.splitlines(keepends=True)
    newline = b"\r\n" if b"\r\n" in content else b"\n"
    entry = name.encode() + b"=true" + newline
    keys = _keys(lines)
    present = [index for index in keys if _key(lines[index]) == name.encode()]
    if present:
        lines[present[-1]] = entry
    elif SECTION in map(bytes.strip, lines):
        place = max(keys, default=[line.strip() for line in lines].index(SECTION)) + 1
        lines[place - 1] = lines[place - 1].rstrip(b"\r\n") + newline
        lines.insert(place, entry)
    else:
        if lines:
            lines[-1] = lines[-1].rstrip(b"\r\n") + newline
            lines.append(newline)
        lines += [SECTION + newline, entry]
    return b"".join(lines)


def without_plugin(content: bytes, name: str) -> bytes:
    r"""Return the settings without the entry of a plugin, and without the section if it was the only one.

    >>> without_plugin(b"[qgis]\na=1\n\n[PythonPlugins]\ngeosr=true\n", "geosr")
    b'[qgis]\na=1\n'
    """
    lines = content.splitlines(keepends=True)
    keys = _keys(lines)
    drop = {index for index in keys if _key(lines[index]) == name.encode()}
    if drop and drop == set(keys):
        header = [line.strip() for line in lines].index(SECTION)
        # The empty line before it, or after it if it is the first section.
        blank = header - 1 if header else max(keys) + 1
        drop |= {header, blank} if blank < len(lines) and not lines[blank].strip() else {header}
    return b"".join(line for index, line in enumerate(lines) if index not in drop)


def is_enabled(content: bytes, name: str) -> bool:
    """Return True if QGIS loads the plugin when it starts."""
    lines = content.splitlines()
    values = [lines[index].partition(b"=")[2].strip() for index in _keys(lines) if _key(lines[index]) == name.encode()]
    return values[-1:] == [b"true"]


def read(path: Path) -> bytes:
    """Return the content of the settings; empty if there is no file."""
    return path.read_bytes() if path.exists() else b""


def replace(path: Path, content: bytes) -> None:
    """Write the settings whole, with the permissions that they have; remove the file if nothing is left in it.

    Raises:
        OSError: they cannot be written.
    """
    path = path.resolve()
    if read(path) == content:
        return
    if not content:
        path.unlink()
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        if path.exists():
            shutil.copymode(path, temporary)
        Path(temporary).replace(path)
    except OSError:
        with suppress(OSError):
            Path(temporary).unlink()
        raise


def _keys(lines: list[bytes]) -> list[int]:
    """Return the indices of the lines with entries of plugins."""
    keys, inside = [], False
    for index, line in enumerate(map(bytes.strip, lines)):
        if line.startswith(b"["):
            inside = line == SECTION
        elif inside and b"=" in line:
            keys.append(index)
    return keys


def _key(line: bytes) -> bytes:
    return line.partition(b"=")[0].strip()
