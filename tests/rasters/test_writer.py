import numpy as np
import pytest
import rasterio
from rasterio.crs import CRS

from geosr.errors import OptionError, OutputError
from geosr.grid import Window
from geosr.rasters import compression, writer
from geosr.rasters.profile import Profile
from tests.conftest import texture


def write(path, array, **more):
    """A GeoTIFF of one part."""
    profile = Profile(array.shape[2], array.shape[1], array.shape[0], str(array.dtype), **more)
    parts = [(profile.window, writer.encode(array))]
    assert list(writer.join(parts, path, profile, compression.creation_options(profile.dtype, {}))) == [None]
    return profile


def test_parts_come_back_with_mask_and_note(tmp_path):
    array = texture(2, 40, 30, dtype="uint16")
    mask = array[0] > 100
    profile = Profile(60, 40, 2, "uint16", masked=True)
    parts = [
        (Window(0, 0, 30, 40), writer.encode(array, mask, note="[1]")),
        (Window(30, 0, 30, 40), writer.encode(array, ~mask)),
    ]
    notes = list(writer.join(parts, tmp_path / "a.tif", profile, compression.creation_options("uint16", {})))
    assert notes == ["[1]", None]
    with rasterio.open(tmp_path / "a.tif") as out:
        assert (out.read() == np.concatenate([array, array], axis=2)).all()
        assert (out.dataset_mask() == np.concatenate([mask, ~mask], axis=1) * 255).all()


def test_a_sample_is_compressed_as_the_output_where_that_is_without_loss():
    array = texture(1, 100, 100, dtype="uint16")
    kinds = {}
    for compress in ("ZSTD", "DEFLATE", "JPEG", "NONE", ""):
        with rasterio.MemoryFile(writer.encode(array, compress=compress)) as memory, memory.open() as part:
            kinds[compress] = part.compression.value
            assert (part.read() == array).all()
    assert kinds == {"ZSTD": "ZSTD", "DEFLATE": "DEFLATE", "JPEG": "DEFLATE", "NONE": "DEFLATE", "": "DEFLATE"}


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint32", "float32", "float64"])
def test_parts_are_compressed_quickly_and_without_loss(dtype):
    array = texture(2, 100, 100, dtype=dtype)
    with rasterio.MemoryFile(writer.encode(array)) as memory, memory.open() as part:
        assert part.compression.value == "ZSTD"
        assert (part.read() == array).all()


def test_parts_are_deflated_where_gdal_has_no_zstandard(monkeypatch):
    def no_codec(*args, **kwargs):
        raise rasterio.errors.RasterioIOError("missing codec")

    writer.part_options.cache_clear()
    with monkeypatch.context() as patch:
        patch.setattr("rasterio.io.MemoryFile.open", no_codec)
        assert compression.creation_options("uint8", writer.part_options())["COMPRESS"] == "DEFLATE"
    writer.part_options.cache_clear()


def test_creation_options_fit_the_dtype_and_give_way():
    assert compression.creation_options("float32", {})["PREDICTOR"] == "3"
    assert compression.creation_options("uint16", {})["PREDICTOR"] == "2"
    assert compression.creation_options("uint16", {"compress": "LZW"})["COMPRESS"] == "LZW"
    assert "ZLEVEL" not in compression.creation_options("uint16", {"compress": "LZW"})
    assert compression.creation_options("uint16", {"zlevel": "9"})["ZLEVEL"] == "9"
    assert "PREDICTOR" not in compression.creation_options("uint8", {"COMPRESS": "NONE"})


# CRSes that GeoTIFF keys cannot spell: a moon's, three-dimensional, geocentric, of France's institute.
@pytest.mark.parametrize("crs", ["IAU_2015:50301", "EPSG:9183", "EPSG:4986", "IGNF:LAMB2"])
def test_a_crs_that_geotiff_keys_cannot_spell_is_kept_beside(tmp_path, crs):
    crs = CRS.from_string(crs)
    profile = write(tmp_path / "a.tif", texture(1, 20, 20), crs=crs)
    with rasterio.open(tmp_path / "a.tif") as out:
        assert out.crs == crs
    assert writer.lost(tmp_path / "a.tif", profile) == []


def test_a_crs_that_no_file_can_hold_is_told(tmp_path):
    crs = CRS.from_string("IAU_2015:65390")
    profile = write(tmp_path / "a.tif", texture(1, 20, 20), crs=crs)
    assert writer.lost(tmp_path / "a.tif", profile) == ["the CRS"]
    assert [path.name for path in tmp_path.iterdir()] == ["a.tif"]


@pytest.mark.parametrize(
    ("driver", "name"), [("COG", "b.tif"), ("PNG", "b.png"), ("HFA", "b.img"), ("JP2OpenJPEG", "b.jp2"), ("ENVI", "b")]
)
def test_copies_in_other_formats_hold_the_same(tmp_path, driver, name):
    array = texture(3, 600, 500)
    crs, transform = CRS.from_epsg(32633), rasterio.Affine(10, 0, 4e5, 0, -10, 5e6)
    profile = write(tmp_path / "a.tif", array, crs=crs, transform=transform, tags={"": {"MISSION": "one"}})
    writer.copy(tmp_path / "a.tif", tmp_path / name, driver, {})
    with rasterio.open(tmp_path / name) as out:
        assert (out.read() == array).all()
        assert (out.crs, out.transform) == (crs, transform)
    assert writer.lost(tmp_path / name, profile) == []


def test_what_a_format_cannot_hold_is_told(tmp_path):
    profile = write(tmp_path / "a.tif", texture(1, 30, 30), crs=CRS.from_epsg(32633), nodata=7, units=("m",))
    with rasterio.Env(GDAL_PAM_ENABLED=False):
        rasterio.shutil.copy(tmp_path / "a.tif", tmp_path / "b.bmp", driver="BMP")
    for beside in tmp_path.glob("*.xml"):
        beside.unlink()
    assert writer.lost(tmp_path / "b.bmp", profile) == ["the CRS", "the nodata value", "the units of the bands"]


def test_overviews_go_down_to_a_block(tmp_path):
    write(tmp_path / "a.tif", texture(1, 1500, 1100))
    writer.add_overviews(tmp_path / "a.tif")
    with rasterio.open(tmp_path / "a.tif") as out:
        assert out.overviews(1) == [2, 4, 8]
    with rasterio.open(tmp_path / "a.tif", overview_level=0) as out:
        assert (out.compression.value, out.tags(ns="IMAGE_STRUCTURE")["PREDICTOR"]) == ("DEFLATE", "2")


@pytest.mark.parametrize(
    ("driver", "dtype", "options", "told"),
    [
        ("VRT", "uint8", {}, "a VRT holds no pixels, it refers to those of other files; choose another --format"),
        ("PNG", "float32", {}, "GDAL refuses to write this raster as PNG"),
        ("BMP", "uint16", {}, "GDAL refuses to write this raster as BMP"),
        ("COG", "uint8", {"COMPRESS": "NOSUCH"}, "GDAL refuses the creation options COMPRESS=NOSUCH"),
        ("COG", "uint8", {"NOSUCH": "1"}, "GDAL refuses the creation options NOSUCH=1"),
        ("GTiff", "uint8", {"NOSUCH": "1"}, "GDAL refuses the creation options NOSUCH=1"),
        ("GTiff", "uint16", {"COMPRESS": "JPEG"}, "GDAL refuses the creation options COMPRESS=JPEG"),
        ("GTiff", "uint8", {"COMPRESS": "CCITTFAX4"}, "GDAL refuses the creation options COMPRESS=CCITTFAX4"),
        ("GTiff", "uint8", {"COMPRESS": "WEBP"}, "GDAL refuses the creation options COMPRESS=WEBP"),
        ("GTiff", "uint8", {"NBITS": "4"}, "NBITS would cut values"),
    ],
)
def test_formats_and_options_that_cannot_be_are_refused(driver, dtype, options, told):
    with pytest.raises(OptionError, match=told) as error:
        writer.check_creation(Profile(9, 9, 1, dtype), driver, options)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("driver", ["GTiff", "COG", "HFA", "JP2OpenJPEG", "PNG", "ENVI"])
def test_formats_that_can_be_are_not_refused(driver):
    writer.check_creation(Profile(9, 9, 3, "uint16"), driver, {})


def test_formats_are_named_in_any_case():
    assert [writer.driver_named(name) for name in ("cog", "GTIFF", "png")] == ["COG", "GTiff", "PNG"]
    with pytest.raises(OptionError, match="GDAL has no format 'NOSUCH'"):
        writer.driver_named("NOSUCH")


def test_a_format_that_makes_a_folder_is_refused():
    with pytest.raises(OptionError, match=r"Zarr makes a folder|GDAL refuses to write this raster as Zarr|no format"):
        writer.check_creation(Profile(9, 9, 1, "uint8"), writer.driver_named("Zarr"), {})


def test_names_tell_formats_and_the_other_way_round(tmp_path):
    assert [writer.driver_of(tmp_path / name) for name in ("a.tif", "a.TIFF", "a.img", "a.jp2")] == [
        "GTiff", "GTiff", "HFA", "JP2OpenJPEG"
    ]  # fmt: skip
    with pytest.raises(OptionError, match=r"the ending of 'a\.xyz_' is that of no format"):
        writer.driver_of(tmp_path / "a.xyz_")
    assert writer.name_in("GTiff", "a.jp2") == "a.tif"
    assert writer.name_in("COG", "a.TIFF") == "a.TIFF"
    assert writer.name_in("HFA", "a.b.tif") == "a.b.img"


def test_a_file_that_cannot_be_written_is_said(tmp_path):
    profile = Profile(5, 5, 1, "uint8")
    with pytest.raises(OutputError, match="cannot write"):
        list(writer.join([], tmp_path / "no" / "a.tif", profile, {}))


@pytest.mark.parametrize("driver", ["GTiff", "COG"])
@pytest.mark.parametrize("bands", [1, 3])
def test_overviews_obey_the_mask_and_the_nodata_value_together(make_raster, tmp_path, bands, driver):
    rng = np.random.default_rng(0)
    array = rng.integers(100, 200, (bands, 600, 560)).astype("uint8")
    hole, mask = rng.random((600, 560)) < 0.3, rng.random((600, 560)) > 0.3
    array[:, hole] = 0
    path = make_raster(array, nodata=0, tiled=True)
    with rasterio.open(path, "r+") as out:
        out.write_mask(mask)
    writer.add_overviews(path)
    if driver == "COG":
        writer.copy(path, tmp_path / "cog.tif", "COG", {})
        path = tmp_path / "cog.tif"
    with rasterio.open(path) as out:
        assert (out.read() == array).all()
        assert ((out.dataset_mask() > 0) == mask).all()
    valid = (mask & ~hole).reshape(300, 2, 280, 2)
    count = valid.sum((1, 3))
    mean = (array.reshape(bands, 300, 2, 280, 2) * valid).sum((2, 4)) / np.maximum(count, 1)
    with rasterio.open(path, overview_level=0) as out:
        level, shown = out.read(), out.dataset_mask() > 0
    assert (shown == (count > 0)).all()
    assert (level[:, count == 0] == 0).all()
    assert np.abs(level - mean)[:, count > 0].max() <= 0.5


@pytest.mark.parametrize("driver", ["GTiff", "COG"])
def test_nodata_of_single_bands_under_a_mask_is_not_averaged_with_their_picture(make_raster, tmp_path, driver):
    rng = np.random.default_rng(0)
    array = rng.integers(100, 200, (3, 600, 1100)).astype("uint8")
    array[rng.random(array.shape) < 0.3] = 0
    mask = rng.random(array.shape[1:]) > 0.3
    path = make_raster(array, nodata=0, tiled=True)
    with rasterio.open(path, "r+") as out:
        out.write_mask(mask)
    writer.add_overviews(path)
    if driver == "COG":
        writer.copy(path, tmp_path / "cog.tif", "COG", {})
        path = tmp_path / "cog.tif"
    with rasterio.open(path) as out:
        assert (out.read() == array).all()
        assert ((out.dataset_mask() > 0) == mask).all()
        levels = len(out.overviews(1))
    for level in range(levels):
        with rasterio.open(path, overview_level=level) as out:
            values, shown = out.read(), out.dataset_mask() > 0
        assert (((values == 0) | (values >= 100)) | ~shown).all()
        assert 0.2 < (values[:, shown] == 0).mean() < 0.4


def test_a_part_of_another_format_is_none(tmp_path):
    array = texture(1, 40, 30)
    assert (writer.decode(writer.encode(array)) == array).all()
    write(tmp_path / "a.tif", array)
    for driver in ("VRT", "PNG"):
        rasterio.shutil.copy(tmp_path / "a.tif", tmp_path / "a", driver=driver)
        with pytest.raises(OutputError, match="a part is damaged; discard all parts with --restart"):
            writer.decode((tmp_path / "a").read_bytes())
