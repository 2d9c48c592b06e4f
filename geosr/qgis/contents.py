"""The files that QGIS runs: of the plugin, and of the scripts, each of which is written with what they share inside.

The file geosr.json among them holds the absolute path of the Python that has geosr.
"""

from __future__ import annotations

import ast
import hashlib
import os
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from geosr import __version__
from geosr.errors import InstallationError
from geosr.files import json_text
from geosr.models import cards
from geosr.rasters.sensors import NATURAL, SENSORS

Kind = Literal["plugin", "scripts"]

SCRIPTS = Path(__file__).with_name("scripts")
PLUGIN = Path(__file__).with_name("plugin")
ALGORITHMS = ("superresolve.py", "dataset.py", "burst.py")
COMMON = "common.py"
BESIDE = ("geosr.html", "geosr.svg", "dataset.svg", "burst.svg")
"""Help and icons of the algorithms."""
NOTES = "geosr.json"
FILES: Mapping[Kind, tuple[str, ...]] = {
    "plugin": ("__init__.py", "metadata.txt", "widgets.py", COMMON, *ALGORITHMS, *BESIDE),
    "scripts": (*ALGORITHMS, *BESIDE),
}
METADATA = """[general]
name=geosr
description=Super-resolution of rasters: sharper pixels on the same ground
about=Runs the geosr command, which is installed in a Python of its own, from the Processing toolbox.
version={version}
qgisMinimumVersion=3.18
qgisMaximumVersion=4.99
supportsQt6=True
author=the geosr authors
category=Raster
icon=geosr.svg
tags=super-resolution,raster,processing,satellite,aerial
hasProcessingProvider=yes
experimental=False
"""
"""The file that QGIS's plugin manager reads."""
LINES = {
    "bicubic": "interpolation, which adds no detail",
    "idn": "a network that is slightly more accurate and takes 3.6 times as long",
    "span": "the fastest network, which knows sensors",
}
"""A line on each model."""
INHERITED = ("PYTHON", "__PYVENV_LAUNCHER__", "VIRTUAL_ENV")
"""Prefixes of environment variables that could lead a Python to the packages of another one."""
TIME_LIMIT = 60.0
"""Seconds for a Python to print the version of its geosr."""


def shipped(kind: Kind) -> dict[str, bytes]:
    """Return the files of the plugin or the scripts, by name, without geosr.json."""
    return {name: _content(name, kind) for name in FILES[kind]}


def _content(name: str, kind: Kind) -> bytes:
    if name == "__init__.py":
        return (PLUGIN / "plugin.py").read_bytes()
    if name == "metadata.txt":
        return METADATA.format(version=__version__).encode()
    if name == "widgets.py":
        return (PLUGIN / name).read_bytes()
    content = (SCRIPTS / name).read_bytes()
    return _whole(content.decode()).encode() if kind == "scripts" and name in ALGORITHMS else content


def _whole(script: str) -> str:
    """Return a script with the module that they share in place of its import: QGIS lets no script import another."""
    module = (SCRIPTS / COMMON).read_text(encoding="utf-8")
    lines = module.splitlines(keepends=True)
    body = "".join(lines[ast.parse(module).body[0].end_lineno :]).strip("\n")
    return re.sub(r"^from \.common import (\([^)]*\)|.*)$", lambda _: body, script, flags=re.M)


def with_notes(kind: Kind, python: Path) -> dict[str, bytes]:
    """Return the files, geosr.json last, for a geosr that this Python has.

    Raises:
        InstallationError: the Python finds no geosr of this version by itself.
    """
    python = Path(os.path.abspath(python))  # noqa: PTH100 - links stay: a virtual environment is known by its own
    version, why = version_of(python)
    if version is None:
        raise InstallationError(f"{why}; install geosr there first, as with pip")
    if version != __version__:
        raise InstallationError(
            f"{os.fspath(python)!r} has geosr {version}, this is {__version__}; install this one there"
        )
    contents = shipped(kind)
    notes = {
        "version": __version__,
        "python": os.fspath(python),
        "models": models(),
        "sensors": sensor_lines(),
        "files": digests(contents),
    }
    return {**contents, NOTES: (json_text(notes) + "\n").encode()}


def models() -> dict[str, Mapping[str, object]]:
    """Return what the dialogs of QGIS say of the models and need to know of them, by name."""
    networks = cards.shipped()
    facts: dict[str, Mapping[str, object]] = {
        "bicubic": {"line": LINES["bicubic"], "scales": [*range(2, 9)], "network": False, "knows_sensors": False}
    }
    for name in sorted({card.name for card in networks}):
        own = sorted((card for card in networks if card.name == name), key=lambda card: card.scale)
        facts[name] = {
            "line": LINES.get(name, own[0].purpose),
            "scales": [card.scale for card in own],
            "network": True,
            "knows_sensors": all(card.knows_sensors for card in own),
        }
    return facts


def sensor_lines() -> dict[str, str]:
    """Return a line on each sensor: its bands."""
    lines = {NATURAL: "as the same sensor would see it from half the height"}
    for name, bands in SENSORS.items():
        lines[name] = ", ".join(band[0].upper() + band[1:] if band[0] == "b" else band for band in bands)
    return lines


def digests(contents: Mapping[str, bytes]) -> dict[str, str]:
    return {name: content_digest(content) for name, content in contents.items()}


def content_digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


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
