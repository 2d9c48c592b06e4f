"""Provenance: how an output was produced, as one typed value, written to and read from its GEOSR_ tags."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass

from geosr.choices import exact_number
from geosr.grid import Window
from geosr.models.computing import Computing
from geosr.rasters.radiometry import Range
from geosr.rasters.sensors import Setting

PREFIX = "GEOSR_"


@dataclass(frozen=True, slots=True)
class Identity:
    """Name and content of an upscaler; equal identities give equal results."""

    name: str
    """`bicubic`, or a model file's name without its ending."""
    scale: int | None = None
    """The enlargement of an interpolation; a network has its own."""
    sha256: str = ""
    """The first 16 digits of the model file's digest."""
    mode: str = "each"
    """The way in which a network of one band treats several bands."""
    computing: Computing = Computing()
    settings: tuple[Setting, ...] = ()
    """The blur and the noise of each band that a network which knows sensors was told."""
    limit: bool = False
    """True if results are kept near the values of the input around them."""
    consistent: str = ""
    """The way in which results keep the input's radiometry, `sensor` or `area`, if they do."""

    def __str__(self) -> str:
        consistent = f" consistent {self.consistent}" if self.consistent else ""
        if not self.sha256:
            return f"{self.name} x{self.scale}{consistent}"
        sensor = " sensor " + "/".join(map(str, self.settings)) if self.settings else ""
        limited = " limited" * self.limit
        return f"{self.name} sha256:{self.sha256} {self.mode}{self.computing}{sensor}{limited}{consistent}"

    @property
    def words(self) -> str:
        """The upscaler and what it was told of the sensor, for people.

        >>> Identity("span_x2", sha256="0123", settings=(Setting(0.71, 0.26, 0.005),)).words
        'span_x2, told MTF 0.26 and noise 0.5 %'
        """
        blur = _between([setting.nyquist for setting in self.settings])
        noise = _between([100 * setting.noise for setting in self.settings])
        sensor = f", told MTF {blur} and noise {noise} %" if self.settings else ""
        consistent = f", consistent ({self.consistent})" if self.consistent else ""
        return f"{self.name}{sensor}{', limited' * self.limit}{consistent}"

    @classmethod
    def parse(cls, text: str) -> Identity:
        """Return the identity that `str` gave as words.

        >>> str(Identity.parse("span_x2 sha256:0123456789abcdef each on onnx"))
        'span_x2 sha256:0123456789abcdef each on onnx'

        Raises:
            ValueError: the settings of a sensor are none.
        """
        text, _, consistent = text.partition(" consistent ")
        name, _, words = text.partition(" ")
        digest, _, settings = words.partition(" ")
        if not digest.startswith("sha256:"):
            return cls(name, int(digest[1:]) if digest[1:].isdecimal() else None, consistent=consistent)
        settings, _, rest = settings.partition(" sensor ")
        sensor, _, limit = rest.partition(" ")
        return cls(
            name,
            sha256=digest.removeprefix("sha256:"),
            mode="luma" if "luma" in settings.split() else "each",
            computing=Computing.parse(settings),
            settings=tuple(map(Setting.parse, sensor.split("/"))) if sensor else (),
            limit=limit == "limited",
            consistent=consistent,
        )


@dataclass(frozen=True, slots=True)
class Provenance:
    """The making of an output; None where its tags do not say."""

    version: str | None = None
    """The version of geosr."""
    input: str | None = None
    """The checksum of the input's files."""
    model: Identity | None = None
    scale: int | None = None
    range: Range | None = None
    """The values of each band that became 0 and 1."""
    bands: tuple[int, ...] | None = None
    """Numbers, from 1, of the input's bands."""
    window: Window | None = None
    """The part of the input, if it is not the whole."""
    alpha: str = "auto"
    dtype: str | None = None
    nodata: float | None = None
    nodata_in: float | None = None
    """The value that is nodata in the input although that does not declare it."""
    skip_errors: bool = False
    stored: str | None = None
    """Format and creation options."""
    frames: int | None = None
    """The number of photos in a burst."""

    @property
    def driver(self) -> str | None:
        """GDAL's name of the format that the output was written in."""
        words = (self.stored or "").split()
        return next((word.removeprefix("driver=") for word in words if word.startswith("driver=")), None)

    def to_tags(self) -> dict[str, str]:
        """Return the tags of an output."""
        values = {
            "VERSION": self.version,
            "INPUT": self.input,
            "MODEL": self.model,
            "SCALE": self.scale,
            "FRAMES": self.frames,
            "RANGE": self.range,
            "BANDS": _joined(self.bands) if self.bands else None,
            "WINDOW": _joined(astuple(self.window)) if self.window else None,
            "ALPHA": self.alpha if self.alpha != "auto" else None,
            "DTYPE": self.dtype,
            "NODATA": self.nodata,
            "NODATA_IN": self.nodata_in,
            "ERRORS": "skipped" if self.skip_errors else None,
            "STORED": self.stored,
        }
        return {f"{PREFIX}{name}": str(value) for name, value in values.items() if value is not None}

    @classmethod
    def from_tags(cls, tags: Mapping[str, str]) -> Provenance:
        """Return the provenance that the tags of an output tell.

        Raises:
            ValueError: they are not tags that `to_tags` writes.
        """
        values = {name.removeprefix(PREFIX): text for name, text in tags.items() if name.startswith(PREFIX)}
        window = _numbers(values.get("WINDOW"))
        if window is not None and len(window) != 4:
            raise ValueError(f"a window has four numbers, got {values['WINDOW']!r}")
        return cls(
            version=values.get("VERSION"),
            input=values.get("INPUT"),
            model=Identity.parse(values["MODEL"]) if "MODEL" in values else None,
            scale=int(values["SCALE"]) if "SCALE" in values else None,
            range=_range(values["RANGE"]) if "RANGE" in values else None,
            bands=_numbers(values.get("BANDS")),
            window=Window(*window) if window else None,
            alpha=values.get("ALPHA", "auto"),
            dtype=values.get("DTYPE"),
            nodata=exact_number(values["NODATA"]) if "NODATA" in values else None,
            nodata_in=exact_number(values["NODATA_IN"]) if "NODATA_IN" in values else None,
            skip_errors="ERRORS" in values,
            stored=values.get("STORED"),
            frames=int(values["FRAMES"]) if "FRAMES" in values else None,
        )


def without_provenance(tags: Mapping[str, Mapping[str, str]]) -> dict[str, Mapping[str, str]]:
    """Return the tags, by domain, less those that tell how an earlier output was produced."""
    plain = {name: value for name, value in tags.get("", {}).items() if not name.startswith(PREFIX)}
    return {**tags, "": plain}


def _between(numbers: Sequence[float]) -> str:
    """Return the smallest and the largest number in words, or the one that all are."""
    return " to ".join(dict.fromkeys(f"{end(numbers, default=0.0):.2g}" for end in (min, max)))


def _joined(numbers: tuple[int, ...]) -> str:
    return ",".join(map(str, numbers))


def _numbers(text: str | None) -> tuple[int, ...] | None:
    return None if text is None else tuple(int(number) for number in text.split(","))


def _range(text: str) -> Range:
    lows, highs = zip(*(map(float, pair.split(",")) for pair in text.split()), strict=True)
    return Range(lows, highs)
