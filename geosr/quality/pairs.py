"""A raster and those that were made of it, opened and checked to show the same ground."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

from geosr.errors import OptionError, RasterError
from geosr.grid import Window
from geosr.rasters.composites import NEAR_INFRARED, TRUE_COLOUR, Composite, composites, numbered
from geosr.rasters.placement import crs_name
from geosr.rasters.profile import Profile, band_numbers
from geosr.rasters.source import RasterSource
from geosr.superresolve.provenance import Provenance

Name = str | os.PathLike[str]
BANDS = 4
"""Most bands that are shown unless others are chosen."""
OFF = 0.01
"""Most that one raster may lie beside another's pixels, in pixels of the larger ones."""


@dataclass(frozen=True, slots=True)
class Cover:
    """A raster that lies on a part of the input."""

    source: RasterSource
    part: Window
    """The part, in pixels of the input."""


@dataclass(frozen=True, slots=True)
class Truth:
    """A raster with the pixels of the results."""

    source: RasterSource
    cut: Window
    """The part of it, in its own pixels, that the first result covers."""


@dataclass(frozen=True, slots=True)
class Pair:
    """An input and its results, on the same ground."""

    before: RasterSource
    results: tuple[Cover, ...]
    """One, or several of one scale."""
    truth: Truth | None
    scale: int
    part: Window
    """The part of the input that all of them cover."""
    bands: tuple[int, ...]
    """Positions of the bands that are compared."""
    shown: tuple[Composite, ...]
    """Ways to show them; their positions are those among `bands`."""

    @property
    def profile(self) -> Profile:
        """The profile of the first result."""
        return self.results[0].source.profile


def open_pair(
    before: Name,
    results: Sequence[Name],
    truth: Name | None = None,
    *,
    bands: Sequence[int | str] | None = None,
    rgb: Sequence[int | str] | None = None,
) -> Pair:
    """Return the rasters, checked against each other; `bands` and `rgb` are bands of the first result.

    Raises:
        RasterError: one cannot be read, or they do not cover the same ground.
        OptionError: they have other bands, or other scales.
    """
    if not results:
        raise OptionError("there is no result to compare; name one that was made of the first raster")
    made = provenance(RasterSource(results[0], alpha="band"))
    low = RasterSource(before, made.bands, alpha=made.alpha, nodata=made.nodata_in)
    scale = 0
    covers: list[Cover] = []
    for path in results:
        result = RasterSource(path, alpha=low.alpha)
        _check_bands(low, result)
        own, part = _placed(low, result)
        if scale not in (0, own):
            raise OptionError(f"{result.path!r} has x{own} pixels and {covers[0].source.path!r} x{scale}; compare each")
        scale = own
        covers.append(Cover(result, part))
    part = covers[0].part
    for cover in covers[1:]:
        part = part.intersection(cover.part)
    if min(part.width, part.height) <= 0:
        raise RasterError("the results do not overlap; compare each by itself")
    real = _truth(truth, low, covers[0], scale) if truth else None
    positions, shown = _shown(covers[0].source, bands, rgb)
    return Pair(low, tuple(covers), real, scale, part, positions, shown)


def provenance(result: RasterSource) -> Provenance:
    """Return what the tags of a result tell; nothing where they are not geosr's."""
    try:
        return Provenance.from_tags(result.profile.tags.get("", {}))
    except ValueError:
        return Provenance()


def _check_bands(low: RasterSource, result: RasterSource) -> None:
    if low.profile.colours != result.profile.colours:
        raise OptionError(
            f"{low.path!r} has {len(low.profile.colours)} bands and {result.path!r} {len(result.profile.colours)}, and "
            "no tag says which are which; choose those of one with gdal_translate -b"
        )


def _truth(path: Name, low: RasterSource, result: Cover, scale: int) -> Truth:
    real = RasterSource(path, alpha=low.alpha)
    if real.profile.colours != result.source.profile.colours:
        raise OptionError(
            f"{real.path!r} has {len(real.profile.colours)} bands and {result.source.path!r} "
            f"{len(result.source.profile.colours)}; choose the same of both"
        )
    size = real.profile.width, real.profile.height
    if not real.profile.located and size == (low.profile.width * scale, low.profile.height * scale):
        return Truth(real, result.part.scale(scale))
    beside, cut = _placed(real, result.source)
    if beside != 1:
        raise RasterError(f"{real.path!r} has larger pixels than {result.source.path!r}; give a truth with the same")
    return Truth(real, cut)


def _shown(
    result: RasterSource, bands: Sequence[int | str] | None, rgb: Sequence[int | str] | None
) -> tuple[tuple[int, ...], tuple[Composite, ...]]:
    """Return the positions of the bands that are compared, and the composites of them."""
    profile = result.profile
    ways = composites(profile, rgb)
    try:
        chosen = tuple(number - 1 for number in band_numbers(profile, bands)) if bands else ()
    except OptionError as error:
        raise OptionError(f"{result.path!r} has {error}; choose others with --bands") from error
    if any(i not in profile.colours for i in chosen):
        raise OptionError(f"a band of --bands is the transparency of {result.path!r}; choose others")
    if not chosen:
        wanted = list(dict.fromkeys(i for way in ways for i in way.positions))
        rest = [i for i in profile.colours if i not in wanted]
        chosen = tuple(sorted(wanted + rest[: max(0, BANDS - len(wanted))]))
    elif rgb:
        chosen = tuple(dict.fromkeys((*chosen, *ways[0].positions)))
    elif ways[0].name not in (TRUE_COLOUR, NEAR_INFRARED):
        ways = []
    ways = [way for way in ways if set(way.positions) <= set(chosen)]
    ways = ways or [numbered(chosen[:3] if len(chosen) >= 3 else chosen[:1])]
    return chosen, tuple(Composite(way.name, tuple(chosen.index(i) for i in way.positions)) for way in ways)


def _placed(large: RasterSource, small: RasterSource) -> tuple[int, Window]:
    """Return the factor between the pixels of `large` and `small`, and the part of `large` that `small` covers.

    Without a transform, the tags of a result tell which part it is of.

    Raises:
        RasterError: it does not, or its pixels do not divide those of `large`.
    """
    large_profile, small_profile = large.profile, small.profile
    beside = f"{small.path!r} does not cover the ground of {large.path!r}"
    remedy = "compare a raster with what was made of it (gdalwarp -te brings others onto its ground)"
    if large_profile.crs != small_profile.crs:
        raise RasterError(f"{beside}: their CRSs are {crs_name(small_profile)} and {crs_name(large_profile)}; {remedy}")
    if large_profile.located and small_profile.located:
        relative = ~large_profile.transform @ small_profile.transform
        steps, turn = (relative.a, relative.e), max(abs(relative.b), abs(relative.d))
        scale = round(1 / steps[0]) if steps[0] > 0 else 0
        span = max(small_profile.width, small_profile.height)
        if scale < 1 or max(abs(step - 1 / scale) * span for step in (*steps, turn + 1 / scale)) > OFF:
            raise RasterError(
                f"{beside} in whole parts of its pixels: a pixel of one is {steps[0]:.6g} x {steps[1]:.6g} of the "
                f"other's; {remedy}"
            )
        corner = relative.c, relative.f
    elif (made := provenance(small)).window and made.scale and not large_profile.located:
        scale, corner = made.scale, (float(made.window.col_off), float(made.window.row_off))
    else:
        scale, corner = max(1, round(small_profile.width / large_profile.width)), (0.0, 0.0)
    col, row = (round(value) for value in corner)
    width, height = small_profile.width / scale, small_profile.height / scale
    window = Window(col, row, int(width), int(height))
    if max(abs(corner[0] - col), abs(corner[1] - row)) > OFF or (window.width, window.height) != (width, height):
        raise RasterError(f"{beside} in whole pixels; {remedy}")
    known = large_profile.located or provenance(small).window
    if window.intersection(large_profile.window) != window or (not known and window != large_profile.window):
        raise RasterError(
            f"{beside}: it takes columns {col} to {col + window.width} and rows {row} to {row + window.height} of "
            f"{large_profile.width} x {large_profile.height} pixels; {remedy}"
        )
    return scale, window
