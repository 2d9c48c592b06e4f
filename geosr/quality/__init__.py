"""Models scored, results compared and verified, rasters inspected.

Names are loaded when they are first used, so that importing a light module of this wing stays quick.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from geosr.quality.compare import compare_rasters as compare_rasters
    from geosr.quality.evaluate import evaluate_model as evaluate_model
    from geosr.quality.info import inspect_raster as inspect_raster
    from geosr.quality.options import Options as Options
    from geosr.quality.quantization import quantize_model as quantize_model
    from geosr.quality.verify import verify_output as verify_output

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "compare": ["compare_rasters"],
        "evaluate": ["evaluate_model"],
        "info": ["inspect_raster"],
        "options": ["Options"],
        "quantization": ["quantize_model"],
        "verify": ["verify_output"],
    },
)
