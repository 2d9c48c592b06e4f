"""The interpolations that a model is compared with, each aligned on pixel areas. Knows arrays alone."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
from affine import Affine
from rasterio.enums import Resampling
from rasterio.warp import reproject

from geosr.grid import Block
from geosr.rasters import gdal
from geosr.rasters.nodata import enlarge_nearest
from geosr.rasters.resample import enlarge

REACH = 4
"""Input pixels that the widest of them, Lanczos, sees around one, and one more."""


def warped(block: Block, k: int, *, how: Resampling) -> Block:
    """The block (bands, rows, cols) enlarged as gdalwarp does, on the same ground, in float64."""
    bands, rows, cols = block.shape
    result = np.empty((bands, rows * k, cols * k))
    place = Affine.translation(0, rows) @ Affine.scale(1, -1)
    with gdal.environment():
        reproject(
            block.astype(np.float64),
            result,
            src_transform=place,
            dst_transform=place @ Affine.scale(1 / k),
            src_crs="EPSG:3857",
            dst_crs="EPSG:3857",
            resampling=how,
        )
    return result


INTERPOLATIONS: dict[str, Callable[[Block, int], Block]] = {
    "nearest": enlarge_nearest,
    "bilinear": partial(warped, how=Resampling.bilinear),
    "bicubic": enlarge,
    "lanczos": partial(warped, how=Resampling.lanczos),
}
