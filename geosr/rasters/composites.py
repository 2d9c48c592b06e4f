"""Bands that are shown as red, green and blue: by what they are called, never by their order alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from geosr.errors import OptionError
from geosr.rasters.profile import RGB, Profile, band_name, band_numbers
from geosr.rasters.sensors import COLOURS, band_keys, colour_bands

TRUE_COLOUR, NEAR_INFRARED = "true colour", "near infrared"
_COLOURS = ("red", "green", "blue")


@dataclass(frozen=True, slots=True)
class Composite:
    """One band in gray, or three as red, green and blue."""

    name: str
    """`true colour`, `near infrared`, or the numbers of bands whose colours are not known."""
    positions: tuple[int, ...]
    """Positions, from 0, in the raster."""

    @property
    def channels(self) -> tuple[int, int, int]:
        """The positions that are red, green and blue."""
        return (self.positions * 3)[:3] if len(self.positions) == 1 else self.positions[:3]  # type: ignore[return-value]


def composites(profile: Profile, rgb: Sequence[int | str] | None = None) -> list[Composite]:
    """Return the ways to show a raster in colours, the best first; there is at least one.

    True colour is chosen by the descriptions of the bands ("B4 red", "B04" of Sentinel-2), then by their colour
    interpretation. Descriptions come first because GDAL calls the first three bands of 8 bits red, green and blue,
    whatever they hold. Where neither tells, the first three bands are shown under their numbers, or the first one.
    `rgb` are numbers or names of one or three bands, to be shown first.

    Raises:
        OptionError: a band of `rgb` does not exist, or they are not one or three.
    """
    infrared = _near_infrared(profile)
    true = _true_colour(profile)
    if true and infrared and true.positions == infrared.positions:
        true = None
    usual = [composite for composite in (true, infrared) if composite]
    if rgb:
        usual.insert(0, _chosen(profile, rgb))
    return usual or [_first(profile)]


def _chosen(profile: Profile, rgb: Sequence[int | str]) -> Composite:
    if len(rgb) not in (1, 3):
        raise OptionError(f"--rgb must be one band or three, got {len(rgb)}")
    positions = tuple(number - 1 for number in band_numbers(profile, rgb))
    return numbered(positions)


def _true_colour(profile: Profile) -> Composite | None:
    """Return the composite of the bands that descriptions call red, green and blue, else of those labelled so."""
    places = _colour_places(profile)
    if all(colour in places for colour in _COLOURS):
        return Composite(TRUE_COLOUR, tuple(places[colour] for colour in _COLOURS))
    labels = profile.colorinterp
    if not set(RGB) <= set(labels):
        return None
    positions = tuple(labels.index(label) for label in RGB)
    named = [COLOURS & set(band_keys(band_name(profile, position))) for position in positions]
    # An infrared photograph is labelled red, green and blue too, and is no true colour.
    other = any(words - {colour} for words, colour in zip(named, _COLOURS, strict=True))
    return numbered(positions) if other else Composite(TRUE_COLOUR, positions)


def _near_infrared(profile: Profile) -> Composite | None:
    places = _colour_places(profile)
    wanted = ("nir", "red", "green")
    return Composite(NEAR_INFRARED, tuple(places[key] for key in wanted)) if set(wanted) <= set(places) else None


def _colour_places(profile: Profile) -> dict[str, int]:
    """Return the positions of the colours that the bands' descriptions, or else their labels, tell."""
    bands = profile.colours
    return {
        colour: bands[place] for colour, place in colour_bands([band_name(profile, band) for band in bands]).items()
    }


def _first(profile: Profile) -> Composite:
    return numbered(profile.colours[:3] if len(profile.colours) >= 3 else profile.colours[:1])


def numbered(positions: Sequence[int]) -> Composite:
    """Return the composite of bands whose colours are not known.

    >>> numbered([0, 1, 2]).name
    'bands 1, 2, 3'
    """
    numbers = ", ".join(str(position + 1) for position in positions)
    return Composite(f"band{'s' * (len(positions) > 1)} {numbers}", tuple(positions))
