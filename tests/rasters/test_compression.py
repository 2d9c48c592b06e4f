import numpy as np
import pytest
import rasterio
import rasterio.shutil

from geosr.rasters import compression
from geosr.rasters.profile import Profile
from tests.conftest import texture


def pixels_changed(source, folder, driver, options):
    """GDAL's own answer: a copy with these options in addition to our own has other pixels."""
    path = folder / f"copy.{driver}"
    extra = compression.creation_options("uint8", options) if driver == "GTiff" else None
    rasterio.shutil.copy(source, path, driver=driver, **(extra or compression.format_options(driver, options, "uint8")))
    with rasterio.open(source) as before, rasterio.open(path) as after:
        return bool((before.read() != after.read()).any())


@pytest.mark.parametrize(
    ("driver", "options"),
    [
        ("GTiff", {}),
        ("GTiff", {"COMPRESS": "ZSTD"}),
        ("GTiff", {"COMPRESS": "JPEG"}),
        ("GTiff", {"COMPRESS": "JPEG", "JPEG_QUALITY": "100"}),
        ("GTiff", {"COMPRESS": "LERC"}),
        ("GTiff", {"COMPRESS": "LERC_ZSTD", "MAX_Z_ERROR": "5"}),
        ("GTiff", {"COMPRESS": "WEBP"}),
        ("GTiff", {"COMPRESS": "WEBP", "WEBP_LOSSLESS": "TRUE"}),
        ("COG", {}),
        ("COG", {"COMPRESS": "WEBP"}),
        ("COG", {"COMPRESS": "WEBP", "QUALITY": "100"}),
        ("COG", {"COMPRESS": "JPEG", "QUALITY": "100"}),
        ("COG", {"COMPRESS": "LERC", "MAX_Z_ERROR": "5"}),
        ("JP2OpenJPEG", {}),
        ("JP2OpenJPEG", {"QUALITY": "20"}),
        ("JP2OpenJPEG", {"REVERSIBLE": "NO"}),
        ("WEBP", {}),
        ("WEBP", {"LOSSLESS": "NO"}),
        ("WEBP", {"LOSSLESS": "FALSE", "QUALITY": "90"}),
        ("JPEG", {}),
        ("JPEG", {"QUALITY": "100"}),
        ("PNG", {}),
        ("GPKG", {}),
        ("GPKG", {"TILE_FORMAT": "JPEG"}),
        ("GPKG", {"TILE_FORMAT": "AUTO"}),
        ("HFA", {"COMPRESSED": "YES"}),
    ],
)
def test_loss_is_known_by_the_options(make_raster, tmp_path, driver, options):
    source = make_raster(texture(3, 300, 300), photometric="RGB")
    assert compression.is_lossy(driver, options, "uint8") == pixels_changed(source, tmp_path, driver, options)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "float32"])
def test_a_geopackage_holds_the_pixels_of_each_type(make_raster, tmp_path, dtype):
    source = make_raster(texture(1, 300, 300, dtype=dtype, low=1, high=199.5), nodata=0)
    options = compression.format_options("GPKG", {}, dtype)
    rasterio.shutil.copy(source, tmp_path / "a.gpkg", driver="GPKG", **options)
    with rasterio.open(source) as before, rasterio.open(tmp_path / "a.gpkg") as after:
        assert (before.read() == after.read()).all()


@pytest.mark.parametrize("driver", ["GTiff", "COG"])
def test_jpeg_xl_is_lossless_unless_it_is_told_otherwise(driver):
    """As GDAL's pages of the two drivers say: not every build can write it."""
    assert not compression.is_lossy(driver, {"COMPRESS": "JXL"}, "uint8")
    assert compression.is_lossy(driver, {"COMPRESS": "JXL", "JXL_LOSSLESS": "NO"}, "uint8")


@pytest.mark.parametrize("compress", ["DEFLATE", "ZSTD", "LERC", "WEBP", "JPEG"])
def test_files_tell_whether_their_compression_changed_pixels(make_raster, compress):
    array = texture(3, 64, 64)
    path = make_raster(array, compress=compress, photometric="RGB")
    with rasterio.open(path) as written:
        lossy = bool((written.read() != array).any())
        assert compression.was_lossy(written.tags(ns="IMAGE_STRUCTURE")) == lossy


def test_both_kinds_of_geotiff_take_the_same_level_unless_told():
    assert (
        compression.creation_options("uint8", {})["ZLEVEL"]
        == compression.format_options("COG", {}, "uint8")["LEVEL"]
        == "1"
    )
    assert compression.format_options("COG", {"level": "6"}, "uint8")["LEVEL"] == "6"
    assert "LEVEL" not in compression.format_options("COG", {"compress": "ZSTD"}, "uint8")
    assert "PREDICTOR" not in compression.format_options("COG", {"compress": "jpeg"}, "uint8")


@pytest.mark.parametrize("dtype", ["uint8", "int32", "float32"])
def test_the_predictor_fits_the_dtype(tmp_path, dtype):
    options = compression.creation_options(dtype, {})
    with rasterio.open(
        tmp_path / "a.tif", "w", driver="GTiff", width=300, height=300, count=1, dtype=dtype, **options
    ) as out:
        out.write(np.ones((1, 300, 300), dtype))
    with rasterio.open(tmp_path / "a.tif") as written:
        structure = written.tags(ns="IMAGE_STRUCTURE")
        assert (structure["COMPRESSION"], written.block_shapes) == ("DEFLATE", [(256, 256)])
        assert structure["PREDICTOR"] == ("3" if Profile(1, 1, 1, dtype).dtype == "float32" else "2")
