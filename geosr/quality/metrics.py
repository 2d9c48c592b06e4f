"""Scores against the truth: PSNR, SSIM, SAM, ERGAS, consistency, and detail beyond the input's Nyquist frequency.

Most scores are means over pixels, of a value for each: a map and the pixels that count, (bands, rows, cols) or
(rows, cols). Tiles give sums that add up (`Mean`, `Spectra`), so that no scene is too large. Knows arrays alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import minimum_filter
from skimage.metrics import structural_similarity

from geosr.grid import Block, Window
from geosr.rasters.radiometry import to_dtype
from geosr.rasters.resample import shrink

Mask = NDArray[np.bool_]
Floats = NDArray[np.float64]

SIGMA = 1.5
"""Standard deviation of the Gaussian window of SSIM, in pixels."""
SSIM_REACH = 5
"""Pixels that the window of SSIM, 11 x 11, reaches on either side."""
SHRINK_REACH = 2
"""Pixels of the shrunk image that a pixel of it shares its kernel with, on either side."""
SPECTRUM = 64
"""Rows and columns of the windows that spectra are taken of."""


@dataclass(frozen=True, slots=True)
class Mean:
    """A mean that adds up: of each band, or of one map."""

    total: Floats
    count: Floats

    @classmethod
    def of(cls, values: Block, counted: Mask) -> Mean:
        """Over the last two axes, of the values that count."""
        terms = np.where(counted, values, 0)
        return cls(terms.sum(axis=(-2, -1), dtype=np.float64), counted.sum(axis=(-2, -1), dtype=np.float64))

    def __add__(self, other: Mean) -> Mean:
        return Mean(self.total + other.total, self.count + other.count)

    @property
    def value(self) -> Floats:
        """NaN where nothing counts."""
        return _ratio(self.total, self.count)


@dataclass(frozen=True, slots=True)
class Spectra:
    """Power of the truth and of the result, and what they share, by radial frequency; sums over windows, which add up.

    Arrays are (bands, 2, bins): what the input could hold, and what it could not, in bins as wide as 1 / SPECTRUM
    cycles per pixel, the first at 0.
    """

    truth: Floats
    made: Floats
    shared: Floats
    """The real part of the truth's spectrum times the result's conjugate: what has the same phase."""
    windows: Floats
    """The number of values, of each band."""

    def __add__(self, other: Spectra) -> Spectra:
        return Spectra(
            self.truth + other.truth,
            self.made + other.made,
            self.shared + other.shared,
            self.windows + other.windows,
        )

    @property
    def recovered(self) -> Floats:
        """Share of the truth's energy beyond the input's Nyquist frequency that is in the result, by band.

        The cross power of the truth and the result over the power of the truth: what has another phase than the
        truth, as noise or a texture that was made up, adds nothing on average, however strong. A result that has a
        third of the edges right and the others blurred has a third; so has one with a third of the contrast; the
        best estimate in the mean square has as much as it takes off the error. NaN where the truth has no energy.
        """
        return self._beyond(self.shared)

    @property
    def energy(self) -> Floats:
        """The result's energy beyond the input's Nyquist, of whatever kind, as a share of the truth's, by band.

        What it has more than is recovered does not follow the truth: it is invented.
        """
        return self._beyond(self.made)

    def radial(self, power: Floats) -> tuple[Floats, Floats]:
        """Frequencies, in cycles per pixel, and the mean `power` (bands, frequencies) of a coefficient at each."""
        whole = power.sum(axis=1)[:, : SPECTRUM // 2 + 1]
        count = _bins(1)[1].sum(axis=0)[: SPECTRUM // 2 + 1] * np.maximum(self.windows, 1)[:, None]
        return np.arange(SPECTRUM // 2 + 1) / SPECTRUM, whole / count

    def _beyond(self, power: Floats) -> Floats:
        return _ratio(power[:, 1].sum(axis=-1), self.truth[:, 1].sum(axis=-1))


def psnr(result: Block, truth: Block, *, peak: ArrayLike, valid: Mask | None = None) -> Floats:
    """Peak signal-to-noise ratio of each band, in dB; `peak` is the range of the values, of all bands or of each.

    >>> psnr(np.full((1, 2, 2), 15.0), np.zeros((1, 2, 2)), peak=255).round(2).tolist()
    [24.61]
    """
    return decibels(Mean.of(squared_errors(result, truth), _all(truth, valid)).value, peak)


def ssim(result: Block, truth: Block, *, peak: ArrayLike, valid: Mask | None = None) -> Floats:
    """Mean structural similarity of each band, over the pixels whose whole window of 11 x 11 is valid.

    Source: Z. Wang, A. Bovik, H. Sheikh, E. Simoncelli, Image Quality Assessment: From Error Visibility to
    Structural Similarity, IEEE TIP 13 (2004): Gaussian weights, K1 = 0.01, K2 = 0.03.
    """
    return Mean.of(*similarities(result, truth, peak=peak, valid=_all(truth, valid))).value


def rmse(result: Block, truth: Block, *, valid: Mask | None = None) -> Floats:
    """Root of the mean squared error of each band, in its unit."""
    return np.sqrt(Mean.of(squared_errors(result, truth), _all(truth, valid)).value)


def sam(result: Block, truth: Block, *, valid: Mask | None = None) -> float:
    """Mean spectral angle between the pixels' vectors of bands, in degrees; NaN without a vector that has a direction.

    Source: R. Yuhas, A. Goetz, J. Boardman, Discrimination among semi-arid landscape endmembers using the Spectral
    Angle Mapper (SAM) algorithm, JPL Airborne Geoscience Workshop (1992).
    """
    return float(Mean.of(*angles(result, truth, valid=_all(truth, valid))).value)


def ergas(result: Block, truth: Block, *, scale: int, valid: Mask | None = None) -> float:
    """The relative dimensionless global error of synthesis; 0 is best, below 3 good by its author's measure."""
    good = _all(truth, valid)
    return relative_error(Mean.of(squared_errors(result, truth), good).value, Mean.of(truth, good).value, scale=scale)


def consistency(result: Block, low: Block, *, valid: Mask | None = None) -> Floats:
    """Root of the mean squared difference of the result, shrunk, from the input `low` it was made of, of each band."""
    errors, counted = inconsistencies(result, low, valid=_all(low, valid))
    return np.sqrt(Mean.of(errors**2, counted).value)


def spectra(result: Block, truth: Block, *, scale: int, valid: Mask | None = None) -> Spectra:
    """Return the spectra of the windows of SPECTRUM x SPECTRUM pixels, side by side, that are wholly valid.

    Each is freed of its mean and faded out by a Hann window. The input, `scale` times smaller, could hold
    frequencies up to 0.5 / scale cycles per pixel in rows and columns; what is above in either is beyond it.
    """
    good = _all(truth, valid)
    whole: Mask = np.all(_windows(good), axis=(-2, -1), keepdims=True)
    hann = np.hanning(SPECTRUM + 1)[:-1]
    first, other = (
        np.fft.fft2((part - part.mean(axis=(-2, -1), keepdims=True)) * whole * np.outer(hann, hann))
        for part in (_windows(np.where(good, block, 0.0)) for block in (truth, result))
    )
    powers = (np.abs(first) ** 2, np.abs(other) ** 2, (first * other.conj()).real)
    truth_power, made_power, shared = (_binned(power.sum(axis=(1, 2)), scale) for power in powers)
    return Spectra(truth_power, made_power, shared, whole.sum(axis=(1, 2, 3, 4), dtype=np.float64))


def decibels(squared_error: Floats, peak: ArrayLike) -> Floats:
    """PSNR from the mean squared error; infinite where there is none."""
    with np.errstate(divide="ignore"):
        ratio: Floats = 10 * np.log10(np.asarray(peak, np.float64) ** 2 / squared_error)
    return ratio


def relative_error(squared_error: Floats, level: Floats, *, scale: int) -> float:
    """ERGAS from the mean squared error and the mean of the truth of each band; NaN where a mean is 0.

    100 / scale x the root of the mean over bands of (RMSE / mean) squared; 1 / scale is the ratio of the pixel sizes.
    Source: L. Wald, Quality of high resolution synthesised images: Is there a simple criterion?, Fusion of Earth
    Data (2000).
    """
    return float(100 / scale * np.sqrt(_ratio(squared_error, level**2).mean()))


def squared_errors(result: Block, truth: Block) -> Block:
    """The map of squared differences, in float64."""
    with np.errstate(over="ignore", invalid="ignore"):
        difference: Block = np.subtract(result, truth, dtype=np.float64)
        return difference**2


def similarities(result: Block, truth: Block, *, peak: ArrayLike, valid: Mask) -> tuple[Block, Mask]:
    """The map of SSIM, and where it counts: where the whole window lies in the block and is valid."""
    peaks = np.broadcast_to(np.asarray(peak, np.float64), (len(truth),))
    side = 2 * SSIM_REACH + 1
    counted = minimum_filter(valid, (1, side, side), mode="constant", cval=0)
    similarity = np.zeros(truth.shape)
    if not counted.any():
        return similarity, counted
    for band, (first, other, good, high) in enumerate(zip(result, truth, valid, peaks, strict=True)):
        # Windows that hold an invalid pixel do not count: what stands there must only be a number.
        pair = [np.where(good, values, 0).astype(np.float64) for values in (other, first)]
        _, similarity[band] = structural_similarity(
            *pair, data_range=high, gaussian_weights=True, sigma=SIGMA, use_sample_covariance=False, full=True
        )
    return similarity, counted


def angles(result: Block, truth: Block, *, valid: Mask) -> tuple[Block, Mask]:
    """The map (rows, cols) of spectral angles in degrees, and where it counts: all bands valid, neither vector 0."""
    good = valid.all(axis=0)
    first, other = (np.where(good, block, 0).astype(np.float64) for block in (result, truth))
    lengths = [np.sqrt((block**2).sum(axis=0)) for block in (first, other)]
    counted = good & (lengths[0] > 0) & (lengths[1] > 0)
    first, other = (block / np.where(counted, length, 1) for block, length in zip((first, other), lengths, strict=True))
    # W. Kahan's way: the arc cosine of the product would tell small angles to half of the digits alone.
    halves = np.arctan2(np.linalg.norm(first - other, axis=0), np.linalg.norm(first + other, axis=0))
    return np.degrees(2 * halves), counted


def inconsistencies(result: Block, low: Block, *, valid: Mask) -> tuple[Block, Mask]:
    """The map of the result, shrunk, less the input `low`, and where it counts: where the kernel sees valid pixels.

    `valid` is the input's. At the edges the result is mirrored, as everywhere.
    """
    k = result.shape[-1] // low.shape[-1]
    side = 2 * SHRINK_REACH + 1
    counted = minimum_filter(valid, (1, side, side), mode="nearest")
    valid_high = np.where(valid.repeat(k, axis=-2).repeat(k, axis=-1), result, 0)
    return np.subtract(shrink(valid_high, k), low, dtype=np.float64), counted


def luma(rgb: Block) -> NDArray[np.uint8]:
    """Y (1, rows, cols) of ITU-R BT.601 in 16..235, of 8-bit red, green and blue, rounded as by Matlab's rgb2ycbcr.

    >>> luma(np.array([0, 128, 255], np.uint8)[None, None].repeat(3, axis=0)).tolist()
    [[[16, 126, 235]]]
    """
    weighed = np.tensordot(np.array([65.481, 128.553, 24.966]), np.asarray(rgb, np.float64), axes=1)
    return to_dtype(16 + weighed[None] / 255, np.uint8)


def inner(window: Window, whole: Window, border: int) -> Mask:
    """True (rows, cols) in the window but for `border` rows and columns at the edges of the whole.

    Papers shave them off before they compare.
    """
    mask = np.zeros((window.height, window.width), bool)
    mask[whole.pad(-border).intersection(window).slices(within=window)] = True
    return mask


def _all(block: Block, valid: Mask | None) -> Mask:
    return np.ones(block.shape, bool) if valid is None else np.broadcast_to(valid, block.shape)


def _ratio(over: Floats, under: Floats) -> Floats:
    """The quotient, or NaN where `under` is not positive."""
    ratio: Floats = np.full(np.shape(over), np.nan)
    np.divide(over, under, out=ratio, where=np.asarray(under) > 0)
    return ratio


def _windows(block: Block) -> Block:
    """The block cut into (bands, down, across, SPECTRUM, SPECTRUM), without what is left over."""
    down, across = (side // SPECTRUM for side in block.shape[-2:])
    cut = block[..., : down * SPECTRUM, : across * SPECTRUM]
    return cut.reshape(len(block), down, SPECTRUM, across, SPECTRUM).swapaxes(2, 3)


def _binned(power: Floats, scale: int) -> Floats:
    """The sums (bands, 2, bins) of coefficients (bands, SPECTRUM, SPECTRUM)."""
    index, count = _bins(scale)
    sums = [np.bincount(index.ravel(), band.ravel(), minlength=count.size) for band in power]
    return np.array(sums, np.float64).reshape(len(power), *count.shape)


@cache
def _bins(scale: int) -> tuple[NDArray[np.int64], Floats]:
    """The bin of each coefficient, those beyond the input's Nyquist after all others, and their numbers (2, bins)."""
    frequencies = np.abs(np.fft.fftfreq(SPECTRUM))
    rows, cols = frequencies[:, None], frequencies[None]
    ring = np.rint(np.hypot(rows, cols) * SPECTRUM).astype(np.int64)
    bins = int(ring.max()) + 1
    index: NDArray[np.int64] = ring + bins * (np.maximum(rows, cols) > 0.5 / scale)
    return index, np.bincount(index.ravel(), minlength=2 * bins).reshape(2, bins).astype(np.float64)
