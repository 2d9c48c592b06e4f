"""Cards of models, which are JSON files beside the model files, and the shipped models."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, fields
from functools import cache, partial
from pathlib import Path
from typing import Any

from geosr import models
from geosr.choices import suggestion
from geosr.errors import ModelError, OutputError
from geosr.files import json_text, json_value, write_file
from geosr.models import conditioning

LARGEST_SCALE = 64
WEIGHTS = Path(__file__).with_name("weights")


@dataclass(frozen=True, slots=True)
class Card:
    """The description of a model; `scale`, `bands` and `halo` follow from the network, the rest from its maker."""

    name: str
    scale: int
    bands: int
    """Input bands; a network of 1 takes any number, one at a time."""
    halo: int | None
    """Input pixels on each side that a result depends on; None: too many, or the whole image."""
    sha256: str
    """SHA-256 of the model file; a card with another is ignored."""
    parameters: int
    """0: not known."""
    knows_sensors: bool = False
    """True if the network is told the blur and the noise of a band."""
    multiply_adds: int = 0
    """Multiplications with additions for each input pixel of a block; 0: not known."""
    pixel_bytes: int = 2000
    """Memory for each input pixel of a block, at the peak."""
    purpose: str = ""
    range: str = "0..1: the dtype's range for uint8, else percentiles 0.1 and 99.9 of the scene's bands"
    training_data: str = ""
    licence: str = ""
    commands: list[str] = field(default_factory=list)
    date: str = ""
    scores: dict[str, Any] = field(default_factory=dict)
    psnr_cost: float | None = None
    """Loss of PSNR in dB by 8 bits, for a quantized network."""


def of(path: Path, *, backend: str = "auto", trust: bool = False, measure: bool = True) -> Card:
    """Return the card of a model file, or one that describes its network, loaded on the backend.

    The halo is measured where the layers do not give it, unless not `measure`.

    Raises:
        ModelError: the file is missing or no model, or the card cannot be read.
    """
    digest, file = digest_of(path), path.with_suffix(".json")
    card = _read(file) if file.is_file() else None
    if card and card.sha256 == digest:
        return card
    return describe(path, digest, backend=backend, trust=trust, measure=measure)


@cache
def describe(path: Path, digest: str, *, backend: str = "auto", trust: bool = False, measure: bool = True) -> Card:
    """Return a new card, from the network alone; `digest` is the file's SHA-256."""
    from geosr.models import inspection, runtimes

    if path.suffix == ".keras":
        return _describe_keras(path, digest, trust=trust, measure=measure)
    network = runtimes.load(path, backend, trust=trust)
    if not network.bands:
        raise ModelError(
            f"{os.fspath(path)!r} does not say how many bands it takes; write a card beside it, or export it again"
        )
    scale = runtimes.scale_of(network, network.bands, path)
    halo = inspection.measured_radius(network, network.bands, scale) if measure else None
    return Card(name=path.stem, scale=scale, bands=network.bands, halo=halo, sha256=digest, parameters=0)


def _describe_keras(path: Path, digest: str, *, trust: bool, measure: bool) -> Card:
    from geosr.models import inspection, runtimes

    network = models.load(path, trust=trust)
    model = conditioning.plain(network)
    scale, bands = models.shape(model)
    try:
        halo: int | None = models.receptive_radius(model)
    except ModelError:
        halo = inspection.measured_radius(runtimes.load(path, trust=trust), bands, scale) if measure else None
    return Card(
        name=path.stem,
        scale=scale,
        bands=bands,
        halo=halo,
        sha256=digest,
        knows_sensors=conditioning.is_conditioned(network),
        parameters=model.count_params(),
        multiply_adds=inspection.multiply_adds(model),
        pixel_bytes=models.pixel_bytes(model),
    )


def write(card: Card, path: Path) -> None:
    """Write the card beside the model file."""
    write_file(path.with_suffix(".json"), (json_text(asdict(card)) + "\n").encode())


def write_beside(path: Path, *, trust: bool = False, overwrite: bool = False) -> Card:
    """Write the card of a model file beside it, and return it; a card that is there for this file is kept.

    Raises:
        ModelError: the file is no model, or its card is damaged and not to be overwritten.
        OutputError: the card of another file is there, and not to be overwritten.
    """
    digest, file = digest_of(path), path.with_suffix(".json")
    card = None
    if file.exists():
        try:
            card = _read(file)
        except ModelError:
            if not overwrite:
                raise
    if card and card.sha256 != digest:
        if not overwrite:
            raise OutputError(f"{os.fspath(file)!r} is the card of another file; move one of them, or --overwrite it")
        card = None
    card = card or describe(path, digest, trust=trust)
    write(card, path)
    return card


def shipped() -> list[Card]:
    """Return the cards of the models that come with geosr."""
    return [_read(path) for path in sorted(WEIGHTS.glob("*.json"))]


def shipped_path(name: str, scale: int) -> Path:
    """Return the file of a shipped model.

    Raises:
        ModelError: there is no such model, or none for this scale.
    """
    if name == "bicubic":
        raise ModelError("bicubic is interpolation, with no network in it; geosr models lists the networks")
    known = {card.name for card in shipped()}
    if name not in known:
        near = suggestion(name, sorted(known | {"bicubic"}))
        raise ModelError(f"there is no model {name!r}{near}; choose one that geosr models lists, or give a model file")
    for kind in (".keras", ".xml"):
        if (path := WEIGHTS / f"{name}_x{scale}{kind}").is_file():
            return path
    names = [f"{card.name} x{card.scale}" for card in shipped()]
    raise ModelError(
        f"no shipped model {name!r} for scale {scale}; there are {', '.join(names)} and bicubic (any scale), "
        "or give the path of a model file"
    )


def is_path(model: str) -> bool:
    """Return True if a model is named by its file or folder, not by the name of one that ships."""
    return os.sep in model or "/" in model or "." in model


def path_of(model: str, scale: int) -> Path:
    """Return the file of a model, by its path or name; a shipped one of another scale if there is none of this.

    Raises:
        ModelError: there is no such model.
    """
    if is_path(model):
        return Path(model)
    scales = [card.scale for card in shipped() if card.name == model]
    return shipped_path(model, scale if scale in scales or not scales else scales[0])


def _read(path: Path) -> Card:
    try:
        content = json_value(path.read_text())
        for name, is_right in _CHECKS.items():
            if name in content and not is_right(content[name]):
                raise ValueError(f"{name!r} cannot be {content[name]!r:.60}")
        return Card(**{f.name: content[f.name] for f in fields(Card) if f.name in content})
    except (OSError, ValueError, TypeError) as error:
        raise ModelError(
            f"{os.fspath(path)!r} is not the card of a model: {error}; move it, or write it anew: "
            "geosr models show FILE --write --overwrite"
        ) from error


def _is_number(value: Any) -> bool:
    return isinstance(value, float) or (isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**62)


def _is_whole(value: Any, least: int, most: int = 2**62) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def _is_score(value: Any) -> bool:
    """Return True for a number, or a table of places with the gain of each over bicubic."""
    return _is_number(value) or (
        isinstance(value, dict)
        and all(
            isinstance(row, dict) and all(_is_number(row.get(k)) for k in ("bicubic", "gain")) for row in value.values()
        )
    )


_CHECKS: dict[str, Callable[[Any], bool]] = {
    **dict.fromkeys(
        ("name", "sha256", "purpose", "range", "training_data", "licence", "date"), lambda value: isinstance(value, str)
    ),
    "scale": partial(_is_whole, least=1, most=LARGEST_SCALE),
    "bands": partial(_is_whole, least=1, most=65535),
    "pixel_bytes": partial(_is_whole, least=1),
    **dict.fromkeys(("parameters", "multiply_adds"), partial(_is_whole, least=0)),
    "knows_sensors": lambda value: isinstance(value, bool),
    "halo": lambda value: value is None or _is_whole(value, 0, most=2**20),
    "commands": lambda value: isinstance(value, list) and all(isinstance(line, str) for line in value),
    "scores": lambda value: isinstance(value, dict) and all(map(_is_score, value.values())),
    "psnr_cost": lambda value: value is None or _is_number(value),
}
"""Checks of the values of a card's JSON, by field; card.schema.json says the same to other programs."""


def digest_of(path: Path) -> str:
    """Return the SHA-256 of a model file; for OpenVINO and a SavedModel, of all files that belong to it."""
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    files += [path.with_suffix(".bin")] if path.suffix == ".xml" else []
    digest = hashlib.sha256()
    try:
        for file in files:
            if not file.is_dir():
                digest.update(file.read_bytes())
    except OSError as error:
        raise ModelError(
            f"no model {os.fspath(error.filename)!r}; give a model file or a name that geosr models lists"
        ) from error
    return digest.hexdigest()
