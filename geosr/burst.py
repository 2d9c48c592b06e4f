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
from affine import Affine
from scipy.ndimage import gaussian_filter

from geosr import __version__, align, canvas, engine, exif, hugin, photos, raster, reduce, report
from geosr.engine import Pool
from geosr.errors import BurstError, HuginError, OptionError, OutputError
from geosr.grid import Block, Grid, Tile, Window
from geosr.hugin import Hugin
from geosr.exif import Metadata
from geosr.parts import Parts
from geosr.photos import Frame, Photo
from geosr.radiometry import to_dtype
from geosr.raster import Profile, RasterSource
from geosr.reduce import REDUCERS
from geosr.warp import Matrix, apply, at_scale, enlarging, known, needed, shifting, warped

log = logging.getLogger(__name__)

Stages = Callable[[str, int, int], None]
"""Called with a stage, what of it is done and its total; it may raise, to cancel."""

ALIGN_MODES = ("hugin", "none")
METHODS = ("mean", "median", "robust")
"""What is made unless told."""
DEPTHS = (8, 16)
EXTRAS = {"coverage": "uint16", "deviation": "float32"}
"""Images beside those of the methods, and what they hold."""
REPORT, PAGE, PICTURE, HUGIN_LOG, PROJECT = "report.json", "report.html", "report.png", "hugin.log", "project.pto"
STALE = (".aux.xml", ".ovr", ".msk")
LEAST_SHARPNESS = 0.35
"""Of the median of the burst; motion blur leaves a tenth."""
CLEARLY_SHARPER = 1.1
TYPICAL_BRIGHTNESS = 1.5
"""Most times that a reference may be brighter or darker than the median of the burst."""
CLIPPED_EARLIER = 0.02
"""Of the range, by which a frame must clip before another for its clipped pixels to have no weight."""
SHARPEN_SIGMA = 0.5
"""Of the unsharp mask, in pixels of the photos."""
SHARPEN_REACH = 4.0
"""Deviations at which its Gaussian ends."""
TILES = (1024, 512, 256, 128, 64, 32)
MEMORY = 3 * 2**29
"""Bytes that may be needed unless told."""
BASE_MEMORY = 320 * 2**20
"""Of the interpreter with its libraries and GDAL's cache, before a tile is stacked."""
MAP_SIDE = 800
"""Most rows and columns of the maps in the report."""
CROP_SIDE = 320
"""Rows and columns of the crop in the report."""
QUICK = {"ZLEVEL": "1"}
"""Of GDAL's compression: five times as fast as its own choice, for a tenth more disk."""
COMMON, UNION = canvas.CROPS


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
        for name, choices in (("align", ALIGN_MODES), ("crop", canvas.CROPS), ("depth", (None, *DEPTHS))):
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


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was found of a frame."""

    name: str
    kept: bool
    reference: bool = False
    reason: str = ""
    """Why it was left out."""
    sharpness: float = 0.0
    matrix: tuple[float, ...] = (1, 0, 0, 0, 1, 0, 0, 0, 1)
    """From the reference's pixels to the frame's, by rows."""
    points: int = 0
    inliers: int = 0
    rms: float = 0.0
    correlation: float = 1.0
    motion: float = 0.0
    """Left over after alignment, in pixels of the photo."""
    still: float = 1.0
    control: tuple[tuple[float, ...], ...] = ()
    """The control points that the matrix fits: column and row in the reference, column and row in the frame."""
    gain: float = 1.0
    offset: float = 0.0

    @property
    def homography(self) -> Matrix:
        return np.array(self.matrix).reshape(3, 3)


@dataclass(frozen=True, slots=True)
class Layer:
    """A frame in the stack."""

    source: RasterSource
    matrix: Matrix
    """From the output's pixels to the source's."""
    gain: float
    offset: float
    low: float
    high: float
    """Values at and beyond which a pixel has no weight while another frame has one."""


@dataclass(frozen=True, slots=True)
class Stack:
    """Everything that decides the output's pixels."""

    layers: tuple[Layer, ...]
    metadata: Metadata
    """The reference's."""
    grid: Grid
    profile: Profile
    """The output's."""
    methods: tuple[str, ...]
    extras: tuple[str, ...]
    sharpen: float
    sigma: float
    factor: float
    """From the photos' values to the output's."""
    step: int
    """Every so many pixels one goes to the report's maps."""


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
        _made(job.folder),
        Parts(job.folder / REPORT, manifest(job), restart=restart) as parts,
        _scratch(parts) as room,
        Hugin(room / HUGIN_LOG, time_limit=job.options.time_limit) as tools,
    ):
        _check_disk(job)
        found = _loaded(parts.path(0)) if parts.has(0) else None
        made, layers, verdicts = laid_out(job, found, tools, room, pool, show)
        if found is None:
            parts.save(0, json.dumps([asdict(verdict) for verdict in verdicts]).encode())
        work = planned(job, made, layers, verdicts, jobs=_threads(pool))
        _make_parts(work, parts, pool, show)
        for i, name in enumerate(job.outputs):
            show("write", i, len(job.outputs))
            _join(job, work, parts, i, parts.draft.with_name(name))
        show("write", len(job.outputs), len(job.outputs))
        said = _report(job, work, verdicts, parts)
        if job.options.keep_project and not job.options.project:
            _keep_project(job, verdicts, tools, room, parts.draft.with_name(PROJECT))
        if (room / HUGIN_LOG).exists():
            shutil.copyfile(room / HUGIN_LOG, parts.draft.with_name(HUGIN_LOG))
        parts.publish(stale=STALE)
    return said


def laid_out(
    job: Plan, found: tuple[Verdict, ...] | None, tools: Hugin, room: Path, pool: Pool | None, show: Stages
) -> tuple[Profile, list[Layer], tuple[Verdict, ...]]:
    """The canvas, the frames on it, and what was `found` of all photos, now or when the job was interrupted."""
    if job.options.project:
        return _from_project(job, tools, room)
    wanted = [photo for i, photo in enumerate(job.photos) if found is None or found[i].kept]
    frames = dict(_prepared(wanted, room, job, pool, show))
    verdicts = found or judged(job, frames, tools, pool, show)
    made, layers = _from_frames(job, frames, verdicts)
    return made, layers, verdicts


def judged(
    job: Plan, frames: Mapping[str, Frame], tools: Hugin, pool: Pool | None, show: Stages
) -> tuple[Verdict, ...]:
    """What is found of each frame, in the order of the photos.

    Raises:
        BurstError: fewer than two frames can be used.
    """
    typical = float(np.median([frame.sharpness for frame in frames.values()]))
    reference = chosen(job, frames)
    judge = partial(verdict, reference=frames[reference], typical=typical, tools=tools, options=job.options)
    found = []
    if not _fits(align.MEMORY * photos.PROXY_PIXELS, job, pool):
        pool = None
    for i, (_, one) in enumerate(engine.run(judge, [frames[photo.path] for photo in job.photos], pool), 1):
        found.append(one)
        show("align", i, len(job.photos))
        if not one.kept:
            log.warning("%s is left out: %s", one.name, one.reason)
    if sum(one.kept for one in found) < 2:
        reasons = {one.reason: one.name for one in found if not one.kept}
        told_reasons = "; ".join(f"{name}: {reason}" for reason, name in reasons.items())
        name = frames[reference].photo.name
        raise BurstError(f"no photo can be aligned with {name!r} ({told_reasons}); choose another with --reference")
    return tuple(found)


def chosen(job: Plan, frames: Mapping[str, Frame]) -> str:
    """The path of the reference: asked for, or the nearest to the middle unless one near is clearly sharper.

    Frames much brighter or darker than the others are not taken: the outputs have the reference's exposure.
    """
    if job.options.reference != "auto":
        return _named(job.photos, job.options.reference).path
    brightness = np.array([max(frames[photo.path].brightness, 1e-9) for photo in job.photos])
    typical = np.abs(np.log(brightness / np.median(brightness))) <= np.log(TYPICAL_BRIGHTNESS)
    middle = (len(job.photos) - 1) // 2
    near = sorted(range(len(job.photos)), key=lambda i: (abs(i - middle), i))[: max(2, (len(job.photos) + 1) // 2)]
    usable = [i for i in near if typical[i]] or near
    best = usable[0]
    for i in usable:
        if frames[job.photos[i].path].sharpness > CLEARLY_SHARPER * frames[job.photos[best].path].sharpness:
            best = i
    return job.photos[best].path


def verdict(frame: Frame, *, reference: Frame, typical: float, tools: Hugin, options: Options) -> Verdict:
    """Whether and how a frame lies on the reference: work that can run in any thread."""
    found = Verdict(frame.photo.name, kept=True, sharpness=round(frame.sharpness, 5))
    if frame is reference:
        return replace(found, reference=True)
    if not options.keep_all and frame.sharpness < LEAST_SHARPNESS * typical:
        told = f"blurred: its sharpness is {frame.sharpness:.3g}, that of the burst {typical:.3g}"
        return replace(found, kept=False, reason=told)
    fixed, moving = photos.load_proxy(reference.proxy), photos.load_proxy(frame.proxy)
    k = photos.factor(frame.photo.profile)
    if options.align == "none":
        fit = align.Fit(_placed(reference.photo.profile, frame.photo.profile))
        proxy_matrix = at_scale(fit.matrix, 1 / k)
    else:
        try:
            fit = align_with_hugin(frame, reference, tools)
        except HuginError as error:
            return replace(found, kept=False, reason=str(error))
        fit = align.checked(fit, fixed, moving, k=k)
        proxy_matrix = fit.matrix
        agreed = np.hstack([apply(enlarging(k), points) for points in fit.agreed]).round(3)
        found = replace(found, control=tuple(map(tuple, agreed.tolist())))
        fit = replace(fit, matrix=at_scale(fit.matrix, k), rms=fit.rms * k, motion=fit.motion * k)
    found = replace(
        found,
        kept=not fit.problem,
        reason=fit.problem,
        matrix=tuple(fit.matrix.ravel().tolist()),
        points=fit.points,
        inliers=fit.inliers,
        rms=round(fit.rms, 4),
        correlation=round(fit.correlation, 5),
        motion=round(fit.motion, 4),
        still=round(fit.still, 4),
    )
    if options.match and found.kept:
        gain, offset = align.exposure(fixed, moving, proxy_matrix)
        found = replace(found, gain=gain, offset=offset)
    return found


def align_with_hugin(frame: Frame, reference: Frame, tools: Hugin) -> align.Fit:
    """The fit to Hugin's control points, in pixels of the proxies; with easier settings when it is not good."""
    fit = align.Fit(np.eye(3), problem="not tried")
    for settings in hugin.SETTINGS:
        here, there = tools.control_points(reference.plain, frame.plain, settings)
        scale = photos.plain_factor(frame.photo.profile)
        here, there = (apply(enlarging(1 / scale), points) if len(points) else points for points in (here, there))
        profile = frame.photo.profile
        k = photos.factor(profile)
        fit = align.fit_points(here, there, (profile.width // k, profile.height // k))
        if not fit.problem:
            return fit
    return fit


def planned(job: Plan, made: Profile, layers: Sequence[Layer], verdicts: Sequence[Verdict], *, jobs: int) -> Stack:
    """The stack of these layers on a canvas; `made` is the canvas' profile with the photos' dtype."""
    options = job.options
    reference = next(photo for photo, found in zip(job.photos, verdicts, strict=True) if found.reference)
    dtype, factor = _depth(made.dtype, options.depth)
    halo = _halo(options)
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


def tile_size(frames: int, bands: int, memory: int, *, halo: int, jobs: int) -> int:
    """Rows and columns of the largest tiles of which `jobs` at once fit in the memory.

    Raises:
        OptionError: not even the smallest do.
    """
    values = (3 * bands + 5) * frames + 12 * bands
    for size in TILES:
        if BASE_MEMORY + jobs * 4 * values * (size + 2 * halo) ** 2 <= memory:
            return size
    least = BASE_MEMORY + jobs * 4 * values * (TILES[-1] + 2 * halo) ** 2
    raise OptionError(
        f"{frames} frames need {-(-least // 2**20)} MiB or more; give more with --memory, or fewer --jobs"
    )


def stacked_parts(tile: Tile, *, job: Stack) -> list[bytes]:
    """The tile's finished parts, one for each image and one for the report's maps: pure work that can run anywhere."""
    values, covered, used = stacked(tile, job)
    shown = tile.trim(covered.any(axis=0))
    planes = [REDUCERS[method](values, used) for method in job.methods]
    parts = []
    for plane in planes:
        made = tile.trim(sharpened(plane, covered.any(axis=0), job)) * job.factor
        block = to_dtype(made, job.profile.dtype)
        if job.profile.nodata is not None:
            block = np.where(shown, _off_nodata(block, job.profile.nodata), np.asarray(job.profile.nodata, block.dtype))
        parts.append(raster.encode(block, shown if job.profile.masked else None))
    count = tile.trim(used.sum(axis=0)).astype(np.float32)
    for extra in job.extras:
        plane = count if extra == "coverage" else job.factor * tile.trim(reduce.deviation(values, used))
        parts.append(raster.encode(plane[None].astype(EXTRAS[extra])))
    spread = job.factor * reduce.deviation(
        *(tile.trim(block)[..., :: job.step, :: job.step] for block in (values, used))
    )
    parts.append(raster.encode(np.stack([count[:: job.step, :: job.step], spread]).astype(np.float32)))
    return parts


def stacked(tile: Tile, job: Stack) -> tuple[Block, Block, Block]:
    """The frames (frames, bands, rows, cols) on the tile's outer window, where each covers it, and where it counts."""
    size = tile.outer.width, tile.outer.height
    colours = job.layers[0].source.profile.colours
    shape = len(job.layers), size[1], size[0]
    values = np.zeros((len(job.layers), len(colours), *shape[1:]), np.float32)
    covered, used = np.zeros(shape, bool), np.zeros(shape, bool)
    place = shifting(tile.outer.col_off, tile.outer.row_off)
    for i, layer in enumerate(job.layers):
        matrix = layer.matrix @ place
        window = needed(matrix, Window(0, 0, *size)).intersection(layer.source.profile.window)
        if not (window.width and window.height):
            continue
        block = layer.source.read(window)
        valid = layer.source.valid(window, block)[colours].all(axis=0)
        block = block[colours].astype(np.float32)
        matrix = shifting(-window.col_off, -window.row_off) @ matrix
        moved, covered[i] = warped(np.where(valid, block, 0) if not valid.all() else block, valid, matrix, size)
        values[i] = layer.gain * moved + layer.offset
        clear = ((block > layer.low) & (block < layer.high)).all(axis=0)
        used[i] = covered[i] & known(clear | ~valid, matrix, size)
    used |= covered & ~used.any(axis=0)
    return values, covered, used


def sharpened(plane: Block, shown: Block, job: Stack) -> Block:
    """The image (bands, rows, cols) with an unsharp mask, blind to what is not `shown`."""
    if not job.sigma:
        return plane
    if shown.all():
        return plane + job.sharpen * (plane - blurred(plane, job.sigma))
    share = blurred(shown[None].astype(plane.dtype), job.sigma)
    return plane + job.sharpen * np.where(shown, plane - blurred(plane * shown, job.sigma) / np.maximum(share, 1e-6), 0)


def blurred(block: Block, sigma: float) -> Block:
    """The block (bands, rows, cols) under a Gaussian."""
    import cv2

    side = 2 * int(np.ceil(SHARPEN_REACH * sigma)) + 1
    how = cv2.BORDER_REFLECT
    return np.stack([cv2.GaussianBlur(band, (side, side), sigma, borderType=how) for band in block])


def manifest(job: Plan) -> dict[str, Any]:
    """What the alignment and the parts of a job depend on."""
    stats = [
        (os.path.abspath(p.path), Path(p.path).stat().st_size, Path(p.path).stat().st_mtime_ns) for p in job.photos
    ]
    said = {k: v for k, v in asdict(job.options).items() if k not in ("time_limit", "keep_project")}
    return {"photos": stats, "options": said, "version": __version__}


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
        _project_photos(found, options)
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
    jobs_of_one = tile_size(len(found), len(profile.colours), options.memory, halo=_halo(options), jobs=1)
    log.info("%d photos, tiles of at most %d", len(found), jobs_of_one)


def _halo(options: Options) -> int:
    sigma = SHARPEN_SIGMA * options.scale if options.sharpen else 0.0
    return reduce.REACH + int(np.ceil(SHARPEN_REACH * sigma))


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
            f"{os.fspath(job.folder)!r} has {free / 1e9:.1f} GB free and up to {job.disk / 1e9:.1f} GB are needed; "
            "free some, or choose another folder"
        )


def _named(found: Sequence[Photo], name: str) -> Photo:
    same = [photo for photo in found if photo.name == Path(name).name]
    if not same:
        names = ", ".join(photo.name for photo in found[:8])
        raise OptionError(f"--reference {name!r} is none of the photos ({names}{', ...' if len(found) > 8 else ''})")
    return same[0]


@contextmanager
def _made(folder: Path) -> Iterator[None]:
    """The folder, made if it is not there; a folder that was made and is empty in the end is not left behind."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK):
            raise PermissionError(13, "no permission")
        yield
    except PermissionError as error:
        raise OutputError(f"cannot write to {os.fspath(folder)!r}: {error.strerror}") from error
    finally:
        for path in missing:
            if path.is_dir() and not any(path.iterdir()):
                path.rmdir()


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


def _prepared(
    wanted: Sequence[Photo], room: Path, job: Plan, pool: Pool | None, show: Stages
) -> Iterator[tuple[str, Frame]]:
    if not _fits(max(map(photos.decoder_bytes, wanted)), job, pool):
        pool = None
    folders = {photo.path: room / str(i) for i, photo in enumerate(wanted)}
    prepare = partial(_prepare, folders=folders)
    for i, (photo, frame) in enumerate(engine.run(prepare, wanted, pool), 1):
        yield photo.path, frame
        show("read", i, len(wanted))


def _fits(each: int, job: Plan, pool: Pool | None) -> bool:
    """Whether the memory is enough for all threads of the pool at once."""
    return BASE_MEMORY + _threads(pool) * each <= job.options.memory


def _threads(pool: Pool | None) -> int:
    return max(1, pool.ahead // 2) if pool else 1


def _prepare(photo: Photo, *, folders: Mapping[str, Path]) -> Frame:
    return photos.prepare(photo, folders[photo.path])


def _loaded(path: Path) -> tuple[Verdict, ...]:
    found = json.loads(path.read_text())
    return tuple(
        Verdict(**{**one, "matrix": tuple(one["matrix"]), "control": tuple(map(tuple, one["control"]))})
        for one in found
    )


def _placed(reference: Profile, frame: Profile) -> Matrix:
    """Where a frame's own georeferencing puts it; as it lies, without any."""
    if not (reference.located and frame.located):
        return np.eye(3)
    to_frame = ~frame.transform @ reference.transform
    matrix = np.array([[to_frame.a, to_frame.b, to_frame.c], [to_frame.d, to_frame.e, to_frame.f], [0, 0, 1]])
    return shifting(-0.5, -0.5) @ matrix @ shifting(0.5, 0.5)


def _from_frames(job: Plan, frames: Mapping[str, Frame], verdicts: Sequence[Verdict]) -> tuple[Profile, list[Layer]]:
    """The canvas and what lies on it."""
    kept = [(photo, found) for photo, found in zip(job.photos, verdicts, strict=True) if found.kept]
    profile = next(photo.profile for photo, found in kept if found.reference)
    size = profile.width, profile.height
    matrices = [found.homography for _, found in kept]
    window = (canvas.common if job.options.crop == COMMON else canvas.union)(matrices, size)
    place = shifting(window.col_off, window.row_off) @ np.linalg.inv(enlarging(job.options.scale))
    ends = _clipped(profile.dtype, [found for _, found in kept])
    layers = [
        Layer(frames[photo.path].source, found.homography @ place, found.gain, found.offset, *end)
        for (photo, found), end in zip(kept, ends, strict=True)
    ]
    return profile.crop(window).scale(job.options.scale), layers


def _from_project(job: Plan, tools: Hugin, room: Path) -> tuple[Profile, list[Layer], tuple[Verdict, ...]]:
    """The canvas of a Hugin project, and its images as nona puts them there."""
    named = _project_photos(job.photos, job.options)
    reference = named[0] if job.options.reference == "auto" else _named(named, job.options.reference)
    project = room / PROJECT
    paths = [Path(photo.path).resolve() for photo in named]
    hugin.rewritten(Path(str(job.options.project)), project, paths, job.options.scale)
    made = tools.remapped(project, room / "remapped", len(paths))
    sources = dict(
        zip((photo.path for photo in named), (RasterSource(path, alpha="mask") for path in made), strict=True)
    )
    verdicts = []
    for photo in job.photos:
        found = Verdict(photo.name, kept=photo.path in sources, reference=photo is reference)
        if not found.kept:
            found = replace(found, reason="the project does not have it")
        elif job.options.match and not found.reference:
            gain, offset = _exposure(sources[reference.path], sources[photo.path])
            found = replace(found, gain=gain, offset=offset)
        verdicts.append(found)
    profile = replace(reference.profile, crs=None, transform=Affine.identity(), gcps=(), rpcs=None, masked=True)
    remapped = sources[reference.path].profile
    profile = replace(profile, width=remapped.width, height=remapped.height)
    window = profile.window if job.options.crop == UNION else _shared(list(sources.values()))
    place = shifting(window.col_off, window.row_off)
    kept = [(photo, found) for photo, found in zip(job.photos, verdicts, strict=True) if found.kept]
    ends = _clipped(profile.dtype, [found for _, found in kept])
    layers = [
        Layer(sources[photo.path], place, found.gain, found.offset, *end)
        for (photo, found), end in zip(kept, ends, strict=True)
    ]
    return profile.crop(window), layers, tuple(verdicts)


def _exposure(reference: RasterSource, frame: RasterSource) -> tuple[float, float]:
    """Gain and offset of a remapped image, from thumbnails of both."""
    (here, known), (there, seen) = reference.thumbnail(MAP_SIDE), frame.thumbnail(MAP_SIDE)
    colours = reference.profile.colours
    low, high = photos.limits(reference.profile.dtype)
    both = (known & seen)[colours].all(axis=0)
    for block in (here[colours], there[colours]):
        both &= ((block > low) & (block < high)).all(axis=0)
    if both.sum() < align.LEAST_MATCHED:
        return 1.0, 0.0
    gray, other = (block[colours].mean(axis=0, dtype=np.float32)[both] for block in (here, there))
    return align.match(other, gray)


def _project_photos(found: Sequence[Photo], options: Options) -> list[Photo]:
    """The photos that the project aligns, in its order."""
    images = hugin.read_images(Path(str(options.project)))
    by_name = {photo.name: photo for photo in found}
    names = [Path(image.path.replace("\\", "/")).name for image in images]
    if len(names) < 2 or set(names) - set(by_name):
        missing = next(iter(set(names) - set(by_name)), "a second photo")
        raise BurstError(f"the project {options.project!r} needs {missing!r}, which is not among the photos")
    size = photos.stored_size(found[0])
    if wrong := [image for image in images if (image.width, image.height) != size]:
        raise BurstError(
            f"the project {options.project!r} is of images of {wrong[0].width} x {wrong[0].height}, "
            f"the photos are {size[0]} x {size[1]}; choose another"
        )
    return [by_name[name] for name in names]


def _shared(sources: Sequence[RasterSource]) -> Window:
    """The largest window that all the remapped images cover."""
    thumbnails = [source.thumbnail(MAP_SIDE)[1].all(axis=0) for source in sources]
    covered = np.logical_and.reduce(thumbnails)
    whole = sources[0].profile
    return canvas.inside_mask(covered, whole.width / covered.shape[1], whole.height / covered.shape[0])


def _clipped(dtype: str, kept: Sequence[Verdict]) -> list[tuple[float, float]]:
    """For each frame the values at which its pixels lose their weight because others see further."""
    low, high = photos.limits(dtype)
    if not np.isfinite([low, high]).all():
        return [(-np.inf, np.inf)] * len(kept)
    lows = [found.gain * low + found.offset for found in kept]
    highs = [found.gain * high + found.offset for found in kept]
    slack = CLIPPED_EARLIER * (high - low)
    return [
        (low if its_low > min(lows) + slack else -np.inf, high if its_high < max(highs) - slack else np.inf)
        for its_low, its_high in zip(lows, highs, strict=True)
    ]


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
    creation = raster.creation_options(profile.dtype, QUICK | dict(job.options.creation or {}))
    pieces = ((tile.core, part) for tile, part in _parts_of(work, parts, plane))
    for _ in raster.join(pieces, path, profile, creation):
        pass
    exif.graft(path, work.metadata, software=f"geosr {__version__}", size=(profile.width, profile.height))


def _depth(dtype: str, depth: int | None) -> tuple[str, float]:
    """The dtype of the output and what values are multiplied with, so that white stays white."""
    asked = f"uint{depth}" if depth else dtype
    return asked, {("uint8", "uint16"): 257.0, ("uint16", "uint8"): 1 / 257}.get((dtype, asked), 1.0)


def _off_nodata(block: Block, nodata: float) -> Block:
    """The block with valid values that equal nodata moved to the next value."""
    if block.dtype.kind == "f":
        return np.where(block == nodata, np.nextafter(block, np.asarray(np.inf, block.dtype)), block)
    top = np.iinfo(block.dtype).max
    return np.where(block == nodata, block - 1 if nodata == top else block + (block < top), block).astype(block.dtype)


def _with_provenance(made: Profile, options: Options, frames: int) -> dict[str, Mapping[str, str]]:
    said = made.tags.get("", {})
    kept = {k: v for k, v in said.items() if not k.startswith("EXIF_") and k != "TIFFTAG_SOFTWARE"}
    told = {"GEOSR_VERSION": __version__, "GEOSR_SCALE": str(options.scale), "GEOSR_FRAMES": str(frames)}
    return {**made.tags, "": {**kept, **told}}


def _keep_project(job: Plan, verdicts: Sequence[Verdict], tools: Hugin, room: Path, path: Path) -> None:
    """A project of the photos as they lie on the disk, aligned by Hugin itself with the control points that agree."""
    kept = sorted(
        ((photo, found) for photo, found in zip(job.photos, verdicts, strict=True) if found.kept),
        key=lambda pair: not pair[1].reference,
    )
    turned = [
        tuple(photos.stored_points(points, photo) for points in np.hsplit(np.array(found.control), 2))
        for photo, found in kept[1:]
    ]
    first, size = kept[0][0], photos.stored_size(kept[0][0])
    draft = room / PROJECT
    hugin.write_project(
        draft,
        [os.path.abspath(photo.path) for photo, _ in kept],
        size,
        [(here, there) for here, there in turned],
        view=hugin.field_of_view(first.metadata.focal_35mm, *size),
        roll=photos.ROLLS[first.metadata.orientation],
    )
    tools.optimised(draft)
    shutil.copyfile(draft, path)


def _report(job: Plan, work: Stack, verdicts: Sequence[Verdict], parts: Parts) -> dict[str, Any]:
    """Writes the report beside the images and returns what it says."""
    maps = _maps(work, parts)
    best = "robust" if "robust" in work.methods else work.methods[-1]
    kept = [found for found in verdicts if found.kept]
    first = next(i for i, found in enumerate(kept) if found.reference)
    crop = _telling_window(work, work.layers[first])
    seen = stacked(Tile(0, crop, crop), work)[0] * work.factor
    made = RasterSource(parts.draft.with_name(f"{best}.tif"), alpha="band")
    result = made.read(crop).astype(np.float32)
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
        block = source.read(source.profile.window)
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
