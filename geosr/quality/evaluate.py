"""Models evaluated on scenes that are shrunk and enlarged again, beside interpolation: scores and plots."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from itertools import count
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rasterio.io import MemoryFile
from scipy.ndimage import uniform_filter

from geosr import engine
from geosr.engine import Pool, Progress
from geosr.errors import OptionError, RasterError
from geosr.files import check_output, output_folder, write_file
from geosr.grid import Block, Grid, Tile, Window
from geosr.quality import metrics, plots, scores
from geosr.quality.derived import Cropped, Degraded, Luma
from geosr.quality.interpolations import INTERPOLATIONS, REACH
from geosr.quality.metrics import Mean, Spectra
from geosr.quality.options import Options
from geosr.quality.scores import Judged, Report, Result, Sums
from geosr.rasters import gdal
from geosr.rasters.composites import composites
from geosr.rasters.nodata import enlarge_nearest, filled_block, off_nodata
from geosr.rasters.radiometry import Range, fixed, to_dtype
from geosr.rasters.source import THUMBNAIL, RasterSource, Source, scene_range
from geosr.superresolve.tiles import enlarged_tiles
from geosr.superresolve.upscalers import Blended, Network, Upscaler, check_bands, load_upscaler

MAP = 1024
"""Most rows and columns of a map of errors."""
CROPS, CROP = 5, 96
"""The number of the most detailed windows in plots, and their rows and columns."""


@dataclass(frozen=True, slots=True)
class Scene:
    """A scene as truth, and shrunk."""

    path: str
    raster: RasterSource
    copy: MemoryFile | None
    """The memory file that it is read from, if not from its own."""
    truth: Source
    low: Degraded
    values: Range
    """The range that networks see as 0 to 1."""
    grid: Grid
    """The tiles of the shrunk scene."""
    border: int
    colours: bool
    """True if the truth is 8-bit red, green and blue."""
    rgb: tuple[int | str, ...] | None = None
    """Bands that plots show."""

    @property
    def peak(self) -> NDArray[np.float64]:
        """The peak of PSNR, for each band."""
        return np.subtract(self.low.values.high, self.low.values.low, dtype=np.float64)

    @property
    def cell(self) -> int:
        """Rows and columns of the truth that a pixel of a map of errors stands for: a power of 2 up to SPECTRUM."""
        truth = self.truth.profile
        ratio = max(1, max(truth.width, truth.height) / MAP)
        return min(int(2 ** np.ceil(np.log2(ratio))), metrics.SPECTRUM)


class Maps:
    """Maps of the errors of a whole scene, by method, which tiles are put into."""

    def __init__(self, scene: Scene) -> None:
        truth, self.cell, self.scale = scene.truth.profile, scene.cell, scene.low.scale
        self.shape = (-(-truth.height // self.cell), -(-truth.width // self.cell))
        self.errors: dict[str, Mean] = {}

    def place(self, tile: Tile, cells: Mapping[str, Mean]) -> None:
        row, col = (offset * self.scale // self.cell for offset in (tile.core.row_off, tile.core.col_off))
        for name, errors in cells.items():
            whole = self.errors.setdefault(name, Mean(np.zeros(self.shape), np.zeros(self.shape)))
            here = np.s_[row : row + errors.total.shape[0], col : col + errors.total.shape[1]]
            whole.total[here], whole.count[here] = errors.total, errors.count


@dataclass(frozen=True, slots=True)
class Seen:
    """The scores of a tile: for each method its sums, and for those that are drawn the errors in cells of the map."""

    sums: dict[str, Sums]
    maps: dict[str, Mean]


def evaluate_model(
    model: str,
    scenes: Sequence[str | os.PathLike[str]],
    options: Options = Options(),
    *,
    csv_file: str | os.PathLike[str] | None = None,
    plots_folder: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
    pool: Pool | None = None,
    progress: Progress | None = None,
) -> Report:
    """Shrink each scene, enlarge it by the model and by interpolation, and compare the results with the scene.

    The shrunk scene and the results are rounded to the scene's type, as files would hold them; the network sees the
    range of the scene, if no other is given, which is the peak of PSNR in any case. Rows and columns beyond a multiple
    of the scale are left out. Pixels without data do not count. A table is written to `csv_file`, plots of each scene
    to `plots_folder`; they appear when they are whole.

    Raises:
        RasterError: a scene cannot be read, is too small, or has no valid pixel.
        OptionError, ModelError: the options or the model do not fit the scenes.
        OutputError: an output exists and not `overwrite`, or cannot be written.
    """
    upscaler = load_upscaler(model, options.scale, computing=options.computing)
    waiting = [open_scene(os.fspath(path), upscaler, model, options) for path in scenes]
    if not waiting:
        raise OptionError("there are no scenes; name files or folders")
    names = plot_names([scene.path for scene in waiting]) if plots_folder else []
    _check_outputs(csv_file, plots_folder, names, inputs=[model, *scenes], overwrite=overwrite)
    done, total = 0, sum(len(scene.grid) for scene in waiting)
    label = Path(model).name
    results: list[Result] = []
    while waiting:
        scene = waiting.pop(0)  # whose files are closed when it is done
        sums, maps = None, Maps(scene)
        scene_upscaler = upscaler_for(scene, upscaler, options)
        work = partial(measured, scene=scene, upscaler=scene_upscaler, label=label, mapped=bool(plots_folder))
        for tile, scores_here in engine.run(work, scene.grid, pool):
            sums = _added(sums, scores_here.sums)
            maps.place(tile, scores_here.maps)
            done += 1
            if progress:
                progress(done, total)
        results.append(_result(scene, sums or {}))
        if plots_folder:
            files = _plotted(scene, sums or {}, maps, scene_upscaler, label)
            Path(plots_folder).mkdir(parents=True, exist_ok=True)
            for what, content in files.items():
                write_file(Path(plots_folder) / f"{names[len(results) - 1]}_{what}.png", content)
    border = _border(options, upscaler.scale)
    report = Report(label, upscaler.scale, options.protocol, border, results, scores.total(results))
    if csv_file:
        write_file(Path(csv_file), scores.table(report).encode())
    return report


def upscaler_for(scene: Scene, upscaler: Upscaler, options: Options) -> Upscaler:
    """Return the upscaler, told how the scene was degraded if it knows sensors."""
    if not isinstance(upscaler, (Network, Blended)) or not upscaler.knows_sensors:
        return upscaler
    block, valid = scene.raster.thumbnail(THUMBNAIL)
    low, high = scene.low.values.low, scene.low.values.high
    levels = [
        (float(block[i][valid[i]].mean()) - low[i]) / (high[i] - low[i]) if valid[i].any() else 0.5
        for i in range(len(low))
    ]
    return upscaler.for_scene(options.degradation.sensor_settings(upscaler.scale, levels), limit=options.limit)


def measured(tile: Tile, *, scene: Scene, upscaler: Upscaler, label: str, mapped: bool) -> Seen:
    """Return the scores of a tile's core for each method: pure work that can run anywhere."""
    k, ring = upscaler.scale, _ring(upscaler.scale)
    area = Tile(tile.index, tile.core.pad(ring).intersection(scene.low.profile.window), tile.outer)
    high = scene.truth.read(area.core.scale(k))
    results = dict(methods(area, scene=scene, upscaler=upscaler, label=label))
    if not results:
        return Seen({}, {})
    low = scene.low.read(area.core)
    valid = high.valid & enlarge_nearest(low.valid, k)
    core = Tile(tile.index, tile.core, area.core)
    judged = Judged(
        truth=high.block,
        low=low.block,
        valid=valid,
        good=low.valid,
        core=core,
        whole=scene.truth.profile.window,
        scale=k,
        peak=scene.peak,
        border=scene.border,
        colours=scene.colours,
    )
    sums = {name: judged.sums(block) for name, block in results.items()}
    drawn = ("bicubic", label) if mapped else ()
    maps = {name: _cells(results[name], high.block, valid, core=core.scale(k), scene=scene) for name in drawn}
    return Seen(sums, maps)


def methods(tile: Tile, *, scene: Scene, upscaler: Upscaler, label: str) -> Iterator[tuple[str, Block]]:
    """The shrunk scene's tile enlarged by each method and rounded; nothing if no pixel of the core is valid."""
    low = scene.low.read(tile.outer)
    if not tile.trim(low.valid).any():
        return
    profile, k = scene.truth.profile, upscaler.scale
    filled = filled_block(scene.low, tile, low, halo=REACH)
    for name, interpolated in INTERPOLATIONS.items():
        result = tile.scale(k).trim(interpolated(filled, k))
        yield name, off_nodata(result, to_dtype(result, profile.dtype), profile.nodata)
    if label not in INTERPOLATIONS:
        [result] = enlarged_tiles([tile], [low], source=scene.low, upscaler=upscaler, values=scene.values)
        yield label, off_nodata(result, to_dtype(result, profile.dtype), profile.nodata)


def open_scene(path: str, upscaler: Upscaler, model: str, options: Options) -> Scene:
    """The scene, checked: nothing of it is computed."""
    pixels, copy = _opened(path, options)
    whole, k = pixels.profile, upscaler.scale
    border = _border(options, k)
    least = max(2 * (metrics.SSIM_REACH + border) + 1, k)
    width, height = whole.width // k * k, whole.height // k * k
    if min(width, height) < least:
        raise RasterError(
            f"{path!r} has {whole.width} x {whole.height} pixels; scores at scale {k} need {-(-least // k) * k} "
            "in rows and columns"
        )
    paper, colours = options.protocol == "paper", whole.dtype == "uint8" and whole.count == 3
    if paper and not colours:
        raise OptionError(
            f"{path!r} has {whole.count} bands of {whole.dtype}, and the paper protocol needs red, green and blue of "
            "8 bits; choose them with --bands, or leave --protocol out"
        )
    options.degradation.check(1 if paper else whole.count, k)
    check_bands(upscaler, 1 if paper else whole.count, model=model, path=path)
    if not pixels.thumbnail(THUMBNAIL)[1].any():
        raise RasterError(f"{path!r} has no valid pixel to compare; leave it out")
    own = fixed(0, 255, 1) if paper else scene_range(pixels)
    values = fixed(*options.range, len(own.low)) if options.range else own
    composites(pixels.profile, options.rgb)  # tried now, not after all the work
    pixels.close()
    truth = Cropped(Luma(pixels) if paper else pixels, width, height)
    low = Degraded(truth, k, "float64" if paper else whole.dtype, own, options.degradation)
    # Windows of a spectrum, and cells of a map, lie in one tile each.
    step = metrics.SPECTRUM // int(np.gcd(metrics.SPECTRUM, k))
    size = max(options.side // k // step, 1) * step
    halo = _ring(k) + max(upscaler.halo, REACH)
    grid = Grid(width // k, height // k, size, halo)
    return Scene(path, pixels, copy, truth, low, values, grid, border, colours and not paper, options.rgb)


def _opened(path: str, options: Options) -> tuple[RasterSource, MemoryFile | None]:
    """The scene, and the copy in memory that it is read from, of a BMP that GDAL does not read."""
    copy = None
    try:
        pixels = RasterSource(path, options.bands, alpha=options.alpha, nodata=options.nodata_in)
    except RasterError:
        copy = gdal.plain_bitmap(path)
        if copy is None:
            raise
        pixels = RasterSource(copy.name, options.bands, alpha=options.alpha, nodata=options.nodata_in)
    return pixels.colours(), copy


def _border(options: Options, scale: int) -> int:
    if options.border is not None:
        return options.border
    return scale if options.protocol == "paper" else 0


def _ring(scale: int) -> int:
    """Pixels of the input around a tile that its scores see: by the window of SSIM, and by shrinking the result."""
    return max(-(-metrics.SSIM_REACH // scale), metrics.SHRINK_REACH)


def _result(scene: Scene, sums: Mapping[str, Sums]) -> Result:
    profile = scene.truth.profile
    scored = {
        name: scores.scores(method_sums, scale=scene.low.scale, peak=scene.peak) for name, method_sums in sums.items()
    }
    if all(method_sums.psnr is None for method_sums in scored.values()):
        raise RasterError(f"{scene.path!r} has no valid pixel that a shrunk scene would show; leave it out")
    return Result(scene.path, profile.count, profile.dtype, profile.width, profile.height, scored)


def _check_outputs(
    csv_file: str | os.PathLike[str] | None,
    folder: str | os.PathLike[str] | None,
    names: Sequence[str],
    *,
    inputs: Sequence[str | os.PathLike[str]],
    overwrite: bool,
) -> None:
    """Refuse what cannot be written, or must not be, before any work."""
    if folder and find_spec("matplotlib") is None:
        raise OptionError("plots need matplotlib; install it: pip install 'geosr[plots]'")
    if folder:
        with output_folder(Path(folder)):  # tried now, not after all the work
            pass
    if csv_file:
        check_output(Path(csv_file), inputs, overwrite=overwrite)
    if folder and Path(folder).is_dir():
        for path in (Path(folder) / f"{name}_{what}.png" for name in names for what in PLOTS):
            check_output(path, inputs, overwrite=overwrite)


PLOTS = ("errors", "spectra", "crops")


def plot_names(paths: Sequence[str]) -> list[str]:
    """Return the beginning of each scene's plot names: its own, with the first free number where several share one."""
    stems = [Path(path).stem for path in paths]
    names: list[str] = []
    for stem in stems:
        free = (name for i in count(1) if (name := f"{stem}_{i}") not in {*stems, *names})
        names.append(next(free) if stems.count(stem) > 1 else stem)
    return names


def _cells(result: Block, truth: Block, valid: NDArray[np.bool_], *, core: Tile, scene: Scene) -> Mean:
    """Squared errors in shares of the range, mean over bands, summed in the cells (rows, cols) of the map."""
    errors = (metrics.squared_errors(result, truth) / scene.peak[:, None, None] ** 2).mean(axis=0)
    counted = np.asarray(valid.all(axis=0))
    side, (rows, cols) = scene.cell, (core.core.height, core.core.width)
    sums = []
    planes: list[Block] = [np.where(counted, errors, 0), counted]
    for plane in planes:
        whole = np.pad(core.trim(plane), ((0, -rows % side), (0, -cols % side)))
        sums.append(whole.reshape(whole.shape[0] // side, side, whole.shape[1] // side, side).sum(axis=(1, 3)))
    return Mean(*sums)


def _added(sums: dict[str, Sums] | None, more: dict[str, Sums]) -> dict[str, Sums] | None:
    """The sums of both, of which a tile without a valid pixel has none."""
    if not sums or not more:
        return more or sums
    return {name: total + more[name] for name, total in sums.items()}


def _plotted(scene: Scene, sums: Mapping[str, Sums], maps: Maps, upscaler: Upscaler, label: str) -> dict[str, bytes]:
    """The PNGs of a scene, by what they show."""
    composite = composites(scene.raster.profile, scene.rgb)[0]
    title = f"{Path(scene.path).name}, x{upscaler.scale}, {composite.name}"
    overview = plots.picture(*scene.raster.thumbnail(MAP), composite.channels)
    errors = {method: np.sqrt(total.value) for method, total in maps.errors.items()}
    spectra = sums["bicubic"].spectra
    curves = {"truth": _curve(spectra, spectra.truth, scene)}
    curves |= {method: _curve(total.spectra, total.spectra.made, scene) for method, total in sums.items()}
    windows = _detailed(maps.errors["bicubic"], scene)
    rows = [_crops(tile, scene=scene, upscaler=upscaler, label=label) for tile in windows]
    return {
        "errors": plots.error_maps(overview, errors, title=title),
        "spectra": plots.power_spectra(
            spectra.radial(spectra.truth)[0], curves, nyquist=0.5 / upscaler.scale, title=title
        ),
        "crops": plots.crop_sheet(rows, title=title),
    }


def _curve(spectra: Spectra, power: NDArray[np.float64], scene: Scene) -> NDArray[np.float64]:
    """Power by frequency, mean over bands, in squares of the range."""
    mean: NDArray[np.float64] = (spectra.radial(power)[1] / scene.peak[:, None] ** 2).mean(axis=0)
    return mean


def _detailed(errors: Mean, scene: Scene) -> list[Tile]:
    """Windows of the shrunk scene around what bicubic interpolation is most wrong in, apart from each other."""
    k, low = scene.low.scale, scene.low.profile
    side = min(-(-CROP // k), low.width, low.height)
    cells = max(1, side * k // scene.cell)
    detail = uniform_filter(np.nan_to_num(errors.value), cells, mode="constant")
    tiles: list[Tile] = []
    while len(tiles) < CROPS and detail.max() > 0:
        row, col = np.unravel_index(int(detail.argmax()), detail.shape)
        detail[max(0, row - cells) : row + cells + 1, max(0, col - cells) : col + cells + 1] = 0
        top, left = (int((index + 0.5) * scene.cell / k) - side // 2 for index in (row, col))
        core = Window(min(max(left, 0), low.width - side), min(max(top, 0), low.height - side), side, side)
        tiles.append(Tile(len(tiles), core, core.pad(scene.grid.halo)))
    return tiles or [Tile(0, Window(0, 0, side, side), Window(0, 0, side, side).pad(scene.grid.halo))]


def _crops(tile: Tile, *, scene: Scene, upscaler: Upscaler, label: str) -> tuple[str, dict[str, Block], dict[str, str]]:
    """A row of the sheet: where it is, the truth and each method there, and their PSNR."""
    there = tile.core.scale(upscaler.scale)
    high = scene.truth.read(there)
    truth, valid = high.block, high.valid
    results = dict(methods(tile, scene=scene, upscaler=upscaler, label=label))
    channels = (0, 0, 0) if len(truth) == 1 else composites(scene.raster.profile, scene.rgb)[0].channels
    pictures = {"truth": plots.picture(truth, valid, channels)}
    pictures |= {name: plots.picture(block, valid, channels, like=truth) for name, block in results.items()}
    near = {
        name: scores.mean(metrics.psnr(block, truth, peak=scene.peak, valid=valid)) for name, block in results.items()
    }
    captions = {name: f"{score:.2f} dB" for name, score in near.items() if score is not None}
    return f"column {there.col_off}, row {there.row_off}", pictures, captions
