"""Polygons of a vector file, and which tiles lie in them or touch them."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import shapely
from numpy.typing import NDArray
from rasterio.crs import CRS
from shapely import STRtree
from shapely.geometry.base import BaseGeometry

from geosr.errors import DatasetError, OptionError
from geosr.files import listed
from geosr.grid import Window
from geosr.rasters import gdal
from geosr.rasters.placement import areas, crs_of, outlines, projected
from geosr.rasters.profile import Profile

log = logging.getLogger(__name__)

GEOMETRY_POLYGON = int(shapely.GeometryType.POLYGON)


@dataclass(frozen=True, slots=True)
class Areas:
    """The areas of a file, each the polygons of a feature, in the file's CRS."""

    path: str
    features: tuple[str, ...]
    """Number of the feature that each area is of, from 1; after the name of its layer where there are several."""
    shapes: tuple[BaseGeometry, ...]
    geometry: BaseGeometry
    """All areas as one."""
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

    def warn_of_far(self, profiles: Sequence[Profile], option: str) -> None:
        """Log the areas that touch none of the rasters, and whether they would if x and y were swapped."""
        grounds = np.concatenate([self._on_map(profile, [profile.window]) for profile in profiles])
        if shapely.is_empty(grounds).any():
            return
        tree = STRtree(grounds)
        shapes = np.array(self.shapes, dtype=object)
        far = np.setdiff1d(np.arange(len(shapes)), tree.query(shapes, predicate="intersects")[0])
        if not len(far):
            return
        swapped = shapely.transform(shapes[far], lambda points: points[:, ::-1])
        if tree.query(swapped, predicate="intersects").size:
            reason = "; with x and y swapped they would: mend the file, whose axes seem to be in the wrong order"
        else:
            reason = "" if len(far) < len(shapes) else "; is their CRS another one?"
        names = listed([self.features[i] for i in far])
        log.warning(
            "%d of %d areas of %s touch no scene (features %s of %r)%s",
            *(len(far), len(shapes), option, names, self.path, reason),
        )

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
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", "Non closed ring detected")
                meta, _, geometries, _ = read_layer(name, layer=layer, columns=[])
            prefix = f"{layer} " if len(layers) > 1 else ""
            found.append((meta["crs"], _shapes(geometries, name, prefix)))
    except (DataSourceError, DataLayerError) as error:
        there = Path(name).exists() or name.startswith("/vsi")
        reason = _reason(error, name) if there else "there is no such file"
        raise DatasetError(f"the areas in {name!r} cannot be read: {reason}") from error
    found = [(crs, shapes) for crs, shapes in found if shapes]
    if not found:
        raise DatasetError(f"{name!r} holds no polygons; give a file of areas")
    if not all(crs for crs, _ in found):
        raise DatasetError(f"{name!r} has no CRS, so that nobody knows where its areas are; give it one")
    try:
        crs = CRS.from_user_input(found[0][0])
        moved = {label: _moved(of, layer, crs) for layer, shapes in found for label, of in shapes.items()}
    except gdal.ERRORS as error:
        raise DatasetError(f"the CRS of {name!r} is not understood: {gdal.reason(error)}") from error
    for label, shape in moved.items():
        if not np.isfinite(shapely.get_coordinates(shape)).all():
            raise DatasetError(f"feature {label} of {name!r} has a coordinate that is infinite or no number; mend it")
    areas = {label: area for label, shape in moved.items() if (area := shapely.make_valid(shape)).area}
    if flat := [label for label in moved if label not in areas]:
        log.warning("features %s of %r have no area and are passed over", listed(flat), name)
    if not areas:
        raise DatasetError(f"{name!r} holds no polygons; give a file of areas")
    shapes = tuple(areas.values())
    return Areas(name, tuple(areas), shapes, shapely.union_all(shapes), crs)


def _shapes(geometries: Sequence[bytes | None], name: str, prefix: str) -> dict[str, BaseGeometry]:
    """Return the polygons of each feature of a layer (WKB), also those in collections; open rings are closed.

    Raises:
        DatasetError: a geometry is no ring that could be closed; it gives the number of its feature.
    """
    shapes, others = {}, []
    for number, content in enumerate(geometries, 1):
        label = f"{prefix}{number}"
        try:
            with np.errstate(invalid="ignore"):
                shape = None if content is None else shapely.from_wkb(content, on_invalid="fix")
        except shapely.errors.GEOSException as error:
            raise DatasetError(f"feature {label} of {name!r} is no valid geometry: {error}; mend it") from error
        parts = shapely.get_parts(np.array([] if shape is None else [shape], dtype=object))
        while (shapely.get_type_id(parts) > GEOMETRY_POLYGON).any():
            parts = shapely.get_parts(parts)
        polygons = parts[shapely.get_type_id(parts) == GEOMETRY_POLYGON]
        if (shape is None and content is not None) or any(_corners(polygon) in (1, 2) for polygon in polygons):
            raise DatasetError(f"feature {label} of {name!r} has a ring of fewer than three points; mend it")
        if len(polygons) < len(parts) or not len(parts):
            others.append(label)
        if len(polygons):
            shapes[label] = shapely.multipolygons(polygons)
    if others:
        log.warning("features %s of %r hold points, lines or nothing, which are passed over", listed(others), name)
    return shapes


def _corners(polygon: BaseGeometry) -> int:
    """Return the number of different points of a polygon's outer ring."""
    return len(np.unique(shapely.get_coordinates(shapely.get_exterior_ring(polygon)), axis=0))


def _reason(error: Exception, name: str) -> str:
    """Return GDAL's text of an error, without the file's name and pyogrio's advice on drivers."""
    text, _, _ = " ".join(str(error).split()).partition("; It might help")
    return text.removeprefix(f"{name!r} ").rstrip(".")


def _moved(shape: BaseGeometry, source: str, target: CRS) -> BaseGeometry:
    """Return a shape of a layer in the CRS of the file's first."""
    crs = CRS.from_user_input(source)
    return shape if crs == target else shapely.transform(shape, lambda points: projected(points[None], crs, target)[0])


def _polygon(ring: NDArray[np.float64]) -> BaseGeometry:
    return shapely.make_valid(shapely.Polygon(ring)) if np.isfinite(ring).all() else shapely.Polygon()
