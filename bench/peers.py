"""geosr beside other ways to enlarge a raster, each in a process of its own, in one run.

    python bench/peers.py [--side 1024] [--rounds 3]

Prints a table in Markdown: seconds of the clock and of the processor, memory, the size of the output, its seams, and
how much of the metadata is kept. The loop over ONNX Runtime is what people write by hand: tiles of 128 without a halo,
all in memory. The network is the same. Seams are the largest difference, in steps of 8 bits, from the result with
other tiles.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray
from rasterio.enums import ColorInterp

from geosr.models import cards

SAMPLE = Path(__file__).parents[1] / "data" / "neon_osbs_rgb.tif"
NETWORK = cards.shipped_path("span", 2).with_suffix(".onnx")
TILE = 128
"""Rows and columns of the tiles of the loop."""


def make_scene(path: Path, side: int) -> None:
    """Write the sample mirrored over and over, with metadata of many kinds."""
    with rasterio.open(SAMPLE) as sample:
        image = sample.read()
    more = [(0, max(0, side - size)) for size in image.shape[1:]]
    image = np.pad(image, [(0, 0), *more], mode="symmetric")[:, :side, :side]
    with rasterio.open(
        path, "w", driver="GTiff", width=side, height=side, count=3, dtype="uint8", crs="EPSG:32617", tiled=True,
        transform=Affine(0.1, 0, 400_000, 0, -0.1, 3_280_000), nodata=0,
    ) as out:  # fmt: skip
        out.write(np.maximum(image, 1))
        out.descriptions = ("red band", "green band", "blue band")
        out.units = ("DN",) * 3
        out.scales = (0.5,) * 3
        out.colorinterp = (ColorInterp.red, ColorInterp.green, ColorInterp.blue)
        out.update_tags(MISSION="sample")


@cache
def session() -> Any:
    import onnxruntime

    return onnxruntime.InferenceSession(NETWORK)


def enlarged(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return what the network makes of an image."""
    bands = [session().run(None, {"lr": band[None, None].astype(np.float32) / 255})[0][0, 0] for band in image]
    return np.clip(np.rint(np.stack(bands) * 255), 0, 255).astype(np.uint8)


def loop(scene: str, output: str, side: int) -> None:
    """Enlarge tile by tile with ONNX Runtime, as written by hand."""
    with rasterio.open(scene) as source:
        image, profile, width, height = source.read(), source.profile, source.width, source.height
    rows = []
    for row in range(0, height, side):
        tiles = [image[:, row : row + side, col : col + side] for col in range(0, width, side)]
        rows.append(np.concatenate([enlarged(tile) for tile in tiles], axis=2))
    profile.update(width=2 * width, height=2 * height, transform=profile["transform"] * Affine.scale(0.5))
    with rasterio.open(output, "w", **profile) as out:
        out.write(np.concatenate(rows, axis=1))


def kept(scene: Path, output: Path) -> str:
    """Return how many kinds of metadata the output has from the scene."""
    with rasterio.open(scene) as source, rasterio.open(output) as out:
        checks = [
            source.crs == out.crs,
            np.allclose(source.bounds, out.bounds),
            source.nodata == out.nodata,
            source.descriptions == out.descriptions,
            source.units == out.units,
            source.scales == out.scales,
            source.colorinterp == out.colorinterp,
            out.tags().get("MISSION") == "sample",
        ]
    return f"{sum(checks)} of {len(checks)}"


@dataclass
class Road:
    """A way to enlarge a raster, and what it took in each round."""

    words: Callable[[str, str], list[str]]
    other_tiles: tuple[str, ...] = ()
    """Arguments for other tiles."""
    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    memory: int = 0

    def run(self, scene: Path, output: Path, *more: str) -> None:
        output.unlink(missing_ok=True)
        start = time.perf_counter()
        child = subprocess.Popen([*self.words(os.fspath(scene), os.fspath(output)), *more])
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        if status:
            raise SystemExit(f"{child.args} failed")
        self.wall.append(time.perf_counter() - start)
        self.cpu.append(usage.ru_utime + usage.ru_stime)
        self.memory = max(self.memory, usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024))


GEOSR = [sys.executable, "-m", "geosr", "superresolve", "-q"]
STORED = [
    "-outsize",
    "200%",
    "200%",
    "-co",
    "TILED=YES",
    "-co",
    "COMPRESS=DEFLATE",
    "-co",
    "ZLEVEL=1",
    "-co",
    "PREDICTOR=2",
]
ROADS = {
    "geosr": Road(lambda scene, output: [*GEOSR, scene, output], ("--tile", "300")),
    "ONNX Runtime, a loop": Road(lambda scene, output: [sys.executable, __file__, scene, output], ("--tile", "4096")),
    "geosr, bicubic": Road(lambda scene, output: [*GEOSR, "-m", "bicubic", scene, output], ("--tile", "300")),
    "gdal_translate -r cubic": Road(
        lambda scene, output: ["gdal_translate", "-q", "-r", "cubic", *STORED, scene, output]
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--side", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tile", type=int, default=TILE, help=argparse.SUPPRESS)
    parser.add_argument("files", nargs="*", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.files:
        loop(*options.files, options.tile)
        return
    roads = {name: road for name, road in ROADS.items() if shutil.which(road.words("", "")[0])}
    print("| | wall s | CPU s | memory MB | output MB | seams | metadata kept |\n|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        scene, output, other = (Path(folder) / name for name in ("scene.tif", "out.tif", "other.tif"))
        make_scene(scene, options.side)
        for road in [road for _ in range(options.rounds) for road in roads.values()]:
            road.run(scene, output)
        for name, road in roads.items():
            figures = f"{median(road.wall):.1f} | {median(road.cpu):.1f} | {road.memory / 1e6:.0f}"
            road.run(scene, output)
            seams: object = "none"
            if road.other_tiles:
                road.run(scene, other, *road.other_tiles)
                with rasterio.open(output) as out, rasterio.open(other) as reference:
                    seams = np.abs(out.read().astype(int) - reference.read()).max()
            print(f"| {name} | {figures} | {output.stat().st_size / 1e6:.1f} | {seams} | {kept(scene, output)} |")


if __name__ == "__main__":
    main()
