"""Motion that no homography describes, as of things at different depths: dense optical flow, where it can be trusted.

Knows arrays alone. Flow is found in proxies, after the frame was aligned as a whole; a field holds for each pixel of
the reference's proxy how many of its pixels further right and down the same thing lies in the frame.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import binary_opening, gaussian_filter

from geosr import pictures
from geosr.burst.alignment import Proxy, match
from geosr.burst.homography import Mask, Matrix, shifting, warped
from geosr.grid import Block, Window

AGREEMENT = 0.5
"""Pixels of the proxy that the way there and back may end beside its start."""
STILL = 0.08
"""Pixels of the proxy below which nothing is taken to move; the homography knows better. Twice of it counts in full."""
SMOOTH = 2.0
"""Standard deviation, in pixels of the proxy, of the Gaussian that smooths the field."""
CLOSE = 3.0
"""Times the typical difference of brightness at which a pixel is not the same thing."""
MARGIN = 2
"""Pixels of the proxy by which what fits shrinks, and half the least width of it."""
LEAST_OPEN = 0.7
"""Share of the pixels around one that must be valid and not clipped."""
LEAST_KNOWN = 1000
"""Pixels of the proxy in which both images must be known."""


@dataclass(frozen=True, slots=True)
class Flow:
    """A field (2, rows, cols), columns and rows, and where (rows, cols) it can be trusted."""

    field: Block
    fits: Mask

    @property
    def share(self) -> float:
        """Share of the field that can be trusted."""
        return float(self.fits.mean())

    @property
    def nbytes(self) -> int:
        return self.field.nbytes + self.fits.nbytes

    def faded(self) -> Flow:
        """Return the flow that ends where it can no longer be trusted, for a frame that fits there as it lies."""
        weight = gaussian_filter(self.fits.astype(np.float32), MARGIN / 2)
        return Flow(self.field * np.clip(2 * weight - 1, 0, 1), np.ones_like(self.fits))

    def within(self, matrix: Matrix, window: Window) -> tuple[Block, Mask]:
        """Return the field in a window of an image, in its pixels (2, rows, cols), and where it can be trusted.

        `matrix` enlarges and shifts: it takes a position of the image to that in the field.
        """
        import cv2

        size, how = (window.width, window.height), cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        matrix = matrix @ shifting(window.col_off, window.row_off)
        planes = [
            cv2.warpPerspective(plane, matrix, size, flags=how, borderMode=cv2.BORDER_REPLICATE)
            for plane in (*self.field, self.fits.astype(np.float32))
        ]
        return np.stack(planes[:2]) / np.float32(matrix[0, 0]), planes[2] > 0.999


def find(reference: Proxy, frame: Proxy, matrix: Matrix) -> Flow:
    """Return the flow that is left between the gray proxies (rows, cols) when the frame lies on the reference.

    The method is DIS, T. Kroeger et al., Fast Optical Flow using Dense Inverse Search, ECCV 2016. It is trusted where
    the way there and back ends where it began, where smoothing changes it little, and where the pixels are alike.
    """
    import cv2

    (fixed, trusted), (moving, usable) = reference, frame
    moved, valid = warped(moving[None], usable, matrix, fixed.shape[::-1])
    known = trusted & valid
    if known.sum() < LEAST_KNOWN:
        return Flow(np.zeros((2, *fixed.shape), np.float32), np.zeros(fixed.shape, bool))
    gain, offset = match(moved[0][known], fixed[known])
    matched = gain * moved[0] + offset
    low, high = np.percentile(fixed[known], (0.5, 99.5))
    onward, returned = _motion(*(pictures.stretched(image, low, high) for image in (fixed, matched)))
    # Where all is clipped nothing is seen; that noise clips some pixels does not hide what moved.
    here_open, there_open = (gaussian_filter(mask.astype(np.float32), SMOOTH) for mask in (trusted, usable))
    there_open, inside = warped(there_open[None], np.ones_like(usable), matrix, fixed.shape[::-1])
    fits = inside & (here_open > LEAST_OPEN) & (there_open[0] > LEAST_OPEN) & (np.hypot(*returned) < AGREEMENT)
    share = np.maximum(gaussian_filter(fits.astype(np.float32), SMOOTH), 1e-3)
    field = np.stack([gaussian_filter(np.where(fits, band, 0), SMOOTH) / share for band in onward])
    fits &= np.hypot(*(field - onward)) < AGREEMENT
    fits &= _alike(fixed, _sampled(matched, field), fits)
    field *= np.clip(np.hypot(*field) / STILL - 1, 0, 1)
    side = np.ones((2 * MARGIN + 1, 2 * MARGIN + 1), np.uint8)
    opened = binary_opening(fits, side).astype(np.uint8)
    fits = np.asarray(cv2.erode(opened, side, borderType=cv2.BORDER_REPLICATE) > 0)
    return Flow(field.astype(np.float32), fits)


def _motion(here: Block, there: Block) -> tuple[Block, Block]:
    """Return the flow (2, rows, cols) from one image (rows, cols) to another, and where the way back ends."""
    import cv2

    method = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)  # type: ignore[attr-defined]
    method.setFinestScale(0)
    onward, back = (np.moveaxis(method.calc(*pair, None), -1, 0) for pair in ((here, there), (there, here)))
    return onward, onward + np.stack([_sampled(band, onward) for band in back])


def _alike(fixed: Block, moved: Block, fits: Mask) -> Mask:
    """Return where two gray images (rows, cols) differ no more than noise and half a pixel of motion explain."""
    off = gaussian_filter(np.abs(fixed - moved), 1.0)
    typical = float(np.median(off[fits])) if fits.any() else 0.0
    slope = gaussian_filter(np.hypot(*np.gradient(fixed)), 1.0)
    return np.asarray(off <= CLOSE * typical + AGREEMENT * slope)


def _sampled(image: Block, flow: Block) -> Block:
    """Return the image (rows, cols) at the places that the flow (2, rows, cols) leads to."""
    import cv2

    rows, cols = np.mgrid[: flow.shape[1], : flow.shape[2]].astype(np.float32)
    there = cv2.remap(image, cols + flow[0], rows + flow[1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(there)
