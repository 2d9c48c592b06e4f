"""Frames aligned: homographies fitted to control points, refined on the pixels, and checked.

A matrix takes a position of the reference to that of the same thing in the frame. Knows arrays alone, no files and no
other programs.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, uniform_filter
from scipy.optimize import least_squares

from geosr.burst.homography import Matrix, apply, corners, warped
from geosr.grid import Block, Window

Proxy = tuple[Block, NDArray[np.bool_]]
Gains = tuple[float, ...]

LEAST_INLIERS = 12
LEAST_SHARE = 0.5
LEAST_PLANE = 0.25
"""Share of the control points that agree on the motion of one depth of a scene of several."""
MOST_RMS = 1.5
"""Pixels of the proxy; the three separate control points that found something from those that did not."""
MOST_STRETCH = 1.5
"""A frame of a burst is neither half nor twice as large as another."""
LEAST_OVERLAP = 0.3
"""Share of the reference that a frame must cover."""
CELL = 32
"""Rows and columns of the cells of a proxy in which motion that is left over is looked for."""
LEAST_CELLS = 8
"""With texture; fewer say nothing."""
MOST_MOTION = 2.0
"""Pixels of the photo that a cell may be off."""
LEAST_SEEN = 0.4
"""Pixels of a proxy: of less, what is found in a cell is noise."""
DOUBT = 0.5
"""Share of that which noise may contribute to a cell's motion at the most."""
LEAST_STILL = 0.6
"""Share of the cells that must not be off: less is parallax, more may be things that move."""
LEAST_CORRELATION = 0.5
MOST_REFINED = 3.0
"""Pixels of the proxy by which the pixels may move a corner from where the control points put it."""
ECC_STEPS = 50
MEMORY = 208
"""Bytes that `checked` needs for a pixel of a proxy."""
MATCH_TURNS = 6
LEAST_MATCHED = 100
"""Pixels that must be known in both images to compare their exposure."""


@dataclass(frozen=True, slots=True)
class Fit:
    """A frame's matrix and how good it is; lengths in pixels of the images that were compared."""

    matrix: Matrix
    points: int = 0
    inliers: int = 0
    rms: float = 0.0
    """Root mean square distance of the inliers from where the matrix puts them."""
    correlation: float = 1.0
    """Correlation of the pixels, when the matrix was refined on them."""
    motion: float = 0.0
    """Left over, the median of the cells."""
    still: float = 1.0
    """Share of the cells that are where the matrix puts them."""
    problem: str = ""
    """Why the frame cannot be used."""
    parallax: bool = False
    """The problem is that no one motion fits the whole frame."""
    agreed: tuple[Block, Block] = field(default_factory=lambda: (np.zeros((0, 2)), np.zeros((0, 2))))
    """The control points (n, 2) of reference and frame that the matrix fits."""


def fit_points(here: Block, there: Block, size: tuple[int, int]) -> Fit:
    """The homography that most of the control points (n, 2) agree on; `size` is the width and height of both images.

    MAGSAC finds those that agree (D. Barath et al., MAGSAC++, CVPR 2020), and a fit that doubts the far ones more
    than the near ones settles the rest.
    """
    import cv2

    points = len(here)
    if points < LEAST_INLIERS:
        return Fit(np.eye(3), points, problem=f"{points} control points, {LEAST_INLIERS} are needed")
    cv2.setRNGSeed(0)
    matrix, mask = cv2.findHomography(here, there, cv2.USAC_MAGSAC, MOST_RMS, maxIters=5000, confidence=0.9999)
    if matrix is None:
        return Fit(np.eye(3), points, problem=f"no motion fits the {points} control points")
    inside = mask.ravel() > 0
    matrix = _settled(matrix, here[inside], there[inside])
    errors = np.linalg.norm(apply(matrix, here) - there, axis=1)
    inside = errors < 2 * MOST_RMS
    rms = float(np.sqrt(np.mean(errors[inside] ** 2))) if inside.any() else np.inf
    fit = Fit(matrix, points, int(inside.sum()), rms, agreed=(here[inside], there[inside]))
    return _judged(fit, size)


def refine(matrix: Matrix, reference: Block, frame: Block, usable: Block) -> tuple[Matrix, float]:
    """The matrix that makes two gray images (rows, cols) most alike, near the one given, and their correlation.

    Source: G. Evangelidis and E. Psarakis, Parametric Image Alignment using Enhanced Correlation Coefficient
    Maximization, IEEE TPAMI 30 (2008): blind to gain and offset. `usable` is True where the frame is not clipped.
    """
    import cv2

    stop = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, ECC_STEPS, 1e-8)
    start = matrix.astype(np.float32)
    try:
        correlation, refined = cv2.findTransformECC(
            reference.astype(np.float32), frame.astype(np.float32), start, cv2.MOTION_HOMOGRAPHY, stop,
            usable.astype(np.uint8), 5,
        )  # fmt: skip
    except cv2.error:
        return matrix, 0.0
    return refined.astype(np.float64), float(correlation)


def checked(fit: Fit, reference: Proxy, frame: Proxy, *, k: float = 1.0) -> Fit:
    """A fit of control points refined on the pixels of the proxies, or with the problem that they show.

    A proxy is a gray image (rows, cols) and where it can be trusted; `k` is how many times larger the photo is.
    """
    if fit.problem and not fit.parallax:
        return fit
    (fixed, trusted), (moving, usable) = reference, frame
    rows, cols = fixed.shape
    matrix, correlation = refine(fit.matrix, fixed, moving, usable)
    edge = corners(Window(0, 0, cols, rows))
    if correlation < LEAST_CORRELATION or np.abs(apply(matrix, edge) - apply(fit.matrix, edge)).max() > MOST_REFINED:
        matrix = fit.matrix
    moved, valid = warped(moving[None], usable, matrix, (cols, rows))
    most = max(MOST_MOTION / k, LEAST_SEEN)
    motion, still = left_over(fixed, moved[0], trusted & valid, most)
    fit = replace(fit, matrix=matrix, correlation=correlation, motion=motion, still=still)
    fit = _judged(fit, (cols, rows))
    if fit.problem or still >= LEAST_STILL:
        return fit
    reason = f"only {still:.0%} of the scene lies within {most * k:.2g} px of it: parallax, or things that moved"
    return replace(fit, problem=reason, parallax=True)


def exposure(reference: Proxy, frame: Proxy, matrix: Matrix) -> tuple[Gains, Gains]:
    """Gain and offset of each band that bring the frame to the exposure and the white balance of the reference.

    The proxies have all colours (bands, rows, cols).
    """
    (fixed, trusted), (moving, usable) = reference, frame
    moved, valid = warped(moving, usable, matrix, trusted.shape[::-1])
    return matched(moved, fixed, trusted & valid)


def matched(moving: Block, fixed: Block, both: NDArray[np.bool_]) -> tuple[Gains, Gains]:
    """Gain and offset of each band of a block (bands, rows, cols) that lies on another, from where `both` are known."""
    if both.sum() <= LEAST_MATCHED:
        return (1.0,) * len(moving), (0.0,) * len(moving)
    pairs = [match(here[both], there[both]) for here, there in zip(moving, fixed, strict=True)]
    gains, offsets = zip(*pairs, strict=True)
    return gains, offsets


def left_over(reference: Block, moved: Block, valid: NDArray[np.bool_], most: float) -> tuple[float, float]:
    """Motion between two gray images after alignment: its median over cells, and the share of cells below `most`.

    One step of B. Lucas and T. Kanade's method in each square cell whose texture lets it be seen; where none does,
    nothing is known to move.
    """
    cell = max(min(CELL, min(reference.shape) // 4), 4)
    known = valid & (gaussian_filter(valid.astype(np.float32), 2.0) > 0.99)
    if known.sum() < cell * cell:
        return 0.0, 1.0
    gain, offset = match(moved[known], reference[known])
    still, moved = gaussian_filter(reference, 1.0), gaussian_filter(gain * moved + offset, 1.0)
    change = still - moved
    change -= uniform_filter(change, 2 * cell)
    down, right = np.gradient((still + moved) / 2)
    a, b, c, p, q, e = (
        _summed(np.where(known, product, 0), cell)
        for product in (right**2, right * down, down**2, right * change, down * change, change**2)
    )
    least = (a + c) / 2 - np.sqrt(((a - c) / 2) ** 2 + b**2)
    with np.errstate(divide="ignore", invalid="ignore"):
        shift = np.hypot(c * p - b * q, a * q - b * p) / (a * c - b * b)
        doubt = np.sqrt(e / cell**2 / least)
    residual = shift[doubt < DOUBT * most]
    if len(residual) < LEAST_CELLS:
        return 0.0, 1.0
    return float(np.median(residual)), float(np.mean(residual < most))


def match(values: Block, reference: Block) -> tuple[float, float]:
    """Gain and offset that bring values (n,) to those of the reference at the same places.

    The ratio of deviations, not a regression, which noise would flatten; what disagrees is left out in turns.
    """
    inside = np.ones(len(values), bool)
    gain, offset = 1.0, 0.0
    for _ in range(MATCH_TURNS):
        deviations = float(np.std(values[inside])), float(np.std(reference[inside]))
        if min(deviations) <= 0:
            return 1.0, float(np.mean(reference) - np.mean(values))
        gain = deviations[1] / deviations[0]
        offset = float(np.mean(reference[inside]) - gain * np.mean(values[inside]))
        off = np.abs(gain * values + offset - reference)
        inside = off <= max(3 * float(np.median(off)), 1e-6 * deviations[1])
    return gain, offset


def _summed(block: Block, cell: int) -> Block:
    high, wide = (side // cell for side in block.shape)
    summed = block[: high * cell, : wide * cell].reshape(high, cell, wide, cell).sum((1, 3), dtype=np.float64)
    return np.asarray(summed)


def _settled(matrix: Matrix, here: Block, there: Block) -> Matrix:
    """The homography near `matrix` with the least sum of distances, squared when small and doubted when not."""
    scale = np.abs(here).max()
    down = np.diag([1 / scale, 1 / scale, 1])
    start = down @ matrix @ np.linalg.inv(down)
    start = (start / start[2, 2]).ravel()[:8]

    def misses(values: Block) -> Block:
        put = scale * apply(np.append(values, 1).reshape(3, 3), here / scale)
        return np.asarray((put - there).ravel())

    solution = least_squares(misses, start, loss="soft_l1", f_scale=0.3)
    settled: Block = np.linalg.inv(down) @ np.append(solution.x, 1).reshape(3, 3) @ down
    return np.asarray(settled / settled[2, 2])


def _judged(fit: Fit, size: tuple[int, int]) -> Fit:
    """Return the fit with the reason why it cannot be believed, if there is one."""
    share = fit.inliers / fit.points if fit.points else 1.0
    distortion = _distortion(fit.matrix, size)
    if fit.points and (fit.inliers < LEAST_INLIERS or share < LEAST_SHARE):
        parallax = not distortion and fit.inliers >= LEAST_INLIERS and share >= LEAST_PLANE
        reason = f"only {fit.inliers} of {fit.points} control points agree on one motion"
        return replace(fit, problem=reason, parallax=parallax)
    if fit.points and fit.rms > MOST_RMS:
        return replace(fit, problem=f"control points are {fit.rms:.1f} px off, {MOST_RMS:g} is the most")
    return replace(fit, problem=distortion, parallax=False)


def _distortion(matrix: Matrix, size: tuple[int, int]) -> str:
    """Return why a matrix is no motion between frames of a burst; nothing if it can be one."""
    from shapely.geometry import Polygon

    edge = corners(Window(0, 0, *size))
    frame, outline = Polygon(edge), Polygon(apply(matrix, edge))
    if not outline.is_valid or not 1 / MOST_STRETCH**2 < outline.area / frame.area < MOST_STRETCH**2:
        return "the motion found would fold or stretch it"
    if frame.intersection(outline).area < LEAST_OVERLAP * frame.area:
        return f"it shows less than {LEAST_OVERLAP:.0%} of what the reference shows"
    return ""
