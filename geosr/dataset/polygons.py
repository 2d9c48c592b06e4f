"""Polygons of a vector file, and which tiles lie in them or touch them."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import shapely
from numpy.typing import NDArray
from rasterio.crs import CRS
from shapely.geometry.base import BaseGeometry

from geosr.errors import DatasetError, OptionError
from geosr.grid import Window
from geosr.rasters import gdal
from geosr.rasters.placement import areas, crs_of, outlines, projected
from geosr.rasters.profile import Profile

log = logging.getLogger(__name__)

GEOMETRY_POLYGON = int(shapely.GeometryType.POLYGON)


@dataclass(frozen=True, slots=True)
class Areas:
    """The polygons of a file, as one geometry in the file's CRS."""

    path: str
    geometry: BaseGeometry
    crs: CRS

    def covering(self, profile: Profile, windows: Sequence[Window]) -> NDArray[np.bool_]:
        """Which of the windows lie wholly inside."""
        covered: NDArray[np.bool_] = shapely.covers(self.geometry, self._on_map(profile, windows))
        return covered

    def touching(self, profile: Profile, windows: Sequence[Window]) -> NDArray[np.bool_]:
        """Which of the windows have a point in common with a polygon."""
        polygons = self._on_map(profile, windows)
        # Where a window lies is not known if its CRS cannot be brought to the file's: it may touch one.
        touched: NDArray[np.bool_] = shapely.intersects(self.geometry, polygons) | shapely.is_empty(polygons)
        return touched

    def _on_map(self, profile: Profile, windows: Sequence[Window]) -> NDArray[np.object_]:
        """The windows' polygons in the file's CRS, where its own sides are straight."""
        crs = crs_of(profile)
        if crs is None:
            raise OptionError(f"it has no CRS, so that nobody knows which tiles lie in {self.path!r}")
        rings = outlines(profile, windows)
        if self.crs.is_geographic:
            polygons = areas(rings, crs, self.crs)
        else:
            polygons = [_polygon(ring) for ring in projected(rings, crs, self.crs)]
        shapely.prepare(self.geometry)
        return np.array(polygons, dtype=object)


def read(path: str | os.PathLike[str]) -> Areas:
    """The polygons of all layers of a vector file, of any format that GDAL reads.

    Raises:
        DatasetError: it cannot be read, has no polygons, or no CRS.
    """
    # Imported here: it brings a GDAL of its own.
    from pyogrio import list_layers
    from pyogrio.errors import DataLayerError, DataSourceError
    from pyogrio.raw import read as read_layer

    name, found = os.fspath(path), []
    try:
        layers = [str(layer) for layer, kind in list_layers(name) if kind is not None]
        for layer in layers:
            meta, _, geometries, _ = read_layer(name, layer=layer, columns=[])
            found.append((meta["crs"], _polygons_of(geometries, name)))
    except (DataSourceError, DataLayerError) as error:
        there = Path(name).exists() or name.startswith("/vsi")
        reason = _reason(error, name) if there else "there is no such file"
        raise DatasetError(f"the areas in {name!r} cannot be read: {reason}") from error
    found = [(crs, shapes) for crs, shapes in found if len(shapes)]
    if not found:
        raise DatasetError(f"{name!r} holds no polygons; give a file of areas")
    if not all(crs for crs, _ in found):
        raise DatasetError(f"{name!r} has no CRS, so that nobody knows where its areas are; give it one")
    try:
        crs = CRS.from_user_input(found[0][0])
        geometries = [_moved(shapes, CRS.from_user_input(of), crs) for of, shapes in found]
    except gdal.ERRORS as error:
        raise DatasetError(f"the CRS of {name!r} is not understood: {gdal.reason(error)}") from error
    return Areas(name, shapely.union_all(shapely.make_valid(np.concatenate(geometries))), crs)


def _polygons_of(geometries: Sequence[bytes | None], name: str) -> NDArray[np.object_]:
    """Return the polygons in the geometries (WKB) of a layer, also those in collections; open rings are closed.

    Raises:
        DatasetError: a geometry is no ring that could be closed; it gives the number of its feature.
    """
    shapes = []
    for number, content in enumerate(geometries, 1):
        try:
            shapes.append(shapely.from_wkb(content, on_invalid="fix"))
        except shapely.errors.GEOSException as error:
            raise DatasetError(f"feature {number} of {name!r} is no valid geometry: {error}; mend it") from error
    parts = shapely.get_parts(np.array([shape for shape in shapes if shape is not None], dtype=object))
    while (shapely.get_type_id(parts) > GEOMETRY_POLYGON).any():
        parts = shapely.get_parts(parts)
    others = int((shapely.get_type_id(parts) != GEOMETRY_POLYGON).sum())
    if others:
        log.warning("%r: %d points and lines are passed over, as only areas count", name, others)
    polygons: NDArray[np.object_] = parts[shapely.get_type_id(parts) == GEOMETRY_POLYGON]
    return polygons


def _reason(error: Exception, name: str) -> str:
    """Return GDAL's text of an error, without the file's name and pyogrio's advice on drivers."""
    text, _, _ = " ".join(str(error).split()).partition("; It might help")
    return text.removeprefix(f"{name!r} ").rstrip(".")


def _moved(geometries: NDArray[np.object_], source: CRS, target: CRS) -> NDArray[np.object_]:
    """A layer of another CRS than the first one's, in that."""
    if source == target:
        return geometries
    moved: NDArray[np.object_] = shapely.transform(
        geometries, lambda points: projected(points[None], source, target)[0]
    )
    return moved


def _polygon(ring: NDArray[np.float64]) -> BaseGeometry:
    return shapely.make_valid(shapely.Polygon(ring)) if np.isfinite(ring).all() else shapely.Polygon()
