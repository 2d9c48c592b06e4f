"""The photographs of a burst: found, checked against each other, and made ready to be read upright, by windows."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from affine import Affine
from scipy.ndimage import binary_erosion

from geosr import pictures
from geosr.burst import exif, raw
from geosr.burst.exif import Metadata
from geosr.errors import BurstError, RasterError
from geosr.grid import Block, Window
from geosr.rasters import writer
from geosr.rasters.compression import UNCOMPRESSED
from geosr.rasters.profile import Profile
from geosr.rasters.resample import enlarge
from geosr.rasters.source import ArraySource, RasterSource

ENDINGS = (".jpg", ".jpeg", ".png", ".tif", ".tiff", *raw.ENDINGS)
DTYPES = ("uint8", "uint16", "int16", "float32")
PROXY_PIXELS = 1_000_000
"""Most pixels of the reduced image that frames are compared in."""
LEAST_SIDE = 640
"""Rows or columns of the image that Hugin gets."""
MOST_ENLARGED = 16
"""Times that this image is enlarged at the most."""
STRIP = 64
"""Rows that are read at once when a frame is gone through from end to end."""
# What an image of each EXIF orientation must undergo to be upright: rows and columns swapped, then either reversed.
_TURNS = {
    1: (0, 0, 0),
    2: (0, 0, 1),
    3: (0, 1, 1),
    4: (0, 1, 0),
    5: (1, 0, 0),
    6: (1, 0, 1),
    7: (1, 1, 1),
    8: (1, 1, 0),
}
ROLLS = {1: 0, 3: 180, 6: 90, 8: 270}
"""Degrees by which photos that are not mirrored are turned to be upright."""


@dataclass(frozen=True, slots=True)
class Photo:
    """A file of the burst, before its pixels are touched."""

    path: str
    profile: Profile
    """Upright."""
    metadata: Metadata
    packed: bool
    """It can only be read from beginning to end, or lies on its side, and is unpacked before windows are read."""
    balance: raw.Balance = ()
    """White balance that a RAW photo is decoded with; nothing for other photos."""

    @property
    def name(self) -> str:
        return Path(self.path).name


@dataclass(frozen=True, slots=True)
class Frame:
    """A photo made ready."""

    photo: Photo
    source: RasterSource
    """Upright, quick to read by windows."""
    proxy: Path
    """Of float32: the colours, reduced, and as the last band the share of pixels that are valid and not clipped."""
    plain: Path
    """The proxy for Hugin: gray in 8 bits, small ones enlarged."""
    brightness: float
    sharpness: float
    """Variance of the Laplacian of the gray image at half size, over the variance of that image."""
    clipped: float = 0.0
    """Share of the pixels that are clipped or invalid."""


def scan(inputs: Sequence[str | os.PathLike[str]]) -> list[Photo]:
    """The photos of files and folders, in the order they were taken in, or of their names if they do not say.

    Raises:
        BurstError: there are fewer than two, or one does not exist.
        RasterError: one cannot be read.
    """
    if missing := [os.fspath(path_given) for path_given in inputs if not Path(path_given).exists()]:
        raise BurstError(f"there is no file or folder {missing[0]!r}; name the photos, or the folder that they are in")
    paths = [path for path_given in inputs for path in _files(Path(path_given))]
    if len({path.resolve() for path in paths}) < len(paths):
        raise BurstError("a photo is given twice; name each once")
    if len(paths) < 2:
        where = ", ".join(repr(os.fspath(path_given)) for path_given in inputs)
        count = "one photo" if paths else "no photos (" + " ".join(ENDINGS) + ")"
        raise BurstError(f"a burst needs two photos or more, {where} has {count}")
    photos = sorted((_photo(path) for path in paths), key=lambda photo: _natural(photo.name))
    if all(photo.metadata.taken for photo in photos):
        photos.sort(key=lambda photo: photo.metadata.taken)
    return photos


def of_one_kind(photos: Sequence[Photo]) -> tuple[list[Photo], list[tuple[str, str]]]:
    """Return the photos of the size, bands, dtype and CRS that most have, and the names of the others, with the reason.

    Of kinds that are equally frequent, that of the first photo is taken.

    Raises:
        BurstError: no two photos are of one kind, or their colour profiles differ.
    """
    counts = Counter(map(_kind, photos))
    most = max(counts, key=lambda kind: counts[kind])
    if counts[most] < 2:
        first, second = photos[:2]
        here, there = (_kind_text(photo) for photo in (second, first))
        raise BurstError(
            f"{second.name!r} is {here} but {first.name!r} is {there}; all photos of a burst must be alike"
        )
    kept = [photo for photo in photos if _kind(photo) == most]
    _check_colours(kept)
    reasons = [
        (photo.name, f"it is {_kind_text(photo)}, most photos are {_kind_text(kept[0])}")
        for photo in photos
        if _kind(photo) != most
    ]
    return kept, reasons


def stored_size(photo: Photo) -> tuple[int, int]:
    """Width and height of the file's image as it lies."""
    size = photo.profile.width, photo.profile.height
    return size[::-1] if _TURNS[photo.metadata.orientation][0] else size


def stored_points(points: Block, photo: Photo) -> Block:
    """Points (n, 2) of the upright photo, columns and rows, as places of the image as it lies."""
    swapped, upside, mirrored = _TURNS[photo.metadata.orientation]
    cols, rows = points.T
    cols = photo.profile.width - 1 - cols if mirrored else cols
    rows = photo.profile.height - 1 - rows if upside else rows
    return np.column_stack([rows, cols] if swapped else [cols, rows])


def factor(profile: Profile) -> int:
    """Return the factor by which the proxy is smaller."""
    return max(1, int(np.ceil(np.sqrt(profile.width * profile.height / PROXY_PIXELS))))


def unpacked_bytes(photo: Photo) -> int:
    """Disk that `prepare` needs: the pixels if they must be unpacked, and the proxy."""
    pixels = photo.profile.width * photo.profile.height
    values = photo.profile.count * np.dtype(photo.profile.dtype).itemsize
    reduced = pixels // factor(photo.profile) ** 2
    return pixels * values * photo.packed + 4 * (len(photo.profile.colours) + 2) * reduced


def decoder_bytes(photo: Photo) -> int:
    """Memory that decoding takes: a progressive JPEG is held whole, two bytes a value, and so is a RAW photo."""
    pixels = photo.profile.width * photo.profile.height
    if photo.balance:
        return raw.MEMORY * pixels
    return 2 * pixels * photo.profile.count if photo.metadata.progressive else 0


def prepare(photo: Photo, folder: Path) -> Frame:
    """The photo unpacked into `folder` where that is needed, with its proxy there, in one pass over its pixels."""
    folder.mkdir(exist_ok=True)
    source, pixels = _source(photo), folder / "pixels.tif"
    shrinker = _Shrinker(photo.profile)
    try:
        if photo.packed:
            bare = replace(photo.profile, tags={}, band_tags=())
            writer.store(pixels, bare, _upright(source, photo, shrinker), UNCOMPRESSED)
            ready = RasterSource(pixels, alpha="mask" if photo.profile.alpha is not None else "band")
        else:
            for _ in _upright(source, photo, shrinker):
                pass
            ready = RasterSource(photo.path)
    finally:
        if isinstance(source, RasterSource):
            source.close()
    brightness = shrinker.fill()
    proxy = folder / "proxy.tif"
    save_plain(proxy, np.stack([*shrinker.colours, shrinker.usable]))
    plain = folder / "plain.tif"
    save_plain(plain, _plain(shrinker.gray, shrinker.usable > 0, plain_factor(photo.profile)))
    clipped = 1 - float(shrinker.usable.mean())
    return Frame(photo, ready, proxy, plain, brightness, shrinker.sharpness, clipped)


def plain_factor(profile: Profile) -> int:
    """Return the factor by which the image for Hugin is larger than the proxy: it finds little in small ones."""
    return min(max(1, LEAST_SIDE * factor(profile) // max(profile.width, profile.height)), MOST_ENLARGED)


def save_plain(path: Path, block: Block) -> None:
    """A TIFF of plain strips without metadata, which every program reads."""
    count, height, width = block.shape
    profile = Profile(width, height, count, str(block.dtype))
    writer.store(path, profile, [(profile.window, block)], {"COMPRESS": "NONE"})


def load_proxy(path: Path) -> tuple[Block, Block]:
    """The colours (bands, rows, cols), reduced, and where (rows, cols) they can be trusted."""
    source = RasterSource(path)
    try:
        *colours, usable = source.read(source.profile.window).block
    finally:
        source.close()
    return np.stack(colours), usable > 0.999


def limits(dtype: str) -> tuple[float, float]:
    """Values at and beyond which a pixel is clipped."""
    if np.dtype(dtype).kind == "f":
        return -np.inf, np.inf
    info = np.iinfo(dtype)
    edge = (info.max - info.min) / 255
    return (info.min + 0.5 * edge if info.min == 0 else info.min), info.max - 0.5 * edge


class _Shrinker:
    """Takes an upright frame strip by strip, in order, and makes its proxy and its sharpness."""

    def __init__(self, profile: Profile) -> None:
        self.k = factor(profile)
        shape = profile.height // self.k, profile.width // self.k
        self.colours = np.zeros((len(profile.colours), *shape), np.float32)
        self.usable = np.zeros(shape, np.float32)
        self.low, self.high = limits(profile.dtype)
        self._sums = np.zeros(5)

    @property
    def gray(self) -> Block:
        gray: Block = self.colours.mean(axis=0)
        return gray

    def add(self, window: Window, colours: Block, valid: Block, usable: Block) -> None:
        """Take a strip of whole rows, or of whole columns; its offset is a multiple of the factor."""
        gray = colours.mean(axis=0)
        place = Window(
            window.col_off // self.k, window.row_off // self.k, gray.shape[1] // self.k, gray.shape[0] // self.k
        )
        rows, cols = place.slices(within=Window(0, 0, self.usable.shape[1], self.usable.shape[0]))
        self.colours[:, rows, cols] = _valid_means(colours, valid, self.k)
        self.usable[rows, cols] = _binned(usable, self.k)
        k = 2 if min(gray.shape) > 5 else 1
        half, known = _valid_means(gray, valid, k), _binned(valid, k) == 1
        cross = np.array([[0, 1, 0], [1, 1, 1], [0, 1, 0]], bool)
        inside = binary_erosion(known, cross)[1:-1, 1:-1]
        if inside.any():
            edges = half[:-2, 1:-1] + half[2:, 1:-1] + half[1:-1, :-2] + half[1:-1, 2:] - 4 * half[1:-1, 1:-1]
            edges, half = edges[inside], half[known]
            self._sums += (
                edges.size,
                edges.sum(),
                (edges**2).sum(),
                half.mean() * edges.size,
                (half**2).mean() * edges.size,
            )

    def fill(self) -> float:
        """Return the mean of the reduced image, whose pixels where none of the photo is valid get their band's mean."""
        known = np.isfinite(self.gray)
        for band in self.colours:
            band[~known] = band[known].mean() if known.any() else 0.0
        return float(self.gray.mean())

    @property
    def sharpness(self) -> float:
        count, edges, edges2, gray, gray2 = self._sums
        if not count:
            return 0.0
        contrast = gray2 / count - (gray / count) ** 2
        return float((edges2 / count - (edges / count) ** 2) / contrast) if contrast > 0 else 0.0


def _source(photo: Photo) -> RasterSource | ArraySource:
    """Return the photo as it lies."""
    return ArraySource(raw.decode(Path(photo.path), photo.balance)) if photo.balance else RasterSource(photo.path)


def _upright(source: RasterSource | ArraySource, photo: Photo, shrinker: _Shrinker) -> Iterator[tuple[Window, Block]]:
    """The frame's blocks in upright windows, from strips of the file as it is."""
    stored, (swapped, upside, mirrored) = source.profile, _TURNS[photo.metadata.orientation]
    step = max(STRIP // shrinker.k, 1) * shrinker.k
    upright = photo.profile
    # Files are read forwards; what becomes the upright image's far end comes first and is what is left over.
    backwards = bool(mirrored if swapped else upside)
    row = 0
    while row < stored.height:
        length = min(step, stored.height - row)
        if backwards and not row:
            length = stored.height % step or length
        start = stored.height - row - length if backwards else row
        strip = Window(0, row, stored.width, length)
        row += length
        pixels = source.read(strip)
        block, valid = pixels.block, np.asarray(pixels.valid[source.profile.colours].all(axis=0))
        block, valid = _turned(block, photo.metadata.orientation), _turned(valid[None], photo.metadata.orientation)[0]
        window = Window(start, 0, length, upright.height) if swapped else Window(0, start, upright.width, length)
        colours = block[source.profile.colours]
        usable = valid & (colours > shrinker.low).all(axis=0) & (colours < shrinker.high).all(axis=0)
        shrinker.add(window, colours.astype(np.float32), valid.astype(np.float32), usable.astype(np.float32))
        yield window, block


def _turned(block: Block, orientation: int) -> Block:
    """The block (bands, rows, cols) upright."""
    swapped, upside, mirrored = _TURNS[orientation]
    turned = block.swapaxes(1, 2) if swapped else block
    return np.ascontiguousarray(turned[:, :: -1 if upside else 1, :: -1 if mirrored else 1])


def _binned(block: Block, k: int) -> Block:
    """Means of k x k pixels; rows and columns beyond the last whole k are left out."""
    high, wide = (side // k for side in block.shape[-2:])
    cells = block[..., : high * k, : wide * k].reshape(*block.shape[:-2], high, k, wide, k)
    binned: Block = cells.mean(axis=(-3, -1), dtype=np.float32)
    return binned


def _valid_means(block: Block, valid: Block, k: int) -> Block:
    """Return the means of the valid ones of k x k pixels, NaN where none is."""
    summed, share = _binned(np.where(valid > 0, block, 0), k), _binned(valid, k)
    return np.divide(summed, share, out=np.full_like(summed, np.nan), where=np.broadcast_to(share > 0, summed.shape))


def _plain(gray: Block, usable: Block, k: int) -> Block:
    """Return the proxy (1, rows, cols) in 8 bits, from nearly the darkest to nearly the brightest usable value."""
    low, high = np.percentile(gray[usable] if usable.any() else gray, (0.1, 99.9))
    return pictures.stretched(enlarge(gray, k), low, high)[None]


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    return [p for p in path.iterdir() if p.suffix.lower() in ENDINGS and not p.name.startswith(".") and p.is_file()]


def _photo(path: Path) -> Photo:
    balance: raw.Balance = ()
    if raw.is_raw(path):
        profile, orientation, balance = raw.inspect(path)
        metadata, plain = exif.of_raw(path, orientation, raw.colour_profile()), False
    else:
        source = RasterSource(path)
        profile, plain = source.profile, source.windowed
        source.close()
        metadata = exif.read(path)
    if profile.dtype not in DTYPES:
        raise RasterError(f"{os.fspath(path)!r} holds {profile.dtype}; a burst takes {', '.join(DTYPES)}")
    upright = profile
    if metadata.orientation != 1:
        if profile.crs is not None:
            raise RasterError(
                f"{os.fspath(path)!r} has a CRS and lies on its side; turn it first: gdal_translate IN OUT"
            )
        if _TURNS[metadata.orientation][0]:
            upright = replace(profile, width=profile.height, height=profile.width)
        upright = replace(upright, transform=Affine.identity(), gcps=(), rpcs=None)
    return Photo(os.fspath(path), upright, metadata, packed=not plain or metadata.orientation != 1, balance=balance)


def _kind(photo: Photo) -> tuple[int, int, int, str, str]:
    profile = photo.profile
    return profile.width, profile.height, profile.count, profile.dtype, str(profile.crs)


def _kind_text(photo: Photo) -> str:
    profile = photo.profile
    text = f"{profile.width} x {profile.height}, {profile.count} bands of {profile.dtype}"
    return text if profile.crs is None else f"{text} in {profile.crs.to_string()[:40]}"


def _check_colours(photos: Sequence[Photo]) -> None:
    # A photo without a profile is taken for one with that of the others: optional metadata stop no photo.
    first, *others = [photo for photo in photos if photo.metadata.icc] or photos
    for photo in others:
        if not exif.same_colours(photo.metadata.icc, first.metadata.icc):
            raise BurstError(
                f"{photo.name!r} and {first.name!r} have different colour profiles; convert them to the same one: "
                "magick IN -profile PROFILE.icc OUT"
            )


def _natural(name: str) -> list[tuple[int, int, str]]:
    """A key that puts 10 after 9."""
    parts = re.split(r"(\d+)", name.lower())
    return [(1, int(part), "") if part.isdigit() else (0, 0, part) for part in parts]
