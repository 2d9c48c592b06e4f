"""Peak memory and disk of the command on a scene of 20,000 x 20,000 x 3 bytes, beside a small part of it.

    python bench/memory.py [--side 20000] [--strip 2000] [--model idn] [--memory SIZE]

The scene is sparse: a strip of it, STRIP columns wide and as high as the scene, holds an image, the rest is nodata.
It is super-resolved whole, and the strip's first STRIP rows alone. The peaks of the two must not differ.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import rasterio
from affine import Affine
from rasterio.windows import Window

SAMPLE = Path(__file__).parents[1] / "data" / "neon_osbs_rgb.tif"


def make_scene(path: Path, side: int, strip: int) -> None:
    """The sample mirrored over and over in the strip; blocks that hold nothing are not in the file."""
    with rasterio.open(SAMPLE) as sample:
        image = np.maximum(sample.read(), 1)
    repeats = -(-strip // image.shape[2])
    wide = np.pad(image, ((0, 0), (0, image.shape[1]), (0, repeats * image.shape[2])), mode="symmetric")[:, :, :strip]
    with rasterio.open(
        path, "w", driver="GTiff", width=side, height=side, count=3, dtype="uint8", nodata=0, crs="EPSG:32617",
        transform=Affine(0.1, 0, 400_000, 0, -0.1, 3_280_000), tiled=True, SPARSE_OK="TRUE", BIGTIFF="IF_SAFER",
    ) as out:  # fmt: skip
        for row in range(0, side, wide.shape[1]):
            rows = min(wide.shape[1], side - row)
            out.write(wide[:, :rows], window=Window(0, row, strip, rows))


def run(scene: Path, output: Path, *more: str) -> dict[str, float]:
    """Peak memory in MiB, time in seconds and peak disk in MB of the command."""
    command = [sys.executable, "-m", "geosr", "superresolve", os.fspath(scene), os.fspath(output), "-q", *more]
    start, peak, done = time.perf_counter(), [0], threading.Event()

    def weigh() -> None:
        while not done.wait(0.5):
            sizes = [p.stat().st_size for p in output.parent.rglob("*") if p.exists() and p.is_file()]
            peak[0] = max(peak[0], sum(sizes))

    weigher = threading.Thread(target=weigh)
    weigher.start()
    child = subprocess.Popen(command)
    _, status, usage = os.wait4(child.pid, 0)
    done.set()
    weigher.join()
    if status:
        raise SystemExit(f"{' '.join(command)} failed")
    size = output.stat().st_size
    return {
        "memory, MiB": round(usage.ru_maxrss / 1024),
        "time, s": round(time.perf_counter() - start),
        "output, MB": round(size / 1e6, 1),
        "peak disk over output": round(peak[0] / size, 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--side", type=int, default=20_000)
    parser.add_argument("--strip", type=int, default=2000)
    parser.add_argument("--model", default="idn")
    parser.add_argument("--memory", default="1.5GiB")
    asked = parser.parse_args()
    options = ("--model", asked.model, "--memory", asked.memory)
    with tempfile.TemporaryDirectory() as folder:
        scene = Path(folder) / "scene.tif"
        make_scene(scene, asked.side, asked.strip)
        parts = {
            f"{asked.strip} x {asked.strip}": ("--window", f"0,0,{asked.strip},{asked.strip}"),
            f"{asked.side} x {asked.side}, {asked.strip} columns of them not nodata": (),
        }
        for name, window in parts.items():
            out = Path(folder) / "out"
            out.mkdir()
            print(name, run(scene, out / "out.tif", *options, *window), flush=True)
            (out / "out.tif").unlink()
            out.rmdir()


if __name__ == "__main__":
    main()
