"""RAW photos, decoded by LibRaw: linear, in 16 bits, with one white balance and one demosaicing for all.

The package rawpy is optional: pip install 'geosr[raw]'.
"""

from __future__ import annotations

import os
import struct
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import ImageCms
from rasterio.enums import ColorInterp

from geosr.errors import BurstError, RasterError
from geosr.grid import Block
from geosr.rasters.profile import Profile

ENDINGS = (".dng", ".cr2", ".cr3", ".nef", ".nrw", ".arw", ".orf", ".raf", ".rw2", ".pef", ".srw")
MEMORY = 24
"""Bytes that decoding needs for a pixel."""
_ORIENTATIONS = {0: 1, 3: 3, 5: 8, 6: 6}
"""EXIF's number for each of LibRaw's."""

Balance = tuple[float, ...]
"""Factors of the pixels of a mosaic's red, green, blue and second green."""


def is_raw(path: str | os.PathLike[str]) -> bool:
    return Path(path).suffix.lower() in ENDINGS


def inspect(path: Path) -> tuple[Profile, int, Balance]:
    """Return the profile of the image as it lies, its EXIF orientation, and the white balance that the camera chose.

    Raises:
        BurstError: rawpy is not installed.
        RasterError: the file is no RAW photo that LibRaw knows.
    """
    with _opened(path) as photo:
        sizes, balance = photo.sizes, tuple(map(float, photo.camera_whitebalance))
    profile = Profile(
        sizes.width,
        sizes.height,
        3,
        "uint16",
        descriptions=(None,) * 3,
        units=(None,) * 3,
        scales=(1.0,) * 3,
        offsets=(0.0,) * 3,
        colorinterp=(ColorInterp.red, ColorInterp.green, ColorInterp.blue),
        band_tags=({},) * 3,
    )
    return profile, _ORIENTATIONS.get(sizes.flip, 1), balance if balance[0] > 0 else (1.0, 1.0, 1.0, 0.0)


def decode(path: Path, balance: Balance) -> Block:
    """Return the image (3, rows, cols) as it lies: linear light in the primaries of sRGB, in 16 bits.

    Nothing is adapted to what the photo shows, so that the photos of a burst differ in exposure alone.
    """
    import rawpy

    with _opened(path) as photo:
        try:
            image = photo.postprocess(
                demosaic_algorithm=rawpy.DemosaicAlgorithm.AHD, user_wb=list(balance), user_flip=0, gamma=(1, 1),
                output_color=rawpy.ColorSpace.sRGB, output_bps=16, no_auto_bright=True, adjust_maximum_thr=0.0,
            )  # fmt: skip
        except rawpy.LibRawError as error:
            raise RasterError(
                f"{os.fspath(path)!r} cannot be decoded ({_text(error)}); move it out of the folder"
            ) from error
    return np.ascontiguousarray(np.moveaxis(image, -1, 0))


@cache
def colour_profile() -> bytes:
    """Return the ICC profile of what `decode` returns: that of sRGB with straight curves (ICC.1:2022, 10.6)."""
    srgb = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    (count,) = struct.unpack(">I", srgb[128:132])
    for entry in range(132, 132 + 12 * count, 12):
        name, start, size = struct.unpack(">4sII", srgb[entry : entry + 12])
        if name in (b"rTRC", b"gTRC", b"bTRC"):
            srgb[start : start + size] = b"curv".ljust(size, b"\0")
            srgb[entry + 8 : entry + 12] = struct.pack(">I", 12)
    return bytes(srgb).replace("sRGB built-in".encode("utf-16-be"), "sRGB, linear ".encode("utf-16-be"))


def _opened(path: Path) -> Any:
    try:
        import rawpy
    except ModuleNotFoundError as error:
        why = "RAW photos need rawpy; install it: pip install 'geosr[raw]'"
        raise BurstError(f"{os.fspath(path)!r}: {why}") from error
    try:
        return rawpy.imread(os.fspath(path))
    except rawpy.LibRawError as error:
        raise RasterError(
            f"{os.fspath(path)!r} is not a RAW photo that can be read ({_text(error)}); move it out of the folder"
        ) from error


def _text(error: Exception) -> str:
    """Return what LibRaw said, which rawpy gives as bytes."""
    text = error.args[0] if error.args else ""
    return text.decode(errors="replace") if isinstance(text, bytes) else str(text)
