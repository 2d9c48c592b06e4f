"""The job of a burst: photos read, aligned with Hugin and judged, framed, stacked window by window, and reported."""

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

from geosr import __version__, engine
from geosr.burst import alignment, exif, framing, hugin, hugin_projects, photos, report, sharpening
from geosr.burst.homography import enlarging, shifting
from geosr.burst.hugin import Hugin
from geosr.burst.judging import Judgement, Rules, clipped, judge_frames, parts_flow, references
from geosr.burst.options import COMMON, METHODS, UNION, Options
from geosr.burst.photos import Frame, Photo
from geosr.burst.stacking import BASE_MEMORY, EXTRAS, Layer, Stack, halo_of, stacked, stacked_parts, tile_size
from geosr.engine import Pool
from geosr.errors import OptionError, OutputError
from geosr.files import json_text, json_value, output_folder, size_text
from geosr.grid import Grid, Tile
from geosr.parts import Parts
from geosr.rasters import compression, writer
from geosr.rasters.profile import Profile
from geosr.superresolve.provenance import Provenance, without_provenance

log = logging.getLogger(__name__)

Stages = Callable[[str, int, int], None]
"""Called with a stage, the count done and the total, first when the job holds its folder's lock; it may raise, to
cancel."""

REPORT, HUGIN_LOG, PROJECT = report.REPORT, "hugin.log", "project.pto"


@dataclass(frozen=True, slots=True)
class BurstPlan:
    """A burst that was looked through: everything that can be known before its pixels are touched."""

    photos: tuple[Photo, ...]
    folder: Path
    options: Options
    outputs: tuple[str, ...]
    """Names of the images, in the order of their parts."""
    disk: int
    """Bytes that are needed at the most, the outputs with them."""
    left_out: tuple[tuple[str, str], ...]
    """Names of photos of another kind, and what they are."""


@dataclass(frozen=True, slots=True)
class Aligned:
    """The photos of a burst, judged; what is kept between an interrupted run and the next."""

    judgements: tuple[Judgement, ...]
    """One for each photo."""
    tile: int
    """Rows and columns of a tile, chosen by the first run for its memory and threads."""
    sharpen: float
    """Amount of the unsharp mask."""

    def to_bytes(self) -> bytes:
        return json_text(asdict(self), indent=None).encode()

    @classmethod
    def from_bytes(cls, data: bytes) -> Aligned:
        # JSON has null for a number that is none.
        content = json.loads(data, object_hook=lambda o: {name: np.nan if o[name] is None else o[name] for name in o})
        return cls(tuple(map(Judgement.from_dict, content["judgements"])), content["tile"], content["sharpen"])


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
    """Write the images of the burst and its report to `folder`, and return the report.

    `inputs` are photos, or folders of them. Nothing appears in `folder` before all is whole; an interrupted job
    continues from its alignment and parts when it is called again. The photos are never written to.

    Raises:
        BurstError: the photos make no burst, or too few of them align.
        RasterError: a photo cannot be read.
        HuginError: Hugin is not installed, or fails.
        OptionError, OutputError: the options contradict the photos, or the folder cannot be written to.
    """
    plan = make_plan(inputs, folder, options, overwrite=overwrite)
    return write(plan, restart=restart, pool=pool, progress=progress)


def make_plan(
    inputs: Sequence[str | os.PathLike[str]],
    folder: str | os.PathLike[str],
    options: Options = Options(),
    *,
    overwrite: bool = False,
) -> BurstPlan:
    """Return what `stack` would do."""
    burst, left_out = photos.of_one_kind(photos.scan(inputs))
    # Decoded with one white balance: that of the reference, if it is known before the pixels are.
    balance = (burst[0] if options.reference == "auto" else _named(burst, options.reference)).balance
    burst = [replace(photo, balance=balance) if photo.balance else photo for photo in burst]
    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        raise OutputError(f"{os.fspath(folder)!r} is a file; name a folder for the results")
    if any(Path(photo.path).resolve().parent == folder.resolve() for photo in burst):
        raise OutputError(f"the photos are in {os.fspath(folder)!r}; choose another folder for the results")
    outputs = tuple(f"{name}.tif" for name in _planes(options))
    existing = [name for name in (*outputs, REPORT) if (folder / name).exists()]
    if existing and not overwrite:
        raise OutputError(f"{os.fspath(folder / existing[0])!r} exists; choose another folder or --overwrite")
    _check_options(burst, options)
    if options.creation:
        shapes = {(burst[0].profile.count, burst[0].profile.dtype)} | {
            (1, EXTRAS[name]) for name in _planes(options) if name in EXTRAS
        }
        for bands, dtype in sorted(shapes):
            writer.check_creation(Profile(256, 256, bands, dtype), "GTiff", options.creation)
    for name in outputs:
        writer.stale_files(folder / name, burst[0].profile, "GTiff")
    for name, reason in left_out:
        log.warning("%s is left out: %s", name, reason)
    return BurstPlan(tuple(burst), folder, options, outputs, _disk(burst, options), tuple(left_out))


def summary(plan: BurstPlan) -> dict[str, Any]:
    """Return the plan in words and numbers."""
    return {
        "photos": [
            {
                "name": photo.name,
                "size": [photo.profile.width, photo.profile.height],
                "dtype": photo.profile.dtype,
                "bands": photo.profile.count,
                "taken": photo.metadata.taken,
            }
            for photo in plan.photos
        ],
        "left out": dict(plan.left_out),
        "outputs": [*plan.outputs, REPORT, report.PAGE, report.PICTURE],
        "disk": plan.disk,
        "memory": plan.options.memory,
    }


def write(
    plan: BurstPlan, *, restart: bool = False, pool: Pool | None = None, progress: Stages | None = None
) -> dict[str, Any]:
    """Carry out a plan, as `stack` says."""
    show = progress or (lambda stage, done, total: None)
    with (
        output_folder(plan.folder),
        Parts(plan.folder / REPORT, manifest(plan), restart=restart) as parts,
        _scratch(parts) as scratch,
        Hugin(scratch / HUGIN_LOG, time_limit=plan.options.time_limit) as tools,
    ):
        show("read", 0, len(plan.photos))
        _check_disk(plan)
        aligned = Aligned.from_bytes(parts.read(0)) if parts.has(0) else None
        layers, judgements, canvas = _layers(plan, aligned, tools, scratch, pool, show)
        flows = sum(layer.flow.nbytes for layer in layers if layer.flow)
        tile = aligned.tile if aligned else _tile(plan.options, canvas, len(layers), pool, flows=flows)
        sharpen = aligned.sharpen if aligned else _sharpen(plan, canvas, layers, judgements)
        if aligned is None:
            parts.save(0, Aligned(judgements, tile, sharpen).to_bytes())
        work = make_stack(plan, canvas, layers, judgements, tile=tile, sharpen=sharpen)
        _compute_parts(work, parts, pool, show)
        for plane, name in enumerate(plan.outputs):
            show("write", plane, len(plan.outputs))
            _join(plan, work, parts, plane, parts.draft.with_name(name))
        show("write", len(plan.outputs), len(plan.outputs))
        maps = report.maps(work, ((t, parts.read(work.part(t, len(work.planes)))) for t in work.grid))
        others = [Judgement(name, kept=False, reason=reason) for name, reason in plan.left_out]
        results = report.write(
            work,
            [*judgements, *others],
            maps,
            parts.draft,
            options=plan.options,
            outputs=plan.outputs,
            photo=plan.photos[0],
        )
        if plan.options.keep_project and not plan.options.project:
            hugin_projects.keep(plan.photos, judgements, tools, scratch, parts.draft.with_name(PROJECT))
        if (scratch / HUGIN_LOG).exists():
            shutil.copyfile(scratch / HUGIN_LOG, parts.draft.with_name(HUGIN_LOG))
        outputs = [plan.folder / name for name in plan.outputs]
        stale = [old for path in outputs for old in writer.stale_files(path, canvas, "GTiff")]
        for path in (plan.folder / name for name in _older_outputs(plan.folder) if name not in plan.outputs):
            stale += [path, *writer.stale(path)]
        parts.publish(stale=list(dict.fromkeys(stale)))
    return results


def _layers(
    plan: BurstPlan, aligned: Aligned | None, tools: Hugin, scratch: Path, pool: Pool | None, show: Stages
) -> tuple[list[Layer], tuple[Judgement, ...], Profile]:
    """Return the frames as layers, the judgement of every photo, and the canvas' profile with the photos' dtype."""
    options = plan.options
    reference = None if options.reference == "auto" else _named(plan.photos, options.reference)
    if options.project:
        whole, layers, judgements = hugin_projects.layers_of_project(
            plan.photos,
            Path(options.project),
            tools,
            scratch,
            scale=options.scale,
            reference=reference,
            match=options.match,
        )
        window = whole.window if options.crop == UNION else hugin_projects.shared_window(layers)
        offset = shifting(window.col_off, window.row_off)
        return [replace(layer, matrix=offset) for layer in layers], judgements, whole.crop(window)
    usable = [photo for i, photo in enumerate(plan.photos) if aligned is None or aligned.judgements[i].kept]
    frames = _frames(usable, scratch, plan, pool, show)
    if aligned:
        judgements = aligned.judgements
    else:
        by_path = {frame.photo.path: frame for frame in frames}
        candidates = [by_path[reference.path]] if reference else references(frames)
        rules = Rules(options.align, keep_all=options.keep_all, match=options.match, local=options.local)
        enough = _memory_suffices(alignment.MEMORY * photos.PROXY_PIXELS, plan, pool)
        judgements = judge_frames(
            frames, candidates, rules, tools, pool=pool if enough else None, show=partial(show, "align")
        )
        frames = [frame for frame, judgement in zip(frames, judgements, strict=True) if judgement.kept]
    layers, canvas = _framed(options, frames, [judgement for judgement in judgements if judgement.kept])
    return layers, judgements, canvas


def _frames(usable: Sequence[Photo], scratch: Path, plan: BurstPlan, pool: Pool | None, show: Stages) -> list[Frame]:
    """Return the photos prepared for reading, each in a folder of its own."""
    prepare = partial(_frame, folders={photo.path: scratch / str(i) for i, photo in enumerate(usable)})
    enough = _memory_suffices(max(map(photos.decoder_bytes, usable)), plan, pool)
    frames = []
    for _, frame in engine.run(prepare, usable, pool if enough else None):
        frames.append(frame)
        show("read", len(frames), len(usable))
    return frames


def _frame(photo: Photo, *, folders: Mapping[str, Path]) -> Frame:
    return photos.prepare(photo, folders[photo.path])


def _framed(options: Options, frames: Sequence[Frame], judgements: Sequence[Judgement]) -> tuple[list[Layer], Profile]:
    """Return the frames as layers on the canvas, and the canvas' profile."""
    profile = next(frame.photo.profile for frame, j in zip(frames, judgements, strict=True) if j.reference)
    size = profile.width, profile.height
    find_window = framing.common if options.crop == COMMON else framing.union
    window = find_window([judgement.homography for judgement in judgements if not judgement.partial], size)
    to_photo = shifting(window.col_off, window.row_off) @ np.linalg.inv(enlarging(options.scale))
    to_proxy = enlarging(1 / photos.factor(profile)) @ to_photo
    first = next(frame for frame, j in zip(frames, judgements, strict=True) if j.reference)
    layers = []
    for frame, judgement, ends in zip(frames, judgements, clipped(profile.dtype, judgements), strict=True):
        left = parts_flow(frame, first, judgement) if judgement.local else None
        matrix = judgement.homography @ to_photo
        layers.append(Layer(frame.source, matrix, judgement.gain, judgement.offset, *ends, left, to_proxy))
    return layers, profile.crop(window).scale(options.scale)


def make_stack(
    plan: BurstPlan,
    canvas: Profile,
    layers: Sequence[Layer],
    judgements: Sequence[Judgement],
    *,
    tile: int,
    sharpen: float,
) -> Stack:
    """Return the stack of the layers on a canvas, whose profile has the photos' dtype."""
    options = plan.options
    reference = next(photo for photo, j in zip(plan.photos, judgements, strict=True) if j.reference)
    dtype, factor = _depth(canvas.dtype, options.depth)
    largest = max(canvas.width, canvas.height)
    transparent = options.crop == UNION or canvas.masked or canvas.alpha is not None
    profile = replace(
        canvas.bands([i + 1 for i in canvas.colours]),
        dtype=dtype,
        masked=canvas.nodata is None and transparent,
        tags=_tags(canvas, options, len(layers)),
    )
    return Stack(
        layers=tuple(layers),
        metadata=reference.metadata,
        grid=Grid(canvas.width, canvas.height, tile, halo_of(options.scale, sharpen)),
        profile=profile,
        methods=tuple(dict.fromkeys(options.methods)),
        extras=tuple(name for name in EXTRAS if getattr(options, name)),
        scale=options.scale,
        sharpen=sharpen,
        factor=factor,
        step=min(2 ** max(0, int(np.ceil(np.log2(largest / report.MAP_SIDE)))), tile),
    )


def _sharpen(plan: BurstPlan, canvas: Profile, layers: Sequence[Layer], judgements: Sequence[Judgement]) -> float:
    """Return the amount of the unsharp mask: what is asked for, or what suits a textured part of the stack."""
    if plan.options.sharpen is not None:
        return plan.options.sharpen
    work = make_stack(plan, canvas, layers, judgements, tile=report.CROP_SIDE, sharpen=0.0)
    first = next(i for i, judgement in enumerate(j for j in judgements if j.kept) if judgement.reference)
    crop = report.textured_window(work, layers[first])
    values, covered, _ = stacked(Tile(0, crop, crop), work)
    whole = covered.all(axis=(1, 2))
    return round(sharpening.suitable_amount(values[whole].mean(axis=1), plan.options.scale), 3)


def manifest(plan: BurstPlan) -> dict[str, Any]:
    """Return what the alignment and the parts of a job depend on."""
    stats = [
        (os.fspath(path.resolve()), path.stat().st_size, path.stat().st_mtime_ns)
        for path in (Path(photo.path) for photo in plan.photos)
    ]
    runtime = ("time_limit", "keep_project", "memory")
    options = {name: value for name, value in asdict(plan.options).items() if name not in runtime}
    return {"photos": stats, "options": options, "version": __version__}


def _compute_parts(work: Stack, parts: Parts, pool: Pool | None, show: Stages) -> None:
    """Compute the missing parts: each tile has one for each plane, and one for the report's maps."""
    count = len(work.planes) + 1
    missing = [tile for tile in work.grid if not all(parts.has(work.part(tile, plane)) for plane in range(count))]
    done = len(work.grid) - len(missing)
    show("stack", done, len(work.grid))
    for tile, encoded in engine.run(partial(stacked_parts, job=work), missing, pool):
        for plane, part in enumerate(encoded):
            parts.save(work.part(tile, plane), part)
        done += 1
        show("stack", done, len(work.grid))


def _join(plan: BurstPlan, work: Stack, parts: Parts, plane: int, path: Path) -> None:
    """Join the parts of a plane into its image, with the reference's metadata."""
    name, profile = work.planes[plane], work.profile
    if name in work.extras:
        bare = Profile(profile.width, profile.height, 1, EXTRAS[name])
        profile = replace(bare, crs=profile.crs, transform=profile.transform, gcps=profile.gcps, rpcs=profile.rpcs)
    creation = compression.creation_options(profile.dtype, plan.options.creation or {})
    pieces = ((tile.core, parts.read(work.part(tile, plane))) for tile in work.grid)
    for _ in writer.join(pieces, path, profile, creation):
        pass
    metadata = work.metadata
    if not exif.suits(metadata.icc, profile.count):
        log.info("the colour profile of the reference is not of %d bands and is not carried over", profile.count)
        metadata = replace(metadata, icc=b"")
    exif.graft(path, metadata, software=f"geosr {__version__}", size=(profile.width, profile.height))


def _older_outputs(folder: Path) -> list[str]:
    """Return the names of the images of the report that the folder holds already."""
    try:
        names = json_value((folder / REPORT).read_bytes())["outputs"]
    except (OSError, ValueError, KeyError, TypeError):
        return []
    known = {f"{name}.tif" for name in (*METHODS, *EXTRAS)}
    return [name for name in names if name in known] if isinstance(names, list) else []


def _planes(options: Options) -> tuple[str, ...]:
    """Return the names of the images."""
    return (*dict.fromkeys(options.methods), *(name for name in EXTRAS if getattr(options, name)))


def _tile(options: Options, canvas: Profile, layers: int, pool: Pool | None, *, flows: int = 0) -> int:
    """Return the size of the tiles; the layers' flows take memory too."""
    halo = halo_of(options.scale, 1.0 if options.sharpen is None else options.sharpen)
    return tile_size(layers, len(canvas.colours), options.memory - flows, halo=halo, jobs=_workers(pool))


def _tags(canvas: Profile, options: Options, frames: int) -> dict[str, Mapping[str, str]]:
    tags = without_provenance(canvas.tags)
    tags.pop("COLOR_PROFILE", None)  # it is written with EXIF
    plain = {k: v for k, v in tags[""].items() if not k.startswith("EXIF_") and k != "TIFFTAG_SOFTWARE"}
    provenance = Provenance(__version__, scale=options.scale, frames=frames)
    return {**tags, "": {**plain, **provenance.to_tags()}}


def _check_options(burst: Sequence[Photo], options: Options) -> None:
    if options.reference != "auto":
        _named(burst, options.reference)
    if options.keep_project and burst[0].metadata.orientation not in photos.ROLLS:
        raise OptionError("Hugin has no projects of mirrored photos; leave --keep-project out")
    if (options.project or options.keep_project) and burst[0].balance:
        raise OptionError("Hugin has no projects of RAW photos; leave --project and --keep-project out")
    if options.project:
        hugin_projects.photos_of(Path(options.project), burst)
        hugin.find("nona")
    elif options.align == "hugin":
        for tool in hugin.TOOLS:
            hugin.find(tool)
    if (needs := max(map(photos.decoder_bytes, burst))) + BASE_MEMORY > options.memory:
        why = (
            f"a progressive JPEG of this size takes {-(-needs // 2**20)} MiB to decode"
            if needs
            else "that is too little"
        )
        raise OptionError(
            f"--memory {size_text(options.memory)}: {why}; "
            f"give --memory {-(-(needs + BASE_MEMORY) // 2**20)}MiB or more"
        )
    profile = burst[0].profile
    if profile.dtype not in ("uint8", "uint16") and options.depth:
        raise OptionError(f"--depth is for photos of 8 or 16 bits, these hold {profile.dtype}; leave it out")
    log.info("%d photos, tiles of at most %d", len(burst), _tile(options, profile, len(burst), None))


def _disk(burst: Sequence[Photo], options: Options) -> int:
    """Return the bytes of disk that a job needs at the most."""
    profile, count = burst[0].profile, len(burst[0].profile.colours)
    pixels = profile.width * profile.height * options.scale**2
    value = np.dtype(_depth(profile.dtype, options.depth)[0]).itemsize
    outputs = 2 * pixels * (len(options.methods) * count * value + 2 * options.coverage + 4 * options.deviation)
    remapped = len(burst) * pixels * (count + 1) * np.dtype(profile.dtype).itemsize if options.project else 0
    return sum(map(photos.unpacked_bytes, burst)) + outputs + remapped


def _check_disk(plan: BurstPlan) -> None:
    free = shutil.disk_usage(plan.folder).free
    if free < plan.disk:
        raise OutputError(
            f"{os.fspath(plan.folder)!r} has {size_text(free)} free and up to {size_text(plan.disk)} are needed; "
            "free some, or choose another folder"
        )


def _named(burst: Sequence[Photo], name: str) -> Photo:
    same = [photo for photo in burst if photo.name == Path(name).name]
    if not same:
        names = ", ".join(photo.name for photo in burst[:8])
        raise OptionError(f"--reference {name!r} is not among the photos ({names}{', ...' if len(burst) > 8 else ''})")
    return same[0]


def _depth(dtype: str, depth: int | None) -> tuple[str, float]:
    """Return the dtype of the output and the factor for its values, so that white stays white."""
    output = f"uint{depth}" if depth else dtype
    return output, {("uint8", "uint16"): 257.0, ("uint16", "uint8"): 1 / 257}.get((dtype, output), 1.0)


def _memory_suffices(each: int, plan: BurstPlan, pool: Pool | None) -> bool:
    """Return True if the memory is enough for all workers of the pool at once."""
    return BASE_MEMORY + _workers(pool) * each <= plan.options.memory


def _workers(pool: Pool | None) -> int:
    return pool.workers if pool else 1


@contextmanager
def _scratch(parts: Parts) -> Iterator[Path]:
    """Create a folder for temporary files beside the parts, removed in the end, whatever happens."""
    folder = parts.folder / "scratch"
    shutil.rmtree(folder, ignore_errors=True)
    try:
        folder.mkdir()
        yield folder.resolve()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
