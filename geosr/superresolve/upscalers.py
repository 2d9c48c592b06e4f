"""Upscalers, which enlarge blocks: bicubic interpolation and the networks, whose library the first call loads."""

from __future__ import annotations

import os
import threading
from dataclasses import astuple, replace
from functools import cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from geosr.errors import ModelError, OptionError
from geosr.grid import Block
from geosr.models import cards, inspection, runtimes
from geosr.models.cards import Card
from geosr.models.computing import Computing
from geosr.models.runtimes import Runtime
from geosr.rasters.degrading import blur_taps
from geosr.rasters.radiometry import Range
from geosr.rasters.resample import REACH, decimate, enlarge, shrinking_taps
from geosr.rasters.sensors import Setting, mean_setting
from geosr.superresolve.consistency import Projection, with_means
from geosr.superresolve.limits import limited
from geosr.superresolve.provenance import Identity

LUMA = np.array([0.299, 0.587, 0.114])
"""Weights of red, green and blue in the luma of ITU-R BT.601."""

LIBRARY_BYTES = {"tensorflow": 760_000_000, "openvino": 100_000_000, "onnx": 100_000_000}
"""Memory of each backend with a network, before any block."""
BLOCK_SHARE = {"tensorflow": 1.0, "openvino": 0.8, "onnx": 1.1}
"""Memory of each backend for a block, as a multiple of what the card says: measured with the shipped networks."""

_loading = threading.Lock()


class Upscaler(Protocol):
    """Enlarges blocks; pickled as what it was created from."""

    scale: int
    halo: int
    """Input pixels around a core that its result depends on."""
    step: int
    """Blocks begin `halo` pixels before a multiple of it."""
    bands: int | None
    """The number of bands it takes; None: any."""
    identity: Identity
    concurrent: bool
    """True if calls in several threads take less time than one after the other."""
    gpu: int
    """Bytes of the GPU that computes it; 0: the processor does."""
    knows_sensors: bool
    """True if the blur and the noise of the bands change its results."""
    multiply_adds: int
    """Multiplications with additions for each pixel of a band, or of all the bands that it takes; 0: not known."""

    def memory(self, pixels: int) -> int:
        """Return the bytes needed at the peak for a block of so many pixels, beside the block and its result.

        They are the machine's; on a GPU, those for no pixels are the machine's and the rest the GPU's.
        """
        ...

    def __call__(self, blocks: Block, values: Range, /) -> Block:
        """Return the blocks (n, bands, rows, cols) enlarged, in floating point and the input's unit, not clipped.

        `values` is the scene's map to the 0..1 that networks see.
        """
        ...


class Bicubic:
    """The bicubic enlargement of geosr.rasters.resample."""

    bands: int | None = None
    halo = REACH
    step = 1
    concurrent = True
    gpu = 0
    knows_sensors = False
    multiply_adds = 0

    def __init__(self, scale: int) -> None:
        self.scale = scale
        self.identity = Identity("bicubic", scale)

    def memory(self, pixels: int) -> int:
        return 0

    def __call__(self, blocks: Block, values: Range, /) -> Block:
        return enlarge(blocks, self.scale)


class Network:
    """A network in a model file, read on first use.

    A network of one band takes any number of bands: each by itself, or with `mode` luma the luma alone, whose
    change is added to the bicubic enlargement of all three colours (their chroma is the bicubic one).

    Raises:
        ModelError: there is no such file, it is no model, or no halo is known that would make tiles exact.
    """

    step = 1
    concurrent = False

    def __init__(
        self,
        path: Path,
        *,
        mode: str = "each",
        computing: Computing = Computing(),
        card: Card | None = None,
        settings: tuple[Setting, ...] = (),
        limit: bool = False,
    ) -> None:
        self.path, self.mode = path, mode
        backend = runtimes.choose(path, computing.backend, computing.precision)
        precision = runtimes.precise(path, backend, computing.precision)
        self.computing = replace(computing, backend=backend, precision=precision)
        runtimes.check(path, backend, precision)
        self.gpu = runtimes.gpu_memory(backend)
        measure = computing.halo is None and not computing.blend
        self.card = card = card or cards.of(path, backend=backend, trust=computing.trust, measure=measure)
        halo = card.halo if computing.halo is None else computing.halo
        if halo is None and not computing.blend:
            raise ModelError(
                f"{os.fspath(path)!r} sees farther than {inspection.FARTHEST} pixels or depends on where a tile "
                "begins, so tiles would not be exact; --blend mixes tiles that overlap, --halo N says how far it sees"
            )
        self.halo = halo or 0
        self.scale, self.bands = card.scale, None if card.bands == 1 else card.bands
        self.knows_sensors = card.knows_sensors
        self.settings, self.limit = settings, limit
        self.identity = Identity(
            path.stem, sha256=card.sha256[:16], mode=mode, computing=self.computing, settings=settings, limit=limit
        )
        self.multiply_adds = card.multiply_adds
        if mode == "luma":
            if card.bands != 1:
                raise OptionError(f"--bands-mode luma needs a network of one band, {path.name!r} takes {card.bands}")
            self.bands = 3

    def __reduce__(self) -> tuple[Any, ...]:
        # A shipped one by its name: geosr lies elsewhere on another machine.
        path = self.path.name if self.path.parent == cards.WEIGHTS else os.fspath(self.path.absolute())
        card = replace(self.card, training_data="", licence="", commands=[], scores={})
        return _network, (path, self.mode, self.computing, card, self.settings, self.limit)

    def memory(self, pixels: int) -> int:
        backend = self.computing.backend
        return LIBRARY_BYTES[backend] + int(BLOCK_SHARE[backend] * self.card.pixel_bytes * pixels)

    def __call__(self, blocks: Block, values: Range, /) -> Block:
        low = np.stack([values.normalise(block) for block in blocks])
        if self.mode == "luma":
            high = self._luma(low)
        elif self.bands:
            high = self.forward(low)
        else:
            high = self._each(low)
        if self.limit:
            high = limited(high, low, self.scale)
        # Of 8 and 16 bits in place, as float32 rounds less than the network does.
        small = blocks.dtype.kind in "iu" and blocks.dtype.itemsize <= 2
        results: Block = high.astype(np.float32 if small else np.float64, copy=False)
        for result in results:
            values.restore(result, out=result)
        return results

    def _each(self, low: Block) -> Block:
        """Return each band enlarged by itself, those of one setting at a time."""
        n, bands, rows, cols = low.shape
        high = np.empty((n, bands, rows * self.scale, cols * self.scale), np.float32)
        settings = self.settings or (None,) * bands
        for setting in dict.fromkeys(settings):
            positions = [i for i, other in enumerate(settings) if other == setting]
            results = self.forward(low[:, positions].reshape(-1, 1, rows, cols), setting)
            high[:, positions] = results.reshape(n, len(positions), *results.shape[-2:])
        return high

    def _luma(self, low: Block) -> Block:
        luma = np.einsum("nbij,b->nij", low, LUMA)[:, None].astype(np.float32)
        change: Block = self.forward(luma, mean_setting(self.settings)) - enlarge(luma, self.scale)
        return enlarge(low, self.scale) + change

    def for_scene(self, settings: tuple[Setting, ...], *, limit: bool) -> Network:
        """Return the network told what the sensor of a scene does to each of its bands."""
        return Network(
            self.path, mode=self.mode, computing=self.computing, card=self.card, settings=settings, limit=limit
        )

    def forward(self, blocks: Block, setting: Setting | None = None) -> Block:
        """Run the network on (n, bands, rows, cols); on a CPU one block at a time, so that memory is one block's."""
        with _loading:
            network, lock = _loaded(self.path, self.card.sha256, self.computing, setting)
        with lock:
            results = network(blocks)
        expected = (*blocks.shape[:2], *(size * self.scale for size in blocks.shape[2:]))
        if results.shape != expected:
            raise ModelError(
                f"{os.fspath(self.path)!r} returned blocks of {results.shape} for {blocks.shape}, and its card "
                f"promises {expected}; geosr models show FILE --write --overwrite writes the card again"
            )
        return results


class Blended:
    """A network on windows that overlap by half, mixed by weights that add up to one.

    For networks whose result depends on the whole image: there are no seams, but there is no one true result either,
    and it takes four times the work.
    """

    concurrent = False
    step = 64
    """From window to window; a window has twice as many rows and columns."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self.scale, self.bands, self.halo, self.identity = network.scale, network.bands, self.step, network.identity
        self.gpu = network.gpu
        self.knows_sensors = network.knows_sensors
        self.multiply_adds = 4 * network.multiply_adds

    def for_scene(self, settings: tuple[Setting, ...], *, limit: bool) -> Blended:
        """Return the same with a network that is told what the sensor of a scene does to each of its bands."""
        return Blended(self.network.for_scene(settings, limit=limit))

    def memory(self, pixels: int) -> int:
        return self.network.memory(min(pixels, 4 * self.step**2)) + 16 * pixels * self.scale**2

    def __call__(self, blocks: Block, values: Range, /) -> Block:
        step, k = self.step, self.scale
        rows, cols = blocks.shape[-2:]
        after = [max(-(-size // step), 2) * step - size for size in (rows, cols)]
        padded = np.pad(blocks, ((0, 0), (0, 0), (0, after[0]), (0, after[1])), mode="symmetric")
        total = np.zeros((*padded.shape[:2], padded.shape[2] * k, padded.shape[3] * k))
        ramp = np.sin(np.pi * (np.arange(2 * step * k) + 0.5) / (2 * step * k)) ** 2
        for row in range(0, padded.shape[2] - step, step):
            for col in range(0, padded.shape[3] - step, step):
                window = self.network(padded[..., row : row + 2 * step, col : col + 2 * step], values)
                high = (..., slice(row * k, (row + 2 * step) * k), slice(col * k, (col + 2 * step) * k))
                total[high] += window * np.outer(ramp, ramp)
        return total[..., : rows * k, : cols * k]


class Consistent:
    """An upscaler whose results keep the input's radiometry; see geosr.superresolve.consistency.

    With `sensor` the blur is the one that a network was told for each band, or the bicubic kernel; with `area` it is
    the mean over a pixel of the input.
    """

    def __init__(self, upscaler: Upscaler, kind: str) -> None:
        self.upscaler, self.kind = upscaler, kind
        self.scale, self.step, self.bands = upscaler.scale, upscaler.step, upscaler.bands
        self.concurrent, self.gpu = upscaler.concurrent, upscaler.gpu
        self.knows_sensors, self.multiply_adds = upscaler.knows_sensors, upscaler.multiply_adds
        self.identity = replace(upscaler.identity, consistent=kind)
        settings = self.identity.settings or (None,)
        self.projections = [projection(setting, self.scale) for setting in settings] if kind == "sensor" else []
        reach = max((part.reach for part in self.projections), default=0)
        self.halo = upscaler.halo + -(-reach // self.step) * self.step
        mean = np.full(self.scale, 1 / self.scale)
        self.taps = [part.taps for part in self.projections] or [mean]
        """The weights of each band's blur, or of all bands'."""

    def memory(self, pixels: int) -> int:
        return self.upscaler.memory(pixels) + 24 * pixels * self.scale**2

    def __call__(self, blocks: Block, values: Range, /) -> Block:
        results = self.upscaler(blocks, values)
        info = np.iinfo(blocks.dtype) if blocks.dtype.kind in "iu" else None
        ends = (float(info.min), float(info.max)) if info else (-np.inf, np.inf)
        for low, high in zip(blocks, results, strict=True):
            for i, band in enumerate(low):
                if self.projections:
                    high[i] = self.projections[i if len(self.projections) > 1 else 0](high[i], band)
                else:
                    high[i] = with_means(high[i], band, self.scale, ends)
        return results

    def observed(self, results: Block) -> Block:
        """Return what the sensor would see of results (bands, rows, cols), mirrored past the edges, in float64."""
        taps = self.taps * len(results) if len(self.taps) == 1 else self.taps
        return np.stack(
            [
                decimate(band.astype(np.float64), self.scale, weights)
                for band, weights in zip(results, taps, strict=True)
            ]
        )


def projection(setting: Setting | None, scale: int) -> Projection:
    """Return the projection for the blur of a setting; for the bicubic kernel's without one."""
    return Projection(scale, blur_taps(setting.half, setting.nyquist, scale) if setting else shrinking_taps(scale))


def load_upscaler(
    model: str, scale: int | None = None, *, mode: str = "each", computing: Computing = Computing()
) -> Upscaler:
    """Return the upscaler called `model`: `bicubic`, a shipped network, or the path of a model file.

    Raises:
        ModelError: there is none for this scale, or the file is no model.
    """
    if model == "bicubic":
        if mode == "luma":
            raise OptionError("--bands-mode luma needs a network; bicubic takes any bands")
        if computing != Computing():
            raise OptionError("bicubic is no network; leave out how a network is computed")
        return Bicubic(scale or 2)
    path = Path(model) if cards.is_path(model) else cards.shipped_path(model, scale or 2)
    network = Network(path, mode=mode, computing=computing)
    if scale and network.scale != scale:
        raise ModelError(
            f"{model!r} enlarges by {network.scale}, not by {scale}; leave --scale out or choose another model"
        )
    return Blended(network) if computing.blend else network


def check_bands(upscaler: Upscaler, bands: int, *, model: str, path: str) -> None:
    """Refuse a raster that gives another number of bands than the upscaler takes.

    Raises:
        OptionError: it says how many of each.
    """
    if upscaler.bands not in (None, bands):
        raise OptionError(
            f"{path!r} gives {bands} bands but {model!r} takes {upscaler.bands}; choose them with --bands"
        )


def _network(
    path: str, mode: str, computing: Computing, card: Card, settings: tuple[Setting, ...], limit: bool
) -> Network:
    if cards.digest_of(cards.WEIGHTS / path) != card.sha256:
        raise ModelError(f"{path!r} is another model here than where it was chosen; copy the same to all machines")
    return Network(cards.WEIGHTS / path, mode=mode, computing=computing, card=card, settings=settings, limit=limit)


@cache
def _loaded(path: Path, sha256: str, computing: Computing, setting: Setting | None) -> tuple[Runtime, threading.Lock]:
    """Return the network and the lock that lets one call at a time use it, and with it all cores."""
    sensor = {"sensor": astuple(setting)} if setting else {}
    network = runtimes.load(path, computing.backend, precision=computing.precision, trust=computing.trust, **sensor)
    return network, threading.Lock()
