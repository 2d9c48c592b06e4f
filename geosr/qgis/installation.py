"""Installation of the plugin, or of the Processing scripts, in the folders of QGIS, its state, and its removal.

QGIS runs a copy. The file geosr.json beside it holds the absolute path of the Python that has geosr.
"""

from __future__ import annotations

import io
import itertools
import json
import os
import sys
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from geosr import __version__
from geosr.errors import GeosrError, InstallationError
from geosr.files import write_file
from geosr.qgis import settings
from geosr.qgis.contents import FILES, NOTES, Kind, digests, shipped, version_of, with_notes

FOLDER = "geosr"
"""Name of geosr's folder in a folder of plugins or scripts; the name of the plugin too."""
EDITED = ".edited"
"""Suffix of the copy of an edited file that is replaced or removed; a number from 2 follows if it exists."""
PARENTS: Mapping[Kind, str] = {"plugin": "python/plugins", "scripts": "processing/scripts"}
"""Folders of a profile."""


@dataclass(frozen=True, slots=True)
class Place:
    """A folder in which QGIS looks for plugins or scripts."""

    kind: Kind
    parent: Path
    profile: str | None = None
    """The name of its profile."""

    @property
    def folder(self) -> Path:
        """The folder of geosr's files, whether it exists or not."""
        return self.parent / FOLDER

    @property
    def settings(self) -> Path:
        """The file in which QGIS notes the enabled plugins of the profile."""
        root = self.parent.parents[1]
        version = "QGIS4" if root.parents[1].name == "QGIS4" or (root / "QGIS" / "QGIS4.ini").exists() else "QGIS3"
        return root / "QGIS" / f"{version}.ini"

    @property
    def sibling(self) -> Path:
        """The folder of the other kind in the same profile."""
        other: Kind = "scripts" if self.kind == "plugin" else "plugin"
        return self.parent.parents[1] / PARENTS[other] / FOLDER


@dataclass(frozen=True, slots=True)
class State:
    """The state of an installation."""

    folder: str
    profile: str | None
    state: str
    """`good`, `stale` (of another geosr, edited, or there twice), `disabled` or `broken` (it cannot run)."""
    why: str
    """A fault and its remedy; empty if there is none."""
    python: str | None = None
    version: str | None = None
    kind: Kind = "scripts"


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
    """Return the folders for plugins and for scripts of all profiles of QGIS, or of those called `profile`.

    If `folder` is given, it is the one place, for scripts.

    Raises:
        InstallationError: there is none.
    """
    if folder is not None:
        return [Place("scripts", folder.absolute())]
    parents = roots(environ, home or Path.home(), platform)
    profiles = [path for parent in parents for path in sorted((parent / "profiles").glob("*")) if path.is_dir()]
    if not profiles:
        raise InstallationError(
            f"no profile of QGIS in {', '.join(map(str, parents))}; start QGIS once, or name a folder of scripts with "
            "--scripts-dir"
        )
    matches = [path for path in profiles if profile in (None, path.name)]
    if not matches:
        names = ", ".join(sorted({path.name for path in profiles}))
        raise InstallationError(f"QGIS has no profile {profile!r}; there are {names}")
    return [Place(kind, path / parent, path.name) for path in matches for kind, parent in PARENTS.items()]


def install(place: Place, *, python: Path = Path(sys.executable)) -> list[str]:
    """Copy the files, write geosr.json, enable a plugin, and return sentences that report it.

    Raises:
        InstallationError: the Python finds no geosr of this version by itself, or the folder cannot be written.
    """
    contents = with_notes(place.kind, python)
    previous = _notes(place.folder)
    with _writing(place):
        place.folder.mkdir(parents=True, exist_ok=True)
        sentences = _put_aside(place, previous)
        for name, content in contents.items():
            write_file(place.folder / name, content)
        if place.kind == "plugin":
            settings.replace(place.settings, settings.with_plugin(settings.read(place.settings), FOLDER))
    replaced = f", instead of {_of(place.kind, previous['version'])}" if previous else ""
    verb = "is" if place.kind == "plugin" else "are"
    files = f"{_of(place.kind, __version__)} {verb} in {os.fspath(place.folder)!r}"
    return [*sentences, f"{_title(place)}: {files}{replaced}"]


def write_plugin(path: Path, *, python: Path = Path(sys.executable)) -> None:
    """Write the plugin for QGIS, a zip file that its plugin manager installs; a file that exists is replaced.

    Raises:
        InstallationError: the Python finds no geosr of this version by itself.
    """
    contents = with_notes("plugin", python)
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in sorted(contents.items()):
            archive.writestr(zipfile.ZipInfo(f"{FOLDER}/{name}"), content, zipfile.ZIP_DEFLATED)
    write_file(path, file.getvalue())


def state(place: Place) -> State | None:
    """Return the state of the installation in this place; None if there is none."""
    if not _exists(place):
        return None
    notes = _notes(place.folder)
    kind, why = _judge(place, notes)
    python, version = notes.get("python"), notes.get("version")
    return State(os.fspath(place.folder), place.profile, kind, why, python, version, place.kind)


def uninstall(place: Place) -> list[str]:
    """Remove the files, and a plugin's entry in QGIS's settings; return sentences that report it.

    There are none if there is no installation.

    Raises:
        InstallationError: the folder cannot be written.
    """
    if not _exists(place):
        return []
    with _writing(place):
        sentences = _put_aside(place, _notes(place.folder))
        cache = place.folder / "__pycache__"
        bytecode = [path for name in FILES[place.kind] for path in cache.glob(f"{Path(name).stem}.*.pyc")]
        for path in [*(place.folder / name for name in (*FILES[place.kind], NOTES)), *bytecode]:
            path.unlink(missing_ok=True)
        for folder in (cache, place.folder):
            if folder.exists() and not any(folder.iterdir()):
                folder.rmdir()
        if place.kind == "plugin":
            settings.replace(place.settings, settings.without_plugin(settings.read(place.settings), FOLDER))
    verb = "is" if place.kind == "plugin" else "are"
    return [*sentences, f"{_title(place)}: the {place.kind} {verb} gone from {os.fspath(place.parent)!r}"]


@contextmanager
def _writing(place: Place) -> Iterator[None]:
    """Turn what the system refuses into an InstallationError."""
    try:
        yield
    except GeosrError:
        raise
    except OSError as error:
        path = os.fspath(error.filename or place.folder)
        raise InstallationError(f"cannot write to {path!r}: {error.strerror or error}") from error


def _judge(place: Place, notes: Mapping[str, Any]) -> tuple[str, str]:
    """Return the state of the files in a place, and the remedy."""
    remedy = "run geosr qgis install" + (" --scripts" if place.kind == "scripts" and place.profile else "")
    folder, files = place.folder, FILES[place.kind]
    if not notes or not notes.get("python"):
        return "broken", f"{NOTES} is missing or damaged; {remedy}"
    if missing := [name for name in files if name in notes["files"] and not (folder / name).exists()]:
        return "broken", f"{', '.join(missing)} is missing; {remedy}"
    python, version = notes["python"], notes.get("version")
    present, why = version_of(Path(python))
    if present is None:
        return "broken", f"{why}; {remedy} where geosr is now"
    if present != version:
        return "stale", f"{_of(place.kind, version)}, but {python} has {present}; {remedy} there"
    if edited := _edited(place, notes):
        return "stale", f"{', '.join(edited)} was edited; {remedy}, which keeps what was edited as NAME{EDITED}"
    if notes["files"] != digests(shipped(place.kind)):
        return "stale", f"the files are not those of this geosr {__version__}; {remedy}"
    if place.kind == "plugin" and not settings.is_enabled(settings.read(place.settings), FOLDER):
        return "disabled", f"the plugin is disabled in QGIS; enable it in its plugin manager, or {remedy}"
    if place.kind == "scripts" and place.profile and (place.sibling / NOTES).exists():
        return "stale", "the plugin offers the same algorithms; run geosr qgis install, which removes the scripts"
    return "good", ""


def _of(kind: Kind, version: str | None) -> str:
    return f"the {kind} of geosr {version}"


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


def _exists(place: Place) -> bool:
    """Return True if the place has an installation, or files of one."""
    return bool(_notes(place.folder)) or any((place.folder / name).exists() for name in FILES[place.kind])


def _edited(place: Place, notes: Mapping[str, Any]) -> list[str]:
    """Return the names of files that differ from the installed and the shipped ones: a user may have edited them."""
    installed, new = notes.get("files", {}), digests(shipped(place.kind))
    present = {name: place.folder / name for name in FILES[place.kind] if (place.folder / name).is_file()}
    contents = digests({name: path.read_bytes() for name, path in present.items()})
    return [name for name, digest in contents.items() if digest not in (installed.get(name), new[name])]


def _put_aside(place: Place, notes: Mapping[str, Any]) -> list[str]:
    """Rename the files that a user may have edited, and return sentences that report it."""
    sentences = []
    for name in _edited(place, notes):
        backup = _free(place.folder / (name + EDITED))
        (place.folder / name).rename(backup)
        why = "was edited" if name in notes.get("files", {}) else f"is not that of geosr {__version__}"
        sentences.append(f"{name} {why}: it is kept as {os.fspath(backup)!r}")
    return sentences


def _free(path: Path) -> Path:
    """Return the path, or the first one with a number, that does not exist."""
    numbers = (path.with_name(f"{path.name}.{number}") for number in itertools.count(2))
    return next(candidate for candidate in itertools.chain([path], numbers) if not os.path.lexists(candidate))
