"""Rasters, folders of them and arrays super-resolved, tile by tile.

Names are loaded when they are first used, so that importing a light module of this wing stays quick.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from geosr.superresolve.arrays import load as load
    from geosr.superresolve.job import super_resolve as super_resolve
    from geosr.superresolve.plan import Options as Options
    from geosr.superresolve.upscalers import Computing as Computing

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={"arrays": ["load"], "job": ["super_resolve"], "plan": ["Options"], "upscalers": ["Computing"]},
)
