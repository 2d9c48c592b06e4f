import numpy as np
import pytest
import rasterio
import rasterio.shutil
from affine import Affine
from PIL import Image

from geosr.grid import Window
from geosr.rasters.profile import profile_of
from geosr.rasters.source import RasterSource
from geosr.superresolve.job import super_resolve
from geosr.superresolve.options import Options
from tests.conftest import camera, texture

BICUBIC = Options(model="bicubic", scale=2)


def in_format(make_raster, tmp_path, name, driver, **options):
    """A raster of three bands in another format of GDAL, with what that writes of its grid."""
    source = make_raster(texture(3, 50, 64), crs="EPSG:4326", transform=Affine(0.1, 0, 10, 0, -0.1, 50))
    with rasterio.open(source, "r+") as out:
        out.rpcs = camera(24.5, 31.5, 30)
        out.update_tags(TIFFTAG_XRESOLUTION="72", TIFFTAG_YRESOLUTION="72", TIFFTAG_RESOLUTIONUNIT="2 (pixels/inch)")
        out.update_tags(MISSION="one")
    rasterio.shutil.copy(source, tmp_path / name, driver=driver, **options)
    return tmp_path / name


def all_tags(path):
    """Every name and value of every domain, as one text."""
    with rasterio.open(path) as dataset:
        spaces = ["", *dataset.tag_namespaces()]
        return {ns: dataset.tags(ns=ns) if ns else dataset.tags() for ns in spaces}


def enlarged(source, tmp_path, name="out.tif", **options):
    super_resolve(source, tmp_path / name, Options(model="bicubic", scale=2, **options), overwrite=True)
    return tmp_path / name


def test_nitf_keeps_what_tells_of_the_scene_and_its_rpcs_scale(make_raster, tmp_path, caplog):
    header = {"BLOCKA_BLOCK_COUNT": "01", "FTITLE": "A TITLE", "IDATIM": "20210304050607"}
    source = in_format(make_raster, tmp_path, "a.ntf", "NITF", RPC00B="YES", **header)
    assert {"TRE", "NITF_METADATA"} <= all_tags(source).keys()
    for name in ("out.tif", "out.ntf"):
        caplog.clear()
        output = enlarged(source, tmp_path, name)
        tags = all_tags(output)
        assert (tags[""]["NITF_FTITLE"].strip(), tags[""]["NITF_IDATIM"]) == ("A TITLE", "20210304050607")
        assert "metadata of the domain TRE (BLOCKA) cannot be carried" in caplog.text
        if name == "out.tif":
            assert not {"TRE", "xml:TRE", "NITF_METADATA", "CGM"} & tags.keys()
            assert not {"NITF_IGEOLO", "NITF_ABPP", "NITF_BLOCKA_BLOCK_COUNT"} & tags[""].keys()
        with rasterio.open(output) as out:
            assert out.rpcs.line_off == pytest.approx(49.5, abs=0.6)
            assert out.rpcs.samp_off == pytest.approx(63.5, abs=0.6)
            assert (out.rpcs.line_scale, out.rpcs.samp_scale) == (60, 60)
            assert np.allclose(out.bounds, (10, 45, 16.4, 50), atol=1e-5)


def test_gmljp2_is_written_anew(make_raster, tmp_path):
    source = in_format(make_raster, tmp_path, "a.jp2", "JP2OpenJPEG", QUALITY="100", REVERSIBLE="YES")
    assert "xml:gml.root-instance" in all_tags(source)
    output = enlarged(source, tmp_path)
    assert not [ns for ns in all_tags(output) if "gml" in ns]
    output = enlarged(source, tmp_path, "out.jp2")
    assert "127 99" in all_tags(output)["xml:gml.root-instance"]["xml:gml.root-instance"]


def test_an_envi_header_is_not_copied_but_for_the_bands(make_raster, tmp_path):
    source = in_format(make_raster, tmp_path, "a.dat", "ENVI")
    header = source.with_suffix(".hdr")
    header.write_text(header.read_text() + "wavelength = {660, 550, 480}\nsensor type = mine\nx start = 7\n")
    with rasterio.open(source) as before:
        assert {"samples", "map_info", "data_type", "wavelength"} <= before.tags(ns="ENVI").keys()
    tags = all_tags(enlarged(source, tmp_path, bands=(3, 1)))
    assert tags["ENVI"] == {"sensor_type": "mine", "wavelength": "{480, 660}"}
    assert "Band_1" not in tags[""]
    output = enlarged(source, tmp_path, "out.img", bands=(3, 1), format="ENVI")
    header = output.with_suffix(".hdr").read_text()
    assert "samples = 128" in header
    assert "bands   = 2" in header
    assert header.count("map info") == 1
    assert header.split("description = {")[1].split("}")[0].strip() == "out.img"


def test_the_grid_of_a_netcdf_file_is_not_copied(make_raster, tmp_path):
    source = make_raster(texture(1, 50, 64), crs="EPSG:32633")
    with rasterio.open(source, "r+") as out:
        out.update_tags(**{"NC_GLOBAL#institution": "ours"})
    rasterio.shutil.copy(source, tmp_path / "a.nc", driver="netCDF")
    before = all_tags(tmp_path / "a.nc")[""]
    assert any(name.endswith("#GeoTransform") for name in before)
    after = all_tags(enlarged(tmp_path / "a.nc", tmp_path))[""]
    assert after["NC_GLOBAL#institution"] == "ours"
    assert not [
        name for name in after if "GeoTransform" in name or "spatial_ref" in name or name.startswith(("x#", "y#"))
    ]


@pytest.mark.parametrize("scale", [2, 3])
def test_resolutions_scale_with_the_pixels(make_raster, tmp_path, scale):
    source = in_format(make_raster, tmp_path, "a.tif", "GTiff")
    super_resolve(source, tmp_path / "out.tif", Options(model="bicubic", scale=scale))
    with Image.open(tmp_path / "out.tif") as picture:
        assert [float(value) for value in picture.info["dpi"]] == [72 * scale, 72 * scale]


def test_the_resolution_and_the_size_of_a_photo_scale(tmp_path):
    exif = Image.Exif()
    exif[282], exif[283], exif[296] = 300.0, 300.0, 2
    exif.get_ifd(0x8769).update({0xA002: 64, 0xA003: 50})
    Image.fromarray(np.moveaxis(texture(3, 50, 64), 0, -1)).save(tmp_path / "a.jpg", exif=exif, dpi=(300, 300))
    with rasterio.open(tmp_path / "a.jpg") as photo:
        profile = profile_of(photo)
    assert profile.tags[""]["EXIF_PixelXDimension"] == "64"
    for changed, size, resolution in (
        (profile.scale(2), ("128", "100"), "(600)"),
        (profile.crop(Window(0, 0, 20, 10)), ("20", "10"), "(300)"),
    ):
        tags = changed.tags[""]
        assert (tags["EXIF_PixelXDimension"], tags["EXIF_PixelYDimension"]) == size
        assert tags["EXIF_XResolution"] == tags["EXIF_YResolution"] == resolution


@pytest.mark.parametrize("element", ["Description", "UnitType"])
def test_names_and_units_that_are_not_utf_8_are_escaped_and_named(make_raster, tmp_path, caplog, element):
    vrt = tmp_path / "a.vrt"
    rasterio.shutil.copy(make_raster(texture(2, 20, 20)), vrt, driver="VRT")
    head, tag, tail = vrt.read_bytes().partition(b"<ColorInterp>")
    vrt.write_bytes(head + f"<{element}>Gr#n</{element}>".encode().replace(b"#", b"\xfc") + tag + tail)
    with rasterio.open(enlarged(vrt, tmp_path)) as out:
        assert (out.descriptions if element == "Description" else out.units) == ("Gr\\xfcn", None)
    assert "of bands that are not UTF-8, but for their bytes as numbers, cannot be carried" in caplog.text


def test_a_domain_that_people_wrote_is_carried(make_raster):
    source = make_raster()
    with rasterio.open(source, "r+") as out:
        out.update_tags(ns="MINE", a="1")
    assert RasterSource(source).profile.tags["MINE"] == {"a": "1"}
