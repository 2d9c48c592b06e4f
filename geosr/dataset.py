"""Training sets from scenes: tiles at full resolution, degraded by the scale, and enlarged again, as TFRecords."""

from __future__ import annotations

import json
import logging
import os
import random
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from shapely import STRtree, box

from geosr import engine, records
from geosr.engine import Pool, Progress
from geosr.errors import DatasetError, GeosrError, OptionError, OutputError
from geosr.grid import Grid, Tile, Window
from geosr.profile import Profile, bounds, footprint
from geosr.radiometry import Range, to_dtype
from geosr.raster import RasterSource, scene_range
from geosr.records import Sample, Shards
from geosr.resample import REACH, enlarge, shrink

log = logging.getLogger(__name__)

MEANS = "mean_values.json"


@dataclass(frozen=True, slots=True)
class Summary:
    """What a build wrote and left out, in tiles."""

    training: int
    validation: int
    invalid: int
    """Tiles with a pixel that is nodata."""
    guard: int
    """Tiles left out between the splits of scenes that show one place."""


@dataclass(frozen=True, slots=True)
class Scene:
    """A source, its radiometry, and the splits that its tiles go to."""

    source: RasterSource
    range: Range
    split: str | None
    """None: by `cut`, on the ground."""
    cut: float = 0.0
    """Tiles wholly north of it are for training, those south of it by at least a tile for validation: see _extent."""

    @property
    def name(self) -> str:
        return Path(self.source.path).name


@dataclass(frozen=True, slots=True)
class Made:
    """A tile's encoded sample, with the sum and the number of the normalised values of its three images."""

    example: bytes
    sums: NDArray[np.float64]
    pixels: NDArray[np.int64]


def build(
    scenes: Sequence[str | os.PathLike[str]],
    out: str | os.PathLike[str],
    *,
    scale: int = 2,
    size: int = 96,
    validation: float = 0.1,
    seed: int = 0,
    overwrite: bool = False,
    pool: Pool | None = None,
    progress: Progress | None = None,
) -> Summary:
    """Writes the tiles of `scenes` as TFRecords to OUT/x<scale>/Training and OUT/x<scale>/Validation.

    Tiles are `size` x `size` pixels of the scene, whole ones without nodata alone. The degraded image and the bicubic
    one are made from the tile and its surroundings and have the scene's dtype. Scenes are split by place: scenes
    that overlap on the ground stay on one side; when all show one place it is cut in two by a line, with
    a guard of a tile between. The means of the three images go to mean_values.json, the rest to dataset.json. The
    folder has its name only when it is whole.

    Raises:
        OptionError: `size` is not a multiple of `scale`.
        OutputError: there is a training set already and not `overwrite`.
        DatasetError: no tile is left.
    """
    if size < scale or size % scale:
        raise OptionError(f"the tile size must be a multiple of the scale {scale}, got {size}; change --size")
    folder = Path(out) / f"x{scale}"
    _check_folder(folder, overwrite)
    sources = [RasterSource(path).colours() for path in scenes]
    plan = split_by_place(sources, size=size, validation=validation, seed=seed)
    total = sum(_whole_tiles(scene.source.profile, size) for scene in plan)
    order = list(plan)
    random.Random(seed).shuffle(order)
    with _drafted(folder) as draft:
        counts, means = _write_tiles(draft, _tiles(order, scale, size, pool), total, progress)
        if not counts["Training"]:
            raise DatasetError(
                f"no training tile of {size} x {size} pixels in {len(sources)} scenes: {counts['invalid']} tiles hold "
                f"nodata, {counts['guard']} are in the guard band; use a smaller --size or other scenes"
            )
        summary = Summary(counts["Training"], counts["Validation"], counts["invalid"], counts["guard"])
        _write_json(draft / MEANS, means)
        _write_json(draft / records.CARD, _card(plan, scale, size, summary))
    return summary


def split_by_place(sources: Sequence[RasterSource], *, size: int, validation: float, seed: int) -> list[Scene]:
    """The sources as scenes with a split each, so that about `validation` of the tiles validate.

    Scenes whose footprints overlap are kept together. A single place is cut: see Scene.
    """
    ranges = []
    for source in sources:
        ranges.append(scene_range(source))
        source.close()
    places = _places([source.profile for source in sources])
    if len(places) == 1:
        return _cut(sources, ranges, size, validation)
    random.Random(seed).shuffle(places)
    tiles = [_whole_tiles(source.profile, size) for source in sources]
    wanted = validation * sum(tiles)
    chosen: set[int] = set()
    for place in sorted(places, key=lambda place: sum(tiles[i] for i in place) > wanted):
        if validation and sum(tiles[i] for i in chosen) < wanted and len(chosen) + len(place) < len(sources):
            chosen.update(place)
    return [
        Scene(source, values, "Validation" if i in chosen else "Training")
        for i, (source, values) in enumerate(zip(sources, ranges, strict=True))
    ]


def sample(tile: Tile, *, source: RasterSource, scale: int, values: Range) -> Sample | None:
    """The tile's sample, or None if a pixel of it or of its surroundings is not valid."""
    outer = source.read(tile.outer)
    if not source.valid(tile.outer, outer).all():
        return None
    dtype = outer.dtype
    down = to_dtype(shrink(outer, scale), dtype)
    low = Tile(tile.index, _divided(tile.core, scale), _divided(tile.outer, scale))
    return Sample(
        gt=tile.trim(outer),
        down=low.trim(down),
        bic_up=to_dtype(tile.trim(enlarge(down, scale)), dtype),
        range=values,
        scene=Path(source.path).name,
        window=tile.core,
        crs=source.profile.crs.to_wkt() if source.profile.crs else "",
        transform=tuple(source.profile.crop(tile.core).transform)[:6],
    )


def _write_tiles(
    folder: Path, tiles: Iterator[tuple[str, Made | None]], total: int, progress: Progress | None
) -> tuple[Counter[str], dict[str, float]]:
    """Writes the shards of both splits; the number of tiles of each fate, and the means of the images."""
    counts: Counter[str] = Counter()
    sums, pixels = np.zeros(3), np.zeros(3)
    if progress:
        progress(0, total)
    with (
        Shards(folder / "Training", "geosr-train") as training,
        Shards(folder / "Validation", "geosr-val") as validation,
    ):
        shards = {"Training": training, "Validation": validation}
        for done, (split, made) in enumerate(tiles, 1):
            if made is None:
                counts["guard" if split == "guard" else "invalid"] += 1
            else:
                shards[split].write(made.example)
                counts[split] += 1
                sums += made.sums
                pixels += made.pixels
            if progress:
                progress(done, total)
    return counts, dict(zip(records.IMAGES, (sums / np.maximum(pixels, 1)).tolist(), strict=True))


def _tiles(scenes: Sequence[Scene], scale: int, size: int, pool: Pool | None) -> Iterator[tuple[str, Made | None]]:
    """For every whole tile its split and what is made of it, if anything."""
    for scene in scenes:
        source, profile = scene.source.copy(), scene.source.profile  # whose files are closed when it is done
        grid = Grid(profile.width, profile.height, size, halo=2 * REACH * scale)
        whole = [tile for tile in grid if tile.core.width == tile.core.height == size]
        sides = {tile.index: scene.split or _side(scene, tile) for tile in whole}
        for tile in whole:
            if sides[tile.index] == "guard":
                yield "guard", None
        work = partial(_made, source=source, scale=scale, values=scene.range)
        for tile, result in engine.run(work, (t for t in whole if sides[t.index] != "guard"), pool):
            yield sides[tile.index], result


def _made(tile: Tile, *, source: RasterSource, scale: int, values: Range) -> Made | None:
    one = sample(tile, source=source, scale=scale, values=values)
    if one is None:
        return None
    images = [values.normalise(getattr(one, name)) for name in records.IMAGES]
    return Made(
        records.encode(one),
        np.array([float(im.sum(dtype=np.float64)) for im in images]),
        np.array([im.size for im in images]),
    )


def _places(profiles: Sequence[Profile]) -> list[list[int]]:
    """The scenes' positions, those that overlap on the ground together; one without a CRS is a place of its own."""
    found = [footprint(profile) for profile in profiles]
    group = list(range(len(profiles)))
    located = [(i, box(*ground)) for i, ground in enumerate(found) if ground]
    if len(profiles) > 1 and len(located) < len(profiles):
        log.warning("%d scenes have no CRS: each is taken for a place of its own", len(profiles) - len(located))
    tree = STRtree([ground for _, ground in located])
    for i, j in tree.query(tree.geometries, predicate="intersects").T:
        old, new = group[located[i][0]], group[located[j][0]]
        group = [new if g == old else g for g in group]
    return [[i for i, g in enumerate(group) if g == place] for place in sorted(set(group))]


def _cut(sources: Sequence[RasterSource], ranges: Sequence[Range], size: int, validation: float) -> list[Scene]:
    grounds = [_extent(source.profile, source.profile.window) for source in sources]
    south, north = min(ground[0] for ground in grounds), max(ground[1] for ground in grounds)
    highest = max(
        (top - bottom) * size / source.profile.height for source, (bottom, top) in zip(sources, grounds, strict=True)
    )
    # What is left over below the last whole tile, a tile that validates, and the guard.
    cut = south + max(validation * (north - south), 3 * highest)
    if validation and cut > (south + north) / 2:
        log.warning("the scenes show one place, which is too small to keep a part of it for validation")
    if validation == 0 or cut > (south + north) / 2:
        return [Scene(source, values, "Training") for source, values in zip(sources, ranges, strict=True)]
    return [Scene(source, values, None, cut) for source, values in zip(sources, ranges, strict=True)]


def _side(scene: Scene, tile: Tile) -> str:
    south, north = _extent(scene.source.profile, tile.core)
    if south >= scene.cut:
        return "Training"
    # The guard is as high as the tile, which is wider than the reach of any degradation.
    return "Validation" if north + (north - south) <= scene.cut else "guard"


def _extent(profile: Profile, window: Window) -> tuple[float, float]:
    """South and north of the window: latitudes, the one axis that scenes of any CRS share, or else map coordinates."""
    _, south, _, north = footprint(profile, window) or bounds(profile, window)
    return south, north


def _whole_tiles(profile: Profile, size: int) -> int:
    return (profile.width // size) * (profile.height // size)


def _divided(window: Window, k: int) -> Window:
    return Window(window.col_off // k, window.row_off // k, window.width // k, window.height // k)


def _card(scenes: Sequence[Scene], scale: int, size: int, summary: Summary) -> dict[str, object]:
    return {
        "scale": scale,
        "size": size,
        "degradation": "bicubic",
        "tiles": {"Training": summary.training, "Validation": summary.validation},
        "left_out": {"nodata": summary.invalid, "guard": summary.guard},
        "scenes": [
            {
                "file": scene.name,
                "split": scene.split or "cut",
                "bands": scene.source.profile.count,
                "dtype": scene.source.profile.dtype,
                "range": str(scene.range),
            }
            for scene in scenes
        ],
    }


def _check_folder(folder: Path, overwrite: bool) -> None:
    """Only a training set may be replaced, and only on request."""
    found = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    if found - {*records.SPLITS, records.CARD, MEANS} or (found and records.CARD not in found):
        raise OutputError(f"{os.fspath(folder)!r} holds other files than a training set; choose another folder")
    if found and not overwrite:
        raise OutputError(f"{os.fspath(folder)!r} holds a training set; choose another folder or --overwrite")


def draft_of(folder: Path) -> Path:
    """Where a training set is written until it is whole."""
    return folder.with_name(f".{folder.name}.part")


@contextmanager
def _drafted(folder: Path) -> Iterator[Path]:
    """A folder to write to, which takes the place of `folder` when all went well and is removed otherwise."""
    draft, old = draft_of(folder), folder.with_name(f".{folder.name}.old")
    try:
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(parents=True)
        yield draft
        if folder.exists():
            shutil.rmtree(old, ignore_errors=True)
            folder.replace(old)
        draft.replace(folder)
        shutil.rmtree(old, ignore_errors=True)
    except BaseException as error:
        shutil.rmtree(draft, ignore_errors=True)
        with suppress(OSError):
            if old.exists() and not folder.exists():
                old.replace(folder)
            folder.parent.rmdir()  # if it was made for this, and holds nothing
        if isinstance(error, OSError) and not isinstance(error, GeosrError):
            raise OutputError(f"cannot write to {os.fspath(folder.parent)!r}: {error.strerror or error}") from error
        raise


def _write_json(path: Path, content: object) -> None:
    path.write_text(json.dumps(content, indent=1) + "\n")
