"""What a raster is, apart from its pixels: read off a dataset, and carried to another size or part of it."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import zip_longest
from typing import Any

import numpy as np
import rasterio.shutil
from affine import Affine
from rasterio.control import GroundControlPoint
from rasterio.crs import CRS
from rasterio.enums import ColorInterp, MaskFlags
from rasterio.io import MemoryFile
from rasterio.rpc import RPC
from rasterio.warp import transform_bounds

from geosr.errors import UnsupportedRaster
from geosr.grid import Window
from geosr.rasters import gdal
from geosr.rasters.kinds import DTYPES

Bounds = tuple[float, float, float, float]

RGB = (ColorInterp.red, ColorInterp.green, ColorInterp.blue)

# Domains that describe the file as it was stored, and tags that GDAL computed from pixels that change.
_STORAGE_DOMAINS = {"IMAGE_STRUCTURE", "DERIVED_SUBDATASETS", "SUBDATASETS", "RPC"}
_STATISTICS = "STATISTICS_"
_LOST_DOMAINS = {"GEOLOCATION": "geolocation arrays"}
_LOST_ELEMENTS = {"CategoryNames": "category names", "GDALRasterAttributeTable": "a raster attribute table"}


@dataclass(frozen=True, slots=True)
class Profile:
    """Everything about a raster but its pixels."""

    width: int
    height: int
    count: int
    dtype: str
    crs: CRS | None = None
    transform: Affine = Affine.identity()
    nodata: float | None = None
    descriptions: tuple[str | None, ...] = ()
    units: tuple[str | None, ...] = ()
    scales: tuple[float, ...] = ()
    offsets: tuple[float, ...] = ()
    colorinterp: tuple[ColorInterp, ...] = ()
    tags: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Metadata of the dataset, by domain; the default domain is ''. A document has its domain, as xml:XMP, for key."""
    band_tags: tuple[Mapping[str, Mapping[str, str]], ...] = ()
    gcps: tuple[GroundControlPoint, ...] = ()
    gcps_crs: CRS | None = None
    rpcs: RPC | None = None
    masked: bool = False
    """There is a mask band, inside the file or beside it."""
    alpha: int | None = None
    """Position, from 0, of the band that holds transparency."""
    overviews: bool = False
    """There are smaller copies of the bands."""
    lost: tuple[str, ...] = ()
    """What the raster has and an output cannot carry."""

    def scale(self, k: int) -> Profile:
        """The same ground under `k` times as many rows and columns.

        CRS and bounds stay; the pixel size is divided. GCP pixel coordinates are corner-based and scale by `k`;
        RPC line and sample offsets are centre-based: (offset + 0.5) * k - 0.5.
        """
        return replace(
            self,
            width=self.width * k,
            height=self.height * k,
            transform=self.transform @ Affine.scale(1 / k) if self.located else self.transform,
            gcps=tuple(moved(gcp, gcp.row * k, gcp.col * k) for gcp in self.gcps),
            rpcs=_scaled_rpcs(self.rpcs, k),
        )

    def crop(self, window: Window) -> Profile:
        """The part of the raster in the window, on its own ground."""
        if window == self.window:
            return self
        return replace(
            self,
            width=window.width,
            height=window.height,
            transform=self.transform @ Affine.translation(window.col_off, window.row_off)
            if self.located
            else self.transform,
            gcps=tuple(moved(gcp, gcp.row - window.row_off, gcp.col - window.col_off) for gcp in self.gcps),
            rpcs=_moved_rpcs(self.rpcs, window),
        )

    def bands(self, indexes: Sequence[int]) -> Profile:
        """The profile of the bands with these numbers, from 1, in this order."""
        picked = [i - 1 for i in indexes]
        return replace(
            self,
            count=len(picked),
            descriptions=tuple(self.descriptions[i] for i in picked),
            units=tuple(self.units[i] for i in picked),
            scales=tuple(self.scales[i] for i in picked),
            offsets=tuple(self.offsets[i] for i in picked),
            colorinterp=tuple(self.colorinterp[i] for i in picked),
            band_tags=tuple(self.band_tags[i] for i in picked),
            alpha=picked.index(self.alpha) if self.alpha in picked else None,
            # Without its band, transparency becomes a mask.
            masked=self.masked or (self.alpha is not None and self.alpha not in picked),
        )

    @property
    def colours(self) -> list[int]:
        """Positions, from 0, of the bands that are not transparency."""
        return [i for i in range(self.count) if i != self.alpha]

    @property
    def located(self) -> bool:
        """Whether the transform says where the raster is; without a CRS, GDAL gives the identity for none."""
        return self.crs is not None or not self.transform.is_identity

    @property
    def window(self) -> Window:
        """The whole raster."""
        return Window(0, 0, self.width, self.height)


def of(dataset: Any) -> Profile:
    """What an open rasterio dataset is.

    Raises:
        UnsupportedRaster: it has a palette, single bits, complex numbers, or bands of several dtypes or nodata values.
    """
    _check_kind(dataset)
    return described(dataset)


def described(dataset: Any) -> Profile:
    """What an open rasterio dataset is, of whatever kind."""
    gcps, gcps_crs = dataset.gcps
    flags = dataset.mask_flag_enums
    return Profile(
        width=dataset.width,
        height=dataset.height,
        count=dataset.count,
        dtype=dataset.dtypes[0],
        crs=dataset.crs,
        transform=dataset.transform,
        nodata=dataset.nodata,
        descriptions=dataset.descriptions,
        units=dataset.units,
        scales=dataset.scales,
        offsets=dataset.offsets,
        colorinterp=dataset.colorinterp,
        tags=_tags(dataset),
        band_tags=tuple(_tags(dataset, i) for i in dataset.indexes),
        gcps=tuple(gcps),
        gcps_crs=gcps_crs,
        rpcs=dataset.rpcs,
        masked=any(MaskFlags.per_dataset in f and MaskFlags.alpha not in f for f in flags) or bool(own_masks(dataset)),
        alpha=dataset.colorinterp.index(ColorInterp.alpha) if ColorInterp.alpha in dataset.colorinterp else None,
        overviews=any(dataset.overviews(i) for i in dataset.indexes),
        lost=tuple(_lost(dataset)),
    )


def own_masks(dataset: Any) -> list[int]:
    """Numbers, from 1, of the bands that have a mask of their own, which GDAL gives no flag."""
    return [i for i, flags in zip(dataset.indexes, dataset.mask_flag_enums, strict=True) if not flags]


def bounds(profile: Profile, window: Window) -> Bounds:
    """Left, bottom, right and top of the window on the map; without a transform x is the column, y the negative row."""
    transform = profile.transform if profile.located else Affine(1, 0, 0, 0, -1, 0)
    (top, bottom), (left, right) = window.toranges()
    corners = [transform @ corner for corner in ((left, top), (right, top), (right, bottom), (left, bottom))]
    xs, ys = zip(*corners, strict=True)
    return min(xs), min(ys), max(xs), max(ys)


def window_of(profile: Profile, bounds: Bounds) -> Window:
    """The whole pixels that bounds on the map (left, bottom, right, top) touch; it may hang over the raster's edges."""
    transform = profile.transform if profile.located else Affine(1, 0, 0, 0, -1, 0)
    left, bottom, right, top = bounds
    corners = [~transform @ corner for corner in ((left, top), (right, top), (right, bottom), (left, bottom))]
    # Bounds that are meant to lie on the edge of a pixel lie beside it by rounding.
    cols, rows = (np.round(axis, 6) for axis in zip(*corners, strict=True))
    col, row = int(np.floor(cols.min())), int(np.floor(rows.min()))
    return Window(col, row, int(np.ceil(cols.max())) - col, int(np.ceil(rows.max())) - row)


def footprint(profile: Profile, window: Window | None = None) -> Bounds | None:
    """West, south, east and north of the window, or all, in degrees; None when that cannot be known."""
    if profile.crs is None:
        return None
    try:
        ground = bounds(profile, window or profile.window)
        west, south, east, north = transform_bounds(profile.crs, "EPSG:4326", *ground)
    except gdal.ERRORS:
        return None
    return (west, south, east, north) if np.isfinite([west, south, east, north]).all() else None


def crs_name(profile: Profile) -> str | None:
    """The code of the CRS, as EPSG:32633, or its name, or a word for one without either; None if there is none."""
    if profile.crs is None:
        return None
    authority = profile.crs.to_authority()
    name = profile.crs.to_wkt().partition('"')[2].partition('"')[0]
    return ":".join(authority) if authority else name or "without a name"


def band_name(profile: Profile, position: int) -> str | None:
    """What the band at this position, from 0, is called, or its colour."""
    said = profile.descriptions[position] if profile.descriptions else None
    colour = profile.colorinterp[position] if profile.colorinterp else ColorInterp.undefined
    plain = colour in (ColorInterp.undefined, ColorInterp.gray, ColorInterp.alpha)
    return said or (None if plain else str(colour.name))


def differences(found: Profile, wanted: Profile) -> list[str]:
    """What of `wanted` is not in `found`, in words."""
    told = [words for name, words in _WORDS.items() if not _same(getattr(found, name), getattr(wanted, name))]
    # Not every format has a word for what is not defined.
    if any(
        one not in (other, ColorInterp.undefined) for one, other in zip_longest(wanted.colorinterp, found.colorinterp)
    ) and (wanted.colorinterp):
        told.append("colour interpretation")
    if wanted.overviews and not found.overviews:
        told.append("overviews")
    corners = [(0, 0), (wanted.width, 0), (0, wanted.height)]
    places = [np.array([profile.transform @ corner for corner in corners]) for profile in (found, wanted)]
    pixel = np.abs(np.array(wanted.transform)[[0, 1, 3, 4]]).max()
    if np.abs(places[0] - places[1]).max() > 1e-6 * pixel:
        told.append("the transform")
    for name in ("descriptions", "units"):
        # Some formats invent names for bands that have none.
        if any(one and one != other for one, other in zip_longest(getattr(wanted, name), getattr(found, name))):
            told.append(f"the {name} of the bands")
    for name, default in (("scales", 1.0), ("offsets", 0.0)):
        plain = (default,) * wanted.count
        if (getattr(found, name) or plain) != (getattr(wanted, name) or plain):
            told.append(f"the {name} of the bands")
    points = [[(p.row, p.col, p.x, p.y, p.z) for p in profile.gcps] for profile in (found, wanted)]
    if wanted.gcps and not wanted.located and points[0] != points[1]:
        told.append("ground control points")
    if wanted.rpcs is not None and (found.rpcs is None or not _same_camera(found.rpcs, wanted.rpcs)):
        told.append("RPCs")
    if _missing([wanted.tags], [found.tags]) or _missing(wanted.band_tags, found.band_tags):
        told.append("some tags")
    return told


_WORDS = {
    "width": "the size",
    "height": "the size",
    "count": "the number of bands",
    "dtype": "the data type",
    "crs": "the CRS",
    "nodata": "the nodata value",
    "masked": "the mask band",
}


def _same(one: object, other: object) -> bool:
    """Equal, as two values that are no numbers are here."""
    return one == other or (one != one and other != other)


def _same_camera(one: RPC, other: RPC) -> bool:
    """Equal but for error estimates, which GDAL calls -1 where there are none."""
    pairs = [(value, other.to_dict()[name]) for name, value in one.to_dict().items() if not name.startswith("err_")]
    return all(np.allclose(value, wanted, rtol=1e-12, atol=0) for value, wanted in pairs)


def _missing(wanted: Sequence[Mapping[str, Mapping[str, str]]], found: Sequence[Mapping[str, Any]]) -> bool:
    if len(wanted) != len(found):
        return any(tags for tags in wanted)
    return any(
        got.get(domain, {}).get(name) != value
        for want, got in zip(wanted, found, strict=True)
        for domain, tags in want.items()
        for name, value in tags.items()
    )


def _check_kind(dataset: Any) -> None:
    path = dataset.name
    if not dataset.count:
        raise UnsupportedRaster(f"{path!r} has no bands of its own; name one of its subdatasets: {dataset.subdatasets}")
    if any(dataset.tags(i, ns="IMAGE_STRUCTURE").get("NBITS") == "1" for i in dataset.indexes):
        raise UnsupportedRaster(
            f"{path!r} has 1 bit a pixel; make it gray: gdal_translate -co NBITS=8 -scale 0 1 0 255 IN OUT"
        )
    if ColorInterp.palette in dataset.colorinterp:
        raise UnsupportedRaster(f"{path!r} has a palette; expand it first: gdal_translate -expand rgb IN OUT")
    if len(set(dataset.dtypes)) > 1:
        raise UnsupportedRaster(
            f"{path!r} has bands of several types {dataset.dtypes}; choose one: gdal_translate -ot TYPE IN OUT"
        )
    if len({str(value) for value in dataset.nodatavals}) > 1:
        raise UnsupportedRaster(
            f"{path!r} has a nodata value for each band {dataset.nodatavals}, which a GeoTIFF cannot hold; "
            "set one for all: gdalwarp -dstnodata VALUE IN OUT"
        )
    if dataset.dtypes[0] not in DTYPES:
        remedy = "take its amplitude first: gdal_calc.py -A IN --calc='abs(A)' --type=Float32 --outfile=OUT"
        if "complex" not in dataset.dtypes[0]:
            remedy = "convert it first: gdal_translate -ot Float32 IN OUT"
        raise UnsupportedRaster(f"{path!r} holds {dataset.dtypes[0]}; {remedy}")


def _lost(dataset: Any) -> Iterator[str]:
    with gdal.said() as lines:
        for band in [(), *((i,) for i in dataset.indexes)]:
            dataset.tags(*band)
    if any("decode" in line for line in lines):
        yield "tags that are not UTF-8"
    domains = {"", *dataset.tag_namespaces(), *(ns for i in dataset.indexes for ns in dataset.tag_namespaces(i))}
    for domain in sorted(domains - _STORAGE_DOMAINS):
        if domain in _LOST_DOMAINS:
            yield _LOST_DOMAINS[domain]
        elif not all(_can_be_carried(dataset, domain, *band) for band in [(), *((i,) for i in dataset.indexes)]):
            yield f"metadata of the domain {domain}" if domain else "tags that are not UTF-8"
    if dataset.gcps[0] and (dataset.crs is not None or not dataset.transform.is_identity):
        yield "ground control points beside a transform"
    if dataset.subdatasets:
        yield "its other pages"
    if own_masks(dataset):
        yield "masks of single bands (one mask for all takes their place)"
    if bits := {dataset.tags(i, ns="IMAGE_STRUCTURE").get("NBITS") for i in dataset.indexes} - {None}:
        yield f"the limit to {', '.join(sorted(map(str, bits)))} bits a pixel"
    yield from _lost_elements(dataset)


def _lost_elements(dataset: Any) -> Iterator[str]:
    """What rasterio has no words for but GDAL tells of when it describes the dataset as a VRT."""
    with MemoryFile(ext=".vrt") as memory:
        try:
            rasterio.shutil.copy(dataset, memory.name, driver="VRT")
            described = ET.fromstring(memory.read())
        except (*gdal.ERRORS, ET.ParseError):
            return
    for element, words in _LOST_ELEMENTS.items():
        if described.find(f".//{element}") is not None:
            yield words


def _can_be_carried(dataset: Any, domain: str, *band: int) -> bool:
    try:
        _tags_of(dataset, domain, *band)
    except ValueError:
        return False
    return True


def _tags_of(dataset: Any, domain: str, *band: int) -> dict[str, str]:
    """The names and values of a domain; a document, as of xml:XMP, has its domain for name.

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


def _tags(dataset: Any, *band: int) -> dict[str, dict[str, str]]:
    domains = {"", *dataset.tag_namespaces(*band)} - _STORAGE_DOMAINS - set(_LOST_DOMAINS)
    found = {ns: _tags_of(dataset, ns, *band) for ns in sorted(domains) if _can_be_carried(dataset, ns, *band)}
    kept = {ns: {k: v for k, v in tags.items() if not k.startswith(_STATISTICS)} for ns, tags in found.items()}
    return {ns: tags for ns, tags in kept.items() if tags}


def moved(gcp: GroundControlPoint, row: float, col: float) -> GroundControlPoint:
    """The control point at another place in the image."""
    return GroundControlPoint(row, col, gcp.x, gcp.y, gcp.z, gcp.id, gcp.info)


def _scaled_rpcs(rpcs: RPC | None, k: int) -> RPC | None:
    if rpcs is None:
        return None
    values = rpcs.to_dict()
    for name in ("line", "samp"):
        values[f"{name}_off"] = (values[f"{name}_off"] + 0.5) * k - 0.5
        values[f"{name}_scale"] *= k
    return RPC(**values)


def _moved_rpcs(rpcs: RPC | None, window: Window) -> RPC | None:
    if rpcs is None:
        return None
    values = rpcs.to_dict()
    values["line_off"] -= window.row_off
    values["samp_off"] -= window.col_off
    return RPC(**values)
