"""The unsharp mask of a stack, and the amount of it that suits the frames' blur and noise. Knows arrays alone."""

from __future__ import annotations

import numpy as np

from geosr.grid import Block

SIGMA = 0.5
"""Standard deviation of the mask's Gaussian, in pixels of the photos."""
REACH = 4.0
"""Deviations at which it ends."""
BINS = 20
"""Rings of a spectrum, from 0 to the Nyquist frequency of the photos."""
MOST = 1.0
"""The largest amount that is chosen."""


def sharpened(plane: Block, valid: Block, amount: float, sigma: float) -> Block:
    """Return the image (bands, rows, cols) with an unsharp mask, blind to what is not `valid`."""
    if not amount:
        return plane
    if valid.all():
        return plane + amount * (plane - _blurred(plane, sigma))
    share = _blurred(valid[None].astype(plane.dtype), sigma)
    return plane + amount * np.where(valid, plane - _blurred(plane * valid, sigma) / np.maximum(share, 1e-6), 0)


def suitable_amount(frames: Block, scale: int) -> float:
    """Return the amount with the least mean square error for the mean of aligned frames (frames, rows, cols).

    What the frames have in common is detail, the rest noise. The detail is taken to be blurred by the square pixels
    of the photos alone, as far as those of the result are smaller: a lens and a mosaic blur more, but nobody knows how
    much. The mask U = 1 + a (1 - G) turns detail S and noise N of the mean into the error (1 - U H)^2 S / H^2 + U^2 N,
    whose sum over the frequencies is least at one a.
    """
    count = len(frames)
    if count < 2:
        return 0.0
    power, common, pixels = spectrum(frames, scale)
    noise, detail = (power - common) / count, np.maximum(common, 0)
    frequency = (np.arange(BINS) + 0.5) / BINS / 2
    blur = np.sinc(frequency) / np.sinc(frequency / scale)
    lifted = 1 - np.exp(-2 * (np.pi * SIGMA * frequency) ** 2)
    gain = pixels * lifted * ((1 / blur - 1) * detail - noise)
    cost = pixels * lifted**2 * (detail + noise)
    return float(np.clip(gain.sum() / cost.sum(), 0, MOST)) if cost.sum() > 0 else 0.0


def spectrum(frames: Block, scale: int) -> tuple[Block, Block, Block]:
    """Return the power (bins,) of aligned frames (frames, rows, cols), what they have in common of it, and its pixels.

    The bins are rings of spatial frequency, up to the Nyquist frequency of the photos.
    """
    spectra = [transformed(frame) for frame in frames]
    count = len(frames)
    each = np.mean([abs(band) ** 2 for band in spectra], axis=0)
    joint = (abs(np.sum(spectra, axis=0)) ** 2 - count * each) / (count * (count - 1))
    shape = frames.shape[1:]
    pixels = np.bincount(_ring(shape, scale), minlength=BINS + 1)[:BINS]
    return rings(each, shape, scale), rings(joint, shape, scale), pixels.astype(float)


def transformed(image: Block) -> Block:
    """Return the Fourier transform of an image (rows, cols) under a Hann window, half of it."""
    rows, cols = image.shape
    transform: Block = np.fft.rfft2((image - image.mean()) * np.hanning(rows)[:, None] * np.hanning(cols))
    return transform


def rings(plane: Block, shape: tuple[int, ...], scale: int) -> Block:
    """Return the mean (bins,) in each ring of a plane of the frequencies of an image of `shape` (rows, cols)."""
    ring = _ring(shape, scale)
    sums, counts = np.bincount(ring, plane.ravel(), BINS + 1)[:BINS], np.bincount(ring, minlength=BINS + 1)[:BINS]
    return np.asarray(sums / np.maximum(counts, 1))


def _ring(shape: tuple[int, ...], scale: int) -> Block:
    """Return the ring of each frequency of an image (rows, cols)."""
    down, right = np.fft.fftfreq(shape[0])[:, None], np.fft.rfftfreq(shape[1])
    radius = np.hypot(down, right) * 2 * scale
    return np.asarray(np.minimum((radius * BINS).astype(int), BINS).ravel())


def _blurred(block: Block, sigma: float) -> Block:
    """Return the block (bands, rows, cols) under a Gaussian."""
    import cv2

    side = 2 * int(np.ceil(REACH * sigma)) + 1
    how = cv2.BORDER_REFLECT
    return np.stack([cv2.GaussianBlur(band, (side, side), sigma, borderType=how) for band in block])
