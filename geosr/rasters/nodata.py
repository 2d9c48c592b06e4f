"""Invalid pixels: filled from valid neighbours before a network sees them, and stamped invalid after.

Knows blocks and sources, no files and no networks.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt

from geosr.grid import Block, Tile
from geosr.rasters.profile import Profile
from geosr.rasters.radiometry import to_dtype
from geosr.rasters.source import TOLERANCE, Pixels, Source, measured


def filled_block(source: Source, tile: Tile, pixels: Pixels, *, halo: int) -> Block:
    """Return the tile's outer block with the value of the nearest valid pixel in each invalid one.

    That pixel may lie outside the outer window: it is looked for as far as any pixel that the core depends on can
    be from a valid one, so that the value does not depend on the tiling.
    """
    if pixels.valid.all():
        return pixels.block
    wider = tile.outer.pad(search(halo))
    pixels = source.read(wider)
    rows, cols = tile.outer.slices(within=wider)
    bands = [_filled_band(band, valid) for band, valid in zip(pixels.block, pixels.valid, strict=True)]
    return np.stack(bands)[:, rows, cols]


def search(halo: int) -> int:
    """Return the number of pixels around an outer window in which `filled_block` looks for valid ones."""
    return int(np.ceil(halo * np.sqrt(2)))


def stamp(enlarged: Block, invalid: Block, valid: NDArray[np.bool_], profile: Profile) -> Block:
    """Return the enlarged block in the output's dtype, with the values of `invalid` where the input is not `valid`.

    No valid pixel is equal to nodata. `invalid` and `valid` have the input's rows and columns.
    """
    k = enlarged.shape[-1] // invalid.shape[-1]
    rounded = to_dtype(enlarged, profile.dtype)
    out = off_nodata(enlarged, rounded, profile.nodata)
    if profile.alpha is not None:
        out[profile.alpha] = rounded[profile.alpha]
    if valid.all():
        return out
    return np.where(enlarge_nearest(valid, k), out, enlarge_nearest(invalid, k))


def invalid_values(original: Block, was: Profile, now: Profile) -> Block:
    """Return the values of invalid pixels: the input's, or nodata if that or the dtype differs from the input's."""
    if now.nodata is None or (str(was.nodata), was.dtype) == (str(now.nodata), now.dtype):
        return original.astype(now.dtype, copy=False)
    return np.full(original.shape, now.nodata, now.dtype)


def enlarge_nearest(block: Block, k: int) -> Block:
    """Return each pixel (..., rows, cols) repeated `k` times in both directions."""
    return block.repeat(k, axis=-2).repeat(k, axis=-1)


def _filled_band(band: Block, valid: NDArray[np.bool_]) -> Block:
    if valid.all():
        return band
    if not valid.any():
        return np.zeros_like(band)
    rows, cols = distance_transform_edt(~valid, return_distances=False, return_indices=True)
    nearest: Block = band[rows, cols]
    return nearest


def off_nodata(exact: Block, rounded: Block, nodata: float | None) -> Block:
    """Return `rounded` with values that are `nodata` to GDAL moved to the next value, on the side where `exact` is."""
    if nodata is None or np.isnan(nodata):
        return rounded
    hit = np.isfinite(rounded) & ~measured(rounded, nodata)
    if not hit.any():
        return rounded
    below, above = _neighbours(nodata, rounded.dtype)
    # Floats move upward: between them and nodata lies no side to be on.
    upward = np.full(exact.shape, True) if rounded.dtype.kind == "f" else exact >= nodata
    if below is None or above is None:
        below = above = above if below is None else below
    return np.where(hit, np.where(upward, above, below), rounded)


def _neighbours(nodata: float, dtype: np.dtype[Any]) -> tuple[Any, Any]:
    """Return the values next to nodata, below and above it, that are not nodata; None where there is none."""
    if dtype.kind != "f":
        whole, ends = int(nodata), np.iinfo(dtype)
        return (
            dtype.type(whole - 1) if whole > ends.min else None,
            dtype.type(whole + 1) if whole < ends.max else None,
        )
    info = np.finfo(dtype)
    value, largest = float(dtype.type(nodata)), float(info.max)
    step = 4 * float(TOLERANCE) * abs(value) or float(info.smallest_subnormal)
    # Beside the largest floats, all whose sum with nodata overflows are nodata to GDAL.
    far = np.copysign(largest - abs(value) + largest * float(info.eps) / 8, value)
    beside: list[Any] = []
    for side in (-1, 1):
        candidates = [v for v in (value + side * step, far) if abs(v) <= largest and (v - value) * side > 0]
        fitting = [v for v in candidates if measured(np.array([v], dtype), nodata)[0]]
        beside.append(dtype.type(fitting[0]) if fitting else None)
    return beside[0], beside[1]
