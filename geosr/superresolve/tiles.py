"""Tiles of a source enlarged; holes are filled before and infinities mended after. Knows no files."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

import numpy as np

from geosr.grid import Block, Tile, Window
from geosr.rasters.nodata import enlarge_nearest, filled_block
from geosr.rasters.radiometry import Range
from geosr.rasters.source import Pixels, Source
from geosr.superresolve.upscalers import Upscaler


def enlarged_tiles(
    tiles: Sequence[Tile], pixels: Sequence[Pixels], *, source: Source, upscaler: Upscaler, values: Range
) -> list[Block]:
    """Return the tiles' cores (bands, rows, cols), enlarged, before rounding; those without a valid pixel repeated.

    `pixels` are the source's of the tiles' outer windows. The upscaler is given the part of each that lies in the
    raster and its halo.
    """
    k, colours = upscaler.scale, source.profile.colours
    if upscaler.step > 1:
        tiles = [_aligned(tile, upscaler) for tile in tiles]
        pixels = [source.read(tile.outer) for tile in tiles]
    around = source.profile.window.pad(upscaler.halo)
    cut = [Tile(tile.index, tile.core, tile.outer.intersection(around)) for tile in tiles]
    visible = [bool(tile.trim(read.valid).any()) for tile, read in zip(tiles, pixels, strict=True)]
    blocks = [
        Tile(tile.index, inner.outer, tile.outer).trim(filled_block(source, tile, read, halo=upscaler.halo))
        for tile, inner, read, valid in zip(tiles, cut, pixels, visible, strict=True)
        if valid
    ]
    with np.errstate(over="ignore", invalid="ignore"):
        groups = [np.stack(list(group))[:, colours] for _, group in groupby(blocks, key=np.shape)]
        results = (result for group in groups for result in upscaler(group, values.bands(colours)))
        cores = [
            inner.scale(k).trim(next(results)) if valid else None for inner, valid in zip(cut, visible, strict=True)
        ]
    trimmed = [tile.trim(read.block) for tile, read in zip(tiles, pixels, strict=True)]
    return [_mended(core, block, colours, k) for core, block in zip(cores, trimmed, strict=True)]


def _mended(enlarged: Block | None, block: Block, colours: Sequence[int], k: int) -> Block:
    """Return the core with its transparency, finite, from the colours enlarged and the input's block."""
    if enlarged is not None and not np.isfinite(enlarged).all():
        # Beyond what floating point holds; a valid pixel must not become invalid.
        enlarged = np.where(np.isfinite(enlarged), enlarged, enlarge_nearest(block[colours], k))
    if enlarged is not None and len(enlarged) == len(block):
        return enlarged
    # Transparency is repeated, not computed; so is what will be stamped invalid.
    whole = enlarge_nearest(block.astype(np.result_type(block, np.float32)), k)
    if enlarged is not None:
        whole[colours] = enlarged
    return whole


def _aligned(tile: Tile, upscaler: Upscaler) -> Tile:
    """Return the tile with an outer window that begins where the upscaler's blocks must."""
    outer = tile.outer
    left, top = ((offset + upscaler.halo) % upscaler.step for offset in (outer.col_off, outer.row_off))
    return Tile(
        tile.index, tile.core, Window(outer.col_off - left, outer.row_off - top, outer.width + left, outer.height + top)
    )
