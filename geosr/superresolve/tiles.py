"""Tiles of a source enlarged, holes filled before and infinities mended after. Knows no files."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

import numpy as np

from geosr.grid import Block, Tile, Window
from geosr.rasters.nodata import enlarge_nearest, filled_block
from geosr.rasters.radiometry import Range
from geosr.rasters.source import Pixels, Source
from geosr.superresolve.upscalers import Upscaler


def upscaled(
    tiles: Sequence[Tile],
    pixels: Sequence[Pixels],
    *,
    source: Source,
    upscaler: Upscaler,
    values: Range,
) -> list[Block]:
    """The tiles' cores (bands, rows, cols), enlarged, before rounding; those without a valid pixel are not computed.

    `pixels` are the source's of the tiles' outer windows. Of these, the upscaler is given what is in the raster and
    its halo, not all that tiles at the edges hang over.
    """
    k = upscaler.scale
    if upscaler.step > 1:
        tiles = [_begun(tile, upscaler) for tile in tiles]
        pixels = [source.read(tile.outer) for tile in tiles]
    around = source.profile.window.pad(upscaler.halo)
    inner = [Tile(tile.index, tile.core, tile.outer.intersection(around)) for tile in tiles]
    some = [bool(tile.trim(seen.valid).any()) for tile, seen in zip(tiles, pixels, strict=True)]
    filled = [
        Tile(tile.index, seen.outer, tile.outer).trim(filled_block(source, tile, read, halo=upscaler.halo))
        for tile, seen, read, wanted in zip(tiles, inner, pixels, some, strict=True)
        if wanted
    ]
    colours = source.profile.colours
    with np.errstate(over="ignore", invalid="ignore"):
        alike = [np.stack(list(group))[:, colours] for _, group in groupby(filled, key=np.shape)]
        made = (result for group in alike for result in upscaler(group, values.bands(colours)))
        enlarged = [
            seen.scale(k).trim(next(made)) if wanted else None for seen, wanted in zip(inner, some, strict=True)
        ]
    done: list[Block] = []
    for tile, read, result in zip(tiles, pixels, enlarged, strict=True):
        block = read.block
        if result is not None and not np.isfinite(result).all():
            # Beyond what floating point holds; a valid pixel must not become invalid.
            result = np.where(np.isfinite(result), result, enlarge_nearest(tile.trim(block)[colours], k))
        if result is None or len(result) < len(block):
            # Transparency is repeated, not computed; so is what will be stamped invalid.
            whole = enlarge_nearest(tile.trim(block).astype(np.result_type(block, np.float32)), k)
            if result is not None:
                whole[colours] = result
            result = whole
        done.append(result)
    return done


def _begun(tile: Tile, upscaler: Upscaler) -> Tile:
    """The tile, with an outer window that begins where the upscaler's blocks must."""
    outer = tile.outer
    left, top = ((offset + upscaler.halo) % upscaler.step for offset in (outer.col_off, outer.row_off))
    began = Window(outer.col_off - left, outer.row_off - top, outer.width + left, outer.height + top)
    return Tile(tile.index, tile.core, began)
