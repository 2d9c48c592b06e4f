"""The blur of a band, measured on straight edges that it holds. Knows arrays alone, no rasters.

Around a pixel of steep gradient, a step that is blurred by a Gaussian is fitted: its angle, place, height and width,
with the method of slanted edges (ISO 12233) in its parametric form. Edges in a scene are steps only at best, so that
the narrowest tell what the sensor blurs. Source: T. Choi, IKONOS Satellite on Orbit MTF Measurement using Edge and
Pulse Method, 2002; F. Viallefont-Robinet et al., Comparison of MTF Measurements Using Edge Method, Optics Express 26
(2018).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, maximum_filter
from scipy.special import erf
from scipy.stats import norm

from geosr.grid import Block

HALF = 4
"""Pixels on each side of an edge's centre that are fitted."""
MOST = 400
"""Edges that are fitted in a scene, the steepest of each window first."""
STRAIGHT = 0.9
"""Least coherence of the gradients around a pixel, from 0 to 1 (all in one direction)."""
RESIDUAL, NOISE, CONTRAST = 0.06, 1.2, 8.0
"""An edge is a clean step if the fit leaves less than RESIDUAL of its height and NOISE times the noise, and its height
exceeds CONTRAST times the noise."""
NARROWEST, WIDEST = 0.15, 4.0
"""Bounds of an edge's standard deviation in pixels."""
QUANTILE, SPREAD = 0.15, (0.05, 0.3)
"""The edges that tell the blur, by width: of all clean steps in a scene, the narrowest seventh; and their spread."""
LEAST, SHARP = 12, 0.03
"""Fewest clean steps that a blur is told from, and the least transfer: where it is lower, the ground itself is soft."""
ROUNDS = 12


@dataclass(frozen=True, slots=True)
class Blur:
    """The blur of a band, as modulation transfer at the Nyquist frequency of its pixels."""

    mtf: float
    least: float
    most: float
    """The spread of the edges that it is told from."""
    edges: int
    """Clean straight steps that were fitted."""


def blur_of(edges: NDArray[np.float64]) -> Blur | None:
    """Return the blur that edges tell; None if they are too few or too soft.

    Args:
        edges: Widths and their standard errors (n, 2), as `edge_widths` returns them.
    """
    if len(edges) < LEAST:
        return None
    widths, errors = edges.T
    # Of edges that are all alike, the narrowest are those that noise made narrow.
    noise = -float(norm.ppf(QUANTILE)) * float(np.median(errors))
    narrow, wide = SPREAD
    value, most, least = (transfer(float(np.quantile(widths, share)) + noise) for share in (QUANTILE, narrow, wide))
    return Blur(value, least, most, len(edges)) if value >= SHARP else None


def transfer(sigma: float, frequency: float = 0.5) -> float:
    """Return the modulation transfer of a Gaussian of `sigma` pixels at a frequency in cycles a pixel.

    >>> round(transfer(0.5), 3)
    0.291
    """
    return float(np.exp(-2 * (np.pi * sigma * frequency) ** 2))


def edge_widths(window: Block, noise: float, *, most: int = MOST) -> NDArray[np.float64]:
    """Return width and its standard error (n, 2), in pixels, of the clean straight steps in a window of a band.

    A width is the standard deviation of the Gaussian that blurs the step.

    Args:
        window: Valid pixels (rows, cols).
        noise: The standard deviation of the band's noise, in its unit.
        most: Edges that are fitted.
    """
    band = window.astype(np.float64)
    if min(band.shape) < 2 * HALF + 5 or not np.ptp(band):
        return np.empty((0, 2))
    rows, cols, angles = _steep(band, most)
    offsets = np.mgrid[-HALF : HALF + 1, -HALF : HALF + 1]
    near = np.hypot(*offsets) <= HALF + 0.3
    y, x = (axis[near].astype(np.float64) for axis in offsets)
    edges = []
    for row, col, angle in zip(rows, cols, angles, strict=True):
        values = band[row - HALF : row + HALF + 1, col - HALF : col + HALF + 1][near]
        sigma, error, height, residual = _fitted(values, x, y, angle)
        if residual < RESIDUAL * abs(height) + NOISE * noise and abs(height) > CONTRAST * noise:
            edges.append((sigma, error))
    return np.array(edges).reshape(-1, 2)


def _steep(band: Block, most: int) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float64]]:
    """Return rows, columns and directions of the steepest pixels on straight edges."""
    down, right = np.gradient(gaussian_filter(band, 1.0))
    slope = np.hypot(down, right)
    xx, yy, xy = (gaussian_filter(product, 2.0) for product in (right * right, down * down, right * down))
    coherence = np.hypot(xx - yy, 2 * xy) / np.maximum(xx + yy, np.finfo(float).tiny)
    peaks = (slope == maximum_filter(slope, 5)) & (slope > 0) & (coherence > STRAIGHT)
    margin = HALF + 2
    inside = np.zeros_like(peaks)
    inside[margin:-margin, margin:-margin] = True
    rows, cols = np.nonzero(peaks & inside)
    steepest = np.argsort(-slope[rows, cols], kind="stable")[:most]
    rows, cols = rows[steepest], cols[steepest]
    angles: NDArray[np.float64] = 0.5 * np.arctan2(2 * xy, xx - yy)[rows, cols]
    return rows, cols, angles


def _fitted(values: Block, x: Block, y: Block, angle: float) -> tuple[float, float, float, float]:
    """Return width, its error, height and residual of the blurred step that fits the values at (x, y) best.

    By Levenberg and Marquardt; level and height follow from angle, offset and width by least squares (variable
    projection: G. Golub, V. Pereyra, SIAM J. Numerical Analysis 10, 1973).
    """
    parameters, damping = np.array([angle, 0.0, 0.8]), 1e-2
    across, base, level, rest = _step(values, x, y, parameters)
    for _ in range(ROUNDS):
        theta, _, sigma = parameters
        slope = np.exp(-0.5 * (across / sigma) ** 2) / (np.sqrt(2 * np.pi) * sigma) * level[1]
        along = y * np.cos(theta) - x * np.sin(theta)
        jacobian = np.stack([slope * along, -slope, -slope * across / sigma], axis=1)
        jacobian -= base @ np.linalg.lstsq(base, jacobian, rcond=None)[0]
        normal = jacobian.T @ jacobian
        damped = normal + damping * np.diag(np.diag(normal)) + 1e-12 * np.eye(3) * max(float(normal.max()), 1e-300)
        trial = parameters + np.linalg.solve(damped, jacobian.T @ rest)
        if NARROWEST < trial[2] < WIDEST and abs(trial[1]) <= 3:
            candidate = _step(values, x, y, trial)
            gain = rest @ rest - candidate[3] @ candidate[3]
            if gain > 0:
                converged = gain < 1e-6 * (rest @ rest)
                parameters, damping = trial, damping / 5
                across, base, level, rest = candidate
                if converged:
                    break
                continue
        damping *= 7
        if damping > 1e6:
            break
    residual = float(np.sqrt(np.mean(rest**2)))
    variance = float(np.linalg.pinv(normal)[2, 2])
    return float(parameters[2]), residual * variance**0.5, float(level[1]), residual


def _step(values: Block, x: Block, y: Block, parameters: Block) -> tuple[Block, Block, Block, Block]:
    """Return distances across the edge, the base (n, 2) of level and step, their amounts, and what they leave."""
    theta, offset, sigma = parameters
    across = x * np.cos(theta) + y * np.sin(theta) - offset
    base = np.stack([np.ones_like(across), 0.5 * erf(across / (np.sqrt(2) * sigma))], axis=1)
    level = np.linalg.lstsq(base, values, rcond=None)[0]
    return across, base, level, values - base @ level
