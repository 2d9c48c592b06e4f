"""The options of a super-resolution, declared once for the library and the command line. Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from geosr.choices import check_options, option
from geosr.errors import OptionError
from geosr.models import DEFAULT
from geosr.models.computing import Computing as Computing
from geosr.rasters.kinds import ALPHA_MODES, DTYPES
from geosr.rasters.sensors import NATURAL, SENSORS, Setting, gaussian

BANDS_MODES = ("auto", "each", "luma")
CONSISTENT = ("sensor", "area")


@dataclass(frozen=True, slots=True)
class Options:
    """The choices that decide the output; None means that the raster and the model decide.

    Raises:
        OptionError: a value is not allowed, or two contradict each other.
    """

    scale: int | None = option(None, "Enlargement; the model's own by default, or 2.", least=1)
    model: str = option(DEFAULT, "bicubic, a shipped model, or a .keras, .onnx or .xml (OpenVINO) file.")
    computing: Computing = Computing()
    bands: tuple[int | str, ...] | None = option(
        None, "Bands to use, in this order: numbers from 1, or names, as B4,red."
    )
    bands_mode: str = option(
        "auto",
        "How a network of one band treats several: each by itself, or the luma of red, green and blue alone (three "
        "times cheaper; for photographs). auto is each.",
        choices=BANDS_MODES,
    )
    alpha: str = option(
        "auto",
        "Treat a band labelled alpha as transparency (mask) or as data (band); near infrared is often mislabelled.",
        choices=ALPHA_MODES,
    )
    range: tuple[float, float] | None = option(None, "Values that become 0 and 1 for the network, of every band.")
    sensor: str = option(
        NATURAL,
        "Sensor whose blur is undone, as sentinel2-10m or landsat8-pan, by the names of the bands (a wrong name lists "
        "all sensors); natural is the picture that the same sensor would take from half the height.",
    )
    mtf: tuple[float, ...] | None = option(
        None, "Modulation transfer at the Nyquist frequency of the input, of all bands or each, in place of a sensor."
    )
    noise: float | str = option(
        "auto", "Noise of the input, in parts of its range; auto measures it. A larger number gives calmer pictures."
    )
    limit: bool | None = option(
        None,
        "Keep results near the values of the input around them, without overshoot; by default with the natural "
        "setting of a network that knows sensors.",
    )
    consistent: str | None = option(
        None,
        "Keep the input's radiometry: `sensor`, what the sensor would see of the output is the input; `area`, the "
        "mean of the output over each pixel of the input is that pixel.",
        choices=CONSISTENT,
    )
    settings: tuple[Setting, ...] | None = None
    """What a network that knows sensors is told of each band, in place of sensor, mtf and noise."""
    window: tuple[int, int, int, int] | None = option(
        None, "Super-resolve only these pixels of the input; the result is that part of the whole's."
    )
    bounds: tuple[float, float, float, float] | None = option(
        None, "Super-resolve only the pixels that these bounds in the CRS of the input touch."
    )
    dtype: str | None = option(
        None, "Data type of the output; the input's by default. Values saturate, they are not scaled.", choices=DTYPES
    )
    nodata_in: float | None = option(
        None, "Value that is nodata in the input although it does not declare it, as 0 beside a swath."
    )
    nodata: float | None = option(None, "Nodata value of the output; the input's by default.")
    format: str | None = option(None, "GDAL driver of the output, as COG; by the ending of OUTPUT by default.")
    overviews: bool | None = option(None, "Build overviews in the output; by default if the input has them.")
    tile: int | None = option(
        None,
        "Rows and columns of a tile's core; chosen from the raster, the model and the memory by default.",
        least=1,
    )
    batch: int | None = option(None, "Tiles in a task; one by default, and more if they are small.", least=1)
    memory: int | None = option(
        None,
        "Memory limit, as 800MB or 4GiB; the tile size is chosen for it.  [default: half of the machine's, at most "
        "8GiB]",
        least=1,
    )
    skip_errors: bool = option(False, "Turn blocks that cannot be read into nodata; exit status 3.")
    creation: Mapping[str, str] | None = option(None, "GDAL creation option, as COMPRESS=ZSTD.")

    def __post_init__(self) -> None:
        check_options(self)
        if self.bands is not None and (
            isinstance(self.bands, str) or not (isinstance(self.bands, Sequence) and self.bands)
        ):
            raise OptionError(f"bands must be band numbers from 1 or names, as (4, 3, 'blue'), got {self.bands!r}")
        if self.sensor not in (NATURAL, *SENSORS):
            raise OptionError(f"sensor must be one of {', '.join((NATURAL, *SENSORS))}, got {self.sensor!r}")
        for gain in self.mtf or ():
            gaussian(gain)
        if self.mtf and self.sensor != NATURAL:
            raise OptionError("the blur is told by the sensor or by mtf, not by both")
        if self.noise != "auto" and not (isinstance(self.noise, (int, float)) and 0 <= self.noise < 1):
            raise OptionError(f"noise must be auto, or from 0 to below 1, parts of the range, got {self.noise!r}")
        if self.window and self.bounds:
            raise OptionError("a part is given by its window or by its bounds, not by both")
