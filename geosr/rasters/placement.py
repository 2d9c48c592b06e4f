"""Positions of a raster's pixels: bounds and outlines of windows on the map, and true polygons in degrees.

A raster lies where its transform says; or else its ground control points; or else its RPCs, at the height that they are
made for. Knows profiles and windows, no pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack

import numpy as np
import shapely
from affine import Affine
from numpy.typing import NDArray
from rasterio.crs import CRS
from rasterio.transform import GCPTransformer, RPCTransformer
from rasterio.warp import transform as warp
from rasterio.warp import transform_bounds
from shapely.geometry.base import BaseGeometry

from geosr.grid import Window
from geosr.rasters import gdal
from geosr.rasters.profile import Profile

DEGREES = CRS.from_epsg(4326)
STEPS = 4
"""Points on a side of an outline: the side of a tile is not straight on another map."""
SCENE_STEPS = 32
"""Points on a side of the outline of a whole scene."""
Bounds = tuple[float, float, float, float]
Rings = NDArray[np.float64]
"""Outlines (n, points, 2) of x and y, not closed; not finite where there is no such place on the map."""


def bounds(profile: Profile, window: Window) -> Bounds:
    """Return left, bottom, right and top of the window on the map; without a transform x is column, y minus row."""
    corners = [_transform(profile) @ corner for corner in _corners(window)]
    xs, ys = zip(*corners, strict=True)
    return min(xs), min(ys), max(xs), max(ys)


def window_of(profile: Profile, bounds: Bounds) -> Window:
    """Return the whole pixels that bounds (left, bottom, right, top) touch; it may hang over the raster's edges."""
    left, bottom, right, top = bounds
    corners = [~_transform(profile) @ corner for corner in ((left, top), (right, top), (right, bottom), (left, bottom))]
    # Bounds that are meant to lie on the edge of a pixel lie beside it by rounding.
    cols, rows = (np.round(axis, 6) for axis in zip(*corners, strict=True))
    col, row = int(np.floor(cols.min())), int(np.floor(rows.min()))
    return Window(col, row, int(np.ceil(cols.max())) - col, int(np.ceil(rows.max())) - row)


def geographic_bounds(profile: Profile) -> Bounds | None:
    """Return west, south, east and north of the raster in degrees; None when that cannot be known."""
    if profile.crs is None:
        return None
    try:
        # PROJ has much to say of a map that is nowhere on Earth.
        with gdal.environment(), gdal.collected():
            west, south, east, north = transform_bounds(profile.crs, "EPSG:4326", *bounds(profile, profile.window))
    except gdal.ERRORS:
        return None
    return (west, south, east, north) if np.isfinite([west, south, east, north]).all() else None


def pixel_size(profile: Profile) -> tuple[float, float]:
    """Return the width and height of a pixel in units of the CRS; of rotated rasters, along the rows and columns.

    >>> pixel_size(Profile(1, 1, 1, "uint8", transform=Affine(0, 5, 0, -10, 0, 0)))
    (10.0, 5.0)
    """
    transform = profile.transform
    return float(np.hypot(transform.a, transform.d)), float(np.hypot(transform.b, transform.e))


def unit_name(profile: Profile) -> str:
    """Return the plural name of the unit of the CRS, as "metres"; empty without a CRS, or a unit that is named."""
    if profile.crs is None:
        return ""
    unit = "degree" if profile.crs.is_geographic else profile.crs.linear_units
    unit = unit.replace("meter", "metre")
    if not unit or unit.startswith("unknown"):
        return ""
    return unit.replace("foot", "feet") if "foot" in unit else unit + "s"


def crs_name(profile: Profile) -> str | None:
    """Return the code of the CRS, as EPSG:32633, or its name, or a word for one without either; None without a CRS."""
    if profile.crs is None:
        return None
    authority = profile.crs.to_authority()
    name = profile.crs.to_wkt().partition('"')[2].partition('"')[0]
    return ":".join(authority) if authority else name or "without a name"


def crs_of(profile: Profile) -> CRS | None:
    """Return the CRS that the raster is placed in; None when it is placed nowhere on Earth's map."""
    if profile.located or not (profile.gcps or profile.rpcs):
        return profile.crs
    return profile.gcps_crs if profile.gcps else DEGREES


def outlines(profile: Profile, windows: Sequence[Window], steps: int = STEPS) -> Rings:
    """Return the windows' outlines on the map of `crs_of`, from the first pixel on clockwise; in pixels without one."""
    corners = np.array([_corners(window) for window in windows], np.float64).reshape(-1, 4, 2)
    ends = np.roll(corners, -1, axis=1)
    parts = np.arange(steps) / steps
    points = corners[:, :, None] + (ends - corners)[:, :, None] * parts[:, None]
    return _placed(profile, points.reshape(len(windows), 4 * steps, 2))


def place_of(profile: Profile, window: Window) -> tuple[CRS | None, Affine]:
    """Return the CRS and the transform of the window's pixels; for control points and RPCs, the nearest ones."""
    if profile.located or crs_of(profile) is None:
        return profile.crs, profile.crop(window).transform
    (top, bottom), (left, right) = window.toranges()
    pixels = np.array([(x, y) for y in np.linspace(top, bottom, 3) for x in np.linspace(left, right, 3)])
    map_points = _placed(profile, pixels[None])[0]
    design = np.column_stack([pixels - (left, top), np.ones(len(pixels))])
    (a, d), (b, e), (c, f) = np.linalg.lstsq(design, map_points, rcond=None)[0]
    return crs_of(profile), Affine(a, b, c, d, e, f)


def projected(rings: Rings, source: CRS, target: CRS) -> Rings:
    """Return the outlines on another map; not finite where they have no place there."""
    if source == target or not rings.size:
        return rings.copy()
    with gdal.environment(), gdal.collected():
        try:
            xs, ys = warp(source, target, *rings.reshape(-1, 2).T.tolist())
        except gdal.ERRORS:
            # One point that has no place there may fail all.
            if len(rings) == 1:
                return np.full_like(rings, np.inf)
            return np.concatenate([projected(ring[None], source, target) for ring in rings])
    return np.column_stack([xs, ys]).reshape(rings.shape)


def areas(rings: Rings, crs: CRS, onto: CRS = DEGREES) -> list[BaseGeometry]:
    """Return the outlines as polygons in degrees, of -180 to 180; an empty one where there is no such place.

    One across the antimeridian is in two parts, one around a pole reaches to it.
    """
    return [_area(ring) for ring in projected(rings, crs, onto)]


def footprint(profile: Profile, margin: int = 0) -> BaseGeometry:
    """Return the whole raster's polygon in degrees, with that many pixels around it; empty when it is not known."""
    crs = crs_of(profile)
    if crs is None:
        return shapely.Polygon()
    rings = outlines(profile, [profile.window, profile.window.pad(margin)], SCENE_STEPS)
    core, wide = projected(rings.reshape(-1, 1, 2), crs, DEGREES).reshape(rings.shape)
    # Where there is no such place as the margin, beyond the edge of a map of the world, say, the scene's own edge.
    wide = np.where(np.isfinite(wide).all(axis=-1, keepdims=True), wide, core)
    return shapely.union_all([_area(core), _area(wide)])


def _transform(profile: Profile) -> Affine:
    return profile.transform if profile.located else Affine(1, 0, 0, 0, -1, 0)


def _corners(window: Window) -> list[tuple[int, int]]:
    (top, bottom), (left, right) = window.toranges()
    return [(left, top), (right, top), (right, bottom), (left, bottom)]


def _placed(profile: Profile, points: Rings) -> Rings:
    """Return columns and rows (n, points, 2) on the map."""
    cols, rows = points[..., 0].ravel(), points[..., 1].ravel()
    if profile.located or crs_of(profile) is None:
        a, b, c, d, e, f = tuple(profile.transform)[:6]
        return np.column_stack([a * cols + b * rows + c, d * cols + e * rows + f]).reshape(points.shape)
    with ExitStack() as stack, gdal.environment():
        transformer = GCPTransformer(list(profile.gcps)) if profile.gcps else RPCTransformer(profile.rpcs)
        xs, ys = stack.enter_context(transformer).xy(rows.tolist(), cols.tolist(), offset="ul")
    return np.column_stack([xs, ys]).reshape(points.shape)


def _area(ring: NDArray[np.float64]) -> BaseGeometry:
    if not np.isfinite(ring).all():
        return shapely.Polygon()
    closed = np.vstack([ring, ring[:1]])
    lon, lat = np.unwrap(closed[:, 0], period=360), closed[:, 1]
    turned = lon[-1] - lon[0]
    points = np.column_stack([lon, lat])
    if abs(turned) > 180:
        pole = 90.0 if lat.mean() > 0 else -90.0
        points = np.vstack([points, [(lon[-1], pole), (lon[0], pole)]])
    whole = shapely.make_valid(shapely.Polygon(points))
    first, last = int(np.floor((lon.min() + 180) / 360)), int(np.floor((lon.max() + 180) / 360))
    parts = [
        shapely.transform(
            shapely.clip_by_rect(whole, 360 * k - 180, -90, 360 * k + 180, 90), lambda p, k=k: p - (360 * k, 0)
        )
        for k in range(first, last + 1)
    ]
    return shapely.union_all(parts)
