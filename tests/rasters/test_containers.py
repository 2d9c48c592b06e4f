import shutil

import numpy as np
import pytest
import rasterio
import rasterio.shutil
from click.testing import CliRunner
from rasterio.crs import CRS

from geosr.cli.main import main
from geosr.errors import OptionError, RasterError
from geosr.grid import Window
from geosr.quality.verify import verify_output
from geosr.rasters.profile import Profile
from geosr.rasters.source import RasterSource
from geosr.rasters.writer import check_creation
from geosr.superresolve.folder import Running, super_resolve_folder
from geosr.superresolve.job import super_resolve
from geosr.superresolve.options import Options
from tests.conftest import texture

BICUBIC = Options(model="bicubic", scale=2)


def test_the_variables_of_a_netcdf_file_are_its_bands(make_raster, tmp_path):
    array = texture(3, 40, 50, dtype="int16", high=3000)
    source = make_raster(array, nodata=-1)
    rasterio.shutil.copy(source, tmp_path / "a.nc", driver="netCDF")
    raster = RasterSource(tmp_path / "a.nc")
    with rasterio.open(source) as expected:
        assert (raster.profile.count, raster.profile.crs, raster.profile.nodata) == (3, expected.crs, -1)
        assert np.allclose(raster.profile.transform, expected.transform)
    assert (raster.read(raster.profile.window).block == array).all()
    assert [*raster.files] == [str(tmp_path / "a.nc")]
    assert (raster.thumbnail(20)[0].shape) == (3, 16, 20)


def test_an_output_in_netcdf_is_known_again(make_raster, tmp_path):
    source = make_raster()
    (tmp_path / "in").mkdir()
    shutil.move(source, tmp_path / "in" / "a.tif")
    options = Options(model="bicubic", scale=2, format="netCDF")
    [first] = super_resolve_folder(tmp_path / "in", tmp_path / "out", options, Running())
    assert not first.error
    report = verify_output(tmp_path / "in" / "a.tif", tmp_path / "out" / "a.nc")
    assert (report.model, report.recomputed, report.bounds_error < 1e-6) == ("bicubic x2", 0, True)
    [second] = super_resolve_folder(tmp_path / "in", tmp_path / "out", options, Running())
    assert (second.error, second.done_before) == ("", True)


def test_formats_with_a_grid_of_their_own_are_refused(make_raster, tmp_path):
    source = make_raster()
    with pytest.raises(OptionError, match=r"MBTiles (has a grid of its own|would write 4 bands)"):
        super_resolve(source, tmp_path / "out.mbtiles", BICUBIC)
    assert not (tmp_path / "out.mbtiles").exists()
    rasterio.shutil.copy(source, tmp_path / "gdal.mbtiles", driver="MBTiles")
    with rasterio.open(source) as before, rasterio.open(tmp_path / "gdal.mbtiles") as after:
        assert (after.shape, after.count) != (before.shape, before.count)
    check_creation(Profile(9, 9, 3, "uint8"), "PNG", {})


@pytest.mark.parametrize("name", ["s3:y.tif", "zip:y.tif", "s3:in/s3:y.tif", "GTIFF_DIR:1:y.tif", "http:y.png"])
def test_files_whose_names_look_like_urls_are_files(make_raster, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "s3:in").mkdir()
    make_raster().rename(tmp_path / "s3:x.tif")
    for args in (
        ["superresolve", "s3:x.tif", name, "--model", "bicubic", "--overviews", "--stac"],
        ["superresolve", "s3:x.tif", name, "--model", "bicubic", "--overviews", "--stac", "--overwrite"],
        ["verify", "s3:x.tif", name],
    ):
        done = CliRunner().invoke(main, args)
        assert done.exit_code == 0, done.output
    with rasterio.open(tmp_path / name) as out:
        assert out.shape == (100, 120)


def test_a_map_that_is_nowhere_on_earth_is_no_reason_for_proj_to_speak(make_raster, capfd):
    path = make_raster(crs=rasterio.crs.CRS.from_wkt('LOCAL_CS["mine",UNIT["metre",1]]'))
    done = CliRunner().invoke(main, ["info", str(path), "--model", "bicubic"])
    assert done.exit_code == 0, done.output
    assert "PROJ" not in capfd.readouterr().err
    assert "projjson" not in done.output


@pytest.mark.parametrize(
    ("size", "coefficients", "fault"),
    [
        ("", "1", "a kernel whose size is no number"),
        ("x", "1", "a kernel whose size is no number"),
        ("0", "1", "a kernel of 0 x 0 pixels with 1 coefficients"),
        ("-3", "1 1 1", "a kernel of -3 x -3 pixels"),
        ("2147483647", "1 1 1", "a kernel of 2147483647 x"),
        ("3", "1 1 1 1", "a kernel of 3 x 3 pixels with 4 coefficients"),
    ],
)
def test_kernels_by_which_gdal_crashes_are_refused(make_raster, tmp_path, size, coefficients, fault):
    text = (
        '<VRTDataset rasterXSize="60" rasterYSize="50"><VRTRasterBand dataType="Byte" band="1"><KernelFilteredSource>'
        f"<SourceFilename>{make_raster()}</SourceFilename><SourceBand>1</SourceBand>"
        "<Kernel><Size>{}</Size><Coefs>{}</Coefs></Kernel></KernelFilteredSource></VRTRasterBand></VRTDataset>"
    )
    path = tmp_path / "kernel.vrt"
    path.write_text(text.format(3, "1 1 1 1 1 1 1 1 1"))
    assert RasterSource(path).read(Window(0, 0, 60, 50)).block.any()
    path.write_text(text.format(size, coefficients))
    for name in (path, text.format(size, coefficients)):
        with pytest.raises(RasterError, match=fault):
            RasterSource(name)


def test_a_crs_of_a_vrt_that_is_none_is_said(tmp_path):
    wkt = CRS.from_epsg(32633).to_wkt().replace('"degree",0.0174532925199433', '"degree",1e308')
    assert "1e308" in wkt
    (tmp_path / "crs.vrt").write_text(
        f'<VRTDataset rasterXSize="9" rasterYSize="9"><SRS>{wkt}</SRS>'
        '<VRTRasterBand dataType="Byte" band="1"/></VRTDataset>'
    )
    with pytest.raises(RasterError, match=r"crs\.vrt': The WKT could not be parsed"):
        RasterSource(tmp_path / "crs.vrt")
