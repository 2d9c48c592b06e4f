"""Networks in 8 bits: calibrated on scenes, and scored on them beside the network that they come from."""

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
from geosr.superresolve.upscalers import check_bands, load_upscaler

SIDE = 64
"""Rows and columns of the tiles that show what values a network's layers have."""
COSTLY = 0.05
"""Loss of PSNR, in dB, from which quantized weights are not shipped."""


@dataclass(frozen=True, slots=True)
class Quantized:
    """The scores of a network before and after, in dB of PSNR: means over bands and scenes."""

    output: str
    psnr: float
    """With 32 bits."""
    quantized_psnr: float
    cost: float
    bicubic_psnr: float


def quantize_model(
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
    """Write a model in 8 bits for OpenVINO, as `output` (.xml) with a .bin and a card beside it.

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
    for file in (output, output.with_suffix(".bin"), output.with_suffix(".json")):
        check_output(file, [source, *scenes], overwrite=overwrite)
    if output.with_suffix("") == source.with_suffix(""):
        raise OutputError(f"{os.fspath(output)!r} would have the card of {source.name!r}; choose another name")
    card, upscaler = cards.of(source), load_upscaler(os.fspath(source))
    for path in scenes:
        with closing(RasterSource(path, alpha="band")) as scene:
            check_bands(upscaler, len(scene.profile.colours), model=model, path=scene.path)
    random = np.random.default_rng(seed)
    each = -(-tiles // len(scenes))
    blocks = [block for path in scenes for block in _tiles(RasterSource(path, alpha="band"), card.bands, each, random)]
    if not blocks:
        raise OptionError("the scenes have no tile without nodata to calibrate on")
    with tempfile.TemporaryDirectory(dir=output.absolute().parent, prefix=".geosr-") as folder:
        draft = Path(folder) / output.name
        exports.quantize(source, draft, blocks, kept=kept)
        # The network sees as far as before: the card is written first with what the scores need.
        name = output.stem.rpartition("_x")[0] or output.stem
        card = replace(card, name=name, sha256=cards.digest_of(draft))
        cards.write(card, draft)
        options = Options(alpha="band", border=card.scale)
        before, after = (evaluate_model(str(path), scenes, options) for path in (source, draft))
        psnr, quantized = (report.total[report.model].psnr or 0.0 for report in (before, after))
        cost = round(psnr - quantized, 4)
        cards.write(replace(card, psnr_cost=cost), draft)
        for kind in (".bin", ".json", ".xml"):
            draft.with_suffix(kind).replace(output.with_suffix(kind))
    return Quantized(os.fspath(output), psnr, quantized, cost, before.total["bicubic"].psnr or 0.0)


def _tiles(source: RasterSource, bands: int, count: int, random: np.random.Generator) -> Iterator[Block]:
    """Yield blocks (bands, rows, cols) as a network sees them, from where the scene is valid."""
    profile, values = source.profile, scene_range(source)
    for _ in range(count):
        row, col = (int(random.integers(max(size - SIDE, 0) + 1)) for size in (profile.height, profile.width))
        window = Window(col, row, SIDE, SIDE)
        pixels = source.read(window)
        if pixels.valid.all():
            block = values.normalise(pixels.block)[list(profile.colours)]
            yield block if bands > 1 else block[random.integers(len(block))][None]
    source.close()
