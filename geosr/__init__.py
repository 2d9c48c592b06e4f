"""Sharper rasters that stay where and what they are.

    import geosr
    geosr.super_resolve("scene.tif", "scene_x2.tif", geosr.Options(scale=2))

Names are loaded when they are first used, so that importing geosr is quick.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

__version__ = "0.1.0"
__all__ = ["Computing", "GeosrError", "Options", "load", "super_resolve"]

_HOMES = {
    "Computing": "geosr.superresolve.upscalers",
    "GeosrError": "geosr.errors",
    "Options": "geosr.superresolve.plan",
    "load": "geosr.superresolve.arrays",
    "super_resolve": "geosr.superresolve.job",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'geosr' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
