"""Put a trained network into geosr/models/weights with a card, scored on scenes that the training never saw.

    python bench/ship.py RUNS/x2/idn_x2.keras --val ../shared/data/val --training-data "178 scenes: NAIP 0.6 m, ..."

The scores are PSNR over bicubic in dB, mean over bands, as `geosr evaluate MODEL SCENES --border SCALE` tells them.
"""

from __future__ import annotations

import argparse
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

from geosr import models
from geosr.models import cards, inference
from geosr.quality.evaluate import evaluate_model
from geosr.quality.options import Options
from geosr.rasters.degradation import Degradation
from geosr.superresolve import upscalers

PLACES = {
    "NAIP Santa Monica": "naip_ca/*.tif",
    "NAIP North Carolina": "naip_nc_*.tif",
    "Sentinel-2 T49JGM": "s2_t49jgm_*.tif",
    "Landsat 8 pan": "l8_pan_*.tif",
    "NEON Yellowstone": "neon_yell_*.tif",
}
PURPOSE = {
    "idn x2": "any band of any optical raster",
    "idn x3": "any band of any optical raster; much of what x3 adds is invented",
    "idn x4": "any band; x4 invents detail: for looking, not for measuring",
    "span x2": "any band of any optical raster; the default",
    "span x3": "any band of any optical raster; much of what x3 adds is invented",
    "span x4": "any band; x4 invents detail: for looking, not for measuring",
}
LICENCE = (
    "MIT, as geosr; trained on NAIP (USDA, public domain; tiles chosen by Ventura et al. 2024, CC BY 4.0), NEON (CC0), "
    "Landsat (public domain), Copernicus Sentinel data 2016-2023 (free, attribution), drone photographs (BSD-2-Clause)"
)


BLURRED = Degradation(("mtf", "noise"), mtf=(0.26,), noise=(0.004, 0.001))
"""Blur and noise of Sentinel-2, which networks that know sensors are scored on too."""


def gains(model: Path, val: Path, degradation: Degradation) -> dict[str, dict[str, float]]:
    """For each place bicubic's PSNR and the network's gain over it, in dB, mean over bands and scenes."""
    scale = upscalers.load_upscaler(str(model)).scale
    found: dict[str, dict[str, float]] = {}
    for place, pattern in PLACES.items():
        report = evaluate_model(
            str(model), sorted(val.glob(pattern)), Options(alpha="band", border=scale, degradation=degradation)
        )
        bicubic, network = (report.total[name].psnr or 0.0 for name in ("bicubic", report.model))
        found[place] = {"bicubic": round(bicubic, 2), "gain": round(network - bicubic, 2)}
        print(f"{place:<22} bicubic {bicubic:6.2f} dB   network {network - bicubic:+.2f} dB")
    return found


BITS, FEWER = 10, 5
"""Bits of a weight, and of the kernels that sensors weigh: wheels compress them to half. It costs 0.001 dB."""


def _round(network: Any) -> None:
    for weight in network.weights:
        bits = FEWER if weight.name == "experts" else BITS
        mantissa, exponent = np.frexp(np.asarray(weight))
        weight.assign(np.ldexp(np.rint(mantissa * 2**bits) / 2**bits, exponent).astype("float32"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("--val", type=Path, required=True)
    parser.add_argument("--training-data", required=True, help="the scenes that it learnt, in words")
    parser.add_argument("--command", action="append", default=[], help="how it was trained; may be repeated")
    arguments = parser.parse_args()
    target = cards.WEIGHTS / arguments.model.name
    cards.WEIGHTS.mkdir(exist_ok=True)
    network = models.load(arguments.model)
    _round(network)
    models.save(network, target)
    inference.write(models.load(target), target)
    card = cards.describe(target, cards.digest_of(target))
    name = arguments.model.stem.rpartition("_")[0]
    scores = {"PSNR over bicubic on scenes never trained on, dB": gains(target, arguments.val, Degradation())}
    if card.knows_sensors:
        scores["the same, blurred to MTF 0.26 and noised by 0.4 %, dB"] = gains(target, arguments.val, BLURRED)
    content = {field: getattr(card, field) for field in card.__slots__} | {
        "name": name,
        "purpose": PURPOSE[f"{name} x{card.scale}"],
        "training_data": arguments.training_data,
        "licence": LICENCE,
        "commands": arguments.command,
        "date": date.today().isoformat(),
        "scores": scores,
    }
    cards.write(cards.Card(**content), target)


if __name__ == "__main__":
    main()
