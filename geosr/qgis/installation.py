"""Installation of the Processing scripts in the folders of QGIS, its state, and its removal.

QGIS runs a copy. The file geosr.json beside it holds the absolute path of the Python that has geosr.
"""

from __future__ import annotations

import hashlib
import io
import itertools
import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from geosr import __version__
from geosr.errors import InstallationError
from geosr.files import json_text, write_file
from geosr.models import cards

SCRIPTS = Path(__file__).with_name("scripts")
FILES = ("superresolve.py", "dataset.py", "burst.py", "geosr.html", "geosr.svg")
PLUGIN = Path(__file__).with_name("plugin") / "plugin.py"
METADATA = """[general]
name=geosr
description=Super-resolution of rasters: sharper pixels on the same ground
about=Runs the geosr command, which is installed in a Python of its own, from the Processing toolbox.
version={version}
qgisMinimumVersion=3.18
author=the geosr authors
category=Raster
icon=geosr.svg
tags=super-resolution,raster,processing,satellite,aerial
hasProcessingProvider=yes
experimental=False
"""
"""What QGIS's plugin manager reads."""
FOLDER = "geosr"
"""Name of geosr's folder in a folder of scripts."""
NOTES = "geosr.json"
EDITED = ".edited"
"""Suffix of the copy of an edited script that is replaced or removed; a number from 2 follows if it exists."""
INHERITED = ("PYTHON", "__PYVENV_LAUNCHER__", "VIRTUAL_ENV")
"""Prefixes of environment variables that could lead a Python to the packages of another one."""
TIME_LIMIT = 60.0
"""Seconds for a Python to print the version of its geosr."""


@dataclass(frozen=True, slots=True)
class Place:
    """A folder in which QGIS looks for scripts."""

    scripts: Path
    profile: str | None = None
    """The name of its profile."""

    @property
    def folder(self) -> Path:
        """The folder of geosr's scripts, whether it exists or not."""
        return self.scripts / FOLDER


@dataclass(frozen=True, slots=True)
class State:
    """The state of an installation."""

    folder: str
    profile: str | None
    state: str
    """`good`, `stale` (of another geosr, or edited) or `broken` (it cannot run)."""
    why: str
    """A fault and its remedy; empty if there is none."""
    python: str | None = None
    version: str | None = None


def roots(environ: Mapping[str, str], home: Path, platform: str) -> list[Path]:
    """Return the folders that may hold a folder `profiles` of QGIS, whether they exist or not.

    QGIS uses no other folder when QGIS_CUSTOM_CONFIG_PATH is set.
    """
    if custom := environ.get("QGIS_CUSTOM_CONFIG_PATH"):
        return [Path(custom)]
    if platform == "win32":
        bases = [Path(environ.get("APPDATA") or home / "AppData" / "Roaming")]
    elif platform == "darwin":
        bases = [home / "Library" / "Application Support"]
    else:
        bases = [
            Path(environ.get("XDG_DATA_HOME") or home / ".local" / "share"),
            home / ".var" / "app" / "org.qgis.qgis" / "data",
            home / "snap" / "qgis" / "current" / ".local" / "share",
        ]
    return [base / "QGIS" / version for base in bases for version in ("QGIS3", "QGIS4")]


def places(
    profile: str | None = None,
    folder: Path | None = None,
    *,
    environ: Mapping[str, str] = os.environ,
    home: Path | None = None,
    platform: str = sys.platform,
) -> list[Place]:
    """Return the folders for scripts of all profiles of QGIS, of those called `profile`, or `folder` alone.

    Raises:
        InstallationError: there is none.
    """
    if folder is not None:
        return [Place(folder.absolute())]
    parents = roots(environ, home or Path.home(), platform)
    profiles = [path for parent in parents for path in sorted((parent / "profiles").glob("*")) if path.is_dir()]
    if not profiles:
        raise InstallationError(
            f"no profile of QGIS in {', '.join(map(str, parents))}; start QGIS once, or name a folder of scripts with "
            "--scripts-dir"
        )
    matches = [Place(path / "processing" / "scripts", path.name) for path in profiles if profile in (None, path.name)]
    if not matches:
        names = ", ".join(sorted({path.name for path in profiles}))
        raise InstallationError(f"QGIS has no profile {profile!r}; there are {names}")
    return matches


def install(place: Place, *, python: Path = Path(sys.executable)) -> list[str]:
    """Copy the scripts, write geosr.json, and return sentences that report it.

    Raises:
        InstallationError: the Python finds no geosr of this version by itself, or the folder cannot be written.
    """
    contents = _contents(python)
    previous = _notes(place.folder)
    try:
        place.folder.mkdir(parents=True, exist_ok=True)
        sentences = _put_aside(place.folder, previous)
    except OSError as error:
        raise InstallationError(f"cannot write to {os.fspath(place.folder)!r}: {error.strerror}") from error
    for name, content in contents.items():
        write_file(place.folder / name, content)
    replaced = f", instead of those of geosr {previous['version']}" if previous else ""
    scripts = f"the scripts of geosr {__version__} are in {os.fspath(place.folder)!r}"
    return [*sentences, f"{_title(place)}: {scripts}{replaced}"]


def write_plugin(path: Path, *, python: Path = Path(sys.executable)) -> None:
    """Write the plugin for QGIS, a zip file that its plugin manager installs; a file that exists is replaced.

    Raises:
        InstallationError: the Python finds no geosr of this version by itself.
    """
    contents = _contents(python)
    contents["__init__.py"] = PLUGIN.read_bytes()
    contents["metadata.txt"] = METADATA.format(version=__version__).encode()
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in sorted(contents.items()):
            archive.writestr(zipfile.ZipInfo(f"{FOLDER}/{name}"), content, zipfile.ZIP_DEFLATED)
    write_file(path, file.getvalue())


def _contents(python: Path) -> dict[str, bytes]:
    """Return the files that QGIS runs, by name, geosr.json last."""
    python = Path(os.path.abspath(python))  # noqa: PTH100 - links stay: a virtual environment is known by its own
    version, why = version_of(python)
    if version is None:
        raise InstallationError(f"{why}; install geosr there first, as with pip")
    if version != __version__:
        raise InstallationError(
            f"{os.fspath(python)!r} has geosr {version}, this is {__version__}; install this one there"
        )
    contents = {name: (SCRIPTS / name).read_bytes() for name in FILES}
    notes = {
        "version": __version__,
        "python": os.fspath(python),
        "models": ["bicubic", *sorted({card.name for card in cards.shipped()})],
        "files": {name: content_digest(content) for name, content in contents.items()},
    }
    return {**contents, NOTES: (json_text(notes) + "\n").encode()}


def state(place: Place) -> State | None:
    """Return the state of the installation in this place; None if there is none."""
    if not _exists(place.folder):
        return None
    notes = _notes(place.folder)
    kind, why = _judge(place.folder, notes)
    python, version = notes.get("python"), notes.get("version")
    return State(os.fspath(place.folder), place.profile, kind, why, python, version)


def uninstall(place: Place) -> list[str]:
    """Remove the scripts, and return sentences that report it; none if there is no installation.

    Raises:
        InstallationError: the folder cannot be written.
    """
    if not _exists(place.folder):
        return []
    try:
        sentences = _put_aside(place.folder, _notes(place.folder))
        cache = place.folder / "__pycache__"
        bytecode = [path for name in FILES for path in cache.glob(f"{Path(name).stem}.*.pyc")]
        for path in [*(place.folder / name for name in (*FILES, NOTES)), *bytecode]:
            path.unlink(missing_ok=True)
        for folder in (cache, place.folder):
            if folder.exists() and not any(folder.iterdir()):
                folder.rmdir()
    except OSError as error:
        raise InstallationError(f"cannot write to {os.fspath(place.folder)!r}: {error.strerror}") from error
    return [*sentences, f"{_title(place)}: the scripts are gone from {os.fspath(place.scripts)!r}"]


def _judge(folder: Path, notes: Mapping[str, Any]) -> tuple[str, str]:
    """Return the state of the scripts in a folder, and the remedy."""
    remedy = "run geosr qgis install"
    if not notes or not notes.get("python"):
        return "broken", f"{NOTES} is missing or damaged; {remedy}"
    if missing := [name for name in FILES if name in notes["files"] and not (folder / name).exists()]:
        return "broken", f"{', '.join(missing)} is missing; {remedy}"
    python, version = notes["python"], notes.get("version")
    present, why = version_of(Path(python))
    if present is None:
        return "broken", f"{why}; {remedy} where geosr is now"
    if present != version:
        return "stale", f"the scripts are of geosr {version}, {python} has {present}; {remedy} there"
    if edited := _edited(folder, notes):
        return "stale", f"{', '.join(edited)} was edited; {remedy}, which keeps what was edited as NAME{EDITED}"
    if notes["files"] != _digests(SCRIPTS):
        return "stale", f"the scripts are not those of this geosr {__version__}; {remedy}"
    return "good", ""


def _title(place: Place) -> str:
    return f"profile {place.profile}" if place.profile else "folder"


def _notes(folder: Path) -> dict[str, Any]:
    """Return the content of geosr.json; nothing if it is missing or damaged."""
    try:
        notes = json.loads((folder / NOTES).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    if not isinstance(notes, dict) or not isinstance(notes.get("files"), dict):
        return {}
    texts = [notes.get("python"), notes.get("version"), *notes["files"].values()]
    return notes if all(isinstance(text, str) for text in texts) else {}


def _exists(folder: Path) -> bool:
    """Return True if the folder has an installation, or files of one."""
    return bool(_notes(folder)) or any((folder / name).exists() for name in FILES)


def _edited(folder: Path, notes: Mapping[str, Any]) -> list[str]:
    """Return the names of files that differ from the installed and the shipped ones: a user may have edited them."""
    installed, shipped = notes.get("files", {}), _digests(SCRIPTS)
    digests = _digests(folder).items()
    return [name for name, digest in digests if digest not in (installed.get(name), shipped[name])]


def _put_aside(folder: Path, notes: Mapping[str, Any]) -> list[str]:
    """Rename the files that a user may have edited, and return sentences that report it."""
    sentences = []
    for name in _edited(folder, notes):
        backup = _free(folder / (name + EDITED))
        (folder / name).rename(backup)
        why = "was edited" if name in notes.get("files", {}) else f"is not that of geosr {__version__}"
        sentences.append(f"{name} {why}: it is kept as {os.fspath(backup)!r}")
    return sentences


def _free(path: Path) -> Path:
    """Return the path, or the first one with a number, that does not exist."""
    numbers = (path.with_name(f"{path.name}.{number}") for number in itertools.count(2))
    return next(candidate for candidate in itertools.chain([path], numbers) if not os.path.lexists(candidate))


def _digests(folder: Path) -> dict[str, str]:
    """Return the digests of the scripts in a folder, by name."""
    return {name: content_digest((folder / name).read_bytes()) for name in FILES if (folder / name).is_file()}


def version_of(python: Path) -> tuple[str | None, str]:
    """Return the version of geosr that a Python finds by itself, as it will for QGIS; or None, and the reason."""
    if not os.path.exists(python):  # noqa: PTH110 - Path.exists raises an error for a damaged path
        return None, f"there is no {os.fspath(python)!r}"
    environment = {name: value for name, value in os.environ.items() if not name.startswith(INHERITED)}
    command = [os.fspath(python), "-I", "-c", "import geosr; print(geosr.__version__)"]
    try:
        process = subprocess.run(
            command, capture_output=True, text=True, env=environment, timeout=TIME_LIMIT, check=False, cwd=python.parent
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return None, f"{os.fspath(python)!r} does not run: {error}"
    return (process.stdout.strip(), "") if process.returncode == 0 else (None, f"{os.fspath(python)!r} has no geosr")


def content_digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
