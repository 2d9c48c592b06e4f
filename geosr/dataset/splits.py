"""Splits by place: which tiles train, validate and test, so that no ground is seen by two of them.

Scenes that touch on the ground, or whose guard bands around them do, are one place. A place goes to one split as a
whole, or is cut into blocks that do; then the guard band, of a tile and all that its degradation looks at, is left out
between the splits.
"""

from __future__ import annotations

import logging
import random
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely import STRtree
from shapely.geometry.base import BaseGeometry

from geosr.dataset.options import Options
from geosr.errors import OptionError
from geosr.grid import Tile
from geosr.rasters.placement import crs_of, footprint, outlines, place_of, projected
from geosr.rasters.profile import Profile

log = logging.getLogger(__name__)

TRAINING, VALIDATION, TEST, GUARD = "Training", "Validation", "Test", "guard"
SPLITS = (TRAINING, VALIDATION, TEST)
"""In the order in which they give way: a training tile too near to a validation tile is left out, not that."""
BLOCK_TILES = 8
"""Rows and columns of a block, in tiles, unless told."""

Boxes = NDArray[np.float64]
"""Left, top, right and bottom (n, 4) in the pixels of the first scene of a place."""


@dataclass(frozen=True, slots=True)
class Region:
    """A part of a place that goes to one split."""

    box: tuple[float, float, float, float]
    """Left, top, right and bottom, in the pixels of the place's first scene."""
    split: str


def wanted(options: Options, total: float = 1) -> dict[str, float]:
    """Return the amount of a total that each split but training should have, in the order in which they choose."""
    return {split: total * share for split, share in ((TEST, options.test), (VALIDATION, options.validation)) if share}


def assign(
    profiles: Sequence[Profile], tiles: Sequence[Sequence[Tile]], options: Options, *, halo: int
) -> list[list[str]]:
    """For each scene, for each of its tiles, a split or `guard`; about the shares asked for, by number of tiles.

    `halo` is what a tile's degradation looks at on either side. Scenes without a CRS may show the same ground: all
    train, unless there are no others. When all is one place, or all but those, it is cut across its longer side into
    the splits. A split may get nothing where there are too few places or blocks.
    """
    size = max((tile.core.width for tile in chain.from_iterable(tiles)), default=1)
    if options.block is not None and options.block < size + halo:
        raise OptionError(f"a block must hold a tile and its halo, {size + halo} pixels, got {options.block}")
    grounds = [footprint(profile, margin=size + halo) for profile in profiles]
    groups = [place for place in places(grounds) if any(tiles[i] for i in place)]
    if not groups:
        return [[] for _ in profiles]
    choosing = _choosing(groups, grounds, options)
    if options.split == "scene" and len(choosing) > 1:
        splits = _whole_places(choosing, [len(scene_tiles) for scene_tiles in tiles], options)
        return [[splits[i]] * len(scene_tiles) for i, scene_tiles in enumerate(tiles)]
    frames = [_frame([profiles[i] for i in place], [tiles[i] for i in place]) for place in groups]
    guards = [_side(frame) * (1 + halo / size) for frame in frames]
    free = [place in choosing for place in groups]
    if options.split == "block":
        cut = _blocks(frames, guards, free, options, size=size)
    else:
        shares = [wanted(options) if own else {} for own in free]
        cut = [_strips(*row) for row in zip(frames, guards, shares, strict=True)]
    fates: list[list[str]] = [[] for _ in profiles]
    for place, frame, guard, regions in zip(groups, frames, guards, cut, strict=True):
        scene_fates = iter(_fates(frame, regions, guard))
        for i in place:
            fates[i] = [next(scene_fates) for _ in tiles[i]]
    return fates


def places(grounds: Sequence[BaseGeometry]) -> list[list[int]]:
    """The scenes' positions, those whose polygons touch together; one of an empty polygon is a place of its own."""
    group = list(range(len(grounds)))
    for i, j in STRtree(grounds).query(grounds, predicate="intersects").T:
        old, new = group[i], group[j]
        group = [new if g == old else g for g in group] if old != new else group
    return [[i for i, g in enumerate(group) if g == place] for place in dict.fromkeys(group)]


def _choosing(groups: list[list[int]], grounds: Sequence[BaseGeometry], options: Options) -> list[list[int]]:
    """The places that may go to another split than training."""
    known = [place for place in groups if not grounds[place[0]].is_empty]
    lost = len(groups) - len(known)
    if not lost or len(groups) == 1 or not wanted(options):
        return groups
    if known:
        log.warning("%d scenes have no CRS: all of them train, as they may show the same ground", lost)
        return known
    log.warning("%d scenes have no CRS: each is taken for a place of its own", lost)
    return groups


def _whole_places(groups: list[list[int]], counts: Sequence[int], options: Options) -> dict[int, str]:
    """A split for each scene; at least one place is left for training."""

    def size(place: list[int]) -> int:
        return sum(counts[i] for i in place)

    order = list(groups)
    random.Random(options.seed).shuffle(order)
    splits: dict[int, str] = {}
    left = len(order)
    for split, share in wanted(options, sum(counts)).items():
        had = 0
        # Of places larger than what is wanted the smallest, and only if there is no other.
        for place in sorted(order, key=lambda place: max(size(place), share)):
            if place[0] not in splits and had < share and left > 1 and (size(place) <= share or not had):
                splits |= dict.fromkeys(place, split)
                had += size(place)
                left -= 1
    return {i: splits.get(i, TRAINING) for i in range(len(counts))}


def _frame(profiles: Sequence[Profile], tiles: Sequence[Sequence[Tile]]) -> Boxes:
    """The tiles of a place, scene after scene, as boxes in the pixels of the first; not finite where that fails."""
    first = profiles[0]
    crs, transform = place_of(first, first.window)
    middle, _ = transform @ (first.width / 2, first.height / 2)
    boxes = []
    for profile, scene_tiles in zip(profiles, tiles, strict=True):
        if profile is first:
            frames = [
                (w.col_off, w.row_off, w.col_off + w.width, w.row_off + w.height) for w in (t.core for t in scene_tiles)
            ]
            boxes.append(np.array(frames, np.float64).reshape(-1, 4))
            continue
        rings = projected(outlines(profile, [tile.core for tile in scene_tiles]), crs_of(profile), crs)
        if crs is not None and crs.is_geographic:
            # What lies beyond the antimeridian is on this side of it to the first scene.
            rings[..., 0] += 360 * np.round((middle - rings[..., 0]) / 360)
        a, b, c, d, e, f = tuple(~transform)[:6]
        x, y = a * rings[..., 0] + b * rings[..., 1] + c, d * rings[..., 0] + e * rings[..., 1] + f
        boxes.append(np.column_stack([x.min(axis=1), y.min(axis=1), x.max(axis=1), y.max(axis=1)]))
    return np.concatenate(boxes)


def _side(boxes: Boxes) -> float:
    """The longest side of a tile."""
    finite = boxes[np.isfinite(boxes).all(axis=1)]
    return float(max(np.ptp(finite[:, ::2], axis=1).max(), np.ptp(finite[:, 1::2], axis=1).max())) if len(finite) else 1


def _ends(boxes: Boxes) -> Boxes:
    """The box of all tiles."""
    finite = boxes[np.isfinite(boxes).all(axis=1)]
    if not len(finite):
        return np.zeros(4)
    return np.concatenate([finite[:, :2].min(axis=0), finite[:, 2:].max(axis=0)])


def _strips(frame: Boxes, guard: float, shares: Mapping[str, float]) -> list[Region]:
    """A place cut across its longer side; one that is too small for all strips trains as a whole."""
    ends = _ends(frame)
    axis = int(ends[3] - ends[1] >= ends[2] - ends[0])
    length, side = float(ends[axis + 2] - ends[axis]), _side(frame)
    # The grid of tiles does not begin at the cut: a strip of two tiles holds one.
    strips = {split: max(length * share, 2 * side) for split, share in shares.items()}
    if sum(strips.values()) + guard * len(strips) > length / 2:
        strips = {}
    edge = float(ends[axis + 2])
    regions: list[Region] = []
    for split, width in [*strips.items(), (TRAINING, np.inf)]:
        box = np.array([-np.inf, -np.inf, np.inf, np.inf])
        # The outermost strip goes on for ever, so that rounding takes no tile from it.
        box[axis + 2] = edge if regions else np.inf
        edge -= width
        box[axis] = edge
        regions.append(Region(tuple(np.nan_to_num(box, posinf=1e12, neginf=-1e12).tolist()), split))
    return regions


def _blocks(
    frames: Sequence[Boxes], guards: Sequence[float], free: Sequence[bool], options: Options, *, size: int
) -> list[list[Region]]:
    """Each place cut into blocks that go to the splits by chance; those of a place that is not free all train."""
    counts: list[tuple[int, tuple[int, int], int]] = []
    sides = [max(options.block or BLOCK_TILES * size, guard) for guard in guards]
    touched = []
    for number, (frame, side) in enumerate(zip(frames, sides, strict=True)):
        boxes = frame[np.isfinite(frame).all(axis=1)] - np.tile(_ends(frame)[:2], 2)
        cells = Counter(_cells((boxes[:, :2] + boxes[:, 2:]) / 2, side))
        counts += [(number, cell, count) for cell, count in sorted(cells.items())]
        # A block is no smaller than a tile, which therefore touches no others than its corners do.
        touched.append({cell for x in (0, 2) for y in (1, 3) for cell in _cells(boxes[:, [x, y]], side)})
    random.Random(options.seed).shuffle(counts)
    splits: list[dict[tuple[int, int], str]] = [{} for _ in frames]
    left = iter([entry for entry in counts[1:] if free[entry[0]]])
    for split, share in wanted(options, sum(count for *_, count in counts)).items():
        had = 0
        while had < share and (entry := next(left, None)):
            splits[entry[0]][entry[1]] = split
            had += entry[2]
    return [
        list(_squares(dict.fromkeys(sorted(cells), TRAINING) | picked, side, _ends(frame)))
        for cells, picked, side, frame in zip(touched, splits, sides, frames, strict=True)
    ]


def _cells(points: NDArray[np.float64], side: float) -> list[tuple[int, int]]:
    """The blocks that points lie in, by column and row."""
    return [(int(col), int(row)) for col, row in points // side]


def _squares(cells: dict[tuple[int, int], str], side: float, ends: Boxes) -> Iterator[Region]:
    left, top = ends[:2]
    for (col, row), split in cells.items():
        yield Region((left + col * side, top + row * side, left + (col + 1) * side, top + (row + 1) * side), split)


def _fates(frame: Boxes, regions: Sequence[Region], guard: float) -> list[str]:
    """Return for each tile the split of its regions, or the guard where one that does not give way is too near."""
    if not regions:
        return [GUARD] * len(frame)
    tree = STRtree(shapely.box(*np.array([region.box for region in regions]).T))
    known = np.array([bool(np.isfinite(box).all()) for box in frame], bool)
    boxes = np.where(known[:, None], frame, 0)
    touched, near = (_met(tree, boxes, by) for by in (-1e-6, guard))
    fates = []
    for i, good in enumerate(known):
        own = {regions[j].split for j in touched.get(i, ())}
        others = {regions[j].split for j in near.get(i, ())}
        split = next(iter(own)) if len(own) == 1 and good else GUARD
        fates.append(split if split != GUARD and max(map(SPLITS.index, others)) <= SPLITS.index(split) else GUARD)
    return fates


def _met(tree: STRtree, boxes: Boxes, by: float) -> dict[int, list[int]]:
    """For each box, made larger on all sides, the regions that it meets."""
    larger: NDArray[np.object_] = shapely.box(*(boxes + np.array([-by, -by, by, by])).T)
    met: dict[int, list[int]] = {}
    for i, j in tree.query(larger, predicate="intersects").T.tolist():
        met.setdefault(i, []).append(j)
    return met
