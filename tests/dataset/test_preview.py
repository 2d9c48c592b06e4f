import base64
import io
import re

import numpy as np
import pytest
import rasterio
from PIL import Image

from geosr.dataset import job, preview
from geosr.dataset.options import Options
from geosr.dataset.preview import draw_sheet
from geosr.errors import OutputError
from tests.conftest import texture
from tests.dataset.helpers import at


@pytest.fixture
def made(make_raster, tmp_path):
    scenes = [
        make_raster(
            texture(3, 96, 96, seed=i, dtype="uint16", high=3000), f"s{i}.tif", transform=at(4e5 + 5000 * i, 5e6)
        )
        for i in range(3)
    ]
    job.build(scenes, tmp_path / "out", Options(size=48, validation=0.3))
    return tmp_path / "out"


def test_a_sheet_shows_tiles_of_each_split_as_they_are(made, tmp_path):
    assert draw_sheet(made, tmp_path / "sheet.png", tiles=3) == 6
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.format == "PNG"
        pixels = np.asarray(sheet.convert("RGB"))
    # White paper with captions, and 6 times three pictures of 96 x 96 pixels of the whole range of colours.
    coloured = (np.ptp(pixels.astype(int), axis=2) > 0).sum()
    assert 0.7 * 18 * 96 * 96 < coloured <= 18 * 96 * 96
    assert pixels.min() == 0
    assert list(tmp_path.glob(".*")) == []


def test_a_picture_is_the_tile_stretched(made, tmp_path):
    """The first picture against the sample itself, at the place it is drawn."""
    from geosr.dataset import records

    draw_sheet(made, tmp_path / "sheet.png", tiles=1)
    first = records.read(made / "x2" / "Training").sample(0)
    low, high = np.percentile(first.gt.astype(float), (1, 99), axis=(1, 2))
    wanted = np.rint(255 * np.clip((first.gt - low[:, None, None]) / (high - low)[:, None, None], 0, 1))
    with Image.open(tmp_path / "sheet.png") as sheet:
        pixels = np.asarray(sheet.convert("RGB")).transpose(2, 0, 1)
    block = wanted.repeat(2, axis=1).repeat(2, axis=2).astype(np.uint8)
    places = np.lib.stride_tricks.sliding_window_view(pixels[0], (96, 96))
    assert (places == block[0]).all(axis=(2, 3)).sum() == 1


def test_a_page_shows_each_tile_under_its_caption(made, tmp_path):
    assert draw_sheet(made, tmp_path / "sheet.html", tiles=3) == 6
    text = (tmp_path / "sheet.html").read_text()
    images = re.findall(r'<img alt="(s\d.tif \d+,\d+, bands 1, 2, 3)" src="data:image/png;base64,([^"]+)"', text)
    assert len(images) == text.count("<figcaption>s") == 6
    with Image.open(io.BytesIO(base64.b64decode(images[0][1]))) as tile:
        assert tile.height == 96
    assert "<h2>Validation: 3 of " in text
    assert 'name="viewport"' in text


def test_what_cannot_be_written_is_said(made, tmp_path):
    draw_sheet(made, tmp_path / "sheet.png")
    with pytest.raises(OutputError, match="exists; choose another output or --overwrite"):
        draw_sheet(made, tmp_path / "sheet.png")
    draw_sheet(made, tmp_path / "sheet.png", overwrite=True)
    with pytest.raises(OutputError, match=r"must end in one of \.html"):
        draw_sheet(made, tmp_path / "sheet.doc")
    with pytest.raises(OutputError, match="there is no folder"):
        draw_sheet(made, tmp_path / "none" / "sheet.png")


def test_a_sheet_that_is_too_large_for_its_format_is_refused_in_one_line(make_raster, tmp_path):
    job.build([make_raster(texture(1, 64, 64))], tmp_path / "out", Options(size=16, validation=0))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(preview, "LEAST", 6000)
        with pytest.raises(OutputError, match=r"sheet\.webp' would have \d+ x \d+ pixels, and WEBP holds 16383 at the"):
            draw_sheet(tmp_path / "out", tmp_path / "sheet.webp", tiles=1)
    draw_sheet(tmp_path / "out", tmp_path / "sheet.webp", tiles=1)


@pytest.mark.parametrize("names", [("B02", "B03", "B04", "B08"), ("nir", "red", "green", "blue"), ("b", "g", "r", "n")])
def test_colours_are_those_of_the_bands_or_the_first_three(make_raster, tmp_path, names):
    """Bright in the first band alone; a raster of 16 bits, whose bands GDAL calls nothing."""
    array = np.full((4, 96, 96), 300, "uint16")
    array[0] = texture(1, 96, 96, dtype="uint16", high=3000)
    scenes = [make_raster(array), make_raster(array, "other.tif", transform=at(5e5, 5e6))]
    for scene in scenes:
        with rasterio.open(scene, "r+") as file:
            file.descriptions = names
    job.build(scenes, tmp_path / "out", Options(size=48))
    draw_sheet(tmp_path / "out", tmp_path / "sheet.png")
    draw_sheet(tmp_path / "out", tmp_path / "chosen.png", rgb=(names[0], 2, 3))
    red, _, blue = colours(tmp_path / "sheet.png")
    strong = {"B02": blue, "nir": None, "b": red}[names[0]]
    if strong is not None:
        assert (strong - np.minimum(red, blue) > 100).mean() > 0.02
        assert (np.maximum(red, blue) - strong > 100).mean() < 0.01
    red, _, blue = colours(tmp_path / "chosen.png")
    assert (red - blue > 100).mean() > 0.02


def colours(path):
    with Image.open(path) as sheet:
        return np.asarray(sheet.convert("RGB")).astype(int).transpose(2, 0, 1)
