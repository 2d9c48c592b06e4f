"""Sensors simulated while a network is trained: each batch shows the truth as one sensor, drawn at random, sees it.

Blur and noise are those of the whole batch, and the network is told them. What it is not told, since a scene does not
say it either, is drawn for each crop: JPEG, quantisation, resampling by a part of a pixel, stripes. Sources: Y. Wald,
L. Ranchin, M. Mangolini, PE&RS 63 (1997), for the protocol; A. Foi et al., IEEE TIP 17 (2008), for noise that depends
on the signal; X. Wang et al., Real-ESRGAN, ICCVW 2021, for JPEG and resampling among degradations.
"""

from __future__ import annotations

import io
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from geosr.grid import Block
from geosr.rasters.degrading import gaussian_taps, power_taps, transfer
from geosr.rasters.resample import keys, shrinking_taps
from geosr.rasters.sensors import Setting
from geosr.training.options import Options

MARGIN = 4
"""Pixels of the input around a crop that is simulated, for blur, resampling and JPEG's blocks."""
BICUBIC, GAUSSIAN = 0.3, 0.72
"""Share of the batches that the bicubic kernel shrinks, and up to which a Gaussian does; the rest is in between."""
SHAPES = 1.6, 4.5
"""Exponents p of transfers exp(-a f^p) between a Gaussian (2) and the bicubic kernel (about 4.4)."""
ASYMMETRY = 0.1
"""Most that the transfers along and across differ from their mean, as a share."""
NOISELESS = 0.2
"""Share of the batches without noise."""
LOSSY, SUBSAMPLED = 0.22, 0.6
"""Share of the crops stored as JPEG, where colours are known, and of those with 4:2:0."""
SHIFTED, STRIPED, UNROUNDED = 0.12, 0.08, 0.15
"""Shares of the crops that are resampled by a part of a pixel, striped, and not quantised."""
STRIPES = 0.003
"""Largest deviation of columns, in parts of the range."""


@dataclass(frozen=True, slots=True)
class Simulation:
    """A sensor: the weights that blur down and across, and its noise in parts of the range."""

    down: NDArray[np.float64]
    across: NDArray[np.float64]
    noise: float
    scale: int

    @property
    def setting(self) -> Setting:
        """The numbers that the network is told."""
        half, nyquist = (
            (transfer(self.down, part / self.scale) + transfer(self.across, part / self.scale)) / 2 for part in (0.5, 1)
        )
        return Setting(half, nyquist, self.noise)


def draw_sensor(rng: np.random.Generator, options: Options) -> Simulation:
    """Return a sensor with a blur and a noise within the ranges of the options."""
    k, kind = options.scale, rng.random()
    noise = 0.0 if rng.random() < NOISELESS else float(np.exp(rng.uniform(*np.log(options.noise))))
    if kind < BICUBIC:
        return Simulation(shrinking_taps(k), shrinking_taps(k), noise, k)
    least, most = options.mtf
    mean, skew = rng.uniform(least, most), 1 + rng.uniform(-ASYMMETRY, ASYMMETRY)
    gains = [round(float(gain), 3) for gain in np.clip((mean * skew, mean / skew), least, most)]
    if kind < GAUSSIAN:
        down, across = (gaussian_taps(gain, k) for gain in gains)
    else:
        exponent = rng.uniform(*SHAPES)
        down, across = (power_taps(gain, exponent, k) for gain in gains)
    return Simulation(down, across, noise, k)


def simulate(truth: Block, sensor: Simulation, options: Options, rng: np.random.Generator) -> tuple[Block, Block]:
    """Return a crop as the sensor sees it and its truth, (1, rows, cols) each, of a band drawn at random.

    Args:
        truth: The bands (bands, rows, cols) around the crop, MARGIN more on each side, in parts of the range.
        sensor: What blurs them, and its noise.
        options: The ranges of what else is drawn.
        rng: The source of all randomness.
    """
    k, side = sensor.scale, truth.shape[-1] // sensor.scale - 2 * MARGIN
    lossy = len(truth) >= 3 and rng.random() < LOSSY
    band = int(rng.integers(3 if lossy else len(truth)))
    bands = truth[:3] if lossy else truth[band : band + 1]
    shift = rng.integers(0, k, 2) if k > 1 and rng.random() < SHIFTED else np.zeros(2, int)
    low = _shrunk(np.roll(bands, tuple(-shift), (1, 2)), sensor)
    if sensor.noise:
        low = low + sensor.noise * _shot(low, rng) * rng.standard_normal(low.shape).astype(np.float32)
    for axis, pixels in enumerate(shift):
        low = _moved(low, pixels / k, axis + 1)
    if rng.random() < STRIPED:
        low = low + np.float32(rng.uniform(0, STRIPES)) * rng.standard_normal((1, 1, low.shape[2])).astype(np.float32)
    if lossy:
        low = _compressed(low, options, rng)[band : band + 1]
    elif rng.random() >= UNROUNDED:
        steps = np.float32(2 ** rng.choice(options.bits) - 1)
        low = np.rint(low * steps) / steps
    inner, fine = (slice(MARGIN * n, (MARGIN + side) * n) for n in (1, k))
    return low[:, inner, inner], truth[band : band + 1, fine, fine]


def _shrunk(bands: Block, sensor: Simulation) -> Block:
    """Return the bands blurred and taken at the centres of squares of `scale` pixels."""
    down, across = (taps.astype(np.float32) for taps in (sensor.down, sensor.across))
    anchor, k = (len(across) - sensor.scale) // 2, sensor.scale
    filtered = [
        cv2.sepFilter2D(
            np.ascontiguousarray(band, np.float32),
            cv2.CV_32F,
            across,
            down,
            anchor=(anchor, (len(down) - k) // 2),
            borderType=cv2.BORDER_REFLECT,
        )[::k, ::k]
        for band in bands
    ]
    return np.stack(filtered)


def _shot(low: Block, rng: np.random.Generator) -> Block:
    """Return the deviation of noise where a share, drawn at random, of its variance grows with the signal."""
    share = rng.random()
    return np.asarray(np.sqrt(np.maximum(low, 0) / max(float(low.mean()), 0.05) * share + 1 - share), np.float32)


def _moved(low: Block, part: float, axis: int) -> Block:
    """Return values at `part` of a pixel before each one, by cubic convolution: as resampled pixels are."""
    if not part:
        return low
    moved = sum(np.float32(keys(np.array(n + part))) * np.roll(low, -n, axis) for n in (-2, -1, 0, 1))
    return np.asarray(moved, np.float32)


def _compressed(low: Block, options: Options, rng: np.random.Generator) -> Block:
    """Return red, green and blue after JPEG, its blocks beginning anywhere."""
    row, col = (int(i) for i in rng.integers(0, MARGIN, 2))
    pixels = np.rint(np.clip(low, 0, 1) * 255).astype(np.uint8).transpose(1, 2, 0)[row:, col:]
    file, least, most = io.BytesIO(), *options.jpeg
    subsampling = 2 if rng.random() < SUBSAMPLED else 0
    Image.fromarray(pixels).save(file, "JPEG", quality=int(rng.integers(least, most + 1)), subsampling=subsampling)
    result = low.copy()
    result[:, row:, col:] = np.asarray(Image.open(file)).transpose(2, 0, 1).astype(np.float32) / 255
    return result
