"""Sharper rasters that stay where and what they are.

    import geosr
    geosr.super_resolve("scene.tif", "scene_x2.tif", geosr.Options(scale=2))

Names are loaded when they are first used, so that importing geosr is quick.
"""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from geosr.errors import GeosrError as GeosrError
    from geosr.models.computing import Computing as Computing
    from geosr.notebook import ProgressBar as ProgressBar
    from geosr.superresolve import Options as Options
    from geosr.superresolve import load as load
    from geosr.superresolve import super_resolve as super_resolve
    from geosr.superresolve import super_resolve_folder as super_resolve_folder

_bundled = find_spec("rasterio")
if _bundled and _bundled.origin and (Path(_bundled.origin).parent / "proj_data").exists():
    # A wheel brings PROJ and GDAL along; variables that point to those of QGIS or the system break them, in silence.
    # They must be gone before anything imports rasterio.
    for _name in ("PROJ_LIB", "PROJ_DATA", "GDAL_DATA", "GDAL_DRIVER_PATH"):
        os.environ.pop(_name, None)

__version__ = "0.2.0"
__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "errors": ["GeosrError"],
        "notebook": ["ProgressBar"],
        "superresolve": ["Computing", "Options", "load", "super_resolve", "super_resolve_folder"],
    },
)
