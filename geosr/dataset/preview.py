"""A contact sheet of a training set, as a picture or a page: tiles beside their degraded and re-enlarged images."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from geosr.dataset import formats, records
from geosr.dataset.records import Sample
from geosr.dataset.storage import TFDS_SPLITS
from geosr.engine import Progress
from geosr.errors import DatasetError, OutputError
from geosr.files import check_output, write_file
from geosr.grid import Block
from geosr.pictures import stretched
from geosr.rasters.composites import Composite, composites
from geosr.rasters.nodata import enlarge_nearest
from geosr.rasters.profile import Profile
from geosr.webpage import document, facts, picture

TILES = 12
"""Tiles of each split by default."""
COLUMNS = 3
"""Triples beside each other."""
GAP = 8
LEAST = 96
"""Rows and columns that a tile is shown with at the least."""
PAGES = (".html", ".htm")
FORMATS = (*PAGES, ".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff")
LARGEST = {"WEBP": 16383, "JPEG": 65535}
"""Rows and columns that a format holds."""
STRETCH = (1.0, 99.0)
"""Percentiles of a tile that become black and white, the same for its three images."""


def draw_sheet(
    out: str | os.PathLike[str],
    sheet: str | os.PathLike[str],
    *,
    tiles: int = TILES,
    rgb: Sequence[int | str] | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> int:
    """Draw `tiles` samples of each split, spread over it, and return how many there are.

    A sheet whose name ends in .html is a page that needs no other file; others are pictures.
    They are shown in true colour where the names of the scenes' bands tell it, else by their first three bands, or the
    first one. `rgb` are the numbers or names of one band or three that are shown instead.

    Raises:
        DatasetError: there is no set, or it is damaged.
        OptionError: a band of `rgb` is none of a scene's.
        OutputError: the sheet exists and not `overwrite`, is of no known format or too large for it, or cannot
            be written.
    """
    sheet = Path(sheet)
    if sheet.suffix.lower() not in FORMATS:
        raise OutputError(f"{os.fspath(sheet)!r} must end in one of {', '.join(FORMATS)}")
    check_output(sheet, (), overwrite=overwrite)
    folder = records.sets_in(Path(out))
    names = {scene["file"]: scene.get("names", ()) for scene in records.read_card(folder)["scenes"]}
    triples: dict[str, list[Image.Image]] = {}
    captions: dict[str, list[str]] = {}
    for split in TFDS_SPLITS:
        examples = formats.split(folder, split)
        picked = np.unique(np.linspace(0, len(examples) - 1, min(tiles, len(examples))).round().astype(int))
        for sample in (examples.sample(int(i)) for i in picked):
            composite = _composite(sample, names.get(sample.scene, ()), rgb)
            triples.setdefault(split, []).append(_triple(sample, composite))
            captions.setdefault(split, []).append(_caption(sample, composite))
    count = sum(map(len, triples.values()))
    if not count:
        raise DatasetError(f"{os.fspath(folder)!r} has no tiles; make the set again with geosr dataset")
    if progress:
        progress(count, count)
    if sheet.suffix.lower() in PAGES:
        write_file(sheet, _page(folder, triples, captions).encode())
    else:
        captioned = [
            _captioned(triple, f"{split}: {caption}")
            for split, images in triples.items()
            for triple, caption in zip(images, captions[split], strict=True)
        ]
        _save(_sheet(captioned), sheet)
    return count


def _composite(sample: Sample, names: Sequence[str | None], rgb: Sequence[int | str] | None) -> Composite:
    """Return the bands of a sample that are shown, where its scene's bands have these names."""
    bands, rows, cols = sample.gt.shape
    descriptions = tuple(names) if len(names) == bands else ()
    return composites(Profile(cols, rows, bands, str(sample.gt.dtype), descriptions=descriptions), rgb)[0]


def _page(folder: Path, triples: Mapping[str, Sequence[Image.Image]], captions: Mapping[str, Sequence[str]]) -> str:
    """Return a page of the tiles of each split."""
    card = records.read_card(folder)
    scenes = len(card["scenes"])
    items = {
        "Tiles": ", ".join(f"{number} for {split.lower()}" for split, number in card["tiles"].items()),
        "Size": f"{card['size']} x {card['size']} pixels, degraded by {card['scale']}",
        "Degradation": str(card.get("degradation", "")),
        "Scenes": str(scenes),
        "geosr": str(card.get("version", "")),
    }
    body = f"<header><h1>Training set {escape(folder.resolve().parent.name)}, x{card['scale']}</h1>{facts(items)}"
    body += '<p class="note">Each tile, beside what is left of it and its enlargement, stretched alike.</p></header>'
    for split, images in triples.items():
        tiles = "".join(
            f"<figure>{picture(_png(image), caption)}<figcaption>{escape(caption)}</figcaption></figure>"
            for image, caption in zip(images, captions[split], strict=True)
        )
        body += f"<h2>{escape(split)}: {len(images)} of {card['tiles'].get(split, 0)}</h2>"
        body += f'<div class="tiles">{tiles}</div>'
    return document(f"Training set {folder.resolve().parent.name}", body)


def _caption(sample: Sample, composite: Composite) -> str:
    window = sample.window
    bands_shown = f"band {sample.bands[0]}" if len(sample.bands) == 1 else composite.name
    return f"{sample.scene} {window.col_off},{window.row_off}, {bands_shown}"


def _triple(sample: Sample, composite: Composite) -> Image.Image:
    """Return a tile's three images side by side, at one size."""
    bands = list(composite.positions)
    images = [sample.gt[bands], enlarge_nearest(sample.down[bands], sample.scale), sample.enlarged()[bands]]
    low, high = np.percentile(images[0].astype(np.float64), STRETCH, axis=(1, 2))
    factor = max(1, -(-LEAST // images[0].shape[-1]))
    pictures = [_picture(enlarge_nearest(image, factor), low, high) for image in images]
    width, height = pictures[0].size
    triple = Image.new("RGB", (3 * width + 2 * GAP, height), "white")
    for i, image in enumerate(pictures):
        triple.paste(image, (i * (width + GAP), 0))
    return triple


def _captioned(triple: Image.Image, caption: str) -> Image.Image:
    """Return a triple under its caption and the names of its images."""
    font = ImageFont.load_default()
    sheet = Image.new("RGB", (triple.width, triple.height + 34), "white")
    draw = ImageDraw.Draw(sheet)
    while draw.textlength(caption, font=font) > sheet.width:
        caption = caption[:-4] + "..."
    draw.text((0, 2), caption, "black", font=font)
    for i, name in enumerate(records.IMAGES):
        draw.text((i * (triple.width + GAP) // 3, 18), name, "black", font=font)
    sheet.paste(triple, (0, 34))
    return sheet


def _picture(image: Block, low: Block, high: Block) -> Image.Image:
    pixels = stretched(image, low[:, None, None], high[:, None, None]).transpose(1, 2, 0)
    return Image.fromarray(np.ascontiguousarray(np.broadcast_to(pixels, (*pixels.shape[:2], 3))))


def _sheet(triples: list[Image.Image]) -> Image.Image:
    columns = min(COLUMNS, len(triples))
    width, height = (max(sizes) for sizes in zip(*(one.size for one in triples), strict=True))
    rows = -(-len(triples) // columns)
    sheet = Image.new("RGB", (columns * (width + 3 * GAP) + GAP, rows * (height + 2 * GAP) + GAP), "white")
    for i, triple in enumerate(triples):
        row, col = divmod(i, columns)
        sheet.paste(triple, (2 * GAP + col * (width + 3 * GAP), GAP + row * (height + 2 * GAP)))
    return sheet


def _png(image: Image.Image) -> bytes:
    content = io.BytesIO()
    image.save(content, "PNG")
    return content.getvalue()


def _save(sheet: Image.Image, path: Path) -> None:
    drawn, form = io.BytesIO(), Image.registered_extensions()[path.suffix.lower()]
    if max(sheet.size) > LARGEST.get(form, max(sheet.size)):
        raise OutputError(
            f"{os.fspath(path)!r} would have {sheet.width} x {sheet.height} pixels, and {form} holds {LARGEST[form]} "
            "at the most; draw fewer --tiles, or a .png"
        )
    sheet.save(drawn, form)
    write_file(path, drawn.getvalue())
