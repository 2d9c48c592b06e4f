"""Rasters inspected: how the program would treat their bands, values, holes and sharpness, and what it would need."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from geosr.files import plural, size_text
from geosr.grid import Block, Tile
from geosr.notebook import facts
from geosr.quality import detail, metrics
from geosr.rasters.blur import LEAST, MOST, Blur, blur_of, edge_widths
from geosr.rasters.nodata import filled_block
from geosr.rasters.placement import Bounds, bounds, crs_name, geographic_bounds, pixel_size
from geosr.rasters.profile import band_name
from geosr.rasters.radiometry import PERCENTILES
from geosr.rasters.sensors import MTF_LIMITS
from geosr.rasters.source import THUMBNAIL, Pixels, RasterSource
from geosr.superresolve.estimate import Estimate, estimate_job
from geosr.superresolve.options import Options
from geosr.superresolve.plan import Plan, make_plan
from geosr.superresolve.settings import noise_levels, spread_windows
from geosr.superresolve.upscalers import Network

SIDE = 128
"""Rows and columns of a window whose spectrum is taken."""
WINDOWS = 8
VALID = 0.9
"""Share of a window that must be valid to tell anything."""
FINE, COARSE = (0.7, 1.0), (0.25, 0.5)
"""Shares of the Nyquist frequency: what a picture that was enlarged by 1.5 or more cannot hold, and what it can."""
OVERSAMPLED = 0.025
"""Power of the fine over that of the coarse, below which pixels were enlarged.

Of 211 bands of 55 real scenes the least had 0.034, half 0.12 or more; enlarged by 2, bicubic, the most had 0.019.
"""


@dataclass(frozen=True, slots=True)
class Band:
    """One band, as the program takes it."""

    number: int
    name: str | None
    kind: str
    """`image`, or `transparency`."""
    low: float | None
    high: float | None
    """The values that become 0 and 1; None for transparency."""
    sharpness: float | None
    """Power of fine detail over that of coarse; None where nothing could be measured."""
    oversampled: bool | None
    """True if its pixels were enlarged before."""
    blur: Blur | None = None
    """Measured on the straight edges in it; None where there are too few."""
    noise: float | None = None
    """Standard deviation of the noise, in its unit; None where there is too little to measure it in."""


@dataclass(frozen=True, slots=True)
class Info:
    """A raster, and what would be done with it."""

    path: str
    driver: str
    width: int
    height: int
    dtype: str
    crs: str | None
    pixel: tuple[float, float]
    """Width and height, in units of the CRS."""
    bounds: Bounds | None
    degrees: Bounds | None
    """West, south, east and north."""
    bands: list[Band]
    range: str
    """Why these values become 0 and 1."""
    nodata: float | None
    mask: bool
    invalid: float
    """Share of the values that are not valid, in a sample."""
    lost: list[str]
    """Items that an output cannot carry."""
    model: str
    scale: int
    taken: str
    """The way in which the model uses the bands."""
    output: Estimate

    def _repr_html_(self) -> str:
        """Return the most important of it as a table, for notebooks."""
        measured = [band for band in self.bands if band.oversampled is not None]
        verdict = "the pixels hold detail of their size" if measured else "could not be measured"
        items = {
            "sharpness": enlarged_text(self.oversampled, len(measured)) if self.oversampled else verdict,
            "size": f"{self.width} x {self.height} pixels, {plural(len(self.bands), 'band')} of {self.dtype}",
            "pixel size": " x ".join(f"{side:.6g}" for side in self.pixel),
            "CRS": self.crs,
            "not valid": f"{self.invalid:.2%}",
            "model": f"{self.model}, x{self.scale}: {self.taken}",
            "output": f"{self.output.width} x {self.output.height} pixels, {size_text(self.output.output_bytes)}",
            "seconds": f"{self.output.seconds:.0f}",
        }
        return facts(Path(self.path).name, items)

    @property
    def mtf(self) -> float | None:
        """The modulation transfer to tell a network: the median of the measured bands; None without any."""
        values = sorted(band.blur.mtf for band in self.bands if band.blur)
        return round(min(max(values[len(values) // 2], MTF_LIMITS[0]), MTF_LIMITS[1]), 2) if values else None

    @property
    def oversampled(self) -> list[int]:
        """Numbers of the bands whose pixels were enlarged before."""
        return [band.number for band in self.bands if band.oversampled]


def inspect_raster(raster: str | os.PathLike[str], options: Options = Options(), *, workers: int = 1) -> Info:
    """Return what `super_resolve` would do with a raster. Nothing is written.

    Raises:
        RasterError: the raster cannot be read, or is of a kind that must not be super-resolved: why, and what to do.
    """
    job = make_plan(raster, options)
    source, profile = job.source, job.source.profile
    block, good = source.thumbnail(THUMBNAIL)
    needs = estimate_job(job, "output.tif", workers=workers)
    located = profile.located
    return Info(
        path=source.path,
        driver=source.driver,
        width=profile.width,
        height=profile.height,
        dtype=profile.dtype,
        crs=crs_name(profile),
        pixel=pixel_size(profile),
        bounds=bounds(profile, profile.window) if located else None,
        degrees=geographic_bounds(profile),
        bands=_bands(job, (block, good)),
        range=_why(job, options),
        nodata=profile.nodata,
        mask=profile.masked,
        invalid=1 - float(good[profile.colours].mean()),
        lost=list(profile.lost),
        model=job.upscaler.identity.name,
        scale=job.upscaler.scale,
        taken=_taken(job),
        output=needs,
    )


def enlarged_before(job: Plan) -> list[int]:
    """Return the numbers of the bands whose pixels were enlarged before, so that a network has nothing to add to."""
    source = job.source
    thumbnail = source.thumbnail(THUMBNAIL)
    shares = {source.numbers[i]: sharpness(source, i, thumbnail) for i in source.profile.colours}
    return [number for number, share in shares.items() if share is not None and share < OVERSAMPLED]


def enlarged_text(enlarged: Sequence[int], count: int) -> str:
    """Return what is wrong with the bands of these numbers, of `count` measured ones, and what to do.

    >>> enlarged_text([3], 4)
    "band 3 was enlarged before and holds no detail of the pixels' size: x2 adds nothing there"
    """
    if len(enlarged) == count:
        return "the pixels were enlarged before and hold no detail of their size: x2 adds nothing; shrink them first"
    bands, verb, hold = ("band", "was", "holds") if len(enlarged) == 1 else ("bands", "were", "hold")
    numbers = ", ".join(map(str, enlarged))
    return f"{bands} {numbers} {verb} enlarged before and {hold} no detail of the pixels' size: x2 adds nothing there"


def sharpness(source: RasterSource, band: int, thumbnail: tuple[Block, Block] | None = None) -> float | None:
    """Return the power of the finest detail of a band, at this position, over that of coarser detail; None without.

    A sensor blurs, but leaves some; interpolation leaves next to none. Measured where there is most detail.
    """
    profile = source.profile
    if min(profile.width, profile.height) < detail.LEAST:
        return None
    block, good = (plane[[band]] for plane in thumbnail or source.thumbnail(THUMBNAIL))
    windows = detail.detailed(source, profile.window, side=SIDE, count=WINDOWS, bands=[band], thumbnail=(block, good))
    fine = coarse = 0.0
    for window in windows:
        pixels = source.read(window)
        if pixels.valid[band].mean() >= VALID:
            filled = filled_block(source, Tile(0, window, window), pixels, halo=0)
            plane = filled[[band]].astype(np.float64)
            spectra = metrics.spectra(plane, plane, scale=1)
            frequencies, power = spectra.radial(spectra.truth)
            fine += _power(2 * frequencies, power[0], FINE)
            coarse += _power(2 * frequencies, power[0], COARSE)
    return fine / coarse if coarse else None


def _blur(windows: Sequence[Pixels], position: int, noise: float | None) -> Blur | None:
    """Return the blur of the band at this position, measured in the windows that are wholly valid."""
    planes = [window.block[position] for window in windows if window.valid[position].all()]
    edges = [edge_widths(plane, noise or 0.0, most=max(MOST // len(planes), LEAST)) for plane in planes]
    return blur_of(np.concatenate(edges)) if edges else None


def _power(radius: Block, mean: Block, between: tuple[float, float]) -> float:
    """Return the power of all frequencies in the rings between two radii, each of which holds as many as it is long."""
    inside = (radius >= between[0]) & (radius < between[1])
    return float((mean * radius)[inside].sum())


def _bands(job: Plan, thumbnail: tuple[Block, Block]) -> list[Band]:
    source, profile = job.source, job.source.profile
    windows = spread_windows(source)
    noise = dict(zip(profile.colours, noise_levels(source, windows), strict=True))
    bands = []
    for position, number in enumerate(source.numbers):
        name = band_name(profile, position)
        if position == profile.alpha:
            bands.append(Band(number, name, "transparency", None, None, None, None))
            continue
        sharp = sharpness(source, position, thumbnail)
        bands.append(
            Band(
                number=number,
                name=name,
                kind="image",
                low=job.values.low[position],
                high=job.values.high[position],
                sharpness=sharp,
                oversampled=None if sharp is None else sharp < OVERSAMPLED,
                blur=_blur(windows, position, noise[position]),
                noise=noise[position],
            )
        )
    return bands


def _why(job: Plan, options: Options) -> str:
    if options.range:
        return "as given with --range"
    if job.source.profile.dtype == "uint8":
        return "all values of 8 bits"
    return f"percentiles {PERCENTILES[0]:g} and {PERCENTILES[1]:g} of a sample of the scene"


def _taken(job: Plan) -> str:
    upscaler = job.upscaler
    if not isinstance(upscaler, Network):
        return "each band by itself, without a network"
    if upscaler.mode == "luma":
        return "the luma of red, green and blue; colours by bicubic interpolation"
    return "all bands together" if upscaler.bands else "each band by itself"
