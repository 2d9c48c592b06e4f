"""Bursts made for the tests: one scene seen by a camera that moves in a known way."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import rasterio

from geosr.burst.homography import apply
from geosr.burst.hugin import INSTALL, TOOLS

SIZE = 420, 320


def need_hugin():
    """Skips a test, aloud, where Hugin is not installed."""
    if not all(map(shutil.which, TOOLS)):
        pytest.skip(f"needs Hugin; install it with: {INSTALL.get(sys.platform, INSTALL['linux'])}")


def scene(width, height, *, seed=0, bands=3):
    """Discs that hide each other (rows, cols, bands), of 20 to 230."""
    rng = np.random.default_rng(seed)
    image = np.full((height, width, bands), 90, np.float32)
    for radius in np.sort(rng.uniform(3, 24, width * height // 250))[::-1]:
        x, y = int(rng.uniform(0, width)), int(rng.uniform(0, height))
        colour = [float(v) for v in rng.uniform(20, 230, 4)[:bands]]
        cv2.circle(image, (x, y), int(radius), colour, -1, cv2.LINE_AA)
    return cv2.GaussianBlur(image, (0, 0), 1.0)


def moves(count, *, seed=1, reach=6.0, turn=0.25, size=SIZE):
    """Matrices from the first frame to each: none for it, then shifts and turns about the middle."""
    rng = np.random.default_rng(seed)
    centre = (np.array(size) - 1) / 2
    made = [np.eye(3)]
    for _ in range(count - 1):
        angle, shift = np.radians(rng.uniform(-turn, turn)), rng.uniform(-reach, reach, 2)
        matrix = np.eye(3)
        matrix[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
        matrix[:2, 2] = centre + shift - matrix[:2, :2] @ centre
        made.append(matrix)
    return made


def frames(matrices, *, noise=3.0, seed=0, size=SIZE, bands=3, dtype="uint8"):
    """What the camera sees (frames, rows, cols, bands): the scene moved, with noise."""
    border, rng = 40, np.random.default_rng(seed + 100)
    whole = scene(size[0] + 2 * border, size[1] + 2 * border, seed=seed, bands=bands)
    whole = whole[..., None] if whole.ndim == 2 else whole
    out = np.eye(3)
    out[:2, 2] = border
    top = np.iinfo(dtype).max if np.dtype(dtype).kind in "iu" else 1.0
    made = []
    for matrix in matrices:
        how = cv2.INTER_LANCZOS4 | cv2.WARP_INVERSE_MAP
        image = cv2.warpPerspective(whole, out @ np.linalg.inv(matrix), size, flags=how).reshape(size[1], size[0], -1)
        image = (image + rng.normal(0, noise, image.shape)) / 255 * top
        made.append((np.clip(np.rint(image), 0, top) if top > 1 else image).astype(dtype))
    return np.stack(made)


def save(path: Path, image, **profile):
    """Writes (rows, cols, bands) as what the name's ending says."""
    driver = {".jpg": "JPEG", ".png": "PNG", ".tif": "GTiff"}[path.suffix]
    more = {"quality": 97} if driver == "JPEG" else {}
    if driver == "GTiff":
        more = {"photometric": "RGB" if image.shape[-1] >= 3 else "MINISBLACK"}
    rows, cols, bands = image.shape
    with rasterio.open(
        path, "w", driver=driver, width=cols, height=rows, count=bands, dtype=image.dtype, **{**more, **profile}
    ) as out:
        out.write(np.moveaxis(image, -1, 0))
    return path


def save_burst(folder: Path, images, *, ending=".tif", **profile):
    """Writes 1.tif, 2.tif, ... into a folder and returns it."""
    folder.mkdir(parents=True, exist_ok=True)
    for i, image in enumerate(images, 1):
        save(folder / f"{i}{ending}", image, **profile)
    return folder


def distance(found, true, size=SIZE):
    """Mean distance between where two matrices put a grid of points."""
    rows, cols = np.mgrid[0.1:0.9:7j, 0.1:0.9:7j]
    points = np.column_stack([cols.ravel() * size[0], rows.ravel() * size[1]])
    return float(np.linalg.norm(apply(found, points) - apply(true, points), axis=1).mean())


def fake_tool(folder: Path, name: str, script: str):
    """An executable that stands in for one of Hugin's."""
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def save_dng(path: Path, image, *, neutral=(1.0, 1.0, 1.0), orientation=1):
    """Writes linear light (rows, cols, 3) of 0 to 1 as the DNG of a camera with the primaries of sRGB.

    Its mosaic is red, green / green, blue; `neutral` is what it sees of white (DNG 1.6, chapter 4).
    """
    seen = np.asarray(image) * np.array(neutral)
    mosaic = seen[..., 1].copy()
    mosaic[::2, ::2], mosaic[1::2, 1::2] = seen[::2, ::2, 0], seen[1::2, 1::2, 2]
    return save_mosaic(path, mosaic, neutral=neutral, orientation=orientation)


def save_mosaic(path: Path, mosaic, *, neutral=(1.0, 1.0, 1.0), orientation=1):
    """Writes what the sensor of that camera saw (rows, cols) as a DNG."""
    import tifffile

    from_xyz = np.linalg.inv(
        [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
    )
    rationals = [int(v) for value in (from_xyz.ravel() * 10**7).round() for v in (value, 10**7)]
    whites = [int(v) for value in neutral for v in (round(value * 10**6), 10**6)]
    tags = [
        (274, 3, 1, orientation, True),
        (33421, 3, 2, (2, 2), True),
        (33422, 1, 4, bytes([0, 1, 1, 2]), True),
        (50706, 1, 4, bytes([1, 4, 0, 0]), True),
        (50708, 2, 0, "geosr test camera", True),
        (50717, 4, 1, 65535, True),
        (50721, 10, 9, rationals, True),
        (50728, 5, 3, whites, True),
        (50778, 3, 1, 21, True),
    ]
    light = (mosaic.clip(0, 1) * 65535).round().astype("uint16")
    tifffile.imwrite(path, light, photometric=32803, extratags=tags, metadata=None, subfiletype=0)
    return path
