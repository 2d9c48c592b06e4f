"""What enlarges blocks: bicubic interpolation, and the networks. TensorFlow is loaded by the first network call."""

from __future__ import annotations

import os
import threading
from functools import cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from geosr import models
from geosr.errors import ModelError, OptionError
from geosr.grid import Block
from geosr.models import cards
from geosr.radiometry import Range
from geosr.resample import REACH, enlarge

LUMA = np.array([0.299, 0.587, 0.114])
"""Weights of red, green and blue in the luma of ITU-R BT.601."""

LIBRARY = 560_000_000
"""Bytes of TensorFlow, before any block."""

_loading = threading.Lock()

BANDS_MODES = ("auto", "each", "luma")


class Upscaler(Protocol):
    """Enlarges blocks; picklable as what it was made from."""

    scale: int
    halo: int
    """Input pixels around a core that its result depends on."""
    bands: int | None
    """The number of bands it takes; None: any."""
    identity: str
    """Name and content: equal identities give equal results."""
    concurrent: bool
    """Whether calls in several threads take less time than one after the other."""

    def memory(self, pixels: int) -> int:
        """Bytes that it needs at the peak for blocks of so many pixels, beside them and their result."""
        ...

    def __call__(self, blocks: Block, values: Range, /) -> Block:
        """The blocks (n, bands, rows, cols) enlarged, in floating point and the unit of the input, not clipped.

        `values` is the scene's map to the 0..1 that networks see.
        """
        ...


class Bicubic:
    """The bicubic enlargement of geosr.resample."""

    bands: int | None = None
    halo = REACH
    concurrent = True

    def __init__(self, scale: int) -> None:
        self.scale = scale
        self.identity = f"bicubic x{scale}"

    def memory(self, pixels: int) -> int:
        return 0

    def __call__(self, blocks: Block, values: Range, /) -> Block:
        return enlarge(blocks, self.scale)


class Network:
    """A network in a .keras file, read on first use.

    A network of one band takes any number of bands: each by itself, or with `mode` luma the luma alone, whose
    change is added to the bicubic enlargement of all three colours (their chroma is the bicubic one).
    """

    concurrent = False

    def __init__(self, path: Path, *, mode: str = "each") -> None:
        self.path, self.mode = path, mode
        card = cards.of(path)
        self.scale, self.bands, self.halo = card.scale, None if card.bands == 1 else card.bands, card.halo
        self._sha256, self._pixel_bytes = card.sha256, card.pixel_bytes
        self.identity = f"{path.stem} sha256:{card.sha256[:16]} {mode}"
        if mode == "luma":
            if card.bands != 1:
                raise OptionError(f"--bands-mode luma needs a network of one band, {path.name!r} takes {card.bands}")
            self.bands = 3

    def __reduce__(self) -> tuple[Any, ...]:
        # A shipped one by its name: geosr lies elsewhere on another machine.
        path = self.path.name if self.path.parent == cards.WEIGHTS else os.fspath(self.path.absolute())
        return _network, (path, self.mode, self._sha256)

    def memory(self, pixels: int) -> int:
        return LIBRARY + self._pixel_bytes * pixels

    def __call__(self, blocks: Block, values: Range, /) -> Block:
        low = np.stack([values.normalise(block) for block in blocks])
        if self.mode == "luma":
            high = self._luma(low)
        elif self.bands:
            high = self.forward(low)
        else:
            rows, cols = low.shape[-2:]
            high = self.forward(low.reshape(-1, 1, rows, cols))
            high = high.reshape(*low.shape[:2], *high.shape[-2:])
        return np.stack([values.restore(block) for block in high])

    def _luma(self, low: Block) -> Block:
        luma = np.einsum("nbij,b->nij", low, LUMA)[:, None].astype(np.float32)
        added: Block = self.forward(luma) - enlarge(luma, self.scale)
        return enlarge(low, self.scale) + added

    def forward(self, blocks: Block) -> Block:
        """Through the network (n, bands, rows, cols), one block at a time, so that memory is one block's."""
        with _loading:
            model, lock = _loaded(self.path, self._sha256)
        blocks = np.ascontiguousarray(blocks.transpose(0, 2, 3, 1))
        with lock:
            done = [np.asarray(model.predict_on_batch(block[None])) for block in blocks]
        result: Block = np.concatenate(done).transpose(0, 3, 1, 2)
        return result


def load(model: str, scale: int | None = None, *, mode: str = "each") -> Upscaler:
    """The upscaler called `model`: `bicubic`, a shipped network, or the path of a .keras file.

    Raises:
        ModelError: there is none for this scale, or the file is no model.
    """
    if model == "bicubic":
        if mode == "luma":
            raise OptionError("--bands-mode luma needs a network; bicubic takes any bands")
        return Bicubic(scale or 2)
    path = Path(model) if model.endswith(".keras") or os.sep in model else cards.shipped_path(model, scale or 2)
    network = Network(path, mode=mode)
    if scale and network.scale != scale:
        raise ModelError(
            f"{model!r} enlarges by {network.scale}, not by {scale}; leave --scale out or choose another model"
        )
    return network


def check_bands(upscaler: Upscaler, bands: int, *, model: str, path: str) -> None:
    """Refuses a raster that gives another number of bands than the upscaler takes.

    Raises:
        OptionError: it says how many of each.
    """
    if upscaler.bands not in (None, bands):
        raise OptionError(
            f"{path!r} gives {bands} bands but {model!r} takes {upscaler.bands}; choose them with --bands"
        )


def _network(path: str, mode: str, sha256: str) -> Network:
    network = Network(cards.WEIGHTS / path, mode=mode)
    if network._sha256 != sha256:
        raise ModelError(f"{path!r} is another model here than where it was chosen; copy the same to all machines")
    return network


@cache
def _loaded(path: Path, sha256: str) -> tuple[Any, Any]:
    """The model and the lock that lets one call at a time use it, and with it all cores."""
    return models.load(path), threading.Lock()
