"""Bursts of photos stacked into sharper ones.

Names are loaded when they are first used, so that importing a light module of this wing stays quick.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from geosr.burst.job import stack as stack
    from geosr.burst.options import Options as Options

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={"job": ["stack"], "options": ["Options"]},
)
