"""Tiles of a source enlarged, holes filled before and infinities mended after. Knows no files."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from geosr.grid import Block, Tile
from geosr.nodata import enlarge_nearest, filled_block
from geosr.radiometry import Range
from geosr.raster import Source
from geosr.upscalers import Upscaler


def upscaled(
    tiles: Sequence[Tile],
    blocks: Sequence[Block],
    valid: Sequence[NDArray[np.bool_]],
    *,
    source: Source,
    upscaler: Upscaler,
    values: Range,
) -> list[Block]:
    """The tiles' cores (bands, rows, cols), enlarged, before rounding; those without a valid pixel are not computed.

    `blocks` and `valid` are the source's of the tiles' outer windows.
    """
    k = upscaler.scale
    some = [bool(tile.trim(good).any()) for tile, good in zip(tiles, valid, strict=True)]
    filled = [
        filled_block(source, tile, block, good, halo=upscaler.halo)
        for tile, block, good, wanted in zip(tiles, blocks, valid, some, strict=True)
        if wanted
    ]
    colours = source.profile.colours
    with np.errstate(over="ignore", invalid="ignore"):
        made = iter(upscaler(np.stack(filled)[:, colours], values.bands(colours)) if filled else ())
    done: list[Block] = []
    for tile, block, wanted in zip(tiles, blocks, some, strict=True):
        result = tile.scale(k).trim(next(made)) if wanted else None
        if result is not None and not np.isfinite(result).all():
            # Beyond what floating point holds; a valid pixel must not become invalid.
            result = np.where(np.isfinite(result), result, enlarge_nearest(tile.trim(block)[colours], k))
        if result is None or len(result) < len(block):
            # Transparency is repeated, not computed; so is what will be stamped invalid.
            whole = enlarge_nearest(tile.trim(block), k).astype(np.float64)
            if result is not None:
                whole[colours] = result
            result = whole
        done.append(result)
    return done
