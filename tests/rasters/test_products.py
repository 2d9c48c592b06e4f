import json
import pickle
import shutil
import subprocess
import tarfile
from dataclasses import replace

import numpy as np
import pytest
import rasterio
from click.testing import CliRunner

from geosr.cli.main import main
from geosr.dataset import Options as SetOptions
from geosr.dataset import build
from geosr.errors import OptionError, UnsupportedRaster
from geosr.quality.compare import compare_rasters
from geosr.quality.verify import verify_output
from geosr.rasters.products import find_product
from geosr.rasters.source import RasterSource
from geosr.superresolve.job import super_resolve
from geosr.superresolve.options import Options
from tests.products import SAFE, write_landsat, write_sentinel2, zipped

RGB = Options(model="bicubic", bands=("B4", "green", "B02"))

with rasterio.Env() as env:
    missing = {"SENTINEL2", "JP2OpenJPEG"} - set(env.drivers())
needs_sentinel2 = pytest.mark.skipif(
    bool(missing), reason=f"GDAL lacks {', '.join(sorted(missing))}; pip install rasterio from PyPI has them"
)


@pytest.fixture(scope="module")
def sentinel2(tmp_path_factory):
    return write_sentinel2(tmp_path_factory.mktemp("sentinel2"))


@pytest.fixture
def landsat(tmp_path):
    return write_landsat(tmp_path / "landsat")


def separate(images, path):
    """A VRT of one band a file, by GDAL's own command."""
    subprocess.run(["gdalbuildvrt", "-q", "-separate", path, *images], check=True)
    return path


def pixels_of(path):
    with rasterio.open(path) as raster:
        return raster.read()


@needs_sentinel2
def test_a_safe_folder_and_zips_of_it_are_read_through_the_bands_that_are_named(sentinel2, tmp_path):
    images = [next(sentinel2.rglob(f"*_{name}_10m.jp2")) for name in ("B04", "B03", "B02")]
    super_resolve(separate(images, tmp_path / "gdal.vrt"), tmp_path / "gdal.tif", Options(model="bicubic"))
    expected = pixels_of(tmp_path / "gdal.tif")
    zips = [zipped(sentinel2, tmp_path / name) for name in (f"{sentinel2.stem}.zip", "any name.zip")]
    for number, product in enumerate((sentinel2, sentinel2 / "MTD_MSIL2A.xml", *zips)):
        output = tmp_path / f"{number}.tif"
        super_resolve(product, output, RGB)
        with rasterio.open(output) as out, rasterio.open(images[0]) as image:
            assert (out.read() == expected).all()
            assert (out.crs, out.bounds, out.res) == (image.crs, image.bounds, (5, 5))
            assert [name.split(",")[0] for name in out.descriptions] == ["B4", "B3", "B2"]
            assert [colour.name for colour in out.colorinterp] == ["red", "green", "blue"]
        report = verify_output(product, output)
        assert (report.recomputed, report.missing) == (0, [])


@needs_sentinel2
def test_bands_that_do_not_belong_together_are_refused_with_those_that_do(sentinel2):
    with pytest.raises(UnsupportedRaster, match=r"--bands: pixels of 10: B4 \(red\), B3 .*; pixels of 20: B5, B6"):
        RasterSource(sentinel2)
    with pytest.raises(OptionError, match=r"^B4 \(red\) and B11 \(swir1\) of .* differ in size; choose .* of 20: B5"):
        RasterSource(sentinel2, ("B4", "B11"))
    with pytest.raises(OptionError, match=r"no band 'B99'; its bands are 1 'B4 \(red\)'"):
        RasterSource(sentinel2, ("B99",))


@needs_sentinel2
def test_numbers_count_through_the_whole_product_and_travel(sentinel2, tmp_path):
    product = find_product(str(sentinel2))
    number = next(band.number for band in product.bands if band.name == "B8A")
    source = RasterSource(sentinel2, (number,))
    again = pickle.loads(pickle.dumps(source))
    assert again.numbers == source.numbers == (number,)
    [image] = sentinel2.rglob("*_B8A_20m.jp2")
    for raster in (source, again, source.copy(), source.colours()):
        assert (raster.read(raster.profile.window).block == pixels_of(image)).all()


@needs_sentinel2
def test_info_lists_what_a_product_holds(sentinel2):
    done = CliRunner().invoke(main, ["info", str(sentinel2)])
    assert done.exit_code == 0, done.output
    assert "pixels of 10 (60 x 60, uint16): 1 B4 (red), 2 B3 (green), 3 B2 (blue), 4 B8 (nir)" in done.output
    done = CliRunner().invoke(main, ["info", str(sentinel2), "--json"])
    bands = json.loads(done.output)["bands"]
    assert [band["name"] for band in bands if band["pixel"] == 10][:4] == [
        "B4 (red)",
        "B3 (green)",
        "B2 (blue)",
        "B8 (nir)",
    ]
    done = CliRunner().invoke(main, ["info", str(sentinel2), "--bands", "B8A", "--model", "bicubic"])
    assert done.exit_code == 0, done.output
    assert "30 x 30 pixels of 20 x 20, 1 band of uint16" in done.output


@needs_sentinel2
def test_every_command_takes_the_names_of_a_product(sentinel2, tmp_path):
    output = tmp_path / "out.tif"
    run = CliRunner().invoke
    for args in (
        ["superresolve", sentinel2, output, "--model", "bicubic", "--bands", "B4,B3,blue"],
        ["verify", sentinel2, output],
        ["compare", sentinel2, output, "-o", tmp_path / "page.html", "--bands", "red,B3"],
        ["evaluate", "bicubic", sentinel2, "--bands", "nir"],
        ["dataset", sentinel2, tmp_path / "set", "--bands", "B4,B3", "--size", "16", "--validation", "0"],
    ):
        done = run(main, [str(arg) for arg in args])
        assert done.exit_code == 0, (args, done.output)
    assert compare_rasters(sentinel2, output, bands=("blue",)).bands == ("band 3, B2, central wavelength 490 nm",)
    assert sum(build([sentinel2], tmp_path / "other", SetOptions(bands=("B8",), size=16, validation=0)).tiles.values())


@needs_sentinel2
def test_the_zeros_beside_a_swath_are_nodata_where_that_is_said(sentinel2, tmp_path):
    output = tmp_path / "out.tif"
    super_resolve(sentinel2, output, replace(RGB, nodata_in=0))
    with rasterio.open(output) as out:
        assert out.nodata == 0
        assert (out.read_masks() > 0).all(axis=(0, 1)).tolist() == [False] * 20 + [True] * 100
        assert out.read()[:, :, 20:].min() > 400
    assert verify_output(sentinel2, output).recomputed == 0


def test_a_landsat_folder_or_tar_is_read_by_the_names_of_its_bands(landsat, tmp_path):
    tape = tmp_path / "scene.tar"
    with tarfile.open(tape, "w") as archive:
        for file in landsat.iterdir():
            archive.add(file, file.name)
    images = [landsat / f"{landsat.name}_{name}.TIF" for name in ("B4", "B3", "B2")]
    super_resolve(separate(images, tmp_path / "gdal.vrt"), tmp_path / "gdal.tif", Options(model="bicubic"))
    for number, product in enumerate((landsat, tape, zipped(landsat, tmp_path / "scene.zip"))):
        output = tmp_path / f"{number}.tif"
        super_resolve(product, output, RGB)
        assert (pixels_of(output) == pixels_of(tmp_path / "gdal.tif")).all()
        with rasterio.open(output) as out, rasterio.open(images[0]) as image:
            assert (out.bounds, out.descriptions) == (image.bounds, ("B4 (red)", "B3 (green)", "B2 (blue)"))
        report = verify_output(product, output)
        assert (report.recomputed, report.missing) == (0, [])
        assert RasterSource(product, ("pan",)).profile.width == 40


def test_landsats_quality_bands_are_no_picture(landsat):
    assert [band.name for band in find_product(str(landsat)).bands if "QA" in band.name] == []
    with pytest.raises(OptionError, match="no band 'QA_PIXEL'"):
        RasterSource(landsat, ("QA_PIXEL",))


def test_the_bands_of_older_landsats_have_other_colours(tmp_path):
    scene = write_landsat(tmp_path, "LT05_L2SP_190024_19850101_20200113_02_T1")
    names = [band.name for band in find_product(str(scene)).bands]
    assert names[:4] == ["B1 (blue)", "B2 (green)", "B3 (red)", "B4 (nir)"]


def test_an_output_beside_the_bands_does_not_change_the_product(landsat):
    super_resolve(landsat, landsat / "out.tif", RGB)
    assert (landsat / "out.tif").exists()


def test_folders_without_metadata_are_folders(landsat, tmp_path):
    for name in ("MTL.txt", "B8.TIF", "QA_PIXEL.TIF"):
        (landsat / f"{landsat.name}_{name}").unlink()
    assert find_product(str(landsat)) is None
    done = CliRunner().invoke(main, ["superresolve", str(landsat), str(tmp_path / "out"), "--model", "bicubic"])
    assert done.exit_code == 0, done.output
    assert len(list((tmp_path / "out").iterdir())) == 10


def test_archives_that_are_none_and_of_other_things_are_no_products(tmp_path):
    (tmp_path / "a.zip").write_bytes(b"no zip")
    (tmp_path / "a.tar").write_bytes(b"no tar")
    (tmp_path / SAFE).mkdir()
    other = tmp_path / "other"
    other.mkdir()
    (other / "MTD_MSIL2A.xml").write_text("<broken")
    shutil.make_archive(str(tmp_path / "other"), "zip", other)
    for name in ("a.zip", "a.tar", SAFE, "other", "other.zip", "nothing"):
        assert find_product(str(tmp_path / name)) is None
        done = CliRunner().invoke(main, ["superresolve", str(tmp_path / name), str(tmp_path / "out"), "--bands", "B4"])
        assert done.exit_code == 1
        assert done.output.startswith("Error: ")
        assert len(done.output.strip().splitlines()) == 1


def test_variables_of_other_sizes_are_chosen_by_name(tmp_path):
    import h5py

    values = np.arange(400, dtype="float32").reshape(20, 20)
    with h5py.File(tmp_path / "a.nc", "w") as file:
        file["small"], file["large"] = np.zeros((4, 5)), values
    with pytest.raises(
        UnsupportedRaster, match=r"several sizes; choose some with --bands: .*small.*large|large.*small"
    ):
        RasterSource(tmp_path / "a.nc")
    source = RasterSource(tmp_path / "a.nc", ("large",))
    assert (source.read(source.profile.window).block == pixels_of(f"netcdf:{tmp_path / 'a.nc'}:large")).all()
