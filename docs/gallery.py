"""Makes gallery/*.jpg and before_after.jpg, native pixels of nine sensors enlarged: python docs/gallery.py DATA.

DATA is the folder of imagery that bench/native.py takes.
"""

import sys
import tempfile
from pathlib import Path

import cv2
import numpy as np
import rasterio

from geosr.rasters.resample import enlarge
from geosr.superresolve import Options, super_resolve

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "bench"))
from native import steepness, unsharp  # noqa: E402

SIDE, SHOWN = 64, 256
"""Rows and columns of a crop, in pixels of the input, and of a panel."""
QUALITY = [cv2.IMWRITE_JPEG_QUALITY, 85]
SCENES = {
    "sentinel2_10m": ("val/s2_t49jgm_b2b3b4b8.tif", (3, 2, 1), 0.26),
    "sentinel2_20m": ("native/s2_t33uub_de_20m.tif", (4,), 0.33),
    "landsat8_pan": ("val/l8_pan_elkton_va.tif", (1,), 0.40),
    "landsat8_30m": ("sample/landsat8_great_salt_lake.tif", (4, 3, 2), 0.55),
    "naip_ca": ("val/naip_ca/santa_monica_2016_42.tif", (1, 2, 3), 0.4),
    "naip_nc": ("val/naip_nc_m_3607824.tif", (1, 2, 3), 0.4),
    "neon": ("val/neon_yell_541000.tif", (1, 2, 3), 0.4),
    "coast": ("val/usgs_coast_222143-3.tif", (1, 2, 3), 0.4),
    "drone": ("train/drone_brighton_0030.tif", (1, 2, 3), 0.4),
}
"""For each picture its scene, the bands that are red, green and blue, and the MTF whose blur one panel undoes."""
FIRST = {
    "sentinel2_10m": ("Sentinel-2, 10 m", {"mtf": (0.26,)}),
    "landsat8_pan": ("Landsat 8, 15 m", {}),
    "naip_ca": ("NAIP, 0.6 m", {}),
}
"""The scenes of before_after.jpg, their titles, and what is told."""


def enlarged(path, bands, window, **options):
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "out.tif"
        super_resolve(path, output, Options(bands=bands, window=window, dtype="float32", alpha="band", **options))
        with rasterio.open(output) as file:
            return file.read().astype(float)


def panel(picture, title, ends):
    """Return a picture (bands, rows, cols) as a panel in blue, green and red, with its title."""
    low, high = (np.array(end)[:, None, None] for end in ends)
    shown = np.clip((picture - low) / (high - low) * 255, 0, 255).astype(np.uint8)
    shown = shown if len(shown) == 3 else shown.repeat(3, 0)
    shown = cv2.resize(shown[::-1].transpose(1, 2, 0), (SHOWN, SHOWN), interpolation=cv2.INTER_NEAREST)
    bar = np.full((20, SHOWN, 3), 255, np.uint8)
    cv2.putText(bar, title, (2, 14), cv2.FONT_HERSHEY_SIMPLEX, 0.42, (0, 0, 0), 1, cv2.LINE_AA)
    return np.vstack([bar, shown])


def panels(path, bands, mtf):
    """Return all panels of a scene: x2 and its mask above, a blur undone and x4 below."""
    window, low, plain, ends = scene_of(path, bands)
    span = {scale: enlarged(path, bands, window, scale=scale) for scale in (2, 4)}
    idn = {scale: enlarged(path, bands, window, scale=scale, model="idn") for scale in (2, 4)}
    undone = enlarged(path, bands, window, scale=2, mtf=(mtf,))
    rows = [
        {
            "bicubic x2": plain,
            "unsharp mask, edges as span's": unsharp(span[2], plain, low),
            "span x2": span[2],
            "idn x2": idn[2],
        },
        {
            "unsharp mask, edges as the next": unsharp(undone, plain, low),
            f"span x2, --mtf {mtf:g}": undone,
            "span x4": span[4],
            "idn x4": idn[4],
        },
    ]
    return np.vstack([np.hstack([panel(picture, title, ends) for title, picture in row.items()]) for row in rows])


def before_after(data):
    """Return the picture of README: bicubic above, span below."""
    columns = []
    for name, (title, told) in FIRST.items():
        file, bands, _ = SCENES[name]
        window, _, plain, ends = scene_of(data / file, bands)
        after = enlarged(data / file, bands, window, scale=2, **told)
        words = ", ".join(f"--{option} {value[0]:g}" for option, value in told.items())
        columns.append(np.vstack([panel(plain, title, ends), panel(after, f"geosr x2 {words}", ends)]))
    return np.hstack(columns)


def scene_of(path, bands):
    """Return the window with the most edges, its pixels, their bicubic enlargement, and the ends of the stretch."""
    with rasterio.open(path) as scene:
        slope = steepness(scene.read(bands).astype(float).mean(0))
        rows, cols = (side // SIDE for side in slope.shape)
        cells = slope[: rows * SIDE, : cols * SIDE].reshape(rows, SIDE, cols, SIDE)
        row, col = np.unravel_index(np.percentile(cells, 80, axis=(1, 3)).argmax(), (rows, cols))
        window = int(col) * SIDE, int(row) * SIDE, SIDE, SIDE
        low = scene.read(bands, window=rasterio.windows.Window(*window)).astype(float)
    return window, low, enlarge(low, 2), np.percentile(low, (1, 99), axis=(1, 2))


def main():
    data, folder = Path(sys.argv[1]), ROOT / "docs" / "gallery"
    folder.mkdir(exist_ok=True)
    cv2.imwrite(str(ROOT / "docs" / "before_after.jpg"), before_after(data), QUALITY)
    for name, (file, bands, mtf) in SCENES.items():
        cv2.imwrite(str(folder / f"{name}.jpg"), panels(data / file, bands, mtf), QUALITY)


if __name__ == "__main__":
    main()
