"""Sensors: their blur, band by band, and how the bands of a raster are found. Imports nothing heavy.

A blur is told by its modulation transfer at the Nyquist frequency of the sensor's own pixels.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from geosr.errors import OptionError

NATURAL = "natural"
"""The setting for a picture as the same sensor would take it from half the height."""
MTF_LIMITS = 0.05, 0.9


@dataclass(frozen=True, slots=True)
class Setting:
    """What a network that knows sensors is told of a band."""

    half: float
    """Modulation transfer at half of the Nyquist frequency."""
    nyquist: float
    """Modulation transfer at the Nyquist frequency."""
    noise: float = 0.0
    """Standard deviation of the noise, in parts of the range."""

    def __str__(self) -> str:
        return f"{self.half:.4g},{self.nyquist:.4g},{self.noise:.4g}"

    @classmethod
    def parse(cls, text: str) -> Setting:
        """Return the setting that `str` gave.

        Raises:
            ValueError: it is no such text.
        """
        half, nyquist, noise = map(float, text.split(","))
        return cls(half, nyquist, noise)


def mean_setting(settings: Sequence[Setting]) -> Setting | None:
    """Return the mean of several bands' settings; None of none."""
    if not settings:
        return None
    half, nyquist, noise = (
        sum(numbers) / len(settings) for numbers in zip(*((s.half, s.nyquist, s.noise) for s in settings), strict=True)
    )
    return Setting(half, nyquist, noise)


def gaussian(mtf: float, noise: float = 0.0) -> Setting:
    """Return the setting for a Gaussian blur.

    >>> gaussian(0.0625)
    Setting(half=0.5, nyquist=0.0625, noise=0.0)

    Raises:
        OptionError: the modulation transfer is outside MTF_LIMITS.
    """
    least, most = MTF_LIMITS
    if not least <= mtf <= most:
        raise OptionError(f"mtf must be from {least} to {most}, got {mtf:g}")
    return Setting(mtf**0.25, mtf, noise)


COLOURS = {"coastal", "blue", "green", "yellow", "red", "rededge", "nir", "nir2", "swir1", "swir2", "pan", "cirrus"}

NATURAL_BLUR = 0.90, 0.46
"""The transfer of `natural`, at half of the Nyquist frequency and at it.

Between the bicubic kernel's (0.94, 0.49) and what Sentinel-2's band at 20 m has relative to its neighbour at 10 m
(0.86, 0.36): with it, native pixels of four scenes come nearest to the finer band.
"""

SENSORS: Mapping[str, Mapping[str, float]] = {
    # M. O. Ulfarsson et al., Sentinel-2 Sharpening Using a Reduced-Rank Method, IEEE TGRS 57 (2019), from ESA's data
    # quality reports.
    "sentinel2-10m": {"b2 blue": 0.26, "b3 green": 0.28, "b4 red": 0.24, "b8 nir": 0.26},
    "sentinel2-20m": {"b5": 0.38, "b6": 0.34, "b7": 0.34, "b8a": 0.33, "b11": 0.22, "b12": 0.23},
    # B10 from M. Ciotola et al., Hyperspectral Pansharpening and its toolbox (2025).
    "sentinel2-60m": {"b1 coastal": 0.32, "b9": 0.26, "b10 cirrus": 0.30},
    # J. Lee et al., RER, FWHM, MTF from Landsat-8 OLI Lunar Data (2014). Landsat 9 has a copy of the instrument.
    "landsat8": {"b2 blue": 0.55, "b3 green": 0.55, "b4 red": 0.55, "b5 nir": 0.53},
    "landsat8-pan": {"b8 pan": 0.40},
    "landsat9": {"b2 blue": 0.55, "b3 green": 0.55, "b4 red": 0.55, "b5 nir": 0.53},
    "landsat9-pan": {"b8 pan": 0.40},
    # G. Vivone et al., A Critical Comparison Among Pansharpening Algorithms, IEEE TGRS 53 (2015), and its toolbox;
    # those of Pleiades are the toolbox's nominal ones.
    "quickbird": {"b1 blue": 0.34, "b2 green": 0.32, "b3 red": 0.30, "b4 nir": 0.22},
    "ikonos": {"b1 blue": 0.26, "b2 green": 0.28, "b3 red": 0.29, "b4 nir": 0.28},
    "geoeye1": {"b1 blue": 0.23, "b2 green": 0.23, "b3 red": 0.23, "b4 nir": 0.23},
    "quickbird-pan": {"pan": 0.15},
    "ikonos-pan": {"pan": 0.17},
    "geoeye1-pan": {"pan": 0.16},
    "worldview2-pan": {"pan": 0.11},
    "worldview3-pan": {"pan": 0.14},
    "pleiades": {"b0 blue": 0.30, "b1 green": 0.30, "b2 red": 0.30, "b3 nir": 0.30},
    "pleiades-pan": {"pan": 0.15},
    "worldview2": {
        "b1 coastal": 0.35,
        "b2 blue": 0.35,
        "b3 green": 0.35,
        "b4 yellow": 0.35,
        "b5 red": 0.35,
        "b6 rededge": 0.35,
        "b7 nir": 0.35,
        "b8 nir2": 0.27,
    },
    "worldview3": {
        "b1 coastal": 0.325,
        "b2 blue": 0.355,
        "b3 green": 0.36,
        "b4 yellow": 0.35,
        "b5 red": 0.365,
        "b6 rededge": 0.36,
        "b7 nir": 0.335,
        "b8 nir2": 0.315,
    },
}
"""Modulation transfer at the Nyquist frequency of each sensor's bands, which are named by number, colour or both."""


def transfers(sensor: str, names: Sequence[str | None]) -> tuple[float, ...]:
    """Return the modulation transfer of bands with these descriptions; by their order where no description tells.

    >>> transfers("sentinel2-10m", ["Band 4", "nir"])
    (0.24, 0.26)

    Raises:
        OptionError: there is no such sensor, or a band is none of its.
    """
    if sensor not in SENSORS:
        raise OptionError(f"sensor must be one of {', '.join((NATURAL, *SENSORS))}, got {sensor!r}")
    bands = SENSORS[sensor]
    by_name = {name: gain for words, gain in bands.items() for name in words.split()}
    keys = [next((key for key in band_keys(name) if key in by_name), None) for name in names]
    if all(keys):
        return tuple(by_name[key] for key in keys if key)
    if not any(band_keys(name) for name in names) and len(names) == len(bands):
        return tuple(bands.values())
    listed = ", ".join(name or "a band without a name" for name in names)
    raise OptionError(
        f"{sensor!r} has the bands {', '.join(bands)}; the raster has {listed}; "
        "give --mtf, or choose bands with --bands"
    )


_EARLY_LANDSAT = {"blue": "b1", "green": "b2", "red": "b3", "nir": "b4"}, {"b1", "b2", "b3", "b4", "b5", "b7"}
"""Colours of Landsat 4 to 7, and the bands of its usual products, which leave the thermal one out."""


def colour_bands(names: Sequence[str | None]) -> dict[str, int]:
    """Return the positions of the bands that descriptions call red, green, blue or nir, in words or as a sensor's.

    Numbers that only count the bands, as 1, 2, 3, tell no colour, but for SR_B1, SR_B2, ... of Landsat's products.

    >>> colour_bands(["B02", "B03", "B04", "B08"])
    {'blue': 0, 'green': 1, 'red': 2, 'nir': 3}
    >>> colour_bands(["Near Infrared", "Red band", None]), colour_bands(["Band 1", "Band 2", "Band 3"])
    ({'red': 1, 'nir': 0}, {})
    """
    keys = [band_keys(name) for name in names]
    words = {
        colour: next(i for i, band in enumerate(keys) if colour in band)
        for colour in ("red", "green", "blue", "nir")
        if any(colour in band for band in keys)
    }
    if {"red", "green", "blue"} <= set(words):
        return words
    numbers = {key: i for i, band in reversed(list(enumerate(keys))) for key in band[:1] if key not in COLOURS}
    counted = set(numbers) == {f"b{i + 1}" for i in range(len(numbers))}
    if counted and not all("sr_b" in (name or "").lower() for name in names):
        return words
    return {colour: numbers[key] for colour, key in _numbered(set(numbers)).items() if key in numbers} | words


def _numbered(numbers: set[str]) -> Mapping[str, str]:
    """Return the numbers of the colours of the sensor that these bands are of; none where they tell no sensor."""
    if numbers == _EARLY_LANDSAT[1]:
        return _EARLY_LANDSAT[0]
    tables = [{words.split()[-1]: words.split()[0] for words in bands} for bands in SENSORS.values()]
    for wanted in (("red", "green", "blue", "nir"), ("red", "green", "blue")):
        for table in tables:
            if all(table.get(colour) in numbers for colour in wanted):
                return {colour: table[colour] for colour in ("blue", "green", "red", "nir")}
    return {}


def band_keys(description: str | None) -> list[str]:
    """Return the number and the colour that a band's description names, in one spelling.

    >>> band_keys("Band 4 (red)"), band_keys("SR_B04"), band_keys("B8A"), band_keys("Near Infrared"), band_keys(None)
    (['b4', 'red'], ['b4'], ['b8a'], ['nir'], [])
    """
    text = re.sub(r"[^a-z0-9]+", " ", (description or "").lower())
    numbers = re.findall(r"\bb(?:and)? ?0*(\d+a?)\b", text)
    text = text.replace("near infrared", "nir").replace("red edge", "rededge")
    return [f"b{number}" for number in numbers] + [word for word in text.split() if word in COLOURS]
