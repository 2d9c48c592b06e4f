"""Degradations: the settings of what a sensor of lower resolution would have seen. Imports nothing heavy.

A degradation is a chain of steps: one that shrinks the block, then any that spoil it. `bicubic` is the shrinking used
everywhere else; `mtf` is Wald's protocol, a filter with the sensor's modulation transfer function followed by
decimation, after B. Aiazzi et al., MTF-tailored Multiscale Fusion of High-resolution MS and Pan Imagery, PE&RS 72
(2006).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from geosr.errors import OptionError

if TYPE_CHECKING:
    from geosr.grid import Block
    from geosr.rasters.radiometry import Range
    from geosr.rasters.sensors import Setting

SHRINKING = ("bicubic", "mtf")
STEPS = (*SHRINKING, "noise", "quantise")
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
    """Standard deviations in parts of the range: of shot noise at the top of the range, and of read noise."""
    bits: int = 8
    """The range is quantised to 2**bits levels."""

    def __post_init__(self) -> None:
        if unknown := [step for step in self.steps if step not in STEPS]:
            raise OptionError(f"a degradation is made of {', '.join(STEPS)}, got {unknown[0]!r}")
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
        """Return the block (bands, rows, cols) with rows and columns divided by `scale`, in floating point, unclipped.

        `values` is the scene's range, `seed` that of the noise: one for each tile makes it the same in any order.
        """
        from geosr.rasters.degrading import degraded

        return degraded(block, self, scale, values=values, seed=seed)

    def __str__(self) -> str:
        return "+".join(self.steps)

    def sensor_settings(self, scale: int, levels: Sequence[float]) -> tuple[Setting, ...]:
        """Return what a network that knows sensors is told of bands of these mean levels, from 0 to 1 of the range."""
        from geosr.rasters.degrading import sensor_settings

        return sensor_settings(self, scale, levels)

    def reach(self, scale: int) -> int:
        """Return the pixels on each side that a pixel of the result depends on; a multiple of the scale."""
        from geosr.rasters.degrading import reach

        return reach(self, scale)

    def check(self, bands: int, scale: int) -> None:
        """Refuse rasters with another number of bands than the settings, and a transfer that the scale does not allow.

        Raises:
            OptionError: it says what does not fit.
        """
        if "mtf" not in self.steps:
            return
        if len(self.mtf) not in (1, bands):
            raise OptionError(
                f"mtf is given for {len(self.mtf)} bands, and the scenes have {bands}; give one value, or one a band"
            )
        from geosr.rasters.degrading import gaussian_taps

        for gain in self.mtf:
            gaussian_taps(gain, scale)

    @property
    def settings(self) -> dict[str, object]:
        """The settings of the steps in the chain."""
        return {
            "steps": list(self.steps),
            **({"mtf": list(self.mtf)} if "mtf" in self.steps else {}),
            **({"noise": list(self.noise)} if "noise" in self.steps else {}),
            **({"bits": self.bits} if "quantise" in self.steps else {}),
        }


def _listed(values: Sequence[float]) -> str:
    return ",".join(f"{value:g}" for value in values)
