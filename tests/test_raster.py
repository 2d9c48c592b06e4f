import pickle

import numpy as np
import pytest
import rasterio
from affine import Affine
from conftest import camera, texture
from hypothesis import given
from hypothesis import strategies as st
from rasterio.control import GroundControlPoint

from geosr import raster
from geosr.errors import OptionError, RasterError, UnsupportedRaster
from geosr.grid import Grid, Window
from geosr.raster import ArraySource, Profile, RasterSource


@given(st.integers(1, 30), st.integers(1, 30), st.integers(1, 20), st.integers(0, 12))
def test_blocks_are_the_whole_raster_mirrored_past_its_edges(width, height, size, halo):
    image = np.arange(2 * height * width).reshape(2, height, width)
    whole = np.pad(image, ((0, 0), (40, 40), (40, 40)), mode="symmetric")
    source = ArraySource(image)
    for tile in Grid(width, height, size, halo):
        needed = tile.core.pad(halo)
        rows, cols = needed.slices(within=tile.outer)
        expected = whole[(slice(None), *needed.slices(within=Window(-40, -40, width + 80, height + 80)))]
        assert (source.read(tile.outer)[:, rows, cols] == expected).all()


def test_a_file_reads_as_the_array_that_it_holds(make_raster):
    array = texture(3, 50, 60)
    path = make_raster(array)
    window = Window(40, 30, 30, 30)
    assert (RasterSource(path).read(window) == ArraySource(array).read(window)).all()
    assert (RasterSource(path, [3, 1]).read(window) == ArraySource(array[[2, 0]]).read(window)).all()


def test_a_source_pickles_as_its_arguments_and_reads_the_same(make_raster):
    source = RasterSource(make_raster(), [2])
    data = pickle.dumps(source)
    assert len(data) < 500
    assert (pickle.loads(data).read(Window(0, 0, 9, 9)) == source.read(Window(0, 0, 9, 9))).all()


def test_valid_pixels_are_measured_ones(make_raster):
    array = texture(2, 20, 20, dtype="float32")
    array[0, 3, 4] = np.nan
    array[1, 5, 6] = np.inf
    array[1, 7, 8] = -9999
    source = RasterSource(make_raster(array, nodata=-9999))
    window = source.profile.window
    bad = ~source.valid(window, source.read(window))
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
    assert not source.valid(window, source.read(window))[:, :5].any()
    assert source.valid(window, source.read(window))[:, 5:].all()


def test_scaling_a_profile_keeps_the_ground():
    profile = Profile(7, 5, 1, "uint8", transform=Affine(2, 0.5, 100, 0.3, -3, 200))
    for k in (2, 3, 4):
        large = profile.scale(k)
        for corner in ((0, 0), (7, 0), (0, 5), (7, 5)):
            assert np.allclose(large.transform @ np.multiply(corner, k), profile.transform @ corner, rtol=0, atol=1e-9)


def test_scaling_a_profile_scales_control_points_and_rpcs():
    gcp = GroundControlPoint(row=2.5, col=3.5, x=10, y=20, z=3, id="a")
    rpcs = camera(999.5, 499.5, 1000)
    large = Profile(7, 5, 1, "uint8", gcps=(gcp,), rpcs=rpcs).scale(2)
    assert (large.gcps[0].row, large.gcps[0].col, large.gcps[0].x, large.gcps[0].z) == (5, 7, 10, 3)
    # The centre of pixel 999.5 + 0.5 = 1000.0 from the corner lies 2000.0 from it in pixels half as large.
    assert (large.rpcs.line_off, large.rpcs.line_scale) == (1999.5, 2000)
    assert (large.rpcs.samp_off, large.rpcs.samp_scale) == (999.5, 2000)
    assert large.rpcs.lat_off == rpcs.lat_off


def test_a_palette_is_refused_with_the_command_that_expands_it(make_raster):
    path = make_raster(texture(1, 20, 20))
    with rasterio.open(path, "r+") as out:
        out.write_colormap(1, {0: (0, 0, 0, 255), 1: (255, 0, 0, 255)})
    with pytest.raises(UnsupportedRaster, match=r"palette; expand it first: gdal_translate -expand rgb"):
        RasterSource(path)


def test_complex_numbers_and_single_bits_are_refused(make_raster):
    with pytest.raises(UnsupportedRaster, match="complex64"):
        RasterSource(make_raster(texture(1, 20, 20, dtype="complex64")))
    with pytest.raises(UnsupportedRaster, match="1 bit"):
        RasterSource(make_raster(texture(1, 20, 20) // 255, nbits=1))


def test_a_nodata_value_for_each_band_is_refused(make_raster, tmp_path):
    from rasterio.shutil import copy

    copy(make_raster(texture(2, 20, 20), nodata=0), tmp_path / "a.vrt", driver="VRT")
    text = (tmp_path / "a.vrt").read_text()
    head, _, tail = text.rpartition("<NoDataValue>0</NoDataValue>")
    (tmp_path / "a.vrt").write_text(f"{head}<NoDataValue>7</NoDataValue>{tail}")
    with pytest.raises(UnsupportedRaster, match="has a nodata value for each band"):
        RasterSource(tmp_path / "a.vrt")


def test_what_is_no_raster_is_said_in_one_line(tmp_path):
    (tmp_path / "notes.tif").write_text("not a raster at all")
    for path in (tmp_path / "notes.tif", tmp_path / "missing.tif"):
        with pytest.raises(RasterError, match=path.name) as error:
            RasterSource(path)
        assert "\n" not in str(error.value)


def test_bands_that_are_not_there_are_refused(make_raster):
    with pytest.raises(OptionError, match=r"has bands 1 to 3, got 4"):
        RasterSource(make_raster(), [1, 4])


def test_a_damaged_block_names_file_and_place(make_raster):
    path = make_raster(texture(1, 256, 256), tiled=True, blockxsize=128, blockysize=128, compress="deflate")
    with rasterio.open(path) as written:
        offset = int(written.get_tag_item("BLOCK_OFFSET_1_1", "TIFF", bidx=1))
    data = bytearray(path.read_bytes())
    data[offset : offset + 200] = b"\xff" * 200
    path.write_bytes(data)
    source = RasterSource(path)
    source.read(Window(0, 0, 100, 100))
    with pytest.raises(RasterError, match=r"scene.tif.*rows and columns \(\(130, 230\), \(130, 230\)\)"):
        source.read(Window(130, 130, 100, 100))


def test_uint8_has_its_whole_range_and_others_that_of_the_scene(make_raster):
    assert str(raster.scene_range(RasterSource(make_raster(texture(2, 30, 30))))) == "0,255 0,255"
    other = make_raster(texture(2, 100, 100, dtype="uint16", low=200, high=3000), name="b.tif")
    values = raster.scene_range(RasterSource(other))
    assert 200 <= values.low[0] < values.high[0] <= 3000


def test_footprints_are_in_degrees(make_raster):
    west, south, east, north = raster.footprint(RasterSource(make_raster()).profile)
    assert 13 < west < east < 14
    assert 45 < south < north < 46
    assert raster.footprint(Profile(3, 3, 1, "uint8")) is None


def test_creation_options_fit_the_dtype_and_give_way():
    assert raster.creation_options("float32", {})["PREDICTOR"] == "3"
    assert raster.creation_options("uint16", {})["PREDICTOR"] == "2"
    assert raster.creation_options("uint16", {"compress": "LZW"})["COMPRESS"] == "LZW"
    assert "PREDICTOR" not in raster.creation_options("uint8", {"COMPRESS": "NONE"})
