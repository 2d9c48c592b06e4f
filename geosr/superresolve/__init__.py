"""Rasters, folders of them and arrays super-resolved, tile by tile.

Names are loaded when they are first used, so that importing a light module of this wing stays quick.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from geosr.models.computing import Computing
    from geosr.superresolve.arrays import load as load
    from geosr.superresolve.folder import super_resolve_folder as super_resolve_folder
    from geosr.superresolve.job import super_resolve as super_resolve
    from geosr.superresolve.options import Options as Options
from geosr.superresolve.options import Computing as Computing

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "arrays": ["load"],
        "folder": ["super_resolve_folder"],
        "job": ["super_resolve"],
        "options": ["Computing", "Options"],
    },
)
