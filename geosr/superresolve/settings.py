"""The settings of a scene: what a network that knows sensors is told of the blur and the noise of each band."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence

from geosr.errors import OptionError
from geosr.grid import lattice
from geosr.rasters.noise import noise_level
from geosr.rasters.profile import band_name
from geosr.rasters.radiometry import Range
from geosr.rasters.sensors import NATURAL, NATURAL_BLUR, Setting, gaussian, transfers
from geosr.rasters.source import Pixels, Source
from geosr.superresolve.options import Options

log = logging.getLogger(__name__)

SIDE, WINDOWS = 256, 16
"""Rows and columns of the windows that noise is measured in, and their number."""
USUAL_NOISE = 0.003
"""Noise, in parts of the range, of a scene that it cannot be measured in."""
STEPS = 6
"""Steps in a decade that measured noise is rounded to, so that bands share a network."""
CALM = 4
"""Times the measured noise that a network is told where a sensor's blur is undone.

What lies in calm areas is texture that falls off like blurred noise. Undone with the noise of single pixels alone, it
is rougher to the eye than with an unsharp mask; so told, it is as calm as the input (docs/scores.md).
"""
NOISE_LIMITS = 0.0003, 0.04
"""The least noise but none, and the most, that a network is told."""


def scene_settings(source: Source, values: Range, options: Options) -> tuple[Setting, ...]:
    """Return the settings of the bands that are no transparency.

    Args:
        source: The raster; noise is measured in windows spread over all of it.
        values: The scene's range, whose parts noise is told in.
        options: The choices of sensor, blur and noise.

    Raises:
        OptionError: the sensor has no such bands, or there are more values than bands.
    """
    profile = source.profile
    blurs = _blurs([band_name(profile, i) for i in profile.colours], options)
    if options.noise == "auto":
        natural = options.sensor == NATURAL and options.mtf is None
        levels = [rounded_noise(level * (1 if natural else CALM)) for level in measured_noise(source, values)]
    else:
        levels = [float(options.noise)] * len(blurs)
    return tuple(Setting(blur.half, blur.nyquist, level) for blur, level in zip(blurs, levels, strict=True))


def measured_noise(source: Source, values: Range) -> list[float]:
    """Return the noise of each band that is no transparency, in parts of its range; USUAL_NOISE where it is unknown."""
    levels = []
    for i, level in zip(source.profile.colours, noise_levels(source), strict=True):
        if level is None:
            log.warning("band %d has too few whole blocks to measure noise; %g is taken", i + 1, USUAL_NOISE)
        levels.append(USUAL_NOISE if level is None else level / (values.high[i] - values.low[i]))
    return levels


def noise_levels(source: Source, windows: Sequence[Pixels] | None = None) -> list[float | None]:
    """Return the noise of each band that is no transparency, in its unit; None where it cannot be measured."""
    windows = spread_windows(source) if windows is None else windows
    return [
        noise_level([part.block[i] for part in windows], [part.valid[i] for part in windows])
        for i in source.profile.colours
    ]


def spread_windows(source: Source) -> list[Pixels]:
    """Return the pixels of at most WINDOWS windows spread evenly over the raster."""
    return [source.read(window) for window in lattice(source.profile.window, SIDE, most=WINDOWS)]


def rounded_noise(level: float) -> float:
    """Return a noise level on the lattice that networks are told, within NOISE_LIMITS; 0 stays 0.

    >>> rounded_noise(0.0051), rounded_noise(0.0), rounded_noise(0.5)
    (0.0046, 0.0, 0.04)
    """
    least, most = NOISE_LIMITS
    if level < least / 2:
        return 0.0
    step = round(math.log10(min(max(level, least), most)) * STEPS)
    return min(float(f"{10 ** (step / STEPS):.2g}"), most)


def _blurs(names: list[str | None], options: Options) -> list[Setting]:
    if options.mtf is not None:
        if len(options.mtf) not in (1, len(names)):
            raise OptionError(
                f"mtf has {len(options.mtf)} values and the raster {len(names)} bands; give one, or one a band"
            )
        gains = options.mtf if len(options.mtf) > 1 else options.mtf * len(names)
        return [gaussian(gain) for gain in gains]
    if options.sensor == NATURAL:
        return [Setting(*NATURAL_BLUR)] * len(names)
    return [gaussian(gain) for gain in transfers(options.sensor, names)]
