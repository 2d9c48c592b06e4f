"""DataArrays as rioxarray reads them: their pixels in order, and what is made of those back on the same ground."""

from __future__ import annotations

import logging
from collections.abc import Hashable, Mapping
from importlib import import_module
from typing import Any

import numpy as np
from affine import Affine

from geosr.errors import OptionError, RasterError
from geosr.rasters.profile import moved

log = logging.getLogger(__name__)

AGREE = 1e-3
"""Most that the corners of coordinates and of the stored transform may differ, in pixels, for the latter to count."""
_STORED = ("source", "chunksizes", "preferred_chunks", "original_shape", "rasterio_dtype")
"""Encodings that describe the file that was read."""
_STATISTICS = "STATISTICS_"


def dims(data: Any) -> tuple[list[Hashable], Hashable, Hashable]:
    """The names of the dimension of bands, if there is one, and of those of rows and columns.

    Raises:
        OptionError: rioxarray is not installed.
        RasterError: the dimensions are not those of a raster.
    """
    try:
        missing = import_module("rioxarray.exceptions").MissingSpatialDimensionError
    except ModuleNotFoundError as error:
        raise OptionError("a DataArray needs rioxarray; install it: pip install 'geosr[xarray]'") from error
    try:
        rows, cols = data.rio.y_dim, data.rio.x_dim
    except missing as error:
        raise RasterError(
            f"the dimensions {data.dims} hold no rows and columns; name them with rio.set_spatial_dims"
        ) from error
    bands = [name for name in data.dims if name not in (rows, cols)]
    if len(bands) > 1:
        raise RasterError(f"a raster has bands, rows and columns, got the dimensions {data.dims}; take one at a time")
    return bands, rows, cols


def pixels(data: Any) -> Any:
    """The array (bands, rows, cols), numpy's or Dask's, in a DataArray of whatever order."""
    bands, rows, cols = dims(data)
    array = data.transpose(*bands, rows, cols).data
    return array if bands else array[None]


def nodata(data: Any) -> float | None:
    """The value that stands for nodata in its pixels; NaN where they were masked on reading."""
    value = data.rio.nodata
    return None if value is None else float(value)


def enlarged(data: Any, pixels: Any, *, scale: int, tags: Mapping[str, str]) -> Any:
    """A DataArray with the enlarged `pixels` (bands, rows, cols) of `data`, on the same ground.

    Coordinates along rows and columns are computed anew from the transform, others kept; those that depend on rows or
    columns in another way are left out with a warning. The attributes are kept, but for statistics, and `tags` added.
    """
    bands, rows, cols = dims(data)
    transform = _transform(data) @ Affine.scale(1 / scale)
    carried = {name: coord for name, coord in data.coords.items() if not {rows, cols} & set(coord.dims)}
    coords, unknown = _coordinates(data, transform, scale)
    if unknown:
        log.warning("the coordinates %s lie on the input's pixels and are left out", ", ".join(map(str, unknown)))
    attributes = {name: value for name, value in data.attrs.items() if not str(name).startswith(_STATISTICS)}
    result = import_module("xarray").DataArray(
        pixels if bands else pixels[0],
        dims=(*bands, rows, cols),
        coords={**carried, **coords},
        attrs={**attributes, **tags},
        name=data.name,
    )
    result.encoding = {name: value for name, value in data.encoding.items() if name not in _STORED}
    result = result.rio.set_spatial_dims(x_dim=cols, y_dim=rows)
    result = result.rio.write_transform(transform, grid_mapping_name=data.rio.grid_mapping)
    if points := data.rio.get_gcps():
        enlarged_points = [moved(point, point.row * scale, point.col * scale) for point in points]
        result = result.rio.write_gcps(enlarged_points, data.rio.crs, grid_mapping_name=data.rio.grid_mapping)
    return result.transpose(*data.dims)


def _transform(data: Any) -> Affine:
    """The stored transform, unless the coordinates say otherwise, as after a selection of rows or columns."""
    stored: Affine = data.rio.transform()
    _, rows, cols = dims(data)
    if not {rows, cols} <= set(data.coords):
        return stored
    recomputed: Affine = data.rio.transform(recalc=True)
    corners = [(0, 0), (data.sizes[cols], 0), (0, data.sizes[rows]), (data.sizes[cols], data.sizes[rows])]
    try:
        off = [np.subtract(~stored @ (recomputed @ corner), corner) for corner in corners]
    except ArithmeticError:
        return recomputed
    return stored if np.abs(off).max() < AGREE else recomputed


def _coordinates(data: Any, transform: Affine, scale: int) -> tuple[dict[Hashable, Any], list[Hashable]]:
    """Those along rows and columns at the middles of the output's pixels, and the names of those that are not known."""
    _, rows, cols = dims(data)
    coordinates: dict[Hashable, Any] = {}
    a, _, left, _, e, top, *_ = transform
    if cols in data.coords:
        coordinates[cols] = (cols, left + a * (np.arange(data.sizes[cols] * scale) + 0.5), data.coords[cols].attrs)
    if rows in data.coords:
        coordinates[rows] = (rows, top + e * (np.arange(data.sizes[rows] * scale) + 0.5), data.coords[rows].attrs)
    spatial = [name for name, coord in data.coords.items() if {rows, cols} & set(coord.dims)]
    return coordinates, [name for name in spatial if name not in coordinates]
