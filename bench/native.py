"""What networks are worth at native pixels, where nothing was shrunk, and on scenes that were: one table.

    python bench/native.py DATA [--model span,idn] [--only native,mtf,bicubic,visible,consistent]

DATA holds native/ (NAME_20m.tif beside NAME_10m.tif of Sentinel-2) and val/ as described in docs/scores.md.

  native      Sentinel-2's B8A at 20 m enlarged x2, beside B8 at 10 m of the same moment: dB over bicubic, after one
              gain and one offset, since the bands differ a little. The scenes are chosen by, not trained on.
  mtf         dB over bicubic on scenes blurred and noised as Sentinel-2 is (MTF 0.26, noise 0.4 %), told so.
  bicubic     dB over bicubic on scenes shrunk by the bicubic kernel, told so.
  visible     native pixels without any truth: mean gradient on the steepest 2 % (edges), deviation of fine detail on
              the calmest 30 % (calm), both as multiples of bicubic's, and how far the 99.9th percentile goes beyond the
              5 x 5 input pixels around, in parts of the range (overshoot); in brackets those of an unsharp mask whose
              edges are as steep, which anybody can have. blocks: jumps at the lattice of JPEG's blocks over bicubic's.
  consistent  the result shrunk by the blur that was told, against the input: RMSE in units of the measured noise.
"""

from __future__ import annotations

import argparse
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, maximum_filter, minimum_filter

import geosr
from geosr.errors import GeosrError
from geosr.quality import evaluate_model
from geosr.quality.options import Options as EvaluateOptions
from geosr.rasters.degradation import Degradation
from geosr.rasters.degrading import gaussian_taps
from geosr.rasters.resample import decimate, enlarge, shrink
from geosr.rasters.source import RasterSource
from geosr.superresolve import Options, super_resolve
from geosr.superresolve.settings import noise_levels

Picture = NDArray[np.float64]
SENTINEL = 0.26
BLURRED = ("s2_t49jgm_b2b3b4b8", "l8_pan_elkton_va", "naip_nc_m_3607824", "usgs_coast_222143-3")
CROP = 512
VISIBLE: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("Sentinel-2 10 m, MTF 0.26", "s2_t49jgm_b2b3b4b8", {"mtf": (SENTINEL,)}),
    ("Sentinel-2 10 m, MTF 0.26, --limit", "s2_t49jgm_b2b3b4b8", {"mtf": (SENTINEL,), "limit": True}),
    ("Sentinel-2 10 m, natural", "s2_t49jgm_b2b3b4b8", {}),
    ("Landsat 8 pan, natural", "l8_pan_elkton_va", {}),
    ("NAIP North Carolina, natural", "naip_nc_m_3607824", {}),
    ("NEON Yellowstone, natural", "neon_yell_541000", {}),
    ("coast, natural", "usgs_coast_222143-3", {}),
)
JPEG = 8
"""Rows and columns of JPEG's blocks."""


def enlarged(path: Path, model: str, **options: object) -> Picture:
    """Return a raster (bands, rows, cols) enlarged x2, in floating point."""
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "out.tif"
        super_resolve(path, output, Options(scale=2, model=model, dtype="float32", alpha="band", **options))  # type: ignore[arg-type]
        with rasterio.open(output) as file:
            picture: Picture = file.read().astype(float)
    return picture


def native(data: Path, model: str) -> Iterator[tuple[str, str]]:
    gains = []
    for low in sorted((data / "native").glob("*_20m.tif")):
        high = low.with_name(low.name.replace("_20m", "_10m"))
        with rasterio.open(low) as coarse, rasterio.open(high) as fine:
            b8a, b8 = coarse.read(4).astype(float), fine.read(4).astype(float)
            col, row = ~coarse.transform * fine.transform @ (0, 0)
        ends = tuple(np.percentile(b8a, (0.1, 99.9)))
        result = enlarged(low, model, bands=(4,), range=ends)[0]
        # The fine grid may begin a pixel inside the coarse one.
        rows, cols = (round(2 * offset) for offset in (row, col))
        pictures = [aligned(picture, rows, cols) for picture in (result, enlarge(b8a, 2))]
        truth = aligned(b8, -rows, -cols)
        height, width = np.min([truth.shape, pictures[0].shape], axis=0)
        inner = np.s_[8 : height - 8, 8 : width - 8]
        errors = [np.mean((fitted(picture[inner], truth[inner]) - truth[inner]) ** 2) for picture in pictures]
        gains.append(10 * np.log10(errors[1] / errors[0]))
        yield low.stem.removesuffix("_20m"), f"{gains[-1]:+.2f} dB"
    yield "mean", f"{np.mean(gains):+.2f} dB"


def aligned(picture: Picture, rows: int, cols: int) -> Picture:
    return picture[max(rows, 0) :, max(cols, 0) :]


def fitted(picture: Picture, truth: Picture) -> Picture:
    gain, offset = np.polyfit(picture.ravel(), truth.ravel(), 1)
    return np.asarray(gain * picture + offset)


def mtf(data: Path, model: str) -> Iterator[tuple[str, str]]:
    sensor = Degradation(("mtf", "noise"), mtf=(SENTINEL,), noise=(0.004, 0.001))
    yield from scored(data, model, [data / "val" / f"{name}.tif" for name in BLURRED], sensor)


def bicubic(data: Path, model: str) -> Iterator[tuple[str, str]]:
    yield from scored(data, model, sorted((data / "val").glob("*.tif")), Degradation())


def scored(data: Path, model: str, paths: list[Path], degradation: Degradation) -> Iterator[tuple[str, str]]:
    gains = []
    for path in paths:
        report = evaluate_model(model, [path], EvaluateOptions(scale=2, alpha="band", degradation=degradation))
        scores = report.total
        ours, plain = scores[report.model].psnr, scores["bicubic"].psnr
        gains.append((ours or 0) - (plain or 0))
        yield path.stem, f"{gains[-1]:+.2f} dB"
    yield "mean", f"{np.mean(gains):+.2f} dB"


def visible(data: Path, model: str) -> Iterator[tuple[str, str]]:
    for name, scene, options in VISIBLE:
        path = data / "val" / f"{scene}.tif"
        with rasterio.open(path) as file:
            width, height = min(CROP, file.width), min(CROP, file.height)
            window = ((file.width - width) // 2, (file.height - height) // 2, width, height)
            low = file.read(window=rasterio.windows.Window(*window)).astype(float)
        result = enlarged(path, model, window=window, **options)
        rows = [measures(result[b], low[b]) for b in range(len(low))]
        edges, calm, over, mask_calm, mask_over, blocks = np.mean(rows, axis=0)
        yield (
            name,
            (
                f"edges x{edges:.2f}, calm x{calm:.2f} ({mask_calm:.2f}), overshoot {over:.1%} ({mask_over:.1%}), "
                f"blocks x{blocks:.2f}"
            ),
        )


def measures(result: Picture, low: Picture) -> tuple[float, ...]:
    plain = enlarge(low, 2)
    edges, calm, over = look(result, plain, low)
    _, mask_calm, mask_over = look(masked(result, plain, low), plain, low)
    return edges, calm, over, mask_calm, mask_over, blocks(result) / max(blocks(plain), 1e-12)


def unsharp(result: Picture, plain: Picture, low: Picture) -> Picture:
    """Return bicubic's bands (bands, rows, cols) under unsharp masks whose edges are as steep as the result's."""
    return np.stack([masked(*bands) for bands in zip(result, plain, low, strict=True)])


def masked(result: Picture, plain: Picture, low: Picture) -> Picture:
    edges, detail = look(result, plain, low)[0], plain - gaussian_filter(plain, 2)
    least, most = 0.0, 4.0
    for _ in range(8):  # edges grow with the amount
        amount = (least + most) / 2
        steep = look(plain + amount * detail, plain, low)[0] < edges
        least, most = (amount, most) if steep else (least, amount)
    return np.asarray(plain + amount * detail)


def look(picture: Picture, plain: Picture, low: Picture) -> tuple[float, float, float]:
    span = max(float(np.subtract(*np.percentile(low, (99.9, 0.1)))), 1e-9)
    slope = steepness(gaussian_filter(plain, 1))
    edge, calm = slope >= np.percentile(slope, 98), slope <= np.percentile(slope, 30)
    k = plain.shape[0] // low.shape[0]
    top, bottom = (np.kron(ends(low, 5), np.ones((k, k))) for ends in (maximum_filter, minimum_filter))
    over = max(0.0, float(np.percentile(np.maximum(picture - top, bottom - picture), 99.9)) / span)
    rough = fine(picture)[calm].std() / max(fine(plain)[calm].std(), 1e-9)
    return float(steepness(picture)[edge].mean() / steepness(plain)[edge].mean()), float(rough), over


def steepness(picture: Picture) -> Picture:
    return np.asarray(np.hypot(*np.gradient(gaussian_filter(picture, 0.5))))


def fine(picture: Picture) -> Picture:
    return np.asarray(picture - gaussian_filter(picture, 2))


def blocks(picture: Picture) -> float:
    """Return the excess of jumps across the lattice of JPEG's blocks, enlarged x2, over those elsewhere."""
    excess = 0.0
    for axis in (0, 1):
        jumps = np.abs(np.diff(picture, 2, axis=axis)).mean(axis=1 - axis)
        phases = np.array([jumps[i :: 2 * JPEG].mean() for i in range(2 * JPEG)])
        excess += float(phases.max() / np.median(phases)) - 1
    return excess


def consistent(data: Path, model: str) -> Iterator[tuple[str, str]]:
    for name, scene, options in VISIBLE:
        path = data / "val" / f"{scene}.tif"
        source = RasterSource(path, alpha="band")
        noise = np.array(noise_levels(source))
        with rasterio.open(path) as file:
            low = file.read().astype(float)
        result = enlarged(path, model, **options)
        rows, cols = (length // 2 * 2 for length in result.shape[1:])
        gains = options.get("mtf")
        back = decimate(result, 2, gaussian_taps(gains[0], 2)) if gains else shrink(result[:, :rows, :cols], 2)
        off = np.sqrt(np.mean((back - low)[:, 8:-8, 8:-8] ** 2, axis=(1, 2)))
        yield name, ", ".join(f"{ratio:.2f}" for ratio in off / noise)


MEASURES: dict[str, Callable[[Path, str], Iterator[tuple[str, str]]]] = {
    "native": native,
    "mtf": mtf,
    "bicubic": bicubic,
    "visible": visible,
    "consistent": consistent,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--model", default="span,idn")
    parser.add_argument("--only", default=",".join(MEASURES))
    args = parser.parse_args()
    warnings.filterwarnings("ignore")
    print(f"geosr {geosr.__version__}\n\n| measure | scene | {args.model.replace(',', ' | ')} |")
    print("|---|---|" + "---|" * len(args.model.split(",")))
    for measure in args.only.split(","):
        for rows in zip(*(MEASURES[measure](args.data, model) for model in args.model.split(",")), strict=True):
            print(f"| {measure} | {rows[0][0]} | {' | '.join(text for _, text in rows)} |", flush=True)


if __name__ == "__main__":
    try:
        main()
    except GeosrError as error:
        raise SystemExit(f"Error: {error}") from error
