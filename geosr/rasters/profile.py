"""Profiles: everything about a raster but its pixels, read from a dataset, and carried to another size or part of it.

Adding an item of metadata is one entry in ITEMS, and a field of Profile.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import zip_longest
from typing import Any

import numpy as np
from affine import Affine
from rasterio.control import GroundControlPoint
from rasterio.crs import CRS
from rasterio.enums import ColorInterp, MaskFlags
from rasterio.rpc import RPC

from geosr.choices import exact_number
from geosr.errors import OptionError, UnsupportedRaster
from geosr.grid import Window
from geosr.rasters import domains, gdal
from geosr.rasters.containers import description
from geosr.rasters.kinds import DTYPES
from geosr.rasters.sensors import COLOURS, band_keys

RGB = (ColorInterp.red, ColorInterp.green, ColorInterp.blue)

_LOST_ELEMENTS = {"CategoryNames": "category names", "GDALRasterAttributeTable": "a raster attribute table"}


@dataclass(frozen=True, slots=True)
class Profile:
    """Everything about a raster but its pixels; see ITEMS."""

    width: int
    height: int
    count: int
    dtype: str
    crs: CRS | None = None
    transform: Affine = Affine.identity()
    epoch: float | None = None
    """The year that coordinates in a dynamic CRS are of."""
    nodata: float | None = None
    """An integer where a float would round it."""
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
    """Items that the raster has and an output cannot carry."""

    def scale(self, k: int) -> Profile:
        """Return the same ground under `k` times as many rows and columns.

        CRS and bounds stay; the pixel size is divided. GCP pixel coordinates are corner-based and scale by `k`;
        RPC line and sample offsets are centre-based: (offset + 0.5) * k - 0.5.
        """
        return replace(self, **{item.name: item.scale(self, k) for item in ITEMS if item.scale})

    def crop(self, window: Window) -> Profile:
        """Return the part of the raster in the window, on its own ground."""
        if window == self.window:
            return self
        return replace(self, **{item.name: item.crop(self, window) for item in ITEMS if item.crop})

    def bands(self, indexes: Sequence[int]) -> Profile:
        """Return the profile of the bands with these numbers, from 1, in this order."""
        positions = [i - 1 for i in indexes]
        return replace(self, **{item.name: item.pick(self, positions) for item in ITEMS if item.pick})

    @property
    def colours(self) -> list[int]:
        """Positions, from 0, of the bands that are not transparency."""
        return [i for i in range(self.count) if i != self.alpha]

    @property
    def located(self) -> bool:
        """True if the transform says where the raster is; without a CRS, GDAL gives the identity for none."""
        return self.crs is not None or not self.transform.is_identity

    @property
    def window(self) -> Window:
        """The whole raster."""
        return Window(0, 0, self.width, self.height)


@dataclass(frozen=True, slots=True)
class Item:
    """An item of metadata: how it is read, written, scaled, cropped and compared."""

    name: str
    """The field of Profile."""
    words: str
    """Its name in a warning that a format drops it."""
    read: Callable[[Any], Any]
    """From an open dataset."""
    write: Callable[[Any, Profile], None] | None = None
    """To a dataset that is open for writing, in the order of ITEMS; None: it is given when the file is created."""
    scale: Callable[[Profile, int], Any] | None = None
    crop: Callable[[Profile, Window], Any] | None = None
    pick: Callable[[Profile, Sequence[int]], Any] | None = None
    """The value for the bands at these positions, from 0."""
    same: Callable[[Profile, Profile], bool] | None = None
    """True if an output, the first, has what the second says; by default the two are equal."""
    lost: Callable[[Any], Iterable[str]] | None = None
    """Words for what an open dataset has of it that an output cannot carry."""
    created: bool = False
    """It is given when a file is created, by rasterio's keyword of its name."""


def profile_of(dataset: Any) -> Profile:
    """Return the profile of an open rasterio dataset.

    Raises:
        UnsupportedRaster: it has a palette, single bits, complex numbers, or bands of several dtypes or nodata values.
    """
    _check_kind(dataset)
    return described(dataset)


def described(dataset: Any) -> Profile:
    """Return the profile of an open rasterio dataset of any kind."""
    lost = tuple(words for item in ITEMS if item.lost for words in item.lost(dataset))
    return Profile(**{item.name: item.read(dataset) for item in ITEMS}, lost=lost)


def creation_keywords(profile: Profile) -> dict[str, Any]:
    """Return rasterio's keywords for the items that are given when a file is created."""
    return {item.name: getattr(profile, item.name) for item in ITEMS if item.created}


def write_metadata(out: Any, profile: Profile) -> None:
    """Write the items of a profile that are not given when a file is created."""
    for item in ITEMS:
        if item.write:
            item.write(out, profile)


def differences(output: Profile, expected: Profile) -> list[str]:
    """Return the words for the items of `expected` that `output` does not have."""
    return [item.words for item in ITEMS if not (item.same or _equal(item.name))(output, expected)]


def own_masks(dataset: Any) -> list[int]:
    """Return the numbers, from 1, of the bands that have a mask of their own, which GDAL gives no flag."""
    return [i for i, flags in zip(dataset.indexes, dataset.mask_flag_enums, strict=True) if not flags]


def band_name(profile: Profile, position: int) -> str | None:
    """Return the description of the band at this position, from 0, or its colour."""
    description = profile.descriptions[position] if profile.descriptions else None
    colour = profile.colorinterp[position] if profile.colorinterp else ColorInterp.undefined
    plain = colour in (ColorInterp.undefined, ColorInterp.gray, ColorInterp.alpha)
    return description or (None if plain else str(colour.name))


def band_numbers(profile: Profile, bands: Sequence[int | str]) -> tuple[int, ...]:
    """Return the numbers, from 1, of bands that are named by number, description, or what their descriptions name.

    A band "Band 4 (red)" is 4th or is called by its whole description, "B4" or "red"; case does not matter. Its colour
    interpretation names a band whose description names no colour.

    Raises:
        OptionError: a number or a name is none of the bands', or is that of several.
    """
    names = [band_name(profile, position) for position in range(profile.count)]
    return numbers_of(names, bands, colours=[colour.name for colour in profile.colorinterp])


def numbers_of(
    names: Sequence[str | None], bands: Sequence[int | str], *, colours: Sequence[str] = ()
) -> tuple[int, ...]:
    """Return the numbers, from 1, of bands among those with these names, as `band_numbers` does.

    >>> numbers_of(["B2 (blue)", "B3 (green)"], ["green", "B02", 2])
    (2, 1, 2)
    """
    keys = [set(band_keys(name)) for name in names]
    for own, colour in zip(keys, colours, strict=False):
        if not own & COLOURS:
            own.update({colour} & COLOURS)
    return tuple(_band_number(band, names, keys) for band in bands)


def _band_number(band: int | str, names: Sequence[str | None], keys: Sequence[set[str]]) -> int:
    if not isinstance(band, str):
        if 1 <= band <= len(names):
            return band
        raise OptionError(f"bands 1 to {len(names)}, got {band}")
    whole = [number for number, name in enumerate(names, 1) if name and name.lower() == band.lower()]
    wanted = set(band_keys(band))
    numbers = whole or [number for number, own in enumerate(keys, 1) if wanted and wanted <= own]
    if len(numbers) == 1:
        return numbers[0]
    if numbers:
        raise OptionError(f"several bands {band!r}: {', '.join(map(str, numbers))}")
    known = ", ".join(f"{number} {name!r}" if name else str(number) for number, name in enumerate(names, 1))
    raise OptionError(f"no band {band!r}; its bands are {known}")


def moved(gcp: GroundControlPoint, row: float, col: float) -> GroundControlPoint:
    """Return the control point at another row and column of the image."""
    return GroundControlPoint(row, col, gcp.x, gcp.y, gcp.z, gcp.id, gcp.info)


def _equal(name: str) -> Callable[[Profile, Profile], bool]:
    """Return a comparison of a field, in which two values that are no numbers are equal."""

    def same(output: Profile, expected: Profile) -> bool:
        value, other = getattr(output, name), getattr(expected, name)
        return bool(value == other or (value != value and other != other))

    return same


def _same_colours(output: Profile, expected: Profile) -> bool:
    # Not every format has a word for what is not defined; of several bands, GDAL calls the first gray for that.
    undefined = {ColorInterp.undefined, *([ColorInterp.gray] if len(expected.colorinterp) > 1 else [])}
    pairs = zip_longest(expected.colorinterp, output.colorinterp)
    return not expected.colorinterp or all(colour == other or colour in undefined for colour, other in pairs)


def _same_texts(name: str) -> Callable[[Profile, Profile], bool]:
    # Some formats invent names for bands that have none.
    def same(output: Profile, expected: Profile) -> bool:
        pairs = zip_longest(getattr(expected, name), getattr(output, name))
        return all(not text or text == other for text, other in pairs)

    return same


def _same_numbers(name: str, default: float) -> Callable[[Profile, Profile], bool]:
    def same(output: Profile, expected: Profile) -> bool:
        plain = (default,) * expected.count
        return bool((getattr(output, name) or plain) == (getattr(expected, name) or plain))

    return same


def _same_transform(output: Profile, expected: Profile) -> bool:
    corners = [(0, 0), (expected.width, 0), (0, expected.height)]
    at_output, at_expected = (
        np.array([profile.transform @ corner for corner in corners]) for profile in (output, expected)
    )
    pixel = np.abs(np.array(expected.transform)[[0, 1, 3, 4]]).max()
    return bool(np.abs(at_output - at_expected).max() <= 1e-6 * pixel)


def _same_gcps(output: Profile, expected: Profile) -> bool:
    points = [[(p.row, p.col, p.x, p.y, p.z) for p in profile.gcps] for profile in (output, expected)]
    maps = [profile.gcps_crs or CRS() for profile in (output, expected)]
    return not expected.gcps or expected.located or (points[0] == points[1] and maps[0] == maps[1])


def _is_finite(transform: Affine) -> bool:
    return all(map(math.isfinite, transform))


def _rpcs(dataset: Any) -> RPC | None:
    """Return the RPCs of a dataset; None without, and if they are not numbers."""
    try:
        rpcs: RPC | None = dataset.rpcs
    except (ValueError, KeyError, TypeError):
        return None
    numbers = () if rpcs is None else np.hstack([value for value in rpcs.to_dict().values() if value is not None])
    return rpcs if np.isfinite(numbers).all() else None


def _same_rpcs(output: Profile, expected: Profile) -> bool:
    """Compare all but error estimates, which GDAL calls -1 where there are none."""
    if expected.rpcs is None or output.rpcs is None:
        return expected.rpcs is None
    other = output.rpcs.to_dict()
    pairs = [(value, other[name]) for name, value in expected.rpcs.to_dict().items() if not name.startswith("err_")]
    return all(np.allclose(value, output_value, rtol=1e-12, atol=0) for value, output_value in pairs)


def _has_tags(output: Sequence[Mapping[str, Any]], expected: Sequence[Mapping[str, Mapping[str, str]]]) -> bool:
    if len(expected) != len(output):
        return not any(expected)
    return all(
        domains.has_tag(there.get(domain, {}), name, value)
        for expected_tags, there in zip(expected, output, strict=True)
        for domain, tags in expected_tags.items()
        for name, value in tags.items()
    )


def _scaled_rpcs(profile: Profile, k: int) -> RPC | None:
    if profile.rpcs is None:
        return None
    values = profile.rpcs.to_dict()
    for name in ("line", "samp"):
        values[f"{name}_off"] = (values[f"{name}_off"] + 0.5) * k - 0.5
        values[f"{name}_scale"] *= k
    return RPC(**values)


def _cropped_rpcs(profile: Profile, window: Window) -> RPC | None:
    if profile.rpcs is None:
        return None
    values = profile.rpcs.to_dict()
    values["line_off"] -= window.row_off
    values["samp_off"] -= window.col_off
    return RPC(**values)


def _write_tags(out: Any, profile: Profile) -> None:
    for domain, tags in profile.tags.items():
        out.update_tags(ns=domain or None, **domains.parted(domain, tags))


def _write_band_tags(out: Any, profile: Profile) -> None:
    for i, band_tags in enumerate(profile.band_tags, 1):
        for domain, tags in band_tags.items():
            out.update_tags(i, ns=domain or None, **domains.parted(domain, tags))


def _write_place(out: Any, profile: Profile) -> None:
    """Write the transform and the CRS, or without them the ground control points."""
    if profile.located:
        out.transform = profile.transform
        if profile.crs is not None and profile.epoch is None:  # with an epoch, it is there from the beginning
            out.crs = profile.crs
    elif profile.gcps:
        out.gcps = list(profile.gcps), profile.gcps_crs or CRS()


def _write_rpcs(out: Any, profile: Profile) -> None:
    if profile.rpcs is not None:
        out.rpcs = profile.rpcs


def _write_colours(out: Any, profile: Profile) -> None:
    if profile.colorinterp:
        out.colorinterp = profile.colorinterp


def _write_texts(name: str, setter: str) -> Callable[[Any, Profile], None]:
    def write(out: Any, profile: Profile) -> None:
        for i, text in enumerate(getattr(profile, name), 1):
            if text:
                getattr(out, setter)(i, text)

    return write


def _write_scales(out: Any, profile: Profile) -> None:
    if any(scale != 1 for scale in profile.scales) or any(offset != 0 for offset in profile.offsets):
        out.scales, out.offsets = profile.scales, profile.offsets


def _is_masked(dataset: Any) -> bool:
    flags = dataset.mask_flag_enums
    return any(MaskFlags.per_dataset in f and MaskFlags.alpha not in f for f in flags) or bool(own_masks(dataset))


def _alpha(dataset: Any) -> int | None:
    return dataset.colorinterp.index(ColorInterp.alpha) if ColorInterp.alpha in dataset.colorinterp else None


def _always(output: Profile, expected: Profile) -> bool:
    return True


def _picked(name: str) -> Callable[[Profile, Sequence[int]], Any]:
    """Return a choice from a tuple with a value for each band."""
    return lambda profile, positions: tuple(getattr(profile, name)[i] for i in positions)


def _picked_alpha(profile: Profile, positions: Sequence[int]) -> int | None:
    return next((i for i, position in enumerate(positions) if position == profile.alpha), None)


def _check_kind(dataset: Any) -> None:
    path = next(iter(dataset.files), "a raster") if dataset.name.startswith("<") else dataset.name
    # GDAL keeps an error in the EXIF of a JPEG, whose pixels are whole, and rasterio raises it for the next question,
    # whatever that is; an error of the question itself would be raised again below.
    with suppress(*gdal.ERRORS):
        _ = dataset.colorinterp
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
    values = _nodata_values(dataset)
    if len(set(map(str, values))) > 1:
        raise UnsupportedRaster(
            f"{path!r} has a nodata value for each band {values}, which a GeoTIFF cannot hold; "
            "set one for all: gdalwarp -dstnodata VALUE IN OUT"
        )
    if dataset.dtypes[0] not in DTYPES:
        remedy = "take its amplitude first: gdal_calc.py -A IN --calc='abs(A)' --type=Float32 --outfile=OUT"
        if "complex" not in dataset.dtypes[0]:
            remedy = "convert it first: gdal_translate -ot Float32 IN OUT"
        raise UnsupportedRaster(f"{path!r} holds {dataset.dtypes[0]}; {remedy}")


def _lost_bits(dataset: Any) -> Iterator[str]:
    if bits := {dataset.tags(i, ns="IMAGE_STRUCTURE").get("NBITS") for i in dataset.indexes} - {None}:
        yield f"the limit to {', '.join(sorted(map(str, bits)))} bits a pixel"


def _lost_nodata(dataset: Any) -> Iterator[str]:
    for nodata in {element.text for element in description(dataset).iterfind("VRTRasterBand/NoDataValue")}:
        if dataset.nodata is None and not _is_integer(nodata, dataset.dtypes[0]):
            yield f"the nodata value {nodata}, which {dataset.dtypes[0]} does not hold,"


def _lost_masks(dataset: Any) -> Iterator[str]:
    if own_masks(dataset):
        yield "masks of single bands (one mask for all takes their place)"


def _lost_points(dataset: Any) -> Iterator[str]:
    if dataset.gcps[0] and (dataset.crs is not None or not dataset.transform.is_identity):
        yield "ground control points beside a transform"


def _lost_pages(dataset: Any) -> Iterator[str]:
    if dataset.subdatasets:
        yield "its other pages"


def _lost_elements(dataset: Any) -> Iterator[str]:
    """Yield what rasterio has no words for but GDAL names when it describes the dataset as a VRT."""
    root = description(dataset)
    for element, words in _LOST_ELEMENTS.items():
        if root.find(f".//{element}") is not None:
            yield words


def _lost_texts(name: str, words: str) -> Callable[[Any], Iterator[str]]:
    def lost(dataset: Any) -> Iterator[str]:
        try:
            getattr(dataset, name)
        except UnicodeDecodeError:
            yield f"{words} that are not UTF-8, but for their bytes as numbers,"

    return lost


def _texts(name: str, element: str) -> Callable[[Any], tuple[str | None, ...]]:
    """Return a reader of a text for each band, in which bytes that are not UTF-8 are escaped."""

    def read(dataset: Any) -> tuple[str | None, ...]:
        try:
            texts: tuple[str | None, ...] = getattr(dataset, name)
        except UnicodeDecodeError:
            bands = description(dataset).iterfind("VRTRasterBand")
            texts = tuple(band.findtext(element) or None for band in bands)
        return texts

    return read


def _nodata_values(dataset: Any) -> tuple[float | None, ...]:
    """Return the nodata value of each band; rasterio rounds those of 64-bit integers."""
    if dataset.dtypes[0] not in ("int64", "uint64"):
        return tuple(dataset.nodatavals)
    texts = [band.findtext("NoDataValue") for band in description(dataset).iterfind("VRTRasterBand")]
    exact = tuple(exact_number(text) if text and _is_integer(text, dataset.dtypes[0]) else None for text in texts)
    return exact or tuple(dataset.nodatavals)


def _nodata(dataset: Any) -> float | None:
    return next(iter(_nodata_values(dataset)), None)


def _is_integer(text: str | None, dtype: str) -> bool:
    """Return True if a text spells an integer that a dtype of 64 bits holds."""
    if dtype not in ("int64", "uint64") or not re.fullmatch(r"-?\d+", text or ""):
        return False
    return int(np.iinfo(dtype).min) <= int(text or "") <= int(np.iinfo(dtype).max)


def _epoch(dataset: Any) -> float | None:
    element = description(dataset).find("SRS")
    epoch = element.get("coordinateEpoch") if element is not None else None
    return float(epoch) if epoch else None


ITEMS = (
    Item(
        "width",
        "the size",
        lambda d: d.width,
        scale=lambda p, k: p.width * k,
        crop=lambda p, w: w.width,
        created=True,
    ),
    Item(
        "height",
        "the size",
        lambda d: d.height,
        scale=lambda p, k: p.height * k,
        crop=lambda p, w: w.height,
        created=True,
    ),
    Item(
        "count",
        "the number of bands",
        lambda d: d.count,
        pick=lambda p, positions: len(positions),
        lost=_lost_pages,
        created=True,
    ),
    Item("dtype", "the data type", lambda d: d.dtypes[0], lost=_lost_bits, created=True),
    Item("nodata", "the nodata value", _nodata, lost=_lost_nodata, created=True),
    Item(
        "masked",
        "the mask band",
        _is_masked,
        # Without its band, transparency becomes a mask.
        pick=lambda p, positions: p.masked or (p.alpha is not None and p.alpha not in positions),
        lost=_lost_masks,
    ),
    Item("alpha", "transparency", _alpha, pick=_picked_alpha, same=_always),  # the colour interpretation says so
    Item(
        "overviews",
        "overviews",
        lambda d: any(d.overviews(i) for i in d.indexes),
        same=lambda output, expected: output.overviews or not expected.overviews,
    ),
    # PixelIsPoint comes first: GDAL shifts the stored tie point by half a pixel when it knows of it.
    Item(
        "tags",
        "some tags",
        domains.carried,
        _write_tags,
        scale=lambda p, k: domains.scaled(p.tags, k, width=p.width, height=p.height),
        crop=lambda p, w: domains.cropped(p.tags, width=w.width, height=w.height),
        pick=lambda p, positions: domains.picked(p.tags, p.count, positions),
        same=lambda output, expected: _has_tags([output.tags], [expected.tags]),
        lost=domains.lost,
    ),
    Item(
        "transform",
        "the transform",
        lambda d: d.transform if _is_finite(d.transform) else Affine.identity(),
        _write_place,
        scale=lambda p, k: p.transform @ Affine.scale(1 / k) if p.located else p.transform,
        crop=lambda p, w: p.transform @ Affine.translation(w.col_off, w.row_off) if p.located else p.transform,
        same=_same_transform,
        lost=lambda d: () if _is_finite(d.transform) else ("the transform, which is damaged,",),
    ),
    Item("crs", "the CRS", lambda d: d.crs),
    Item("epoch", "the coordinate epoch", _epoch),
    Item(
        "gcps",
        "ground control points",
        lambda d: tuple(d.gcps[0]),
        scale=lambda p, k: tuple(moved(gcp, gcp.row * k, gcp.col * k) for gcp in p.gcps),
        crop=lambda p, w: tuple(moved(gcp, gcp.row - w.row_off, gcp.col - w.col_off) for gcp in p.gcps),
        same=_same_gcps,
        lost=_lost_points,
    ),
    Item("gcps_crs", "ground control points", lambda d: d.gcps[1], same=_same_gcps),
    Item(
        "rpcs",
        "RPCs",
        _rpcs,
        _write_rpcs,
        scale=_scaled_rpcs,
        crop=_cropped_rpcs,
        same=_same_rpcs,
        lost=lambda d: ("RPCs, which are damaged,",) if _rpcs(d) is None and d.tags(ns="RPC") else (),
    ),
    Item(
        "colorinterp",
        "colour interpretation",
        lambda d: d.colorinterp,
        _write_colours,
        pick=_picked("colorinterp"),
        same=_same_colours,
        lost=_lost_elements,
    ),
    Item(
        "band_tags",
        "some tags",
        lambda d: tuple(domains.carried(d, i) for i in d.indexes),
        _write_band_tags,
        pick=_picked("band_tags"),
        same=lambda output, expected: _has_tags(output.band_tags, expected.band_tags),
    ),
    Item(
        "descriptions",
        "the descriptions of the bands",
        _texts("descriptions", "Description"),
        _write_texts("descriptions", "set_band_description"),
        pick=_picked("descriptions"),
        same=_same_texts("descriptions"),
        lost=_lost_texts("descriptions", "names of bands"),
    ),
    Item(
        "units",
        "the units of the bands",
        _texts("units", "UnitType"),
        _write_texts("units", "set_band_unit"),
        pick=_picked("units"),
        same=_same_texts("units"),
        lost=_lost_texts("units", "units of bands"),
    ),
    Item(
        "scales",
        "the scales of the bands",
        lambda d: d.scales,
        _write_scales,
        pick=_picked("scales"),
        same=_same_numbers("scales", 1.0),
    ),
    Item(
        "offsets",
        "the offsets of the bands",
        lambda d: d.offsets,
        pick=_picked("offsets"),
        same=_same_numbers("offsets", 0.0),
    ),
)
"""The items of metadata, in the order in which they are written."""
