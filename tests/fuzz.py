"""Rasters with damaged headers, given to superresolve for a bounded time: no crash, no hang, no traceback.

    python tests/fuzz.py [--seconds 120] [--seed 0] [--keep FOLDER]

Each is processed or refused in one line. Files that break this are kept, and the exit status is 1.
"""

from __future__ import annotations

import argparse
import os
import random
import select
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path

import numpy as np
import rasterio
import rasterio.shutil
from affine import Affine
from rasterio.control import GroundControlPoint

DATA = Path(__file__).parents[1] / "data"
LONGEST = 60
"""Seconds that a file may take."""
MEMORY = 6 * 2**30
"""Bytes of address space that a worker may take."""


def make_seeds(folder: Path) -> list[Path]:
    """Small rasters of many kinds, to be damaged."""
    rng = np.random.default_rng(0)
    kinds: dict[str, dict[str, object]] = {
        "striped": {},
        "tiled": {"tiled": True, "blockxsize": 16, "blockysize": 16, "compress": "deflate", "nodata": 0},
        "big": {"BIGTIFF": "YES", "compress": "lzw", "predictor": 2},
        "bands": {"interleave": "band", "compress": "zstd"},
        "jpeg": {"compress": "jpeg", "photometric": "ycbcr"},
        "float": {"dtype": "float32", "compress": "lerc", "nodata": np.nan},
    }
    made = []
    for name, more in kinds.items():
        profile = {"driver": "GTiff", "width": 70, "height": 60, "count": 3, "dtype": "uint8", "crs": "EPSG:32633"}
        path = folder / f"{name}.tif"
        with rasterio.open(path, "w", **{**profile, **more}, transform=Affine(10, 1, 4e5, 0, -10, 5e6)) as out:
            out.write(rng.integers(1, 255, (3, 60, 70)).astype(out.dtypes[0]))
            out.update_tags(A="b", AREA_OR_POINT="Point")
            out.descriptions = ("one", "two", "three")
            if name == "striped":
                out.write_mask(np.tri(60, 70, dtype=bool))
        made.append(path)
    with rasterio.open(made[1], "r+") as out:
        out.build_overviews([2, 4])
    with rasterio.open(folder / "gcps.tif", "w", driver="GTiff", width=20, height=20, count=1, dtype="int16") as out:
        out.write(rng.integers(1, 255, (1, 20, 20)).astype("int16"))
        out.gcps = [GroundControlPoint(r, c, 10 + c, 50 - r) for r in (0, 20) for c in (0, 20)], "EPSG:4326"
    rasterio.shutil.copy(made[1], folder / "scene.vrt", driver="VRT")
    rasterio.shutil.copy(made[0], folder / "scene.png", driver="PNG")
    rasterio.shutil.copy(made[0], folder / "scene.jp2", driver="JP2OpenJPEG")
    return [*made, folder / "gcps.tif", folder / "scene.vrt", folder / "scene.png", folder / "scene.jp2"]


def damage(data: bytes, rng: random.Random) -> bytes:
    """The file with a few bytes of its ends changed, a piece missing, or both."""
    bytes_ = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 4, 16))):
        end = rng.choice((min(600, len(bytes_)), len(bytes_)))
        place = rng.randrange(end) if rng.random() < 0.7 else max(0, len(bytes_) - 1 - rng.randrange(end))
        bytes_[place] = rng.choice((0, 1, 255, 128, bytes_[place] ^ (1 << rng.randrange(8)), rng.randrange(256)))
    if rng.random() < 0.15:
        bytes_ = bytes_[: rng.randrange(len(bytes_))]
    return bytes(bytes_)


def work() -> None:
    """Super-resolves the files whose paths come on stdin, and says on stdout what came of each."""
    import resource

    from geosr import Options, super_resolve
    from geosr.errors import GeosrError

    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    options = Options(model="bicubic", scale=2)
    for line in sys.stdin:
        path = Path(line.strip())
        output = path.with_name("out.tif")
        try:
            super_resolve(path, output, options, overwrite=True, restart=True)
            told = "done"
        except GeosrError as error:
            told = "refused" if "\n" not in str(error) else f"several lines: {error!r}"
        except BaseException:
            told = "traceback " + traceback.format_exc().replace("\n", "\\n")
        print(told, flush=True)


class Worker:
    """A process that super-resolves files, started again when it dies."""

    def __init__(self) -> None:
        command = [sys.executable, os.fspath(Path(__file__).resolve()), "--work"]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )

    def outcome(self, path: Path) -> str:
        """`done`, `refused`, or what went wrong."""
        assert self.process.stdin and self.process.stdout
        self.process.stdin.write(f"{path}\n")
        self.process.stdin.flush()
        ready, _, _ = select.select([self.process.stdout], [], [], LONGEST)
        told = self.process.stdout.readline().strip() if ready else f"no end after {LONGEST} s"
        if not told:
            told = f"died with {self.process.wait()}"
        if not ready:
            self.process.kill()
            self.process.wait()
        return told


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, default=Path("fuzz"))
    parser.add_argument("--work", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.work:
        work()
        return
    rng, counts, worker = random.Random(asked.seed), {"done": 0, "refused": 0, "wrong": 0}, Worker()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        seeds = make_seeds(folder)
        end = time.monotonic() + asked.seconds
        while time.monotonic() < end:
            seed = rng.choice(seeds)
            path = folder / f"damaged{seed.suffix}"
            path.write_bytes(damage(seed.read_bytes(), rng))
            told = worker.outcome(path)
            counts[told if told in counts else "wrong"] += 1
            if told not in counts:
                asked.keep.mkdir(exist_ok=True)
                kept = asked.keep / f"{asked.seed}-{sum(counts.values())}{seed.suffix}"
                shutil.copy(path, kept)
                print(f"{kept}: {told}".replace("\\n", "\n"), flush=True)
                worker = worker if worker.process.poll() is None else Worker()
    worker.process.kill()
    print(f"{counts['done']} processed, {counts['refused']} refused, {counts['wrong']} wrong")
    sys.exit(1 if counts["wrong"] else 0)


if __name__ == "__main__":
    main()
