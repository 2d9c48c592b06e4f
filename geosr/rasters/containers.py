"""Rasters opened, among them files whose bands are subdatasets of one band each, as the variables of netCDF."""

from __future__ import annotations

import os
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any, Literal

import rasterio
import rasterio.shutil
from rasterio.io import MemoryFile

from geosr import remote
from geosr.errors import RasterError
from geosr.rasters import gdal

STACKED_DRIVERS = ("netCDF",)
MOST_TAGS, MOST_TAGS_BYTES = 10_000, 2**20
"""Tags of a raster, and bytes of them in a TIFF file: GDAL takes time that grows with their square to open it."""
TAGS_WANTED = f"more than {MOST_TAGS} tags, or a megabyte of them; remove them: gdal_edit.py -unsetmd FILE"
LARGEST_KERNEL = 999
"""Rows and columns of the kernel of a VRT."""
_METADATA = 42112
"""The field of a TIFF file that holds GDAL's tags, as XML."""


def open_raster(path: str | os.PathLike[str], **options: str) -> Any:
    """Return an open dataset; the variables of a netCDF file that are alike are its bands.

    A file that exists is never taken for a URL, whatever its name.
    """
    name = os.fspath(path)
    if ":" in name and not name.startswith("<") and Path(name).exists():
        name = os.fspath(Path(name).absolute())
    elif remote.refused(name):
        raise RasterError(f"{name!r} would be fetched from the network, which --no-remote refuses")
    if tags_bytes(name) > MOST_TAGS_BYTES:
        raise RasterError(f"{name!r} has {TAGS_WANTED}")
    if fault := _kernel_fault(name):
        raise RasterError(f"cannot read {name!r}: {fault}")
    with gdal.quiet():
        dataset = rasterio.open(name)
        if dataset.count or dataset.driver not in STACKED_DRIVERS:
            if not options:
                return dataset
            dataset.close()
            return rasterio.open(name, **options)
        stack = _stack(dataset.subdatasets)
        if not stack:
            return dataset
        dataset.close()
        return rasterio.open(stack, **options)


def tags_bytes(name: str) -> int:
    """Return the bytes of the tags in the first directory of a TIFF file; 0 for other files, and names of GDAL's own.

    Source: the TIFF specification 6.0, section 2, and that of BigTIFF.
    """
    try:
        with Path(name).open("rb") as file:
            head = file.read(16)
            order: Literal["little", "big"] = "little" if head[:2] == b"II" else "big"
            version = int.from_bytes(head[2:4], order)
            if head[:2] not in (b"II", b"MM") or version not in (42, 43):
                return 0
            start, counter, entry, word = ((4, 2, 12, 4), (8, 8, 20, 8))[version - 42]
            file.seek(int.from_bytes(head[start : start + word], order))
            count = min(int.from_bytes(file.read(counter), order), 2**16)
            directory = file.read(count * entry)
    except (OSError, ValueError, OverflowError):
        return 0
    for at in range(0, len(directory) - entry + 1, entry):
        if int.from_bytes(directory[at : at + 2], order) == _METADATA:
            return int.from_bytes(directory[at + 4 : at + 4 + word], order)
    return 0


def _kernel_fault(name: str) -> str | None:
    """Return the fault of a VRT's kernel of no size, by which GDAL crashes; None without one."""
    try:
        text = name if name.lstrip().startswith("<") else _vrt_text(Path(name))
        kernels = ET.fromstring(text).iter("Kernel") if "<Kernel" in text else ()
        for kernel in kernels:
            size, coefficients = int(kernel.findtext("Size", "")), kernel.findtext("Coefs", "").split()
            if not (0 < size <= LARGEST_KERNEL and len(coefficients) in (size, size**2)):
                return f"it has a kernel of {size} x {size} pixels with {len(coefficients)} coefficients"
    except (OSError, ET.ParseError):
        return None
    except ValueError:
        return "it has a kernel whose size is no number"
    return None


def _vrt_text(path: Path) -> str:
    """Return the text of a VRT; an empty one for other files."""
    with path.open("rb") as file:
        content = file.read(100)
        return (content + file.read()).decode(errors="replace") if b"<VRTDataset" in content else ""


def files_of(path: str | os.PathLike[str], dataset: Any) -> tuple[str, ...]:
    """Return the names of the files that a dataset, opened from this path, is read from."""
    name = os.fspath(path)
    if dataset.name.startswith("<") and not name.startswith("<") and Path(name).exists():
        return (name,)
    return tuple(file for file in dataset.files if not file.startswith("<"))


def description(dataset: Any) -> ET.Element:
    """Return GDAL's description of a dataset as a VRT, other bytes than UTF-8 escaped; empty if it has none."""
    with MemoryFile(ext=".vrt") as memory:
        try:
            rasterio.shutil.copy(dataset, memory.name, driver="VRT")
            return ET.fromstring(memory.read().decode("utf-8", "backslashreplace"))
        except (*gdal.ERRORS, ET.ParseError):
            return ET.Element("VRTDataset")


def _stack(names: list[str]) -> str:
    """Return a VRT with the subdatasets as its bands; an empty text if they are not of one band, size and place."""
    whole: ET.Element | None = None
    shapes = set()
    for number, name in enumerate(names, 1):
        with rasterio.open(name) as variable:
            shapes.add((variable.shape, variable.dtypes, variable.transform, str(variable.crs)))
            root = description(variable)
        band = root.find("VRTRasterBand")
        if band is None or len(root.findall("VRTRasterBand")) > 1 or len(shapes) > 1:
            return ""
        band.set("band", str(number))
        if whole is None:
            whole = root
        else:
            whole.append(band)
    return "" if whole is None else ET.tostring(whole, encoding="unicode")
