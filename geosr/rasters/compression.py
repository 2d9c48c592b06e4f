"""Compression: one table of what GDAL's codecs can do, and the options for parts, outputs and copies made from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

BLOCK_SIZE = 256
"""Rows and columns of the output's blocks; of parts that cover whole blocks, none is compressed twice."""
DEFAULT = "DEFLATE"
LEVEL = "1"
"""Level of DEFLATE: with a predictor 1.5 to 2 times as fast as GDAL's own choice, 6, for pictures of 0.975 to 1.008
times the size; 7 times for large areas of one value, of 1.11 times the size."""


@dataclass(frozen=True, slots=True)
class Codec:
    """A compression in the words of GDAL's creation options."""

    lossless: bool = True
    """False if it changes pixels unless an option forbids it."""
    predictor: bool = False
    lossless_option: str = ""
    """The option that forbids changes when it is true."""
    lossy_option: str = ""
    """The option that allows changes when it is false."""
    error_option: str = ""
    """The option with the largest change that is allowed."""


CODECS = {
    "DEFLATE": Codec(predictor=True),
    "LZW": Codec(predictor=True),
    "ZSTD": Codec(predictor=True),
    "LERC": Codec(error_option="MAX_Z_ERROR"),
    "JPEG": Codec(lossless=False),
    "WEBP": Codec(lossless=False, lossless_option="WEBP_LOSSLESS"),
    "JXL": Codec(lossy_option="JXL_LOSSLESS"),
}
LOSSLESS_DRIVERS = {"JP2OpenJPEG": {"QUALITY": "100", "REVERSIBLE": "YES"}, "WEBP": {"LOSSLESS": "YES"}}
"""Options with which a driver does not change pixels."""
LOSSY_DRIVERS = ("JPEG",)
NAMELESS_DRIVERS = {"netCDF": {"WRITE_GDAL_HISTORY": "NO"}}
"""Options with which a driver does not write the name of the draft into the file."""
PART = {"COMPRESS": "ZSTD", "ZSTD_LEVEL": "1", "INTERLEAVE": "BAND"}
"""Options of parts: a tenth of the time of GDAL's own choice for -1 to 12 % more disk, on 8 to 64 bits, integers and
not; some builds of GDAL lack the codec."""
TILED = {"TILED": "YES", "BLOCKXSIZE": str(BLOCK_SIZE), "BLOCKYSIZE": str(BLOCK_SIZE), "BIGTIFF": "IF_SAFER"}
UNCOMPRESSED = {**TILED, "INTERLEAVE": "PIXEL"}
"""Options of temporary files that are read by windows."""


def has_predictor(compress: str) -> bool:
    """Return True for codecs that are lossless and take a predictor."""
    codec = CODECS.get(compress.upper())
    return codec is not None and codec.predictor


def creation_options(dtype: str, extra: Mapping[str, str]) -> dict[str, str]:
    """Return options for a tiled, compressed GeoTIFF with the predictor that fits the dtype; `extra` overrides."""
    options = {**TILED, "COMPRESS": DEFAULT} | {name.upper(): value for name, value in extra.items()}
    if options["COMPRESS"].upper() == DEFAULT:
        options.setdefault("ZLEVEL", LEVEL)
    if has_predictor(options["COMPRESS"]):
        options.setdefault("PREDICTOR", "3" if np.dtype(dtype).kind == "f" else "2")
    return options


def format_options(driver: str, extra: Mapping[str, str], dtype: str) -> dict[str, str]:
    """Return options for a copy in another format, lossless where that can be chosen; `extra` overrides."""
    explicit = {name.upper(): value for name, value in extra.items()}
    if driver != "COG":
        return _lossless(driver, dtype) | NAMELESS_DRIVERS.get(driver, {}) | explicit
    compress = explicit.get("COMPRESS", DEFAULT).upper()
    options = {"COMPRESS": DEFAULT, "BIGTIFF": "IF_SAFER"}
    if has_predictor(compress):
        options["PREDICTOR"] = "YES"
    if compress == DEFAULT:
        options["LEVEL"] = LEVEL
    return options | explicit


def is_lossy(driver: str, options: Mapping[str, str], dtype: str) -> bool:
    """Return True if a file written with these options in addition to our own has other pixels than it was given."""
    if lossless := _lossless(driver, dtype):
        explicit = format_options(driver, options, dtype)
        return any(_plain(explicit[name]) != _plain(value) for name, value in lossless.items())
    codec = CODECS.get(options.get("COMPRESS", "").upper().partition("_")[0], Codec())
    # COG takes this quality of WebP to mean that nothing is lost.
    forbidden = _plain(options.get(codec.lossless_option, "NO")) == "YES" or (
        driver == "COG" and bool(codec.lossless_option) and _plain(options.get("QUALITY", "")) == "100"
    )
    allowed = _plain(options.get(codec.lossy_option, "YES")) == "NO"
    error = float(options.get(codec.error_option, "0") or 0)
    return driver in LOSSY_DRIVERS or (not codec.lossless and not forbidden) or allowed or error > 0


def was_lossy(structure: Mapping[str, str]) -> bool:
    """Return True if a file's compression changed its pixels, by GDAL's IMAGE_STRUCTURE metadata."""
    kind, reversible = structure.get("COMPRESSION", ""), structure.get("COMPRESSION_REVERSIBILITY", "")
    if kind.startswith("LERC"):
        return float(structure.get(CODECS["LERC"].error_option, "0")) > 0
    lossy = [name for name, codec in CODECS.items() if not codec.lossless or codec.lossy_option]
    return "LOSSLESS" not in reversible and (bool(reversible) or any(name in kind for name in lossy))


def _lossless(driver: str, dtype: str) -> dict[str, str]:
    """Return options with which a driver does not change pixels of this type; empty if it has none, or needs none."""
    if driver == "GPKG":
        # By itself it takes JPEG for opaque tiles of three bands, and PNG has no floats.
        return {"TILE_FORMAT": "TIFF" if np.dtype(dtype).kind == "f" else "PNG"}
    return LOSSLESS_DRIVERS.get(driver, {})


def _plain(value: str) -> str:
    """Return the one spelling of the value of an option."""
    word = value.upper()
    return {"TRUE": "YES", "ON": "YES", "1": "YES", "FALSE": "NO", "OFF": "NO", "0": "NO"}.get(word, word)
