"""Makes before_after.jpg, the picture in README, from the sample scene: python docs/picture.py.

The scene is shrunk to half and enlarged again, so that the truth is known.
"""

from pathlib import Path

import cv2
import numpy as np
import rasterio

import geosr
from geosr.rasters.resample import enlarge, shrink

ROOT = Path(__file__).parents[1]
ROWS, COLS = slice(60, 324), slice(100, 364)
QUALITY = [cv2.IMWRITE_JPEG_QUALITY, 90]


def eight_bits(block):
    return np.clip(np.rint(block), 0, 255).astype(np.uint8)


with rasterio.open(ROOT / "data" / "neon_osbs_rgb.tif") as scene:
    truth = scene.read()
truth = truth[:, : truth.shape[1] // 2 * 2, : truth.shape[2] // 2 * 2]
low = eight_bits(shrink(truth, 2))
pictures = {"input, bicubic x2": eight_bits(enlarge(low, 2)), "geosr x2": geosr.load("idn", 2)(low), "truth": truth}
panels = []
for title, picture in pictures.items():
    panel = np.ascontiguousarray(picture[::-1, ROWS, COLS].transpose(1, 2, 0))
    panel[:26] //= 3
    cv2.putText(panel, title, (8, 18), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (255, 255, 255), 1, cv2.LINE_AA)
    panels += [panel, np.full((panel.shape[0], 6, 3), 255, np.uint8)]
cv2.imwrite(str(ROOT / "docs" / "before_after.jpg"), np.hstack(panels[:-1]), QUALITY)
