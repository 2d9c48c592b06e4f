"""The whole superresolve command beside the network alone on the same tiles, in one run.

    python bench/superresolve.py [--side 2048] [--model idn] [--jobs N]

Makes a scene of SIDE x SIDE x 3 bytes from the sample in data/, super-resolves it as the command does, then runs the
network alone on the very blocks that it was given. Prints output megapixels a second, the share of the time that
the network takes, and the peak memory, and writes bench/results.json.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import rasterio
from affine import Affine

from geosr import pools
from geosr.plan import Options, plan
from geosr.superresolve import super_resolve

HERE = Path(__file__).parent
SAMPLE = HERE.parent / "data" / "neon_osbs_rgb.tif"


def make_scene(path: Path, side: int) -> None:
    """The sample mirrored over and over, in blocks of 256."""
    with rasterio.open(SAMPLE) as sample:
        image = sample.read()
    repeats = -(-side // min(image.shape[1:]))
    wide = np.pad(image, ((0, 0), (0, repeats * image.shape[1]), (0, repeats * image.shape[2])), mode="symmetric")
    with rasterio.open(
        path, "w", driver="GTiff", width=side, height=side, count=3, dtype="uint8", crs="EPSG:32617", tiled=True,
        transform=Affine(0.1, 0, 400_000, 0, -0.1, 3_280_000),
    ) as out:  # fmt: skip
        out.write(wide[:, :side, :side])


def whole_job(scene: Path, output: Path, options: Options, jobs: int) -> float:
    """Seconds of super_resolve, the network being loaded already."""
    with pools.threads(jobs) as pool:
        start = time.perf_counter()
        super_resolve(scene, output, options, overwrite=True, restart=True, pool=pool)
        return time.perf_counter() - start


def network_alone(scene: Path, options: Options) -> float:
    """Seconds that the network takes for the blocks of all tiles, read and normalised beforehand."""
    job = plan(scene, options)
    seconds = 0.0
    for tile in job.grid:
        blocks = job.values.normalise(job.source.read(tile.outer))[:, None]
        start = time.perf_counter()
        job.upscaler.forward(blocks)
        seconds += time.perf_counter() - start
    return seconds


def command_memory(scene: Path, output: Path, model: str) -> float:
    """Peak memory of the command in its own process, in MiB."""
    command = [sys.executable, "-m", "geosr", "superresolve", os.fspath(scene), os.fspath(output)]
    subprocess.run([*command, "--model", model, "--overwrite", "--restart", "-q"], check=True)
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--side", type=int, default=2048)
    parser.add_argument("--model", default="idn")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    asked = parser.parse_args()
    options = Options(model=asked.model)
    with tempfile.TemporaryDirectory() as folder:
        scene, output = Path(folder) / "scene.tif", Path(folder) / "out.tif"
        make_scene(scene, asked.side)
        job = plan(scene, options)
        job.upscaler(job.source.read(job.grid[0].outer)[None], job.values)  # loads and traces the network
        whole = whole_job(scene, output, options, asked.jobs)
        alone = network_alone(scene, options)
        memory = command_memory(scene, output, asked.model)
    results = {
        "scene": f"{asked.side} x {asked.side} x 3 uint8",
        "model": job.upscaler.identity,
        "tile": job.grid.size,
        "tiles": len(job.grid),
        "whole job, s": round(whole, 2),
        "network alone on the same tiles, s": round(alone, 2),
        "share of the time in the network": round(alone / whole, 3),
        "output megapixels a second": round((asked.side * job.upscaler.scale) ** 2 / 1e6 / whole, 3),
        "peak memory of the command, MiB": round(memory),
    }
    for name, value in results.items():
        print(f"{name:<36} {value}")
    (HERE / "results.json").write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
