"""GDAL as geosr uses it, through rasterio: its options, its errors as one line, its needless warnings kept still."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import rasterio
from rasterio._err import CPLE_BaseError
from rasterio.errors import CRSError, NotGeoreferencedWarning, RasterioError
from rasterio.io import MemoryFile

CACHE = 64_000_000
"""Bytes of blocks that GDAL keeps, whatever the machine has."""
OPTIONS: Mapping[str, object] = {
    "GDAL_CACHEMAX": CACHE,
    "GDAL_PAM_ENABLED": True,
    "GDAL_TIFF_INTERNAL_MASK": True,
    "GDAL_DISABLE_READDIR_ON_OPEN": False,
    # A deprecated CRS stays what it is.
    "OSR_USE_NON_DEPRECATED": "NO",
}
ERRORS = (RasterioError, CRSError, CPLE_BaseError, UnicodeError, SystemError)
"""Exceptions of rasterio when GDAL fails; some calls pass GDAL's own on, or a SystemError if GDAL gives no reason, and
texts and names are taken for UTF-8."""


@contextmanager
def environment() -> Iterator[None]:
    """Set GDAL's options for reading and writing."""
    with rasterio.Env(**OPTIONS):
        yield


@contextmanager
def quiet() -> Iterator[None]:
    """Silence rasterio's warning that an image has no georeferencing, which is legitimate."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        yield


def plain_bitmap(path: str) -> MemoryFile | None:
    """Return a copy in memory of a BMP whose header is of Windows 95 or newer, with the older one that GDAL reads."""
    try:
        content = bytearray(Path(path).read_bytes())
    except OSError:
        return None
    if content[:2] != b"BM" or int.from_bytes(content[14:18], "little") not in (108, 124):
        return None
    # The fields of the older header come first in the newer ones; the offset of the pixels comes before both.
    content[14:18] = (40).to_bytes(4, "little")
    return MemoryFile(bytes(content), ext=".bmp")


def reason(error: BaseException) -> str:
    """Return GDAL's text of an error, on one line."""
    if isinstance(error, UnicodeEncodeError):
        return "its name is not UTF-8; rename it"
    return " ".join(str(error.__cause__ or error).split())


class _Collector(logging.Handler):
    """A list of the warnings that GDAL gives through rasterio."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage().partition(" in ")[2] or record.getMessage())


@contextmanager
def collected() -> Iterator[list[str]]:
    """Collect the warnings that GDAL gives meanwhile, which go nowhere else."""
    messages, logger = _Collector(), logging.getLogger("rasterio")
    level, propagates = logger.level, logger.propagate
    logger.addHandler(messages)
    logger.setLevel(logging.WARNING)
    logger.propagate = False
    try:
        yield messages.lines
    finally:
        logger.removeHandler(messages)
        logger.setLevel(level)
        logger.propagate = propagates
