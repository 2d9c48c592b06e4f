"""Training sets from scenes: tiles at full resolution, degraded by the scale, and enlarged again."""

from __future__ import annotations

import hashlib
import logging
import os
import random
import shutil
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geosr import __version__, engine, pools
from geosr.dataset import formats, polygons, records, storage
from geosr.dataset.options import Options
from geosr.dataset.records import Sample
from geosr.dataset.splits import GUARD, SPLITS, assign, wanted
from geosr.dataset.storage import LEFT_OUT, Place, Summary
from geosr.engine import Pool, Progress
from geosr.errors import DatasetError, OptionError, OutputError, WorkersDied
from geosr.files import listed, output_folder, size_text
from geosr.grid import Block, Grid, Tile, Window, batches
from geosr.parts import Parts
from geosr.rasters.nodata import filled_block
from geosr.rasters.placement import place_of
from geosr.rasters.profile import band_name
from geosr.rasters.radiometry import Range, to_dtype
from geosr.rasters.resample import REACH, enlarge
from geosr.rasters.source import RasterSource, check_readable, scene_range

log = logging.getLogger(__name__)

BATCH = 32
"""Tiles in a task, whose samples are a part."""
PLACES = 64
"""Parts, at the least, that are chosen by chance to make the tiles that --max-tiles wants."""
OVERHEAD = 2000
"""Bytes of a sample beside its pixels, at most: above all the CRS."""


def sample_halo(options: Options) -> int:
    """Return the pixels beside a tile that its samples depend on: those that shrinking, then enlarging looks at."""
    return options.degradation.reach(options.scale) + REACH * options.scale


@dataclass(frozen=True, slots=True)
class Scene:
    """A source, its name in the set, its radiometry, and the dtype that its samples have."""

    source: RasterSource
    name: str
    range: Range
    dtype: str


@dataclass(frozen=True, slots=True)
class Task:
    """A few tiles of a scene, and the split of each."""

    number: int
    scene: Scene
    tiles: tuple[Tile, ...]
    splits: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """A set that can be made: everything that can be known before pixels are read."""

    options: Options
    scenes: tuple[Scene, ...]
    tasks: tuple[Task, ...]
    left_out: Mapping[str, int]
    areas: str
    """A digest of the areas that tiles were chosen by."""

    @property
    def tiles(self) -> Counter[str]:
        """The tiles to look at, by split."""
        return Counter(split for task in self.tasks for split in task.splits)

    @property
    def quotas(self) -> dict[str, float]:
        """Samples of each split at the most: shared out as the tiles are, one at least for each, training first."""
        counts, most = self.tiles, self.options.max_tiles
        if most is None:
            return dict.fromkeys(SPLITS, float("inf"))
        there = [split for split in SPLITS if counts[split]]
        quotas: dict[str, float] = {split: 1 + (most - len(there)) * counts[split] // counts.total() for split in there}
        largest = max(there, key=counts.__getitem__)
        quotas[largest] += most - sum(quotas.values())
        return dict.fromkeys(SPLITS, 0) | quotas


@dataclass(slots=True)
class _Kept:
    """The state of a build: the samples so far."""

    places: dict[str, list[Place]] = field(default_factory=lambda: {split: [] for split in SPLITS})
    means: list[list[float]] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)
    scenes: dict[str, Counter[str]] = field(default_factory=dict)


def build(
    scenes: Sequence[str | os.PathLike[str]],
    out: str | os.PathLike[str],
    options: Options = Options(),
    *,
    overwrite: bool = False,
    restart: bool = False,
    pool: Pool | None = None,
    progress: Progress | None = None,
) -> Summary:
    """Write the tiles of `scenes` to OUT/x<scale>/Training and OUT/x<scale>/Validation (and Test).

    The degraded image and the enlarged one are made from the tile and
    its surroundings and have the dtype of the tile. The folder has its name only when it is whole; a build that was
    interrupted leaves its parts beside it, and the same call takes it up again.

    Raises:
        OptionError: the options contradict each other or the scenes.
        OutputError: there is a training set already and not `overwrite`, or it cannot be written.
        DatasetError: a split that is wanted gets no tile.
        RasterError: a scene cannot be read.
    """
    folder = Path(out) / f"x{options.scale}"
    storage.check_folder(folder, overwrite=overwrite)
    job = plan(scenes, options, pool)
    with output_folder(Path(out)), Parts(folder, manifest(job), restart=restart) as parts:
        _check_space(job, folder, done=sum(parts.has(task.number) for task in job.tasks))
        progress_state = _made(job, parts, pool, progress)
        summary = Summary(
            {
                split: len(places)
                for split, places in progress_state.places.items()
                if places or split in records.SPLITS
            },
            {why: count for why in LEFT_OUT if (count := progress_state.left_out[why])},
            folder,
        )
        storage.assemble(
            parts,
            {split: progress_state.places[split] for split in summary.tiles},
            _card(job, summary, progress_state),
            storage.mean_values(progress_state.means),
            seed=options.seed,
            zipped=options.gzip,
            form=options.format,
        )
    return summary


def plan(scenes: Sequence[str | os.PathLike[str]], options: Options, pool: Pool | None = None) -> Plan:
    """Return the tiles of the scenes that pass the filters, and their splits; the pool looks at their pixels.

    Raises:
        OptionError: the scenes differ in bands or dtype, or the options do not fit them.
        DatasetError: a split that is wanted gets no tile.
    """
    sources = [_closed_source(path, options) for path in scenes]
    dtype = _one_kind(sources, options)
    formats.check_images(options.format, dtype, 1 if options.each_band else sources[0].profile.count)
    vectors = {what: polygons.read(path) for what in ("aoi", "exclude") if (path := getattr(options, what))}
    profiles = [source.profile for source in sources]
    tiles = [_whole_tiles(profile.width, profile.height, options) for profile in profiles]
    _check_sizes(sources, tiles, options)
    left_out: Counter[str] = Counter()
    for what, vector in vectors.items():
        tiles = _in_areas(what, vector, sources, tiles, left_out)
    scene_list = []
    for source, name in zip(sources, storage.scene_names([source.path for source in sources]), strict=True):
        scene_list.append(Scene(source, name, scene_range(source), dtype))
        source.close()
    pools.check_reach(pool, check_readable, [source.path for source in sources])
    tiles = _passing(scene_list, tiles, options, left_out, pool)
    fates = assign(profiles, tiles, options, halo=sample_halo(options))
    left_out[GUARD] += sum(scene_fates.count(GUARD) for scene_fates in fates)
    job = Plan(options, tuple(scene_list), _tasks(scene_list, tiles, fates, options), left_out, _digest(vectors))
    _check_splits(job)
    return job


def fates(task: Task, *, options: Options) -> list[list[str]]:
    """Return for each tile of a task why its samples are left out, one or one for each band; empty if they are not."""
    with closing(task.scene.source.copy()) as source:
        pixels = [source.read(tile.core) for tile in task.tiles]
    return [_fates(of.block, of.valid, task.scene.range, options) for of in pixels]


def samples(tile: Tile, scene: Scene, source: RasterSource, options: Options) -> list[Sample | str]:
    """The tile's samples: one, or one for each band; in place of a sample, why it is left out.

    `source` is the scene's, open in this thread.
    """
    pixels = source.read(tile.outer)
    outer, valid = pixels.block, pixels.valid
    reasons = _fates(tile.trim(outer), tile.trim(valid), scene.range, options)
    if all(reasons):
        return list(reasons)
    outer = filled_block(source, tile, pixels, halo=sample_halo(options))
    down, up = _degraded(tile, outer, scene, options)
    crs, transform = place_of(source.profile, tile.core)
    return [
        reason
        or Sample(
            gt=tile.trim(outer)[group].astype(scene.dtype),
            down=down[group],
            bic_up=up[group] if options.bic_up else None,
            range=scene.range.bands(group),
            scene=scene.name,
            window=tile.core,
            crs=crs.to_wkt() if crs else "",
            transform=tuple(transform)[:6],
            bands=tuple(source.numbers[i] for i in group),
        )
        for group, reason in zip(_groups(len(outer), options), reasons, strict=True)
    ]


def encoded_part(task: Task, *, options: Options) -> bytes:
    """The task's finished part: pure work that can run anywhere."""
    examples, notes = [], []
    left_out: Counter[str] = Counter()
    # A file of its own, so that no more are open than tasks run.
    source = task.scene.source.copy()
    try:
        for tile, split in zip(task.tiles, task.splits, strict=True):
            for sample in samples(tile, task.scene, source, options):
                if isinstance(sample, str):
                    left_out[sample] += 1
                else:
                    examples.append(records.encode(sample))
                    notes.append([split, *storage.means_of(sample)])
    finally:
        source.close()
    return storage.pack({"made": notes, "left out": left_out}, examples)


def manifest(job: Plan) -> dict[str, Any]:
    """Return what the parts of a job depend on."""
    return {
        "scenes": [[scene.name, list(scene.source.numbers), scene.source.alpha] for scene in job.scenes],
        "sizes and times of the scenes": [scene.source.fingerprint for scene in job.scenes],
        "ranges": [str(scene.range) for scene in job.scenes],
        "areas": job.areas,
        **{
            name: value
            for name, value in job.options.settings.items()
            if name not in ("aoi", "exclude", "gzip", "format")
        },
        "version": __version__,
    }


def _degraded(tile: Tile, outer: Block, scene: Scene, options: Options) -> tuple[Block, Block]:
    """The tile's core degraded, and that enlarged again, in the scene's dtype, held in that of the set."""
    k = options.scale
    seed = (options.seed, zlib.crc32(scene.name.encode()), tile.core.col_off, tile.core.row_off)
    with np.errstate(over="ignore", invalid="ignore"):
        down = to_dtype(options.degradation(outer, k, values=scene.range, seed=seed), outer.dtype)
        up = to_dtype(tile.trim(enlarge(down, k)), outer.dtype)
    low = Tile(tile.index, _divided(tile.core, k), _divided(tile.outer, k))
    return low.trim(down).astype(scene.dtype), up.astype(scene.dtype)


def _groups(count: int, options: Options) -> list[list[int]]:
    """Return the positions of the bands of each sample that a tile gives."""
    return [[i] for i in range(count)] if options.each_band else [list(range(count))]


def _fates(core: Block, valid: NDArray[np.bool_], values: Range, options: Options) -> list[str]:
    """Return why each sample of a tile is left out; empty if it is not."""
    return [_fate(core[g], valid[g], values.bands(g), options) for g in _groups(len(core), options)]


def _fate(core: Block, valid: NDArray[np.bool_], values: Range, options: Options) -> str:
    """Why these bands of a tile are left out; empty if they are not."""
    whole = valid.all(axis=0)
    if whole.mean() < options.min_valid or not whole.any():
        return "nodata"
    if options.min_variance:
        x = values.normalise(core)[:, whole].astype(np.float64)
        if x.var(axis=1).mean() < options.min_variance:
            return "flat"
    return ""


def _made(job: Plan, parts: Parts, pool: Pool | None, progress: Progress | None) -> _Kept:
    """The samples in the parts; those that are missing are made on the way, until there are enough."""
    state, quotas = _Kept(left_out=Counter(job.left_out)), job.quotas
    total, done = sum(len(task.tiles) for task in job.tasks), 0
    if progress:
        progress(0, total)

    def wanted(task: Task) -> bool:
        return any(len(state.places[split]) < quotas[split] for split in task.splits)

    # Looked at when its turn comes: what is still wanted when it is kept was so when it was begun.
    missing = (task for task in job.tasks if not parts.has(task.number) and wanted(task))
    work = partial(encoded_part, options=job.options)
    with closing(engine.tried(work, missing, pool, errors=WorkersDied)) as results:
        for task in filter(wanted, job.tasks):
            if not parts.has(task.number):
                part = next(part for task_begun, part in results if task_begun is task)
                if isinstance(part, WorkersDied):
                    where = task.tiles[0].core
                    raise WorkersDied(
                        f"tiles of {task.scene.source.path!r} from column {where.col_off}, row {where.row_off} on "
                        f"could not be made: {part}"
                    )
                parts.save(task.number, part)
            _keep(state, task, parts.path(task.number), quotas)
            done += len(task.tiles)
            if progress:
                progress(done, total)
    if progress and done < total:
        progress(total, total)
    return state


def _keep(state: _Kept, task: Task, part: Path, quotas: Mapping[str, float]) -> None:
    header, places = storage.unpack(part)
    state.left_out.update(header["left out"])
    for (split, *means), place in zip(header["made"], places, strict=True):
        if len(state.places[split]) < quotas[split]:
            state.places[split].append(place)
            state.means.append(means)
            state.scenes.setdefault(task.scene.name, Counter())[split] += 1


def _in_areas(
    what: str,
    vector: polygons.Areas,
    sources: Sequence[RasterSource],
    tiles: Sequence[Sequence[Tile]],
    left_out: Counter[str],
) -> list[list[Tile]]:
    """Return the tiles of each scene that lie in the areas of --aoi, or do not touch those of --exclude."""
    kept = []
    for source, scene_tiles in zip(sources, tiles, strict=True):
        windows = [tile.core for tile in scene_tiles]
        try:
            good = (
                vector.covering(source.profile, windows) if what == "aoi" else ~vector.touching(source.profile, windows)
            )
        except OptionError as error:
            raise OptionError(f"{source.path!r}: {error}") from error
        left_out[what] += int((~good).sum())
        kept.append([tile for tile, inside in zip(scene_tiles, good, strict=True) if inside])
    vector.warn_of_far([source.profile for source in sources], f"--{what}")
    return kept


def _passing(
    scenes: Sequence[Scene],
    tiles: Sequence[Sequence[Tile]],
    options: Options,
    left_out: Counter[str],
    pool: Pool | None,
) -> list[list[Tile]]:
    """Return the tiles of each scene of which a sample passes the filters, so that splits are shares of samples."""
    looked_at = [
        Task(i, scene, tuple(batch), ())
        for i, scene in enumerate(scenes)
        if options.min_variance or _may_be_invalid(scene.source)
        for batch in batches(tiles[i], BATCH)
    ]
    kept = [list(scene_tiles) for scene_tiles in tiles]
    for number in {task.number for task in looked_at}:
        kept[number] = []
    for task, reasons in engine.run(partial(fates, options=options), looked_at, pool):
        for tile, why in zip(task.tiles, reasons, strict=True):
            if all(why):
                left_out.update(why)
            else:
                kept[task.number].append(tile)
    empty = [scene.source.path for scene, old, new in zip(scenes, tiles, kept, strict=True) if old and not new]
    if empty and any(kept):
        log.warning("%d scenes have no tile that passes the filters and are passed over: %s", len(empty), listed(empty))
    return kept


def _may_be_invalid(source: RasterSource) -> bool:
    """Return True if a pixel may be invalid as far as the headers of a scene say."""
    profile = source.profile
    return (
        profile.masked
        or profile.nodata is not None
        or profile.alpha is not None
        or np.dtype(profile.dtype).kind not in "iu"
    )


def _check_splits(job: Plan) -> None:
    """Refuse a set of which a wanted split is empty."""
    counts, options = job.tiles, job.options
    if not counts[SPLITS[0]]:
        raise DatasetError(_nothing(job, job.left_out))
    if empty := [split.lower() for split in wanted(options) if not counts[split]]:
        raise DatasetError(
            f"no tile is left for {' and '.join(empty)}: the {counts.total()} that pass the filters lie in too few "
            f"places; give more scenes, a smaller --size, --split block with a smaller --block, or --{empty[0]} 0"
        )


def _tasks(
    scenes: Sequence[Scene], tiles: Sequence[Sequence[Tile]], fates: Sequence[Sequence[str]], options: Options
) -> tuple[Task, ...]:
    """The tiles that have a split, a few at a time, in an order by chance: the first parts show all of the scenes.

    Where not all are wanted, those that go together are chosen by chance too, and few enough to be of many places.
    """
    chance, most = random.Random(options.seed), options.max_tiles
    size = BATCH if most is None else min(BATCH, max(1, most // PLACES))
    groups: list[tuple[Scene, list[tuple[Tile, str]]]] = []
    for scene, scene_tiles, scene_fates in zip(scenes, tiles, fates, strict=True):
        pairs = [(tile, fate) for tile, fate in zip(scene_tiles, scene_fates, strict=True) if fate != GUARD]
        if most is not None:
            chance.shuffle(pairs)
        groups += [(scene, batch) for batch in batches(pairs, size)]
    chance.shuffle(groups)
    return tuple(
        Task(number, scene, tuple(tile for tile, _ in batch), tuple(split for _, split in batch))
        for number, (scene, batch) in enumerate(groups)
    )


def _closed_source(path: str | os.PathLike[str], options: Options) -> RasterSource:
    """Return the colours of a scene, with no file open: there may be more scenes than files can be."""
    with closing(RasterSource(path, options.bands, nodata=options.nodata_in)) as source:
        colours = source.colours()
    colours.close()
    return colours


def _whole_tiles(width: int, height: int, options: Options) -> list[Tile]:
    grid = Grid(width, height, options.size, halo=sample_halo(options))
    return [tile for tile in grid if tile.core.width == tile.core.height == options.size]


def _one_kind(sources: Sequence[RasterSource], options: Options) -> str:
    """The dtype of the set; refuses scenes that do not go together."""
    counts = _first_of_each([source.profile.count for source in sources], sources)
    if len(counts) > 1 and not options.each_band:
        raise OptionError(
            f"the scenes have different numbers of bands: {_listed(counts, 'has')}; choose some that all have with "
            "--bands 1,2,3, or take every band by itself with --each-band"
        )
    for count in counts:
        options.degradation.check(count, options.scale)
    dtypes = _first_of_each([source.profile.dtype for source in sources], sources)
    common = str(np.result_type(*dtypes))
    dtype = options.dtype or next(iter(dtypes))
    if options.dtype is None and len(dtypes) > 1:
        raise OptionError(
            f"the scenes have different data types: {_listed(dtypes, 'is')}; give one that holds all: --dtype {common}"
        )
    if narrow := [dtype_here for dtype_here in dtypes if not np.can_cast(dtype_here, dtype, "safe")]:
        raise OptionError(
            f"{dtypes[narrow[0]]!r} is {narrow[0]}, whose values {dtype} does not hold; take --dtype {common}"
        )
    return dtype


def _first_of_each(values: Sequence[Any], sources: Sequence[RasterSource]) -> dict[Any, str]:
    firsts: dict[Any, str] = {}
    for value, source in zip(values, sources, strict=True):
        firsts.setdefault(value, source.path)
    return firsts


def _listed(paths: Mapping[Any, str], verb: str) -> str:
    return ", ".join(f"{path!r} {verb} {value}" for value, path in paths.items())


def _check_sizes(sources: Sequence[RasterSource], tiles: Sequence[Sequence[Tile]], options: Options) -> None:
    small = [source for source, scene_tiles in zip(sources, tiles, strict=True) if not scene_tiles]
    if not small:
        return
    first = f"{small[0].path!r} has {small[0].profile.width} x {small[0].profile.height} pixels"
    if len(small) == len(sources):
        raise DatasetError(
            f"no training tile of {options.size} x {options.size} pixels in {len(sources)} scenes: {first}; use a "
            "smaller --size"
        )
    names = listed([source.path for source in small])
    log.warning("%d scenes are smaller than a tile and are passed over: %s", len(small), names)


def _nothing(job: Plan, left_out: Mapping[str, int]) -> str:
    size = job.options.size
    why = Summary({}, left_out, Path()).reasons
    return (
        f"no training tile of {size} x {size} pixels is left of {len(job.scenes)} scenes; left out: {why}; change "
        "these options, use a smaller --size, or other scenes"
    )


def _check_space(job: Plan, folder: Path, *, done: int) -> None:
    """Refuse a job that the disk may have no room for: parts and set are on it at the end."""
    options, count = job.options, job.tiles.total()
    bands = sum(len(task.tiles) * task.scene.source.profile.count for task in job.tasks)
    pixels = options.size**2 * (1 + options.bic_up) + (options.size // options.scale) ** 2
    size = pixels * bands * np.dtype(job.scenes[0].dtype).itemsize + OVERHEAD * (bands if options.each_band else count)
    size = int(size * min(1.0, (options.max_tiles or np.inf) / (bands if options.each_band else count)))
    needed = int(size * (2 - done / len(job.tasks)))
    free = shutil.disk_usage(folder.parent).free
    if needed > free:
        raise OutputError(
            f"{os.fspath(folder)!r} may need {size_text(needed)}, where {size_text(free)} are free; free some, write "
            "elsewhere, or take less: --max-tiles, --no-bic-up"
        )


def _divided(window: Window, k: int) -> Window:
    return Window(window.col_off // k, window.row_off // k, window.width // k, window.height // k)


def _digest(vectors: Mapping[str, polygons.Areas]) -> str:
    texts = [f"{what} {vector.crs.to_wkt()} {vector.geometry.wkb_hex}" for what, vector in vectors.items()]
    return hashlib.sha256("\n".join(texts).encode()).hexdigest() if texts else ""


def _card(job: Plan, summary: Summary, state: _Kept) -> dict[str, Any]:
    options = job.options
    return {
        "scale": options.scale,
        "size": options.size,
        "degradation": str(options.degradation),
        "format": options.format,
        "tiles": dict(summary.tiles),
        "left_out": dict(summary.left_out),
        "options": options.settings,
        "version": __version__,
        "scenes": [
            {
                "file": scene.name,
                "tiles": {split: state.scenes.get(scene.name, Counter())[split] for split in summary.tiles},
                "bands": 1 if options.each_band else scene.source.profile.count,
                "names": [band_name(scene.source.profile, i) for i in scene.source.profile.colours],
                "dtype": scene.source.profile.dtype,
                "range": str(scene.range),
            }
            for scene in job.scenes
        ],
    }
