"""A burst of photographs stacked: aligned with Hugin, checked, brought to one exposure, and reduced window by window
to images with `scale` times as many rows and columns.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from scipy.ndimage import gaussian_filter

from geosr import __version__, engine
from geosr.burst import alignment as align
from geosr.burst import exif, framing, hugin, hugin_projects, photos, report
from geosr.burst.homography import apply, enlarging, shifting
from geosr.burst.hugin import Hugin
from geosr.burst.judging import ALIGN_MODES, Rules, Verdict, chosen, clipped, dumped, judged, loaded
from geosr.burst.photos import Frame, Photo
from geosr.burst.reducers import REDUCERS
from geosr.burst.stack import (
    BASE_MEMORY,
    EXTRAS,
    SHARPEN_SIGMA,
    Layer,
    Stack,
    halo_of,
    stacked,
    stacked_parts,
    tile_size,
)
from geosr.engine import Pool
from geosr.errors import OptionError, OutputError
from geosr.files import output_folder, size_text
from geosr.grid import Block, Grid, Tile, Window
from geosr.parts import Parts
from geosr.rasters import writer
from geosr.rasters.profile import Profile
from geosr.rasters.source import RasterSource

log = logging.getLogger(__name__)

Stages = Callable[[str, int, int], None]
"""Called with a stage, what of it is done and its total, first when the job holds its folder's lock; it may raise, to
cancel."""

METHODS = ("mean", "median", "robust")
"""What is made unless told."""
DEPTHS = (8, 16)
REPORT, PAGE, PICTURE, HUGIN_LOG, PROJECT = "report.json", "report.html", "report.png", "hugin.log", "project.pto"
MEMORY = 3 * 2**29
"""Bytes that may be needed unless told."""
MAP_SIDE = 800
"""Most rows and columns of the maps in the report."""
CROP_SIDE = 320
"""Rows and columns of the crop in the report."""
COMMON, UNION = framing.CROPS


@dataclass(frozen=True, slots=True)
class Options:
    """What may be chosen about a burst.

    Raises:
        OptionError: a value is none of those that are possible.
    """

    scale: int = 2
    methods: tuple[str, ...] = METHODS
    reference: str = "auto"
    """The name of a photo; `auto` is the sharpest near the middle."""
    align: str = "hugin"
    """`none` takes the photos as they lie, or where their CRS puts them."""
    project: str | None = None
    """A Hugin project whose alignment is used."""
    keep_project: bool = False
    keep_all: bool = False
    """Blurred frames too."""
    match: bool = True
    """Bring the frames to the exposure of the reference."""
    crop: str = COMMON
    sharpen: float = 1.0
    """Amount of the unsharp mask; 0 is off."""
    depth: int | None = None
    """Bits of the output; the photos' by default."""
    coverage: bool = False
    deviation: bool = False
    memory: int = MEMORY
    """Bytes, for all threads together."""
    time_limit: float = 120.0
    """Seconds for each call of a tool of Hugin."""
    creation: Mapping[str, str] | None = None

    def __post_init__(self) -> None:
        for name, choices in (("align", ALIGN_MODES), ("crop", framing.CROPS), ("depth", (None, *DEPTHS))):
            if getattr(self, name) not in choices:
                raise OptionError(f"{name} must be one of {choices}, got {getattr(self, name)!r}")
        if not self.methods or set(self.methods) - set(REDUCERS):
            raise OptionError(f"methods must be some of {tuple(REDUCERS)}, got {self.methods!r}")
        for name, least in (("scale", 1), ("sharpen", 0), ("time_limit", 0)):
            if not getattr(self, name) >= least:
                raise OptionError(f"{name} must be {least} or more, got {getattr(self, name)!r}")


@dataclass(frozen=True, slots=True)
class Plan:
    """A burst that was looked through: everything that can be known before its pixels are touched."""

    photos: tuple[Photo, ...]
    folder: Path
    options: Options
    outputs: tuple[str, ...]
    """Names of the images, in the order of their parts."""
    disk: int
    """Bytes that are needed at the most, the outputs with them."""


def stack(
    inputs: Sequence[str | os.PathLike[str]],
    folder: str | os.PathLike[str],
    options: Options = Options(),
    *,
    overwrite: bool = False,
    restart: bool = False,
    pool: Pool | None = None,
    progress: Stages | None = None,
) -> dict[str, Any]:
    """Writes the images of the burst and its report to `folder`, and returns what the report says.

    `inputs` are photos, or folders of them. Nothing appears in `folder` before all is whole; a job that was interrupted
    goes on from its alignment and parts when it is called again. The photos are never written to.

    Raises:
        BurstError: the photos make no burst, or too few of them align.
        RasterError: a photo cannot be read.
        HuginError: Hugin is not installed, or fails.
        OptionError, OutputError: the options contradict the photos, or the folder cannot be written to.
    """
    job = plan(inputs, folder, options, overwrite=overwrite)
    return write(job, restart=restart, pool=pool, progress=progress)


def plan(
    inputs: Sequence[str | os.PathLike[str]],
    folder: str | os.PathLike[str],
    options: Options = Options(),
    *,
    overwrite: bool = False,
) -> Plan:
    """What `stack` would do."""
    found = tuple(photos.scan(inputs))
    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        raise OutputError(f"{os.fspath(folder)!r} is a file; name a folder for the results")
    if any(Path(photo.path).resolve().parent == folder.resolve() for photo in found):
        raise OutputError(f"the photos are in {os.fspath(folder)!r}; choose another folder for the results")
    outputs = tuple(f"{name}.tif" for name in _planes(options))
    there = [name for name in (*outputs, REPORT) if (folder / name).exists()]
    if there and not overwrite:
        raise OutputError(f"{os.fspath(folder / there[0])!r} exists; choose another folder or --overwrite")
    _check_options(found, options)
    return Plan(found, folder, options, outputs, _disk(found, options))


def told(job: Plan) -> dict[str, Any]:
    """The plan in words and numbers."""
    return {
        "photos": [
            {
                "name": photo.name,
                "size": [photo.profile.width, photo.profile.height],
                "dtype": photo.profile.dtype,
                "bands": photo.profile.count,
                "taken": photo.metadata.taken,
            }
            for photo in job.photos
        ],
        "outputs": [*job.outputs, REPORT, PAGE, PICTURE],
        "disk": job.disk,
        "memory": job.options.memory,
    }


def write(
    job: Plan, *, restart: bool = False, pool: Pool | None = None, progress: Stages | None = None
) -> dict[str, Any]:
    """Does what is planned, as `stack` says."""
    show = progress or (lambda stage, done, total: None)
    with (
        output_folder(job.folder),
        Parts(job.folder / REPORT, manifest(job, pool), restart=restart) as parts,
        _scratch(parts) as room,
        Hugin(room / HUGIN_LOG, time_limit=job.options.time_limit) as tools,
    ):
        show("read", 0, len(job.photos))
        _check_disk(job)
        found = loaded(parts.path(0).read_bytes()) if parts.has(0) else None
        made, layers, verdicts = laid_out(job, found, tools, room, pool, show)
        if found is None:
            parts.save(0, dumped(verdicts))
        work = planned(job, made, layers, verdicts, jobs=_threads(pool))
        _make_parts(work, parts, pool, show)
        for i, name in enumerate(job.outputs):
            show("write", i, len(job.outputs))
            _join(job, work, parts, i, parts.draft.with_name(name))
        show("write", len(job.outputs), len(job.outputs))
        said = _report(job, work, verdicts, parts)
        if job.options.keep_project and not job.options.project:
            hugin_projects.keep(job.photos, verdicts, tools, room, parts.draft.with_name(PROJECT))
        if (room / HUGIN_LOG).exists():
            shutil.copyfile(room / HUGIN_LOG, parts.draft.with_name(HUGIN_LOG))
        parts.publish(stale=[old for name in job.outputs for old in writer.stale(job.folder / name)])
    return said


def laid_out(
    job: Plan, found: tuple[Verdict, ...] | None, tools: Hugin, room: Path, pool: Pool | None, show: Stages
) -> tuple[Profile, list[Layer], tuple[Verdict, ...]]:
    """The canvas, the frames on it, and what was `found` of all photos, now or when the job was interrupted."""
    options = job.options
    reference = None if options.reference == "auto" else _named(job.photos, options.reference)
    if options.project:
        project = Path(options.project)
        whole, layers, verdicts = hugin_projects.laid_out(
            job.photos, project, tools, room, scale=options.scale, reference=reference, match=options.match
        )
        window = whole.window if options.crop == UNION else hugin_projects.shared(layers)
        place = shifting(window.col_off, window.row_off)
        return whole.crop(window), [replace(layer, matrix=place) for layer in layers], verdicts
    wanted = [photo for i, photo in enumerate(job.photos) if found is None or found[i].kept]
    frames = _prepared(wanted, room, job, pool, show)
    if found is None:
        by_path = {frame.photo.path: frame for frame in frames}
        first = by_path[reference.path] if reference else chosen(frames)
        rules = Rules(options.align, keep_all=options.keep_all, match=options.match)
        fits = _fits(align.MEMORY * photos.PROXY_PIXELS, job, pool)
        found = judged(frames, first, rules, tools, pool=pool if fits else None, show=partial(show, "align"))
        frames = [frame for frame, one in zip(frames, found, strict=True) if one.kept]
    made, layers = _from_frames(options, frames, [one for one in found if one.kept])
    return made, layers, found


def planned(job: Plan, made: Profile, layers: Sequence[Layer], verdicts: Sequence[Verdict], *, jobs: int) -> Stack:
    """The stack of these layers on a canvas; `made` is the canvas' profile with the photos' dtype."""
    options = job.options
    reference = next(photo for photo, found in zip(job.photos, verdicts, strict=True) if found.reference)
    dtype, factor = _depth(made.dtype, options.depth)
    halo = halo_of(options.scale, options.sharpen)
    size = tile_size(len(layers), len(made.colours), options.memory, halo=halo, jobs=jobs)
    largest = max(made.width, made.height)
    step = min(2 ** max(0, int(np.ceil(np.log2(largest / MAP_SIDE)))), size)
    clear = replace(
        made.bands([i + 1 for i in made.colours]),
        dtype=dtype,
        masked=made.nodata is None and (options.crop == UNION or made.masked or made.alpha is not None),
        tags=_with_provenance(made, options, len(layers)),
    )
    return Stack(
        layers=tuple(layers),
        metadata=reference.metadata,
        grid=Grid(made.width, made.height, size, halo),
        profile=clear,
        methods=options.methods,
        extras=_planes(options)[len(options.methods) :],
        sharpen=options.sharpen,
        sigma=SHARPEN_SIGMA * options.scale if options.sharpen else 0.0,
        factor=factor,
        step=step,
    )


def manifest(job: Plan, pool: Pool | None = None) -> dict[str, Any]:
    """What the alignment and the parts of a job depend on; the threads too, which decide the size of tiles."""
    stats = [
        (os.fspath(path.resolve()), path.stat().st_size, path.stat().st_mtime_ns)
        for path in (Path(photo.path) for photo in job.photos)
    ]
    said = {k: v for k, v in asdict(job.options).items() if k not in ("time_limit", "keep_project")}
    return {"photos": stats, "options": said, "jobs": _threads(pool), "version": __version__}


def _planes(options: Options) -> tuple[str, ...]:
    """The images that are written."""
    extras = [name for name in EXTRAS if getattr(options, name)]
    return (*dict.fromkeys(options.methods), *extras)


def _check_options(found: Sequence[Photo], options: Options) -> None:
    if options.reference != "auto":
        _named(found, options.reference)
    if options.keep_project and found[0].metadata.orientation not in photos.ROLLS:
        raise OptionError("Hugin has no projects of mirrored photos; leave --keep-project out")
    if options.project:
        hugin_projects.photos_of(Path(options.project), found)
        hugin.find("nona")
    elif options.align == "hugin":
        for tool in hugin.TOOLS:
            hugin.find(tool)
    if (needs := max(map(photos.decoder_bytes, found))) + BASE_MEMORY > options.memory:
        raise OptionError(
            f"a progressive JPEG of this size takes {-(-needs // 2**20)} MiB to decode; "
            f"give --memory {-(-(needs + BASE_MEMORY) // 2**20)}MiB or more"
        )
    profile = found[0].profile
    if profile.dtype not in ("uint8", "uint16") and options.depth:
        raise OptionError(f"--depth is for photos of 8 or 16 bits, these hold {profile.dtype}; leave it out")
    halo = halo_of(options.scale, options.sharpen)
    size = tile_size(len(found), len(profile.colours), options.memory, halo=halo, jobs=1)
    log.info("%d photos, tiles of at most %d", len(found), size)


def _disk(found: Sequence[Photo], options: Options) -> int:
    profile = found[0].profile
    pixels = profile.width * profile.height * options.scale**2
    value = np.dtype(_depth(profile.dtype, options.depth)[0]).itemsize
    outputs = (
        2
        * pixels
        * (len(options.methods) * len(profile.colours) * value + 2 * options.coverage + 4 * options.deviation)
    )
    remapped = (
        len(found) * pixels * (len(profile.colours) + 1) * np.dtype(profile.dtype).itemsize if options.project else 0
    )
    return sum(map(photos.unpacked_bytes, found)) + outputs + remapped


def _check_disk(job: Plan) -> None:
    free = shutil.disk_usage(job.folder).free
    if free < job.disk:
        raise OutputError(
            f"{os.fspath(job.folder)!r} has {size_text(free)} free and up to {size_text(job.disk)} are needed; "
            "free some, or choose another folder"
        )


def _named(found: Sequence[Photo], name: str) -> Photo:
    same = [photo for photo in found if photo.name == Path(name).name]
    if not same:
        names = ", ".join(photo.name for photo in found[:8])
        raise OptionError(f"--reference {name!r} is none of the photos ({names}{', ...' if len(found) > 8 else ''})")
    return same[0]


@contextmanager
def _scratch(parts: Parts) -> Iterator[Path]:
    """A folder beside the parts for what is needed for a while, gone in the end, whatever happens."""
    room = parts.folder / "scratch"
    shutil.rmtree(room, ignore_errors=True)
    try:
        room.mkdir()
        yield room.resolve()
    finally:
        shutil.rmtree(room, ignore_errors=True)


def _prepared(wanted: Sequence[Photo], room: Path, job: Plan, pool: Pool | None, show: Stages) -> list[Frame]:
    """The photos made ready, each in a folder of its own."""
    prepare = partial(_prepare, folders={photo.path: room / str(i) for i, photo in enumerate(wanted)})
    fits = _fits(max(map(photos.decoder_bytes, wanted)), job, pool)
    frames = []
    for _, frame in engine.run(prepare, wanted, pool if fits else None):
        frames.append(frame)
        show("read", len(frames), len(wanted))
    return frames


def _fits(each: int, job: Plan, pool: Pool | None) -> bool:
    """Whether the memory is enough for all threads of the pool at once."""
    return BASE_MEMORY + _threads(pool) * each <= job.options.memory


def _threads(pool: Pool | None) -> int:
    return pool.workers if pool else 1


def _prepare(photo: Photo, *, folders: Mapping[str, Path]) -> Frame:
    return photos.prepare(photo, folders[photo.path])


def _from_frames(options: Options, frames: Sequence[Frame], kept: Sequence[Verdict]) -> tuple[Profile, list[Layer]]:
    """The canvas and what lies on it."""
    profile = next(frame.photo.profile for frame, one in zip(frames, kept, strict=True) if one.reference)
    size = profile.width, profile.height
    window = (framing.common if options.crop == COMMON else framing.union)([one.homography for one in kept], size)
    place = shifting(window.col_off, window.row_off) @ np.linalg.inv(enlarging(options.scale))
    ends = clipped(profile.dtype, kept)
    layers = [
        Layer(frame.source, one.homography @ place, one.gain, one.offset, *end)
        for frame, one, end in zip(frames, kept, ends, strict=True)
    ]
    return profile.crop(window).scale(options.scale), layers


def _make_parts(work: Stack, parts: Parts, pool: Pool | None, show: Stages) -> None:
    """Makes the parts that are missing; part 0 is the alignment, and each tile has one for each plane."""
    count = len(work.methods) + len(work.extras) + 1
    missing = [t for t in work.grid if not all(parts.has(1 + t.index * count + i) for i in range(count))]
    done = len(work.grid) - len(missing)
    show("stack", done, len(work.grid))
    for tile, made in engine.run(partial(stacked_parts, job=work), missing, pool):
        for i, part in enumerate(made):
            parts.save(1 + tile.index * count + i, part)
        done += 1
        show("stack", done, len(work.grid))


def _parts_of(work: Stack, parts: Parts, plane: int) -> Iterator[tuple[Tile, Path]]:
    count = len(work.methods) + len(work.extras) + 1
    for tile in work.grid:
        yield tile, parts.path(1 + tile.index * count + plane)


def _join(job: Plan, work: Stack, parts: Parts, plane: int, path: Path) -> None:
    name = (*work.methods, *work.extras)[plane]
    profile = work.profile
    if name in work.extras:
        bare = Profile(profile.width, profile.height, 1, EXTRAS[name])
        profile = replace(bare, crs=profile.crs, transform=profile.transform, gcps=profile.gcps, rpcs=profile.rpcs)
    creation = writer.creation_options(profile.dtype, job.options.creation or {})
    pieces = ((tile.core, part) for tile, part in _parts_of(work, parts, plane))
    for _ in writer.join(pieces, path, profile, creation):
        pass
    exif.graft(path, work.metadata, software=f"geosr {__version__}", size=(profile.width, profile.height))


def _depth(dtype: str, depth: int | None) -> tuple[str, float]:
    """The dtype of the output and what values are multiplied with, so that white stays white."""
    asked = f"uint{depth}" if depth else dtype
    return asked, {("uint8", "uint16"): 257.0, ("uint16", "uint8"): 1 / 257}.get((dtype, asked), 1.0)


def _with_provenance(made: Profile, options: Options, frames: int) -> dict[str, Mapping[str, str]]:
    said = made.tags.get("", {})
    kept = {k: v for k, v in said.items() if not k.startswith("EXIF_") and k != "TIFFTAG_SOFTWARE"}
    told = {"GEOSR_VERSION": __version__, "GEOSR_SCALE": str(options.scale), "GEOSR_FRAMES": str(frames)}
    return {**made.tags, "": {**kept, **told}}


def _report(job: Plan, work: Stack, verdicts: Sequence[Verdict], parts: Parts) -> dict[str, Any]:
    """Writes the report beside the images and returns what it says."""
    maps = _maps(work, parts)
    best = "robust" if "robust" in work.methods else work.methods[-1]
    kept = [found for found in verdicts if found.kept]
    first = next(i for i, found in enumerate(kept) if found.reference)
    crop = _telling_window(work, work.layers[first])
    seen = stacked(Tile(0, crop, crop), work)[0] * work.factor
    made = RasterSource(parts.draft.with_name(f"{best}.tif"), alpha="band")
    result = made.read(crop).block.astype(np.float32)
    made.close()
    size = job.photos[0].profile.width, job.photos[0].profile.height
    frames = [{**asdict(found), **report.movement(found.homography, size)} for found in verdicts]
    said = {
        "version": __version__,
        "options": asdict(job.options),
        "size": [work.profile.width, work.profile.height],
        "dtype": work.profile.dtype,
        "outputs": [*job.outputs],
        "frames": [{name: value for name, value in frame.items() if name != "control"} for frame in frames],
        "kept": len(kept),
        "coverage": round(float(maps[0].mean()), 4),
        "deviation": round(float(maps[1].mean()), 4),
        "spectrum": report.spectrum(seen.mean(axis=1), result.mean(axis=0), scale=job.options.scale),
        "crop": crop.toranges(),
    }
    picture = report.picture(seen[first], result, maps, title=f"reference, bicubic | {best}")
    parts.draft.with_name(PICTURE).write_bytes(picture)
    parts.draft.with_name(PAGE).write_text(report.page(said, picture))
    parts.draft.write_text(json.dumps(said, indent=1) + "\n")
    return said


def _maps(work: Stack, parts: Parts) -> Block:
    """Coverage and deviation (2, rows, cols), every so many pixels."""
    step = work.step
    maps = np.zeros((2, -(-work.profile.height // step), -(-work.profile.width // step)), np.float32)
    for tile, path in _parts_of(work, parts, len(work.methods) + len(work.extras)):
        source = RasterSource(path)
        block = source.read(source.profile.window).block
        source.close()
        row, col = tile.core.row_off // step, tile.core.col_off // step
        maps[:, row : row + block.shape[1], col : col + block.shape[2]] = block
    return maps


def _telling_window(work: Stack, layer: Layer) -> Window:
    """A window of the output with much texture."""
    thumbnail, _ = layer.source.thumbnail(MAP_SIDE)
    gray = thumbnail[layer.source.profile.colours].mean(axis=0)
    k = gray.shape[1] / layer.source.profile.width
    edges = np.hypot(*np.gradient(gaussian_filter(gray, 1.0)))
    busy = gaussian_filter(edges, max(CROP_SIDE * k / 4, 1.0), mode="constant")
    row, col = np.unravel_index(np.argmax(busy), busy.shape)
    to_output = np.linalg.inv(layer.matrix)
    centre = apply(to_output, np.array([[col / k, row / k]]))[0].astype(int)
    wide, high = (min(CROP_SIDE, side) for side in (work.profile.width, work.profile.height))
    left = int(np.clip(centre[0] - wide // 2, 0, work.profile.width - wide))
    top = int(np.clip(centre[1] - high // 2, 0, work.profile.height - high))
    return Window(left, top, wide, high)
