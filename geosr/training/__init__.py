"""Networks trained on sets of samples.

Names are loaded when they are first used, so that importing a light module of this wing stays quick.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from geosr.training.job import train as train
    from geosr.training.options import Options as Options

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={"job": ["train"], "options": ["Options"]},
)
