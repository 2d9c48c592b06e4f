"""A STAC item for a super-resolved raster: where it is, how it was made, and the card of the model that made it."""

from __future__ import annotations

import logging
import os
import re
import warnings
from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from typing import Any

import shapely
from shapely.geometry import MultiPolygon
from shapely.geometry.polygon import orient

from geosr import __version__
from geosr.errors import OptionError, OutputError
from geosr.files import json_text, json_value, write_file
from geosr.rasters import gdal
from geosr.rasters.placement import footprint, geographic_bounds
from geosr.rasters.profile import Profile
from geosr.superresolve.plan import Plan
from geosr.superresolve.upscalers import Blended, Consistent, Network

log = logging.getLogger(__name__)

PROCESSING = "https://stac-extensions.github.io/processing/v1.1.0/schema.json"
MLM = "https://stac-extensions.github.io/mlm/v1.4.0/schema.json"
ENDING = ".stac.json"
_DATES = (("IMAGERY", "ACQUISITIONDATETIME"), ("", "TIFFTAG_DATETIME"))
"""Domains and names of the tags that say when a scene was taken."""
_DATE = re.compile(
    r"(\d{4})[-:](\d\d)[-:](\d\d)(?:[ T](\d\d):(\d\d)(?::(\d\d)(?:[.,](\d+))?)?)?\s*(Z|UTC|[+-]\d\d(?::?\d\d)?)?"
)
"""Dates and times of ISO 8601 and of TIFF."""

FILES = {
    ".keras": ("application/zip; application=keras", "keras.Model.save"),
    ".onnx": ("application/octet-stream; application=onnx", "onnx.save_model"),
    ".xml": ("application/xml; application=openvino", "openvino.save_model"),
}
"""The media type and the kind of each model file, as the extension for models has them."""
FRAMEWORKS = {"tensorflow": "Keras", "openvino": "OpenVINO", "onnx": "ONNX"}
"""The names of the backends in the extension for models."""


def path_of(output: str | os.PathLike[str]) -> Path:
    """Where the item of an output is: beside it."""
    return Path(output).with_suffix(ENDING)


def check(job: Plan, output: str | os.PathLike[str], *, overwrite: bool) -> None:
    """Refuse what cannot be described, before any work.

    Raises:
        OptionError: rio-stac is not installed, or the raster has no known place on Earth.
        OutputError: there is another item of this name, and not `overwrite`.
    """
    try:
        import_module("rio_stac")
    except ModuleNotFoundError as error:
        raise OptionError("--stac needs rio-stac; install it: pip install 'geosr[stac]'") from error
    profile = job.source.profile
    by_points = profile.crs is None and profile.gcps and profile.gcps_crs is not None
    if not by_points and geographic_bounds(profile) is None:
        raise OptionError(f"a STAC item needs a place on Earth, and {job.source.path!r} has no CRS that gives one")
    if path_of(output).exists() and not overwrite:
        raise OutputError(f"{os.fspath(path_of(output))!r} exists; choose another output or --overwrite")


def stale(output: str | os.PathLike[str]) -> list[Path]:
    """Return the item that geosr wrote of an older output of this name; none if another program wrote it."""
    path = path_of(output)
    try:
        written = json_value(path.read_text())["properties"]["processing:software"]
    except (OSError, ValueError, KeyError, TypeError):
        return []
    return [path] if "geosr" in written else []


def write(job: Plan, output: str | os.PathLike[str], *, draft: Path | None = None, trial: Path | None = None) -> Path:
    """Write the item beside the output, which is there already; the item has its name only when it is whole.

    If the output is still at `draft`, the item is written beside that. `trial` is the folder in which the item lies
    before it has its name.
    """
    path = path_of(draft or output)
    write_file(path, (json_text(item(job, output, draft=draft)) + "\n").encode(), trial=trial)
    return path


def item(job: Plan, output: str | os.PathLike[str], *, draft: Path | None = None) -> dict[str, Any]:
    """The item, with the projection and processing extensions, and for a network the machine-learning model's.

    Its time is that of the scene, if the input's tags tell it, else that of the processing. If the output is still at
    `draft`, it is read there.
    """
    rio_stac, pystac = import_module("rio_stac"), import_module("pystac")
    output, now = Path(output), datetime.now(timezone.utc)
    network = _network(job)
    with gdal.environment(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of dates that it reads in no other form
        stac_item = rio_stac.create_stac_item(
            os.fspath((draft or output).absolute()),
            input_datetime=taken(job.source.profile) or now,
            id=output.stem,
            asset_name="data",
            asset_roles=["data"],
            asset_href=f"./{output.name}",
            with_proj=True,
            geom_densify_pts=21,
            extensions=[PROCESSING, *([MLM] if network else [])],
            properties={
                "created": now.isoformat(timespec="seconds").replace("+00:00", "Z"),
                **_processing(job),
                **(_model(job, network) if network else {}),
            },
        )
    if place := _place(job.profile):
        stac_item.geometry, stac_item.bbox = place
    if network:
        media, artifact = FILES.get(network.path.suffix, ("application/octet-stream", "other"))
        asset = pystac.Asset(
            href=network.path.absolute().as_uri(),
            title=network.path.stem,
            media_type=media,
            roles=["mlm:model", "mlm:weights"],
            extra_fields={"mlm:artifact_type": artifact},
        )
        stac_item.add_asset("model", asset)
    stac_item.add_link(pystac.Link(pystac.RelType.DERIVED_FROM, _href(job.source.path, output), title="the scene"))
    described: dict[str, Any] = stac_item.to_dict(include_self_link=False, transform_hrefs=False)
    return described


def taken(profile: Profile) -> datetime | None:
    """Return when the scene was taken, in UTC, as far as its tags tell; one that cannot be read is logged."""
    for domain, name in _DATES:
        text = profile.tags.get(domain, {}).get(name, "").strip()
        if moment := _moment(text):
            return moment
        if text:
            log.warning("the time %r of the tag %s cannot be read", text, name)
    return None


def _moment(text: str) -> datetime | None:
    """Return the moment that a text tells, in UTC, which it is in unless it has an offset.

    >>> _moment("2020-02-28T24:00:00.5-01:30")
    datetime.datetime(2020, 2, 29, 1, 30, 0, 500000, tzinfo=datetime.timezone.utc)
    """
    match = _DATE.fullmatch(text)
    if not match:
        return None
    year, month, day, hour, minute, second = (int(part or 0) for part in match.groups()[:6])
    fraction, offset = float(f"0.{match[7] or 0}"), match[8] or "Z"
    try:
        midnight = datetime(year, month, day, tzinfo=timezone.utc)
    except ValueError:
        return None
    if hour > 24 or minute > 59 or second > 60 or (hour == 24 and (minute or second)):
        return None
    ahead = timedelta()
    if offset[0] in "+-":
        ahead = timedelta(hours=int(offset[1:3]), minutes=int(offset[3:].lstrip(":") or 0))
    moment = midnight + timedelta(hours=hour, minutes=minute, seconds=second + fraction)
    return moment + ahead if offset[0] == "-" else moment - ahead


def _place(profile: Profile) -> tuple[dict[str, Any], list[float]] | None:
    """Return geometry and bounding box as RFC 7946 has them across the antimeridian; None for a scene that is not."""
    area = footprint(profile)
    west, south, east, north = geographic_bounds(profile) or (0, 0, 0, 0)
    if area.is_empty or (-180 <= west <= east <= 180 and east - west < 180):
        return None
    parts = sorted((part.bounds[0], part.bounds[2]) for part in getattr(area, "geoms", [area]))
    # The box begins behind the widest gap between the parts, of which the first follows the last around the globe.
    gaps = [(after[0] - before[1], before[1], after[0]) for before, after in pairwise(parts)]
    gaps.append((parts[0][0] + 360 - parts[-1][1], parts[-1][1], parts[0][0]))
    _, east, west = max(gaps)
    _, south, _, north = area.bounds
    polygons = [orient(part) for part in getattr(area, "geoms", [area])]
    shape = MultiPolygon(polygons) if len(polygons) > 1 else polygons[0]
    geometry: dict[str, Any] = json_value(shapely.to_geojson(shape))
    return geometry, [west, south, east, north]


def _processing(job: Plan) -> dict[str, Any]:
    k, name = job.upscaler.scale, job.upscaler.identity.name
    return {
        "processing:level": "L4",
        "processing:lineage": f"{Path(job.source.path).name} super-resolved by {k} with {name}",
        "processing:software": {"geosr": __version__},
    }


def _network(job: Plan) -> Network | None:
    upscaler = job.upscaler.upscaler if isinstance(job.upscaler, Consistent) else job.upscaler
    upscaler = upscaler.network if isinstance(upscaler, Blended) else upscaler
    return upscaler if isinstance(upscaler, Network) else None


def _model(job: Plan, network: Network) -> Mapping[str, Any]:
    """The model's card, in the words of the extension."""
    card, tasks = network.card, ["super-resolution"]
    order, sizes = ["batch", "height", "width", "channel"], [-1, -1, -1, card.bands]
    if network.path.suffix in (".onnx", ".xml"):
        order, sizes = ["batch", "channel", "height", "width"], [-1, card.bands, -1, -1]
    shape = {"shape": sizes, "dim_order": order, "data_type": "float32"}
    colours = job.values.bands(job.source.profile.colours)
    several = "each band by itself" if network.mode == "each" else "the luma of red, green and blue"
    return {
        "mlm:name": _name(network.path.stem),
        "mlm:architecture": card.name,
        "mlm:tasks": tasks,
        **({"mlm:total_parameters": card.parameters} if card.parameters else {}),
        "mlm:framework": FRAMEWORKS[network.computing.backend],
        "mlm:pretrained": True,
        **({"mlm:pretrained_source": card.training_data} if card.training_data else {}),
        "mlm:input": [
            {
                "name": "low resolution",
                "bands": [],
                "description": several if card.bands == 1 else "all bands together",
                "input": shape,
                "value_scaling": [
                    {"type": "min-max", "minimum": low, "maximum": high}
                    for low, high in zip(colours.low, colours.high, strict=True)
                ],
            }
        ],
        "mlm:output": [{"name": "high resolution", "tasks": tasks, "result": shape}],
        "mlm:hyperparameters": {
            "scale": card.scale,
            "halo": network.halo,
            "sha256": card.sha256,
            **({"licence": card.licence} if card.licence else {}),
            **({"scores": card.scores} if card.scores else {}),
        },
    }


def _name(stem: str) -> str:
    """A model's name in the letters that the extension allows.

    >>> _name("2nd_net (x2)")
    'model-2nd_net--x2'
    """
    allowed = re.sub(r"[^a-zA-Z0-9_.-]", "-", stem).rstrip("_.-")
    return allowed if re.match("[a-zA-Z].", allowed) else f"model-{allowed}"


def _href(source: str, output: Path) -> str:
    """The input as the item refers to it: relative, if it is a file."""
    if not Path(source).exists():
        return source
    return Path(os.path.relpath(source, output.absolute().parent)).as_posix()
