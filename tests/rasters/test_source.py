import pickle

import numpy as np
import pytest
import rasterio
from hypothesis import given
from hypothesis import strategies as st

from geosr.errors import OptionError, RasterError
from geosr.grid import Grid, Window
from geosr.rasters import source as raster
from geosr.rasters.source import ArraySource, RasterSource
from tests.conftest import texture


@given(st.integers(1, 30), st.integers(1, 30), st.integers(1, 20), st.integers(0, 12))
def test_blocks_are_the_whole_raster_mirrored_past_its_edges(width, height, size, halo):
    image = np.arange(2 * height * width).reshape(2, height, width)
    whole = np.pad(image, ((0, 0), (40, 40), (40, 40)), mode="symmetric")
    source = ArraySource(image)
    for tile in Grid(width, height, size, halo):
        needed = tile.core.pad(halo)
        rows, cols = needed.slices(within=tile.outer)
        expected = whole[(slice(None), *needed.slices(within=Window(-40, -40, width + 80, height + 80)))]
        assert (source.read(tile.outer).block[:, rows, cols] == expected).all()


def test_a_file_reads_as_the_array_that_it_holds(make_raster):
    array = texture(3, 50, 60)
    path = make_raster(array)
    window = Window(40, 30, 30, 30)
    assert (RasterSource(path).read(window).block == ArraySource(array).read(window).block).all()
    assert (RasterSource(path, [3, 1]).read(window).block == ArraySource(array[[2, 0]]).read(window).block).all()


def test_a_source_pickles_as_its_arguments_and_reads_the_same(make_raster):
    source = RasterSource(make_raster(), [2])
    data = pickle.dumps(source)
    assert len(data) < 500
    assert (pickle.loads(data).read(Window(0, 0, 9, 9)).block == source.read(Window(0, 0, 9, 9)).block).all()


def test_valid_pixels_are_measured_ones(make_raster):
    array = texture(2, 20, 20, dtype="float32")
    array[0, 3, 4] = np.nan
    array[1, 5, 6] = np.inf
    array[1, 7, 8] = -9999
    source = RasterSource(make_raster(array, nodata=-9999))
    window = source.profile.window
    bad = ~source.read(window).valid
    assert np.argwhere(bad).tolist() == [[0, 3, 4], [1, 5, 6], [1, 7, 8]]


def test_a_mask_band_makes_pixels_invalid(make_raster):
    path = make_raster(texture(3, 20, 20))
    with rasterio.open(path, "r+") as out:
        mask = np.full((20, 20), 255, "uint8")
        mask[:5] = 0
        out.write_mask(mask)
    source = RasterSource(path)
    window = source.profile.window
    assert source.profile.masked
    assert not source.read(window).valid[:, :5].any()
    assert source.read(window).valid[:, 5:].all()


def test_what_is_no_raster_is_said_in_one_line(tmp_path):
    (tmp_path / "notes.tif").write_text("not a raster at all")
    for path in (tmp_path / "notes.tif", tmp_path / "missing.tif"):
        with pytest.raises(RasterError, match=path.name) as error:
            RasterSource(path)
        assert "\n" not in str(error.value)


def test_bands_that_are_not_there_are_refused(make_raster):
    with pytest.raises(OptionError, match=r"has bands 1 to 3, got 4"):
        RasterSource(make_raster(), [1, 4])


def test_a_damaged_block_names_file_band_and_place(make_raster):
    path = make_raster(texture(1, 256, 256), tiled=True, blockxsize=128, blockysize=128, compress="deflate")
    with rasterio.open(path) as written:
        offset = int(written.get_tag_item("BLOCK_OFFSET_1_1", "TIFF", bidx=1))
    data = bytearray(path.read_bytes())
    data[offset : offset + 200] = b"\xff" * 200
    path.write_bytes(data)
    source = RasterSource(path)
    source.read(Window(0, 0, 100, 100))
    with pytest.raises(RasterError, match=r"scene.tif', band 1, rows 128 to 256, columns 128 to 256: .*--skip-errors"):
        source.read(Window(130, 130, 100, 100))


def test_uint8_has_its_whole_range_and_others_that_of_the_scene(make_raster):
    assert str(raster.scene_range(RasterSource(make_raster(texture(2, 30, 30))))) == "0,255 0,255"
    other = make_raster(texture(2, 100, 100, dtype="uint16", low=200, high=3000), name="b.tif")
    values = raster.scene_range(RasterSource(other))
    assert 200 <= values.low[0] < values.high[0] <= 3000
