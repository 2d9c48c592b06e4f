"""Domains of metadata: those that are true of any grid of the same ground are carried, corrected where they must be.

What describes the file or its grid, as NITF's subheaders or ENVI's `samples`, is left out. Knows open datasets and
tags, no profiles.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from geosr.rasters import gdal

Tags = Mapping[str, Mapping[str, str]]
"""Names and values by domain; the default domain is ''. A document has its domain, as xml:XMP, for name."""

PLAIN_DRIVERS = ("GTiff", "COG", "VRT", "MEM", "PNG", "BMP", "WEBP", "HFA")
"""Drivers whose other domains are what people wrote into them, not what the format says of its grid."""
CARRIED = ("", "IMAGERY", "COLOR_PROFILE", "EXIF", "ENVI", "xml:XMP", "json:XMP")
"""Domains that stay true, from any driver."""
STORED = {
    *("IMAGE_STRUCTURE", "DERIVED_SUBDATASETS", "SUBDATASETS", "RPC", "NITF_METADATA", "CGM", "xml:TRE"),
    *("xml:gml.root-instance", "xml:VRT", "TIFF", "OVERVIEWS", "JPEG2000", "LocationInfo"),
}
"""Domains that describe the file, or that GDAL derives from what is carried otherwise."""
LOST = {"GEOLOCATION": "geolocation arrays"}
REBUILT = {"TRE": ("RPC00B", "RPC00A", "IGEOLO")}
"""Entries of a domain that GDAL writes anew from the profile."""

ENVI_SCALARS = {
    *("acquisition_time", "cloud_cover", "reflectance_scale_factor", "security_tag", "sensor_type"),
    *("sun_azimuth", "sun_elevation", "wavelength_units"),
}
ENVI_LISTS = {
    *("bbl", "data_gain_values", "data_offset_values", "fwhm", "solar_irradiance", "wavelength"),
    *("data_reflectance_gain_values", "data_reflectance_offset_values"),
}
"""Fields of an ENVI header with a value for each band."""
NITF_TRUE = {
    *("FDT", "FTITLE", "ICAT", "IDATIM", "IID1", "IID2", "ISORCE", "OSTAID", "ONAME", "OPHONE", "TGTID"),
    *("FSCLAS", "FSCODE", "FSCTLH", "FSREL", "ISCLAS", "ISCODE", "ISCTLH", "ISREL"),
}
"""Fields of NITF's headers that tell of the scene, not of the image as it is stored."""
_STORED_TAGS = {
    "ENVI": r"Band_\d+",
    "MBTiles": r"ZOOM_LEVEL|bounds|center|format|maxzoom|minzoom",
    "GPKG": r"ZOOM_LEVEL",
    "netCDF": r"_FillValue|_Unsigned|missing_value|valid_(range|min|max)|grid_mapping|coordinates|cell_measures"
    r"|NC_GLOBAL#(Conventions|GDAL)",
}
"""Tags of the default domain that describe the grid, or repeat what is carried otherwise, by driver."""
AXES = {"x", "y", "lon", "lat", "longitude", "latitude", "rlon", "rlat", "easting", "northing"}
"""Variables of netCDF that say where columns and rows lie, by custom."""
NETCDF_GLOBAL = "NC_GLOBAL#"
"""Before the names of a dataset's tags in netCDF, where those that are not its own have GDAL_ before them too."""
_STATISTICS = "STATISTICS_"

RESOLUTIONS = ("TIFFTAG_XRESOLUTION", "TIFFTAG_YRESOLUTION", "EXIF_XResolution", "EXIF_YResolution")
"""Tags that count pixels by the inch or centimetre."""
SIZES = {"EXIF_PixelXDimension": "width", "EXIF_PixelYDimension": "height"}
"""Tags that count the pixels of the whole image."""


def carried(dataset: Any, *band: int) -> dict[str, dict[str, str]]:
    """Return the tags of an open dataset, or of one of its bands, that stay true on another grid."""
    domains = {"", *dataset.tag_namespaces(*band)}
    tags = {
        ns: _true(dataset.driver, ns, _tags_of(dataset, ns, *band))
        for ns in sorted(domains)
        if _is_carried(dataset.driver, ns) and _can_be_carried(dataset, ns, *band)
    }
    return {ns: values for ns, values in tags.items() if values}


def lost(dataset: Any) -> Iterator[str]:
    """Yield words for the domains that people may miss in an output."""
    bands: list[tuple[int, ...]] = [(), *((i,) for i in dataset.indexes)]
    with gdal.collected() as lines:
        for band in bands:
            dataset.tags(*band)
    if any("decode" in line for line in lines):
        yield "tags that are not UTF-8"
    for domain in sorted({"", *(ns for band in bands for ns in dataset.tag_namespaces(*band))} - STORED):
        if domain in LOST:
            yield LOST[domain]
        elif not all(_can_be_carried(dataset, domain, *band) for band in bands):
            yield f"metadata of the domain {domain}" if domain else "tags that are not UTF-8"
        elif not _is_carried(dataset.driver, domain):
            names = sorted({*dataset.tags(ns=domain)} - {*REBUILT.get(domain, ())}) if domain in REBUILT else []
            if names or domain not in REBUILT:
                yield f"metadata of the domain {domain}" + (f" ({', '.join(names)})" if names else "")


def scaled(tags: Tags, k: int, *, width: int, height: int) -> dict[str, Mapping[str, str]]:
    """Return tags of an image of this size as they are with `k` times as many rows and columns."""
    plain = dict(tags.get("", {}))
    for name in RESOLUTIONS:
        number = re.fullmatch(r"(\(?)(\d+(?:\.\d+)?)(\)?)", plain.get(name, ""))
        if number:
            plain[name] = f"{number[1]}{float(number[2]) * k:.9g}{number[3]}"
    return _sized({**tags, "": plain}, width * k, height * k)


def cropped(tags: Tags, *, width: int, height: int) -> dict[str, Mapping[str, str]]:
    """Return tags as they are of a part of this size."""
    return _sized(tags, width, height)


def picked(tags: Tags, count: int, positions: Sequence[int]) -> dict[str, Mapping[str, str]]:
    """Return tags of an image of `count` bands as they are of the bands at these positions, from 0."""
    if "ENVI" not in tags:
        return dict(tags)
    header = dict(tags["ENVI"])
    for name in ENVI_LISTS & header.keys():
        values = [value.strip() for value in header[name].strip("{} ").split(",")]
        if len(values) == count:
            header[name] = "{" + ", ".join(values[i] for i in positions) + "}"
    return {**tags, "ENVI": header}


def has_tag(tags: Mapping[str, str], name: str, expected: str) -> bool:
    """Return True if a tag came back, a number to the seven digits that TIFF's resolutions have."""
    output = tags.get(name)
    if output is None or output == expected:
        return output == expected
    try:
        value, other = float(output), float(expected)
    except ValueError:
        return False
    return abs(value - other) <= 1e-6 * abs(other)


def parted(domain: str, tags: Mapping[str, str]) -> Mapping[str, str]:
    """Part a document at its first sign of equality, with which rasterio joins name and value."""
    if domain not in tags:
        return tags
    name, _, value = tags[domain].partition("=")
    return {name: value}


def _sized(tags: Tags, width: int, height: int) -> dict[str, Mapping[str, str]]:
    plain, sizes = dict(tags.get("", {})), {"width": width, "height": height}
    plain.update({name: str(sizes[axis]) for name, axis in SIZES.items() if name in plain})
    return {**tags, "": plain} if plain else dict(tags)


def _is_carried(driver: str, domain: str) -> bool:
    known = domain in STORED or domain in LOST or domain in REBUILT
    return domain in CARRIED or (driver in PLAIN_DRIVERS and not known)


def _true(driver: str, domain: str, tags: Mapping[str, str]) -> dict[str, str]:
    """Return the tags of a domain that are true of the ground, not of the file."""
    if domain == "ENVI":
        return {name: text for name, text in tags.items() if name in ENVI_SCALARS | ENVI_LISTS}
    if any(name.startswith(NETCDF_GLOBAL) or name == "NETCDF_VARNAME" for name in tags):
        driver = "netCDF"  # a stack of its variables is a VRT
    stored = re.compile(_STORED_TAGS.get(driver, r"(?!)"))
    return {
        name.removeprefix(f"{NETCDF_GLOBAL}GDAL_"): text
        for name, text in tags.items()
        if not (
            name.startswith(_STATISTICS)
            or stored.fullmatch(name)
            or (driver == "netCDF" and "#" in name and _is_of_grid(name, tags))
            or (driver == "NITF" and name.startswith("NITF_") and name.removeprefix("NITF_") not in NITF_TRUE)
        )
    }


def _is_of_grid(name: str, tags: Mapping[str, str]) -> bool:
    """Return True for a netCDF attribute of an axis of the map or of its projection, or of how values are stored."""
    variable, _, attribute = name.partition("#")
    axis = variable in AXES or tags.get(f"{variable}#axis") in ("X", "Y")
    projection = any(f"{variable}#{name}" in tags for name in ("GeoTransform", "spatial_ref", "grid_mapping_name"))
    return axis or projection or bool(re.fullmatch(_STORED_TAGS["netCDF"], attribute))


def _can_be_carried(dataset: Any, domain: str, *band: int) -> bool:
    try:
        _tags_of(dataset, domain, *band)
    except ValueError:
        return False
    return True


def _tags_of(dataset: Any, domain: str, *band: int) -> dict[str, str]:
    """Return the names and values of a domain; a document, as of xml:XMP, has its domain for name.

    Raises:
        ValueError: they are not UTF-8; a document without a sign of equality, which rasterio cannot write.
    """
    tags: dict[str, str] = dataset.tags(*band, ns=domain) if domain else dataset.tags(*band)
    if not (tags and domain.startswith(("xml:", "json:"))):
        return tags
    [(name, value)] = tags.items()
    document = value if name == domain else f"{name}={value}"
    if "=" not in document:
        raise ValueError(f"the document in {domain} cannot be written")
    return {domain: document}
