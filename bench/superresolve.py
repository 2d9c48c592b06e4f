"""What geosr superresolve costs beside what it could cost, as ratios of figures that are measured in one run.

    python bench/superresolve.py [--only NAME]... [--check] [--side 2048] [--megapixels 1,4,16,64] [--rounds 3] [--cpu]
        [--weights IDN_x2.caffemodel]

Prints a table in Markdown and writes bench/results.json, or with --check compares with it and fails where a ratio is
more than a tenth worse. The two sides of a ratio take turns, and each figure is the median of its rounds. On a machine
that others use, --cpu counts seconds of the processor. The scene is the sample in data/, mirrored over and over.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

import cv2
import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray
from scipy.optimize import curve_fit

from geosr import pools
from geosr.rasters.profile import Profile
from geosr.superresolve import budget
from geosr.superresolve.job import write
from geosr.superresolve.options import Options
from geosr.superresolve.plan import Plan, make_plan
from geosr.superresolve.upscalers import load_upscaler

HERE = Path(__file__).parent
RESULTS = HERE / "results.json"
SAMPLE = HERE.parent / "data" / "neon_osbs_rgb.tif"
TOLERATED = 1.1
"""Largest factor by which a ratio may be worse than the stored one."""
NETWORKS = ("idn", "span")


@dataclass(frozen=True)
class Ratio:
    """One figure over another, both measured in this run."""

    ratio: float
    figures: dict[str, float]
    less_is_better: bool = True
    goal: str = ""
    machine: str = field(default_factory=lambda: f"{platform.machine()}, {os.cpu_count()} cores, {platform.system()}")
    versions: dict[str, str] = field(
        default_factory=lambda: {name: version(name) for name in ("geosr", "numpy", "rasterio", "tensorflow")}
    )


@dataclass(frozen=True)
class Bench:
    """The options of the run, and a folder for its outputs."""

    folder: Path
    side: int
    megapixels: tuple[float, ...]
    rounds: int
    cpu: bool
    weights: Path | None = None

    def scene(self, width: int, height: int, bands: int = 3) -> Path:
        """The scene of this size, made if it is not there."""
        path = self.folder / f"{width}x{height}x{bands}.tif"
        if not path.exists():
            make_scene(path, width, height, bands)
        return path

    def seconds(self, work: Callable[[], object]) -> float:
        """Measure the seconds a piece of work takes: of the processors with `cpu`, of the clock without."""

        def now() -> float:
            used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
            return sum(one.ru_utime + one.ru_stime for one in used) if self.cpu else time.perf_counter()

        start = now()
        work()
        return now() - start

    def medians(self, **works: Callable[[], object]) -> dict[str, float]:
        """Measure several pieces of work, one after the other in each round; medians of the rounds."""
        rounds = [{name: self.seconds(work) for name, work in works.items()} for _ in range(self.rounds)]
        return {name: round(median(found[name] for found in rounds), 3) for name in works}


def make_scene(path: Path, width: int, height: int, bands: int = 3) -> None:
    """The sample mirrored over and over, in blocks of 256."""
    with rasterio.open(SAMPLE) as sample:
        image = sample.read()[:bands]
    more = max(0, height - image.shape[1]), max(0, width - image.shape[2])
    wide = np.pad(image, ((0, 0), (0, more[0]), (0, more[1])), mode="symmetric")
    with rasterio.open(
        path, "w", driver="GTiff", width=width, height=height, count=bands, dtype="uint8", crs="EPSG:32617", tiled=True,
        transform=Affine(0.1, 0, 400_000, 0, -0.1, 3_280_000),
    ) as out:  # fmt: skip
        out.write(wide[:, :height, :width])


def loaded(scene: Path, model: str) -> Plan:
    """The plan for a scene, and its network ready for blocks of any shape."""
    job = make_plan(scene, Options(model=model, scale=2))
    for shape in ((32, 40), (40, 32)):
        job.upscaler(np.zeros((1, 3, *shape), "uint8"), job.values)
    return job


def whole(job: Plan, bench: Bench) -> None:
    """The job as the command does it, start-up apart."""
    output = bench.folder / "out.tif"
    output.unlink(missing_ok=True)
    with pools.threads(job.workers(os.cpu_count() or 1)) as pool:
        write(job, output, restart=True, pool=pool)


def alone(job: Plan, blocks: list[Any]) -> None:
    """The network on blocks that were read and normalised before."""
    for block in blocks:
        job.upscaler.forward(block)


def against_network(bench: Bench) -> dict[str, Ratio]:
    """The whole job over the network alone on the same tiles."""
    found = {}
    for model in NETWORKS:
        job = loaded(bench.scene(bench.side, bench.side), model)
        around = job.source.profile.window.pad(job.upscaler.halo)
        read = [job.source.read(tile.outer.intersection(around)).block for tile in job.tiles]
        blocks = [job.values.normalise(block)[:, None] for block in read]
        took = bench.medians(whole=partial(whole, job, bench), network=partial(alone, job, blocks))
        found[f"whole command over the network alone, {model} x2"] = Ratio(
            took["whole"] / took["network"], took, goal="1.05"
        )
    return found


def original(job: Plan, scene: Path, output: Path) -> None:
    """As the original program does: OpenCV's image, tiles without a halo, a call for each, all of it in memory."""
    from geosr import models

    model = models.load(job.upscaler.path)
    image = cv2.imread(os.fspath(scene)).astype(np.float32) / 255
    rows = []
    for row in np.array_split(image, job.grid.rows):
        tiles = np.array_split(row, job.grid.cols, axis=1)
        made = [model.predict(tile.transpose(2, 0, 1)[..., None], verbose=0)[..., 0] for tile in tiles]
        rows.append(np.concatenate(made, axis=2))
    whole = np.concatenate(rows, axis=1).transpose(1, 2, 0)
    cv2.imwrite(os.fspath(output), np.clip(whole * 255, 0, 255).astype(np.uint8))


def against_original(bench: Bench) -> dict[str, Ratio]:
    """The whole job over the original program's way."""
    scene, found = bench.scene(bench.side, bench.side), {}
    for model in NETWORKS:
        job = loaded(scene, model)
        took = bench.medians(
            whole=partial(whole, job, bench), original=partial(original, job, scene, bench.folder / "original.png")
        )
        found[f"whole command over the original program's way, {model} x2"] = Ratio(
            took["whole"] / took["original"], took
        )
    return found


def command(scene: Path, output: Path, *options: str) -> int:
    """Runs the command; its peak memory in bytes."""
    output.unlink(missing_ok=True)
    words = [sys.executable, "-m", "geosr", "superresolve", os.fspath(scene), os.fspath(output), "-q", *options]
    child = subprocess.Popen(words)
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if status:
        raise SystemExit(f"{' '.join(words)} failed")
    return usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def start(bench: Bench) -> dict[str, Ratio]:
    """Measure the command on a scene of 64 x 64, which is mostly its start, beside TensorFlow's."""
    scene, output = bench.scene(64, 64), bench.folder / "out.tif"
    took = bench.medians(
        default=partial(command, scene, output),
        tensorflow=partial(command, scene, output, "--backend", "tensorflow"),
    )
    return {"64 x 64 x 3 by default over TensorFlow, span x2": Ratio(took["default"] / took["tensorflow"], took)}


def default(bench: Bench) -> dict[str, Ratio]:
    """Measure time and memory of the command on a scene of 1024 x 1024, beside TensorFlow's."""
    scene, output = bench.scene(1024, 1024), bench.folder / "out.tif"
    peaks: dict[str, int] = {}

    def run(backend: str) -> None:
        peaks[backend] = round(command(scene, output, "--backend", backend) / 2**20)

    took = bench.medians(default=partial(run, "auto"), tensorflow=partial(run, "tensorflow"))
    name = "1024 x 1024 x 3 by default over TensorFlow, span x2"
    return {
        f"time, {name}": Ratio(took["default"] / took["tensorflow"], took, goal="0.5"),
        f"MiB, {name}": Ratio(peaks["auto"] / peaks["tensorflow"], dict(peaks), goal="0.5"),
    }


def growth_exponent(pixels: NDArray[np.float64], seconds: NDArray[np.float64]) -> float:
    """The exponent p for which start + rate * pixels**p comes nearest to the seconds, each by its share."""

    def taken(pixels: NDArray[np.float64], start: float, rate: float, power: float) -> NDArray[np.float64]:
        return start + rate * pixels**power

    rate = np.ptp(seconds) / np.ptp(pixels)
    guess = max(0.0, seconds[0] - rate * pixels[0]), rate, 1.0
    found, _ = curve_fit(taken, pixels, seconds, guess, sigma=seconds, bounds=(0, np.inf))
    return float(found[2])


def growth(bench: Bench) -> dict[str, Ratio]:
    """Time and memory of the command as the scene, of one band, grows."""
    found = {}
    for model in ("bicubic", "span"):
        sides = [round((1e6 * size) ** 0.5) for size in bench.megapixels]
        peaks: dict[int, int] = {}

        def run(side: int, model: str = model, peaks: dict[int, int] = peaks) -> None:
            peaks[side] = command(bench.scene(side, side, 1), bench.folder / "out.tif", "-m", model)

        run(sides[0])  # what is read from the disk for the first time is not the scene's
        took = bench.medians(**{str(side): partial(run, side) for side in sides})
        seconds = [took[str(side)] for side in sides]
        exponent = growth_exponent(np.square(sides) / 1e6, np.array(seconds))
        labels = [f"{size:g} MP" for size in bench.megapixels]
        found[f"exponent of time over pixels, {model} x2"] = Ratio(
            exponent, dict(zip(labels, seconds, strict=True)), goal="1.00 ± 0.05"
        )
        memory = {label: round(peaks[side] / 2**20) for label, side in zip(labels, sides, strict=True)}
        found[f"memory of the largest over that of the second scene, {model} x2"] = Ratio(
            memory[labels[-1]] / memory[labels[min(1, len(labels) - 1)]], memory, goal="1.00"
        )
    return found


def peak(bench: Bench) -> dict[str, Ratio]:
    """The share of the processor's speed in a large product of matrices that the networks reach."""
    import tensorflow as tf

    side, found = 4096, {}
    matrix = tf.random.normal((side, side))
    tile = np.random.default_rng(0).random((1, 1, 512, 512), "float32")
    for name in NETWORKS:
        network = load_upscaler(name, 2)
        flops = 2 * network.card.multiply_adds * tile.size
        network.forward(tile)
        took = bench.medians(product=lambda: tf.matmul(matrix, matrix).numpy(), network=partial(network.forward, tile))
        speeds = {
            "network, GFLOP/s": round(flops / took["network"] / 1e9, 1),
            "product, GFLOP/s": round(2 * side**3 / took["product"] / 1e9, 1),
        }
        found[f"share of the processor's speed, {name} x2"] = Ratio(
            speeds["network, GFLOP/s"] / speeds["product, GFLOP/s"], speeds, less_is_better=False
        )
    return found


def against_gdalwarp(bench: Bench) -> dict[str, Ratio]:
    """Bicubic enlargement by the command over that by gdalwarp, both with their start-up."""
    if not shutil.which("gdalwarp"):
        print("gdalwarp is not here: apt-get install gdal-bin", file=sys.stderr)
        return {}
    scene, output, other = bench.scene(4096, 4096), bench.folder / "out.tif", bench.folder / "warped.tif"
    stored = ("TILED=YES", "BLOCKXSIZE=256", "BLOCKYSIZE=256", "COMPRESS=DEFLATE", "ZLEVEL=1", "PREDICTOR=2")
    words = ["gdalwarp", "-q", "-overwrite", "-r", "cubic", "-multi", "-wo", f"NUM_THREADS={os.cpu_count()}"]
    words += ["-ts", "8192", "8192", *(word for pair in stored for word in ("-co", pair))]
    warp = partial(subprocess.run, [*words, os.fspath(scene), os.fspath(other)], check=True)
    took = bench.medians(geosr=partial(command, scene, output, "-m", "bicubic"), gdalwarp=warp)
    return {"bicubic x2 over gdalwarp -r cubic": Ratio(took["geosr"] / took["gdalwarp"], took, goal="1.5")}


def against_onnxruntime(bench: Bench) -> dict[str, Ratio]:
    """The whole job with the IDN authors' weights over a plain loop of ONNX Runtime, without halos, all in memory."""
    import onnxruntime

    from geosr import models
    from geosr.models import caffe, inference

    if not bench.weights:
        print("the IDN authors' weights are not here: --weights IDN_x2.caffemodel", file=sys.stderr)
        return {}
    network = caffe.read_idn(bench.weights, 2)
    keras_file, onnx_file = bench.folder / "published_x2.keras", bench.folder / "published_x2.onnx"
    models.save(network, keras_file)
    inference.as_onnx(network, onnx_file)
    scene = bench.scene(bench.side, bench.side)
    job, session = loaded(scene, os.fspath(keras_file)), onnxruntime.InferenceSession(os.fspath(onnx_file))

    def plain() -> None:
        with rasterio.open(scene) as read:
            image = read.read()[:, None].astype(np.float32) / 255
        rows = []
        for row in np.array_split(image, job.grid.rows, axis=2):
            tiles = np.array_split(row, job.grid.cols, axis=3)
            rows.append(np.concatenate([session.run(None, {"lr": tile})[0] for tile in tiles], axis=3))
        made = np.clip(255 * np.concatenate(rows, axis=2)[:, 0], 0, 255).astype(np.uint8)
        with rasterio.open(
            bench.folder / "plain.tif", "w", driver="GTiff", width=made.shape[2], height=made.shape[1], count=3,
            dtype="uint8", tiled=True, compress="deflate", predictor=2,
        ) as out:  # fmt: skip
            out.write(made)

    took = bench.medians(whole=partial(whole, job, bench), plain=plain)
    return {
        "whole command over a plain ONNX Runtime loop, published IDN x2": Ratio(took["whole"] / took["plain"], took)
    }


def fewer_bits(bench: Bench) -> dict[str, Ratio]:
    """The time of a tile in fewer bits over that in 32: bfloat16 on TensorFlow, 8 bits on OpenVINO."""
    from geosr.models import cards, exports, runtimes

    with rasterio.open(SAMPLE) as sample:
        image = sample.read().astype(np.float32) / 255
    places = np.random.default_rng(0).integers(0, min(image.shape[1:]) - 64, (100, 2))
    tiles = [image[n % 3, None, row : row + 64, col : col + 64] for n, (row, col) in enumerate(places)]
    block = np.random.default_rng(0).random((1, 1, 512, 512), np.float32)
    found = {}
    for card in cards.shipped():
        path = cards.shipped_path(card.name, card.scale)
        if path.suffix != ".keras":
            continue
        small = bench.folder / f"{path.stem}.xml"
        exports.quantize(path, small, tiles)
        pairs = {
            "8 bits over 32, OpenVINO": (runtimes.load(small), runtimes.load(path, "openvino")),
            "bfloat16 over float32, TensorFlow": (
                runtimes.load(path, precision="bfloat16"),
                runtimes.load(path, "tensorflow"),
            ),
        }
        for what, (less, full) in pairs.items():
            less(block), full(block)
            took = bench.medians(less=partial(less, block), full=partial(full, block))
            found[f"{what}, {path.stem}"] = Ratio(took["less"] / took["full"], took)
    return found


def workers(bench: Bench) -> dict[str, Ratio]:
    """The whole job on two Dask workers of this machine over that on one, which may use as many threads.

    By the clock on the wall, whatever is asked for: the processor's seconds of workers are told when they end.
    """
    bench = replace(bench, cpu=False)
    job = make_plan(bench.scene(bench.side, bench.side), Options(model="span", scale=2))
    output, clusters = bench.folder / "out.tif", ExitStack()
    with clusters:
        run = {}
        for name, count in (("two", 2), ("one", 1)):
            pool = clusters.enter_context(pools.dask("local", workers=count))

            def work(pool: Any = pool) -> None:
                output.unlink(missing_ok=True)
                write(job, output, restart=True, pool=pool)

            work()  # the network is loaded
            run[name] = work
        took = bench.medians(**run)
    return {"two Dask workers over one, span x2": Ratio(took["two"] / took["one"], took)}


def halos(_: Bench) -> dict[str, Ratio]:
    """The most pixels that a network is given over those of the scene, on scenes of many sizes."""
    found = {}
    for model in NETWORKS:
        for scale in (2, 4):
            upscaler, works = load_upscaler(model, scale), {}
            for side in (1024, 1500, 2048, 3000, 4096, 8192, 20_000):
                profile = Profile(side, side, 3, "uint8")
                size = budget.tile_size(profile, upscaler)
                works[str(side)] = round(budget.pixels(size, profile, upscaler.halo) / side**2, 3)
            found[f"pixels computed over pixels of the scene, {model} x{scale}"] = Ratio(
                max(works.values()), works, goal="1.12"
            )
    return found


BENCHMARKS: dict[str, Callable[[Bench], dict[str, Ratio]]] = {
    "halos": halos,
    "start": start,
    "default": default,
    "network": against_network,
    "original": against_original,
    "growth": growth,
    "peak": peak,
    "gdalwarp": against_gdalwarp,
    "onnxruntime": against_onnxruntime,
    "bits": fewer_bits,
    "workers": workers,
}


def worse(found: dict[str, Any], stored: dict[str, Any]) -> list[str]:
    """The ratios that are more than a tenth worse than those stored under their names, in words."""
    said = []
    for name in found.keys() & stored.keys():
        now, then = found[name]["ratio"], stored[name]["ratio"]
        if (now / then if found[name]["less_is_better"] else then / now) > TOLERATED:
            said.append(f"{name}: {now:.3f}, was {then:.3f}")
    return sorted(said)


def table(results: dict[str, Any]) -> str:
    """The results in Markdown."""
    lines = ["| | ratio | goal | figures |", "|---|---|---|---|"]
    for name, one in results.items():
        figures = ", ".join(f"{what} {value:g}" for what, value in one["figures"].items())
        lines.append(f"| {name} | {one['ratio']:.3f} | {one['goal']} | {figures} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", action="append", choices=list(BENCHMARKS))
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--side", type=int, default=2048)
    parser.add_argument("--megapixels", default="1,4,16,64")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--cpu", action="store_true")
    parser.add_argument("--weights", type=Path, help="the IDN authors' IDN_x2.caffemodel, to compare with a plain loop")
    asked = parser.parse_args()
    sizes = tuple(float(size) for size in asked.megapixels.split(","))
    stored = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder), asked.side, sizes, asked.rounds, asked.cpu, asked.weights)
        for name in asked.only or BENCHMARKS:
            told = {"rounds": asked.rounds, "clock": "processor" if asked.cpu else "wall"}
            found |= {what: asdict(ratio) | told for what, ratio in BENCHMARKS[name](bench).items()}
            print(f"{name}: done", file=sys.stderr)
    print(table(found))
    if asked.check:
        if said := worse(found, stored):
            raise SystemExit("worse than in bench/results.json:\n" + "\n".join(said))
        return
    RESULTS.write_text(json.dumps(stored | found, indent=1) + "\n")


if __name__ == "__main__":
    main()
