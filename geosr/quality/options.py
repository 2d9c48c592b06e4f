"""The options of an evaluation, declared once for the library and the command line. Imports nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass

from geosr.choices import check_options, option
from geosr.models.computing import Computing
from geosr.rasters.degradation import Degradation
from geosr.rasters.kinds import ALPHA_MODES

PROTOCOLS = ("scene", "paper")


@dataclass(frozen=True, slots=True)
class Options:
    """The choices of an evaluation.

    Raises:
        OptionError: a value is not allowed.
    """

    scale: int | None = option(None, "Enlargement; the model's own by default, or 2.")
    computing: Computing = Computing()
    bands: tuple[int | str, ...] | None = option(
        None, "Bands to use, in this order: numbers from 1, or names, as B4,red."
    )
    rgb: tuple[int | str, ...] | None = option(
        None, "Bands that plots show: three as red, green and blue, or one; true colour by default."
    )
    alpha: str = option(
        "auto",
        "Treat a band labelled alpha as transparency (mask) or as data (band); near infrared is often mislabelled.",
        choices=ALPHA_MODES,
    )
    nodata_in: float | None = option(
        None, "Value that is nodata in a scene although it does not declare it, as 0 beside a swath."
    )
    degradation: Degradation = Degradation()
    range: tuple[float, float] | None = option(
        None, "Values that become 0 and 1 for the network, of every band; those of each scene by default."
    )
    protocol: str = option(
        "scene",
        "scene: all bands, the shrunk scene rounded to its type. paper: as papers on photographs do, the Y of 8-bit "
        "red, green and blue alone, shrunk without rounding, with SCALE pixels at the edges shaved.",
        choices=PROTOCOLS,
    )
    limit: bool = option(
        False, "Keep results near the values of the input around them, as superresolve does by default."
    )
    border: int | None = option(
        None, "Pixels at the edges that do not count; 0, or SCALE with --protocol paper.", least=0
    )
    side: int = option(768, "Approximate rows and columns of a tile, in pixels of the truth.", least=1)

    def __post_init__(self) -> None:
        check_options(self)
