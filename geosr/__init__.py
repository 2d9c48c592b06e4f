"""Sharper rasters that stay where and what they are.

    import geosr
    geosr.super_resolve("scene.tif", "scene_x2.tif", geosr.Options(scale=2))

Names are loaded when they are first used, so that importing geosr is quick.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from geosr.errors import GeosrError as GeosrError
    from geosr.models.computing import Computing as Computing
    from geosr.superresolve import Options as Options
    from geosr.superresolve import load as load
    from geosr.superresolve import super_resolve as super_resolve
    from geosr.superresolve import super_resolve_folder as super_resolve_folder

__version__ = "0.2.0"
__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "errors": ["GeosrError"],
        "superresolve": ["Computing", "Options", "load", "super_resolve", "super_resolve_folder"],
    },
)
