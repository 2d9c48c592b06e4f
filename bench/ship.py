"""Puts a trained network into geosr/models/weights with a card, scored on scenes that the training never saw.

    python bench/ship.py RUNS/x2/idn_x2.keras --val ../shared/data/val --data OUT/x2

The scores are PSNR over bicubic in dB, mean over bands: each scene is shrunk by bicubic, rounded to its dtype, and
enlarged again; `scale` pixels at the edges do not count.
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
from skimage.metrics import peak_signal_noise_ratio

from geosr import raster, upscalers
from geosr.models import cards
from geosr.radiometry import to_dtype
from geosr.raster import RasterSource
from geosr.resample import enlarge, shrink

PLACES = {
    "NAIP Santa Monica": "naip_ca/*.tif",
    "NAIP North Carolina": "naip_nc_*.tif",
    "Sentinel-2 T49JGM": "s2_t49jgm_*.tif",
    "Landsat 8 pan": "l8_pan_*.tif",
    "NEON Yellowstone": "neon_yell_*.tif",
}
PURPOSE = {
    2: "any band of any optical raster; the default",
    4: "any band; x4 invents detail: for looking, not for measuring",
}
TRAINING_DATA = "scenes: NAIP 0.6 m, NEON 0.1 m, drone 0.05 m, Landsat 8 30 m, Sentinel-2 10-60 m"
LICENCE = (
    "MIT, as geosr; trained on NAIP (USDA, public domain; tiles chosen by Ventura et al. 2024, CC BY 4.0), NEON (CC0), "
    "Landsat (public domain), Copernicus Sentinel data 2016-2023 (free, attribution), drone photographs (BSD-2-Clause)"
)


def gains(model: Path, val: Path) -> dict[str, dict[str, float]]:
    """For each place bicubic's PSNR and the network's gain over it, in dB, mean over bands and scenes."""
    upscaler = upscalers.load(str(model))
    found: dict[str, dict[str, float]] = {}
    for place, pattern in PLACES.items():
        scores = np.array([pair for path in sorted(val.glob(pattern)) for pair in band_scores(upscaler, path)])
        bicubic, network = scores.mean(axis=0)
        found[place] = {"bicubic": round(float(bicubic), 2), "gain": round(float(network - bicubic), 2)}
        print(f"{place:<22} bicubic {bicubic:6.2f} dB   network {network - bicubic:+.2f} dB")
    return found


def band_scores(upscaler: upscalers.Upscaler, path: Path) -> Iterator[tuple[float, float]]:
    """PSNR of bicubic and of the network for each band of a scene; the peak is the scene's range."""
    source, k = RasterSource(path, alpha="band"), upscaler.scale
    values = raster.scene_range(source)
    whole = source.read(source.profile.window)
    truth = whole[:, : whole.shape[1] // k * k, : whole.shape[2] // k * k]
    low = to_dtype(shrink(truth, k), truth.dtype)
    halo = upscaler.halo
    padded = np.pad(low, ((0, 0), (halo, halo), (halo, halo)), mode="symmetric")
    made = upscaler(padded[None], values)[0][:, halo * k : -halo * k, halo * k : -halo * k]
    for band, (low_value, high_value) in enumerate(zip(values.low, values.high, strict=True)):
        peak = high_value - low_value
        pair = [to_dtype(image[band], truth.dtype) for image in (enlarge(low, k), made)]
        yield tuple(psnr(image, truth[band], peak, k) for image in pair)  # type: ignore[misc]


def psnr(made: Any, truth: Any, peak: float, shave: int) -> float:
    inside = (slice(shave, -shave), slice(shave, -shave))
    return float(peak_signal_noise_ratio(truth[inside].astype(float), made[inside].astype(float), data_range=peak))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("--val", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True, help="the training set, with its dataset.json")
    parser.add_argument("--command", action="append", default=[], help="how it was trained; may be repeated")
    asked = parser.parse_args()
    target = cards.WEIGHTS / asked.model.name
    cards.WEIGHTS.mkdir(exist_ok=True)
    shutil.copyfile(asked.model, target)
    card = cards.describe(target, cards.digest_of(target))
    scenes = json.loads((asked.data / "dataset.json").read_text())["scenes"]
    content = {name: getattr(card, name) for name in card.__slots__} | {
        "name": asked.model.stem.rpartition("_")[0],
        "purpose": PURPOSE[card.scale],
        "training_data": f"{len(scenes)} {TRAINING_DATA}",
        "licence": LICENCE,
        "commands": asked.command,
        "date": date.today().isoformat(),
        "scores": {"PSNR over bicubic on scenes never trained on, dB": gains(target, asked.val)},
    }
    cards.write(cards.Card(**content), target)


if __name__ == "__main__":
    main()
