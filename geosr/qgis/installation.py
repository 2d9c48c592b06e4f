"""The Processing scripts in QGIS's folders: where those are, the scripts copied, looked at and removed.

What QGIS runs is a copy, and beside it geosr.json, which says where the copy finds geosr: its Python, by absolute path.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from geosr import __version__
from geosr.errors import InstallationError
from geosr.files import write_file
from geosr.models import cards

SCRIPTS = Path(__file__).with_name("scripts")
FILES = ("superresolve.py", "dataset.py", "burst.py", "geosr.html", "geosr.svg")
FOLDER = "geosr"
"""Name of the scripts' own folder, in a folder of scripts."""
NOTES = "geosr.json"
EDITED = ".edited"
"""Added to the name of a script that was edited before it was replaced or removed; then a number from 2."""
INHERITED = ("PYTHON", "__PYVENV_LAUNCHER__", "VIRTUAL_ENV")
"""Beginnings of the variables that could lead a Python to another one's packages."""
TIME_LIMIT = 60.0
"""Seconds for a Python to say which geosr it has."""


@dataclass(frozen=True, slots=True)
class Place:
    """A folder that QGIS finds scripts in."""

    scripts: Path
    profile: str | None = None
    """The name of the profile that it belongs to."""

    @property
    def folder(self) -> Path:
        """Where geosr's scripts are, or will be."""
        return self.scripts / FOLDER


@dataclass(frozen=True, slots=True)
class State:
    """The state of an installation."""

    folder: str
    profile: str | None
    state: str
    """`good`, `stale` (it is not that of this geosr) or `broken` (it cannot run)."""
    why: str
    """A fault and its remedy; empty if there is none."""
    python: str | None = None
    version: str | None = None


def roots(environ: Mapping[str, str], home: Path, platform: str) -> list[Path]:
    """The folders that hold a folder `profiles` of QGIS, whether they are there or not.

    QGIS looks nowhere else when QGIS_CUSTOM_CONFIG_PATH is set.
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
    """The folders for scripts of all profiles of QGIS, or of those of one name, or the one that is given.

    Raises:
        InstallationError: there is none.
    """
    if folder is not None:
        return [Place(folder.absolute())]
    searched = roots(environ, home or Path.home(), platform)
    profiles = [one for root in searched for one in sorted((root / "profiles").glob("*")) if one.is_dir()]
    selected = [one for one in profiles if profile in (None, one.name)]
    if profile and profiles and not selected:
        names = ", ".join(sorted({one.name for one in profiles}))
        raise InstallationError(f"QGIS has no profile {profile!r}; there are {names}")
    if not selected:
        where = ", ".join(os.fspath(root) for root in searched)
        raise InstallationError(
            f"no profile of QGIS in {where}; start QGIS once, or name a folder of scripts with --scripts-dir"
        )
    return [Place(one / "processing" / "scripts", one.name) for one in selected]


def install(place: Place, *, python: Path = Path(sys.executable)) -> list[str]:
    """Copy the scripts and writes geosr.json, and returns what was done, in sentences.

    Raises:
        InstallationError: the Python has no geosr that it finds by itself, or the folder cannot be written.
    """
    python = Path(os.path.abspath(python))  # noqa: PTH100 - links stay: a virtual environment is known by its own
    _check_python(python)
    contents = {name: (SCRIPTS / name).read_bytes() for name in FILES}
    notes = {
        "version": __version__,
        "python": os.fspath(python),
        "models": ["bicubic", *sorted({card.name for card in cards.shipped()})],
        "files": {name: content_digest(content) for name, content in contents.items()},
    }
    before = _notes(place.folder)
    try:
        place.folder.mkdir(parents=True, exist_ok=True)
        done = _put_aside(place.folder, before)
    except OSError as error:
        raise InstallationError(f"cannot write to {os.fspath(place.folder)!r}: {error.strerror}") from error
    for name, content in contents.items():
        write_file(place.folder / name, content)
    write_file(place.folder / NOTES, (json.dumps(notes, indent=1) + "\n").encode())
    was = f", instead of those of geosr {before['version']}" if before else ""
    return [*done, f"{_named(place)}: the scripts of geosr {__version__} are in {os.fspath(place.folder)!r}{was}"]


def state(place: Place) -> State | None:
    """Return the state of the installation in this place; None if there is none."""
    if not _is_there(place.folder):
        return None
    notes = _notes(place.folder)
    kind, why = _judged(place.folder, notes)
    python, version = notes.get("python"), notes.get("version")
    return State(os.fspath(place.folder), place.profile, kind, why, python, version)


def uninstall(place: Place) -> list[str]:
    """Remove what `install` has put there, and returns what was done, in sentences; nothing if nothing was there.

    Raises:
        InstallationError: the folder cannot be written.
    """
    if not _is_there(place.folder):
        return []
    try:
        done = _put_aside(place.folder, _notes(place.folder))
        for path in [*(place.folder / name for name in (*FILES, NOTES)), *_compiled(place.folder)]:
            path.unlink(missing_ok=True)
        for folder in (place.folder / "__pycache__", place.folder):
            if folder.exists() and not any(folder.iterdir()):
                folder.rmdir()
    except OSError as error:
        raise InstallationError(f"cannot write to {os.fspath(place.folder)!r}: {error.strerror}") from error
    return [*done, f"{_named(place)}: the scripts are gone from {os.fspath(place.scripts)!r}"]


def _judged(folder: Path, notes: Mapping[str, Any]) -> tuple[str, str]:
    """Return the state of the scripts in a folder, and the remedy."""
    again = "run geosr qgis install"
    if not notes or not notes.get("python"):
        return "broken", f"{NOTES} is missing or damaged; {again}"
    if missing := [name for name in FILES if name in notes["files"] and not (folder / name).exists()]:
        return "broken", f"{', '.join(missing)} is missing; {again}"
    python, version = notes["python"], notes.get("version")
    found, why = version_of(Path(python))
    if found is None:
        return "broken", f"{why}; {again} where geosr is now"
    if found != version:
        return "stale", f"the scripts are of geosr {version}, {python} has {found}; {again} there"
    if edited := _edited(folder, notes):
        return "stale", f"{', '.join(edited)} was edited; {again}, which keeps what was edited as NAME{EDITED}"
    if notes["files"] != _shipped():
        return "stale", f"the scripts are not those of this geosr {__version__}; {again}"
    return "good", ""


def _named(place: Place) -> str:
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


def _is_there(folder: Path) -> bool:
    """Return True if there is an installation, or something in its place."""
    return bool(_notes(folder)) or any((folder / name).exists() for name in FILES)


def _edited(folder: Path, notes: Mapping[str, Any]) -> list[str]:
    """The files that are neither as they were installed nor as they are shipped: they may be somebody's work."""
    files: Mapping[str, str] = notes.get("files", {})
    there = {name: content_digest((folder / name).read_bytes()) for name in FILES if (folder / name).is_file()}
    shipped = _shipped()
    return [name for name, digest in there.items() if digest not in (files.get(name), shipped[name])]


def _put_aside(folder: Path, notes: Mapping[str, Any]) -> list[str]:
    """Renames the files that may be somebody's work, and returns that in sentences."""
    done = []
    for name in _edited(folder, notes):
        backup = _free(folder / (name + EDITED))
        (folder / name).rename(backup)
        why = "was edited" if name in notes.get("files", {}) else f"is not that of geosr {__version__}"
        done.append(f"{name} {why}: it is kept as {os.fspath(backup)!r}")
    return done


def _free(path: Path) -> Path:
    """The path, or the first with a number that nothing has yet."""
    numbered = (path.with_name(f"{path.name}.{number}") for number in itertools.count(2))
    return next(
        candidate
        for candidate in itertools.chain([path], numbered)
        if not (candidate.exists() or candidate.is_symlink())
    )


def _shipped() -> dict[str, str]:
    """The digests of the files of this geosr."""
    return {name: content_digest((SCRIPTS / name).read_bytes()) for name in FILES}


def _compiled(folder: Path) -> Iterator[Path]:
    for name in FILES:
        yield from (folder / "__pycache__").glob(f"{Path(name).stem}.*.pyc")


def _check_python(python: Path) -> None:
    version, why = version_of(python)
    if version is None:
        raise InstallationError(f"{why}; install geosr there first, as with pip")
    if version != __version__:
        raise InstallationError(
            f"{os.fspath(python)!r} has geosr {version}, this is {__version__}; install this one there"
        )


def version_of(python: Path) -> tuple[str | None, str]:
    """The version of geosr that a Python finds by itself, as it will for QGIS; or None, and why."""
    if not os.path.exists(python):  # noqa: PTH110 - a damaged path is one that is not there, not an error
        return None, f"there is no {os.fspath(python)!r}"
    environment = {name: value for name, value in os.environ.items() if not name.startswith(INHERITED)}
    command: Sequence[str] = [os.fspath(python), "-I", "-c", "import geosr; print(geosr.__version__)"]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, env=environment, timeout=TIME_LIMIT, check=False, cwd=python.parent
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return None, f"{os.fspath(python)!r} does not run: {error}"
    return (done.stdout.strip(), "") if done.returncode == 0 else (None, f"{os.fspath(python)!r} has no geosr")


def content_digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
