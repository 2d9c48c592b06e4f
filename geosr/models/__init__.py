"""The networks: a registry of architectures, optimizers, schedules and losses, and functions on networks.

An entry of the registry names a function or class as module:name; a new network needs its file and a line here.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

import lazy_loader

if TYPE_CHECKING:
    from geosr.models.files import begin_with as begin_with
    from geosr.models.files import build as build
    from geosr.models.files import fold as fold
    from geosr.models.files import in_precision as in_precision
    from geosr.models.files import is_own as is_own
    from geosr.models.files import load as load
    from geosr.models.files import save as save
    from geosr.models.inspection import pixel_bytes as pixel_bytes
    from geosr.models.inspection import receptive_radius as receptive_radius
    from geosr.models.inspection import shape as shape

MODELS = {
    "idn": "geosr.models.idn:build",
    "span": "geosr.models.span:build",
    "span_for_sensors": "geosr.models.span:build_for_sensors",
    "span_wide": "geosr.models.span:build_wide",
}
"""Architectures: functions of a scale and a number of bands."""
DEFAULT = "span"
"""The default architecture for training, and the default shipped model."""
OPTIMIZERS = {"muon": "geosr.models.optimizers:Muon", "adamw": "keras.optimizers:AdamW"}
SCHEDULES = {
    "cosine": "geosr.models.schedules:cosine",
    "step": "geosr.models.schedules:step",
    "constant": "geosr.models.schedules:constant",
}
LOSSES = {
    "l1": "geosr.models.losses:l1",
    "l2": "geosr.models.losses:l2",
    "charbonnier": "geosr.models.losses:charbonnier",
    "fourier": "geosr.models.losses:fourier",
    "ssim": "geosr.models.losses:ssim",
    "ms-ssim": "geosr.models.losses:ms_ssim",
}


def registered(reference: str) -> Any:
    """Return the function or class that an entry of the registry names."""
    module, _, name = reference.partition(":")
    return getattr(import_module(module), name)


__getattr__, __dir__, _names = lazy_loader.attach(
    __name__,
    submod_attrs={
        "files": ["begin_with", "build", "fold", "in_precision", "is_own", "load", "save"],
        "inspection": ["pixel_bytes", "receptive_radius", "shape"],
    },
)
