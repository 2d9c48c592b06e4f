"""Products: bands of one scene in several rasters, as Sentinel-2 SAFE and Landsat folders or archives hold them.

A product's bands are numbered through all of its rasters; those of one size and place are read as one raster.
"""

from __future__ import annotations

import os
import re
import tarfile
import xml.etree.ElementTree as ET
import zipfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from geosr.errors import OptionError, UnsupportedRaster
from geosr.rasters import gdal
from geosr.rasters.containers import description, open_raster
from geosr.rasters.profile import numbers_of
from geosr.rasters.sensors import band_keys

SENTINEL2: Mapping[str, str] = {
    "B1": "coastal",
    "B2": "blue",
    "B3": "green",
    "B4": "red",
    "B8": "nir",
    "B10": "cirrus",
    "B11": "swir1",
    "B12": "swir2",
}
OLI: Mapping[str, str] = {
    "B1": "coastal",
    "B2": "blue",
    "B3": "green",
    "B4": "red",
    "B5": "nir",
    "B6": "swir1",
    "B7": "swir2",
    "B8": "pan",
    "B9": "cirrus",
}
"""Of Landsat 8 and 9."""
TM: Mapping[str, str] = {
    "B1": "blue",
    "B2": "green",
    "B3": "red",
    "B4": "nir",
    "B5": "swir1",
    "B7": "swir2",
    "B8": "pan",
}
"""Of Landsat 4 to 7."""
PRIMARY = ("red", "green", "blue")
PICTURES = (":TCI:", ":PREVIEW:")
"""In the names of subdatasets that hold no measured values."""
ARCHIVES = {".zip": "/vsizip/", ".tar": "/vsitar/"}


@dataclass(frozen=True, slots=True)
class ProductBand:
    """A band of a product."""

    number: int
    """From 1, through the whole product."""
    name: str
    raster: str
    """GDAL's name of the raster that holds it."""
    index: int
    """Its number in that raster, from 1."""
    grid: tuple[Any, ...]
    """Equal for bands that can be read together: rows and columns, transform, CRS, data type."""
    pixel: float
    """Width of a pixel, in units of the CRS."""
    described: bool
    """The raster itself says what band it is."""


@dataclass(frozen=True, slots=True)
class Product:
    """The bands of a product."""

    path: str
    bands: tuple[ProductBand, ...]

    @property
    def grids(self) -> list[list[ProductBand]]:
        """The bands that can be read together, by their numbers."""
        return [
            [band for band in self.bands if band.grid == grid] for grid in dict.fromkeys(b.grid for b in self.bands)
        ]

    def lines(self) -> list[str]:
        """Return what belongs together, for people.

        A line for each grid: the size of a pixel, rows and columns, data type, and the bands with their numbers.
        """
        return [
            f"pixels of {bands[0].pixel:g} ({bands[0].grid[1]} x {bands[0].grid[0]}, {bands[0].grid[-1]}): "
            + ", ".join(f"{band.number} {band.name}" for band in bands)
            for bands in self.grids
        ]

    def choose(self, bands: Sequence[int | str] | None) -> list[ProductBand]:
        """Return the bands with these numbers or names; all of them if they can be read together.

        Raises:
            UnsupportedRaster: none are named, and they cannot.
            OptionError: those that are named cannot, or there is no such band.
        """
        together = "; ".join(
            f"pixels of {group[0].pixel:g}: {', '.join(band.name for band in group)}" for group in self.grids
        )
        if bands is None and len(self.grids) > 1:
            raise UnsupportedRaster(f"{self.path!r} has bands of several sizes; choose some with --bands: {together}")
        try:
            numbers = numbers_of([band.name for band in self.bands], bands or range(1, len(self.bands) + 1))
        except OptionError as error:
            raise OptionError(f"{self.path!r} has {error}; choose others with --bands") from error
        chosen = [self.bands[number - 1] for number in numbers]
        if len({band.grid for band in chosen}) > 1:
            names = " and ".join(band.name for band in {band.grid: band for band in chosen}.values())
            raise OptionError(f"{names} of {self.path!r} differ in size; choose some that belong together: {together}")
        return chosen


def find_product(path: str) -> Product | None:
    """Return the product that a folder, an archive or a file is; None if it is a plain raster, or cannot be read."""
    with suppress(*gdal.ERRORS), gdal.environment():
        if product := product_at(path):
            return product
        with open_raster(path) as dataset:
            return None if dataset.count else product_of(path, dataset)
    return None


def product_at(path: str) -> Product | None:
    """Return the product of a folder or an archive; None if it is none."""
    names = _contents(Path(path))
    main = [name for name in names if re.fullmatch(r"MTD_MSIL[12]\w+\.xml|S2._.*MTD_SAFL[12]\w+\.xml", _last(name))]
    if len(main) == 1:
        with suppress(*gdal.ERRORS), open_raster(main[0]) as dataset:
            return product_of(path, dataset)
    return _landsat(path, names)


def product_of(path: str, dataset: Any) -> Product | None:
    """Return the product of an open dataset that has no bands but subdatasets; None if none of them opens."""
    colours = SENTINEL2 if dataset.driver == "SENTINEL2" else {}
    bands: list[ProductBand] = []
    for name in dataset.subdatasets:
        if colours and any(part in name for part in PICTURES):
            continue
        with suppress(*gdal.ERRORS), open_raster(name) as raster:
            for index in raster.indexes:
                own = raster.tags(index).get("BANDNAME") or raster.descriptions[index - 1]
                number = f" {index}" if raster.count > 1 else ""
                label = own or name.rpartition(":")[2].strip('"/') + number
                bands.append(_band(len(bands) + 1, _named(label, colours), raster, (name, index), described=bool(own)))
    return Product(path, tuple(bands)) if bands else None


def raster_of(bands: Sequence[ProductBand]) -> tuple[str, list[int]]:
    """Return GDAL's name of a raster with these bands, and their numbers in it; a VRT if no single one has them."""
    if all(band.described and band.raster == bands[0].raster for band in bands):
        return bands[0].raster, [band.index for band in bands]
    whole: ET.Element | None = None
    for number, band in enumerate(bands, 1):
        with open_raster(band.raster) as raster:
            root = description(raster)
        element = root.findall("VRTRasterBand")[band.index - 1]
        if not band.described:
            _describe(element, band.name, alone=len(bands) == 1)
        if whole is None:
            whole = root
            for other in root.findall("VRTRasterBand"):
                root.remove(other)
        element.set("band", str(number))
        whole.append(element)
    return ET.tostring(whole, encoding="unicode") if whole is not None else "", list(range(1, len(bands) + 1))


def _describe(element: ET.Element, name: str, *, alone: bool) -> None:
    """Give a band of a VRT a name, and the colour that it has beside others."""
    ET.SubElement(element, "Description").text = name
    colour = element.find("ColorInterp")
    if colour is None:
        colour = ET.SubElement(element, "ColorInterp")
    colour.text = "Gray" if alone else next((c.title() for c in band_keys(name) if c in PRIMARY), "Undefined")


def _landsat(path: str, names: Sequence[str]) -> Product | None:
    """Return the product of Landsat's files, Collection 2: a band a file, and an MTL file that names the scene."""
    scenes = {match[1] for name in names if (match := re.fullmatch(r"(L.*)_MTL\.(?:txt|xml|json)", _last(name)))}
    if len(scenes) != 1:
        return None
    [scene] = scenes
    colours = OLI if re.match(r"L[CO]0[89]", scene) else TM if re.match(r"L[ET]0[4-7]", scene) else {}
    files = []
    for name in names:
        if match := re.fullmatch(re.escape(scene) + r"_((?:SR_|ST_)?)B(\d+)\.TIF", _last(name), re.IGNORECASE):
            files.append((int(match[2]), match[1].upper(), name))
    bands: list[ProductBand] = []
    for band, level, name in sorted(files):
        with open_raster(name) as raster:
            label = level + _named(f"B{band}", colours)
            bands.append(_band(len(bands) + 1, label, raster, (name, 1), described=False))
    return Product(path, tuple(bands)) if bands else None


def _band(number: int, name: str, raster: Any, place: tuple[str, int], *, described: bool) -> ProductBand:
    grid = (*raster.shape, raster.transform, str(raster.crs), raster.dtypes[place[1] - 1])
    return ProductBand(number, name, *place, grid, abs(raster.transform.a) or 1.0, described)


def _named(name: str, colours: Mapping[str, str]) -> str:
    return f"{name} ({colours[name]})" if name in colours else name


def _contents(path: Path) -> list[str]:
    """Return GDAL's names of the files at the top of a folder or an archive, or in its only folder."""
    if path.is_dir():
        files = list(path.iterdir())
        if len(files) == 1 and files[0].is_dir():
            files = list(files[0].iterdir())
        return sorted(map(os.fspath, files))
    prefix = ARCHIVES.get(path.suffix.lower())
    if prefix is None or not path.is_file():
        return []
    inside: list[str] = []
    with suppress(OSError, zipfile.BadZipFile, tarfile.TarError):
        if prefix == "/vsizip/":
            with zipfile.ZipFile(path) as archive:
                inside = archive.namelist()
        else:
            with tarfile.open(path, "r:") as archive_of_tapes:
                inside = archive_of_tapes.getnames()
    return sorted(f"{prefix}{path.absolute()}/{name}" for name in inside if name.removeprefix("./").count("/") <= 1)


def _last(name: str) -> str:
    return name.replace(os.sep, "/").rpartition("/")[2]
