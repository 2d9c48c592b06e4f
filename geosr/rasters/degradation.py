"""Degradations: what a sensor of lower resolution would have seen of a block. Knows arrays alone, no rasters.

A degradation is a chain of steps: one that makes the block smaller, then any that spoil it. `bicubic` is what a
scene is shrunk by everywhere else; `mtf` is Wald's protocol, a filter with the sensor's modulation transfer function
followed by decimation, after B. Aiazzi et al., MTF-tailored Multiscale Fusion of High-resolution MS and Pan
Imagery, PE&RS 72 (2006).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq

from geosr.errors import OptionError
from geosr.grid import Block
from geosr.rasters.radiometry import Range
from geosr.rasters.resample import REACH, decimate, shrink

SENSORS: dict[str, tuple[float, ...]] = {
    # B02 B03 B04 B08; B05 B06 B07 B8A B11 B12; B01 B09. M. O. Ulfarsson et al., Sentinel-2 Sharpening Using a
    # Reduced-Rank Method, IEEE TGRS 57 (2019), from ESA's data quality reports.
    "sentinel2-10m": (0.26, 0.28, 0.24, 0.26),
    "sentinel2-20m": (0.38, 0.34, 0.34, 0.33, 0.22, 0.23),
    "sentinel2-60m": (0.32, 0.26),
    # Blue, green, red, near infrared. J. Lee et al., RER, FWHM, MTF from Landsat-8 OLI Lunar Data (2014).
    "landsat8": (0.55, 0.55, 0.55, 0.53),
    # Blue, green, red, near infrared; the WorldViews all eight, from coastal on. G. Vivone et al., A Critical
    # Comparison Among Pansharpening Algorithms, IEEE TGRS 53 (2015), and the toolbox that came with it.
    "quickbird": (0.34, 0.32, 0.30, 0.22),
    "ikonos": (0.26, 0.28, 0.29, 0.28),
    "geoeye1": (0.23, 0.23, 0.23, 0.23),
    "worldview2": (0.35,) * 7 + (0.27,),
    "worldview3": (0.325, 0.355, 0.36, 0.35, 0.365, 0.36, 0.335, 0.315),
}
"""Modulation transfer at the Nyquist frequency of the sensor's own pixels, for each band in the order named."""

LEAST_MTF = 0.01
"""Below it, the filter is wider than any sensor's."""


@dataclass(frozen=True, slots=True)
class Degradation:
    """A chain of steps and their settings; call it with a block.

    Raises:
        OptionError: the steps are unknown or in no order that makes sense, or a setting is out of bounds.
    """

    steps: tuple[str, ...] = ("bicubic",)
    mtf: tuple[float, ...] = (0.3,)
    """Modulation transfer at the Nyquist frequency of the result, of all bands or of each."""
    noise: tuple[float, float] = (0.01, 0.002)
    """Standard deviations in parts of the range: of shot noise at the top of the range, and of what is everywhere."""
    bits: int = 8
    """The range is quantised to 2**bits levels."""

    def __post_init__(self) -> None:
        if unknown := [step for step in self.steps if step not in DEGRADATIONS]:
            raise OptionError(f"a degradation is made of {', '.join(DEGRADATIONS)}, got {unknown[0]!r}")
        if not self.steps or [step for step in self.steps if step in SHRINKING] != list(self.steps[:1]):
            raise OptionError(
                f"a degradation begins with one of {', '.join(SHRINKING)}, and others follow, as mtf+noise; "
                f"got {self!s}"
            )
        if not self.mtf or not all(LEAST_MTF <= gain < 1 for gain in self.mtf):
            raise OptionError(f"mtf must be from {LEAST_MTF} to below 1, got {_listed(self.mtf)}")
        if not all(0 <= sigma < 1 for sigma in self.noise):
            raise OptionError(f"noise must be from 0 to below 1, parts of the range, got {_listed(self.noise)}")
        if not 1 <= self.bits <= 16:
            raise OptionError(f"bits must be 1 to 16, got {self.bits}")

    def __call__(self, block: Block, scale: int, *, values: Range, seed: Sequence[int] = (0,)) -> Block:
        """The block (bands, rows, cols) with rows and columns divided by `scale`, in floating point, not clipped.

        `values` is the scene's range, `seed` that of the noise: one for each tile makes it the same in any order.
        """
        made = Made(scale, values, tuple(seed))
        for step in self.steps:
            block = DEGRADATIONS[step](block, self, made)
        return block

    def __str__(self) -> str:
        return "+".join(self.steps)

    def reach(self, scale: int) -> int:
        """Pixels on either side of its own that a pixel of the result depends on; a multiple of the scale."""
        if self.steps[0] == "mtf":
            return max(_reach(gain, scale) for gain in self.mtf)
        return REACH * scale

    def check(self, bands: int, scale: int) -> None:
        """Refuses rasters with another number of bands than the settings, and what the scale does not allow.

        Raises:
            OptionError: it says what does not fit.
        """
        if "mtf" not in self.steps:
            return
        if len(self.mtf) not in (1, bands):
            raise OptionError(
                f"mtf is given for {len(self.mtf)} bands, and the scenes have {bands}; give one value, or one a band"
            )
        for gain in self.mtf:
            gaussian_taps(gain, scale)

    @property
    def settings(self) -> dict[str, object]:
        """The settings of the steps that are taken."""
        return {
            "steps": list(self.steps),
            **({"mtf": list(self.mtf)} if "mtf" in self.steps else {}),
            **({"noise": list(self.noise)} if "noise" in self.steps else {}),
            **({"bits": self.bits} if "quantise" in self.steps else {}),
        }


@dataclass(frozen=True, slots=True)
class Made:
    """What a degradation is made for: a scale, the range of a scene, and the seed of a tile."""

    scale: int
    values: Range
    seed: tuple[int, ...]


Step = Callable[[Block, Degradation, Made], Block]


def bicubic(block: Block, how: Degradation, made: Made) -> Block:
    """The block shrunk by the kernel that training, inference and scoring share."""
    return shrink(block, made.scale)


def mtf(block: Block, how: Degradation, made: Made) -> Block:
    """The block filtered by a Gaussian with the modulation transfer asked for, taken at the centres of the pixels."""
    gains = how.mtf if len(how.mtf) > 1 else how.mtf * len(block)
    bands = [
        decimate(band, made.scale, gaussian_taps(gain, made.scale)) for band, gain in zip(block, gains, strict=True)
    ]
    return np.stack(bands)


def noise(block: Block, how: Degradation, made: Made) -> Block:
    """The block with normal noise of variance shot^2 x + read^2, x its values over the range from 0 to 1.

    Source: A. Foi et al., Practical Poissonian-Gaussian Noise Modeling and Fitting for Single-Image Raw-Data, IEEE
    TIP 17 (2008).
    """
    shot, read = how.noise
    x = made.values.normalise(block)
    deviation = np.sqrt(shot**2 * np.maximum(x, 0) + read**2)
    normal = np.random.default_rng(made.seed).standard_normal(block.shape)
    return np.asarray(made.values.restore(x + deviation * normal).astype(block.dtype))


def quantise(block: Block, how: Degradation, made: Made) -> Block:
    """The block rounded to the levels of the range, which go on beyond its ends: nothing is clipped."""
    steps = 2**how.bits - 1
    x = (block - _column(made.values.low)) / (_column(made.values.high) - _column(made.values.low))
    return np.asarray(made.values.restore(np.rint(x * steps) / steps).astype(block.dtype))


SHRINKING: dict[str, Step] = {"bicubic": bicubic, "mtf": mtf}
DEGRADATIONS: dict[str, Step] = {**SHRINKING, "noise": noise, "quantise": quantise}


@cache
def gaussian_taps(gain: float, k: int) -> NDArray[np.float64]:
    """Weights of a Gaussian around the centre of `k` pixels, whose response at 1 / 2k cycles a pixel is `gain`.

    The response is that of the sampled weights, not of the function they are taken from: the two differ where the
    Gaussian is narrower than a pixel.

    Raises:
        OptionError: no weights have it: between two pixels, for an even `k`, the best that can be had is their mean.
    """
    reach = _reach(gain, k)
    distance = np.arange(-reach, reach + k) - (k - 1) / 2
    wave = np.cos(np.pi * distance / k)

    def weights(sigma: float) -> NDArray[np.float64]:
        taps = np.exp(-0.5 * (distance / sigma) ** 2)
        normalised: NDArray[np.float64] = taps / taps.sum()
        return normalised

    highest = float(weights(NARROWEST) @ wave)
    if gain >= highest:
        raise OptionError(f"mtf must be below {highest:.3f} at scale {k}, got {gain:g}")
    sigma = brentq(lambda sigma: float(weights(sigma) @ wave) - gain, NARROWEST, 2 * _sigma(LEAST_MTF, k), xtol=1e-12)
    return weights(sigma)


NARROWEST = 0.15
"""Standard deviation in pixels of a Gaussian that is all but the nearest pixels' mean."""


def _sigma(gain: float, k: int) -> float:
    """Of the Gaussian whose transform is `gain` at 1 / 2k."""
    return float(2 * k / np.pi * np.sqrt(-np.log(gain) / 2))


def _reach(gain: float, k: int) -> int:
    """Four standard deviations, as whole squares of `k` pixels: what lies beyond weighs 1e-4 together."""
    return int(np.ceil(4 * _sigma(gain, k) / k)) * k


def _column(values: Sequence[float]) -> NDArray[np.float64]:
    return np.array(values)[:, None, None]


def _listed(values: Sequence[float]) -> str:
    return ",".join(f"{value:g}" for value in values)
