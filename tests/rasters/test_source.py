import os
import pickle
import sys
from pathlib import Path

import numpy as np
import pytest
import rasterio
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from geosr.errors import OptionError, OutputError, RasterError
from geosr.files import check_output
from geosr.grid import Grid, Window
from geosr.rasters import source as raster
from geosr.rasters.containers import tags_bytes
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


def gdal_mask(folder, values, nodata):
    """GDAL's own mask of values in a row, by a VRT with this nodata value."""
    kind = str(values.dtype).replace("uint8", "Byte").replace("u", "U").replace("int", "Int").replace("float", "Float")
    (folder / "a.raw").write_bytes(values.tobytes())
    (folder / "a.vrt").write_text(
        f'<VRTDataset rasterXSize="{values.size}" rasterYSize="1">'
        f'<VRTRasterBand dataType="{kind}" band="1" subClass="VRTRawRasterBand"><NoDataValue>{nodata!r}</NoDataValue>'
        f'<SourceFilename relativeToVRT="1">a.raw</SourceFilename><ImageOffset>0</ImageOffset>'
        f"<PixelOffset>{values.itemsize}</PixelOffset><LineOffset>{values.nbytes}</LineOffset>"
        "</VRTRasterBand></VRTDataset>"
    )
    with rasterio.open(folder / "a.vrt") as row:
        return row.read_masks(1)[0] > 0


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@given(data=st.data())
def test_floats_are_nodata_when_gdal_says_so(tmp_path_factory, dtype, data):
    width = int(dtype[-2:])
    ends = st.sampled_from([-9999.0, 0.0, 1e-20, float(np.finfo(dtype).min), float(np.finfo(dtype).max), -3.402823e38])
    nodata = data.draw(ends | st.floats(width=width, allow_nan=False, allow_infinity=False))
    shares = data.draw(st.lists(st.floats(-1e-6, 1e-6), min_size=1, max_size=20))
    with np.errstate(over="ignore"):
        near = (nodata * (1 + np.array(shares))).astype(dtype)
        others = data.draw(st.lists(st.floats(width=width), max_size=20))
    values = np.concatenate([near, np.array(others, dtype), np.array([nodata, -1e34, 3e38], dtype)])
    expected = gdal_mask(tmp_path_factory.mktemp("mask"), values, nodata) & np.isfinite(values)
    assert (raster.measured(values, nodata) == expected).all()


@pytest.mark.parametrize(
    ("dtype", "nodata"),
    [("uint64", 2**64 - 1), ("uint64", 2**53 + 1), ("int64", -(2**63) + 2), ("int64", -(2**63)), ("int32", -9999)],
)
def test_integers_are_nodata_when_gdal_says_so(tmp_path, dtype, nodata):
    info = np.iinfo(dtype)
    near = [value for value in range(nodata - 3, nodata + 4) if info.min <= value <= info.max]
    values = np.array([*near, 0, info.min, info.max], dtype)
    assert (raster.measured(values, nodata) == gdal_mask(tmp_path, values, nodata)).all()
    source = RasterSource(tmp_path / "a.vrt")
    assert source.profile.nodata == nodata
    assert (source.read(source.profile.window).valid[0, 0] == (values != np.array(nodata, dtype))).all()


@pytest.mark.parametrize("block", [b"", b"II", b"\xaa" * 40, b"II*\0\xff\xff\xff\x7f"])
def test_broken_exif_is_no_reason_to_refuse_a_jpeg(tmp_path, block):
    Image.fromarray(np.moveaxis(texture(3, 20, 30), 0, -1)).save(tmp_path / "whole.jpg")
    start, rest = (content := (tmp_path / "whole.jpg").read_bytes())[:2], content[2:]
    payload = b"Exif\0\0" + block
    path = tmp_path / "photo.jpg"
    path.write_bytes(start + b"\xff\xe1" + (len(payload) + 2).to_bytes(2, "big") + payload + rest)
    source = RasterSource(path)
    with rasterio.open(tmp_path / "whole.jpg") as whole:
        np.testing.assert_array_equal(source.read(source.profile.window).block, whole.read())


def test_bands_without_end_are_refused_at_once(make_raster, tmp_path):
    path, bands = make_raster(texture(1, 9, 9)), range(1, 32_770)
    band = '<VRTRasterBand dataType="Byte" band="{}"/>'
    (tmp_path / "many.vrt").write_text(
        f'<VRTDataset rasterXSize="9" rasterYSize="9">{"".join(map(band.format, bands))}</VRTDataset>'
    )
    with pytest.raises(RasterError, match="has 32769 bands, and at most 4096 are read; put those that you want"):
        RasterSource(tmp_path / "many.vrt")
    assert RasterSource(path).profile.count == 1


@pytest.mark.parametrize("order", ["LITTLE", "BIG"])
@pytest.mark.parametrize("big", ["NO", "YES"])
def test_tags_without_end_are_refused_before_gdal_reads_them(make_raster, tmp_path, order, big):
    path = make_raster(texture(1, 9, 9), ENDIANNESS=order, BIGTIFF=big)
    with rasterio.open(path, "r+") as out:
        out.update_tags(**{f"TAG{i:05}": "x" * 1000 for i in range(1200)})
    assert tags_bytes(str(path)) > 1_200_000
    with pytest.raises(RasterError, match=r"scene.tif' has more than 10000 tags, or a megabyte of them; remove them"):
        RasterSource(path)
    assert tags_bytes(str(tmp_path)) == tags_bytes("/vsimem/none") == 0


def test_tags_without_end_are_refused_in_other_formats(make_raster, tmp_path):
    tags = "".join(f'<MDI key="TAG{i:05}">x</MDI>' for i in range(10_001))
    band = '<VRTRasterBand dataType="Byte" band="1"/>'
    (tmp_path / "tags.vrt").write_text(
        f'<VRTDataset rasterXSize="9" rasterYSize="9"><Metadata>{tags}</Metadata>{band}</VRTDataset>'
    )
    with pytest.raises(RasterError, match="has more than 10000 tags"):
        RasterSource(tmp_path / "tags.vrt")


@pytest.mark.skipif(sys.platform != "linux", reason="needs a file system that takes any bytes, as on Linux")
def test_names_that_are_not_utf_8_are_said_in_one_line(make_raster, tmp_path):
    name = os.fsdecode(os.fsencode(tmp_path) + b"/n\xff.tif")
    Path(make_raster()).rename(name)
    with pytest.raises(RasterError, match=r"^cannot read .*: its name is not UTF-8; rename it$"):
        RasterSource(name)
    with pytest.raises(OutputError, match=r"^the name .* is not UTF-8; choose another output$"):
        check_output(Path(name), [], overwrite=True)
