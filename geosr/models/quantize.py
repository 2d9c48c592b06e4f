"""A network in 8 bits: calibrated on scenes, and scored on them beside the one that it was made of."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from geosr.errors import OptionError, OutputError
from geosr.files import check_output
from geosr.grid import Block, Window
from geosr.models import cards, exports
from geosr.quality.evaluate import evaluate_model
from geosr.quality.options import Options
from geosr.rasters.source import RasterSource, scene_range
from geosr.superresolve import upscalers

SIDE = 64
"""Rows and columns of the tiles that show what values a network's layers have."""
COSTLY = 0.05
"""dB of PSNR that are too many to ship."""


@dataclass(frozen=True, slots=True)
class Quantized:
    """What came of it."""

    output: str
    psnr: float
    """Of the network in 32 bits, in dB: mean over bands and scenes, each shrunk and enlarged again."""
    quantized_psnr: float
    cost: float
    """In dB."""
    bicubic_psnr: float


def quantize(
    model: str,
    output: str | os.PathLike[str],
    scenes: Sequence[str | os.PathLike[str]],
    *,
    scale: int | None = None,
    tiles: int = 200,
    kept: int = 1,
    seed: int = 0,
    overwrite: bool = False,
) -> Quantized:
    """Writes a model in 8 bits for OpenVINO, as `output` (.xml) with a .bin and a card beside it.

    Tiles of the scenes show what values its layers have; the `kept` first and last convolutions stay in 32 bits. Both
    networks are scored on the scenes, and the card says what 8 bits cost.

    Raises:
        ModelError: there is no such model, or OpenVINO or NNCF is not installed.
        OptionError: there are no scenes, or none that shows anything.
        OutputError: the output exists and not `overwrite`, or cannot be written.
    """
    source, output = cards.path_of(model, scale or 2), Path(output)
    if not scenes:
        raise OptionError("there are no scenes to calibrate on; name files or folders")
    if output.suffix != ".xml":
        raise OptionError(f"{os.fspath(output)!r} must end in .xml, OpenVINO's kind of file")
    for beside in (output, output.with_suffix(".bin"), output.with_suffix(".json")):
        check_output(beside, [source, *scenes], overwrite=overwrite)
    if output.with_suffix("") == source.with_suffix(""):
        raise OutputError(f"{os.fspath(output)!r} would have the card of {source.name!r}; choose another name")
    card, upscaler = cards.of(source), upscalers.load_upscaler(os.fspath(source))
    for path in scenes:
        with closing(RasterSource(path, alpha="band")) as scene:
            upscalers.check_bands(upscaler, len(scene.profile.colours), model=model, path=scene.path)
    random = np.random.default_rng(seed)
    each = -(-tiles // len(scenes))
    shown = [block for path in scenes for block in _tiles(RasterSource(path, alpha="band"), card.bands, each, random)]
    if not shown:
        raise OptionError("the scenes have no tile without nodata to calibrate on")
    with tempfile.TemporaryDirectory(dir=output.absolute().parent, prefix=".geosr-") as folder:
        made = Path(folder) / output.name
        exports.quantize(source, made, shown, kept=kept)
        # The network sees as far as before: the card is written first with what the scores need.
        name = output.stem.rpartition("_x")[0] or output.stem
        card = replace(card, name=name, sha256=cards.digest_of(made))
        cards.write(card, made)
        options = Options(alpha="band", border=card.scale)
        before, after = (evaluate_model(str(path), scenes, options) for path in (source, made))
        psnr, quantized = (report.total[report.model].psnr or 0.0 for report in (before, after))
        cost = round(psnr - quantized, 4)
        cards.write(replace(card, psnr_cost=cost), made)
        for kind in (".bin", ".json", ".xml"):
            made.with_suffix(kind).replace(output.with_suffix(kind))
    return Quantized(os.fspath(output), psnr, quantized, cost, before.total["bicubic"].psnr or 0.0)


def _tiles(source: RasterSource, bands: int, count: int, random: np.random.Generator) -> Iterator[Block]:
    """Blocks (bands, rows, cols) as a network sees them, from where the scene is valid."""
    profile, values = source.profile, scene_range(source)
    for _ in range(count):
        row, col = (int(random.integers(max(size - SIDE, 0) + 1)) for size in (profile.height, profile.width))
        window = Window(col, row, SIDE, SIDE)
        pixels = source.read(window)
        if pixels.valid.all():
            seen = values.normalise(pixels.block)[list(profile.colours)]
            yield seen if bands > 1 else seen[random.integers(len(seen))][None]
    source.close()
