"""Nodata that the input does not declare, as the zeros beside a swath: --nodata-in."""

import subprocess
from dataclasses import asdict, replace

import numpy as np
import pytest
import rasterio
from click.testing import CliRunner

from geosr.cli.main import main
from geosr.dataset import Options as SetOptions
from geosr.dataset import build
from geosr.errors import OptionError
from geosr.quality.evaluate import evaluate_model
from geosr.quality.options import Options as ScoreOptions
from geosr.quality.verify import verify_output
from geosr.rasters.source import RasterSource
from geosr.superresolve.job import super_resolve
from tests.conftest import texture
from tests.superresolve.helpers import BICUBIC, holes

TOLD = replace(BICUBIC, tile=16, nodata_in=0)


@pytest.fixture
def pair(make_raster, tmp_path):
    """A raster with holes of zeros that it does not declare, and a copy that declares them, by GDAL's own command."""
    array, mask = holes(texture(2, 60, 50, dtype="uint16", low=500, high=4000), 0)
    silent, declared = make_raster(array), tmp_path / "declared.tif"
    subprocess.run(["gdal_translate", "-q", "-a_nodata", "0", silent, declared], check=True)
    return silent, declared, mask


def read(path):
    with rasterio.open(path) as raster:
        return raster.read(), raster.read_masks() > 0, raster.nodata


def test_holes_that_are_told_of_are_as_if_they_were_declared(pair, tmp_path):
    silent, declared, mask = pair
    super_resolve(silent, tmp_path / "a.tif", TOLD)
    super_resolve(declared, tmp_path / "b.tif", replace(TOLD, nodata_in=None))
    (block, shown, nodata), (other, *_) = read(tmp_path / "a.tif"), read(tmp_path / "b.tif")
    assert nodata == 0
    assert (block == other).all()
    assert (shown == ~mask.repeat(2, 0).repeat(2, 1)).all()


def test_verify_knows_of_them(pair, tmp_path):
    silent, _, _ = pair
    super_resolve(silent, tmp_path / "a.tif", TOLD)
    with rasterio.open(tmp_path / "a.tif") as out:
        assert float(out.tags()["GEOSR_NODATA_IN"]) == 0
    report = verify_output(silent, tmp_path / "a.tif")
    assert [check.name for check in report.checks if check.ok is False] == []
    assert report.invalid_before == report.invalid_after > 0
    with rasterio.open(tmp_path / "a.tif", "r+") as out:
        block = out.read()
        block[block == 0] = 600
        out.write(block)
    report = verify_output(silent, tmp_path / "a.tif")
    assert "invalid pixels" in [check.name for check in report.checks if check.ok is False]


@pytest.mark.parametrize("dtype", ["int16", "float32"])
def test_beside_a_declared_value_both_are_nodata_and_become_the_declared_one(make_raster, tmp_path, dtype):
    array, mask = holes(texture(2, 60, 50, dtype=dtype, low=500, high=4000), 0)
    array[:, 5:9, 5:9] = -9999
    source = make_raster(array, nodata=-9999)
    expected = make_raster(np.where(array == 0, -9999, array).astype(dtype), "expected.tif", nodata=-9999)
    super_resolve(source, tmp_path / "a.tif", TOLD)
    super_resolve(expected, tmp_path / "b.tif", replace(TOLD, nodata_in=None))
    (block, _, nodata), (other, *_) = read(tmp_path / "a.tif"), read(tmp_path / "b.tif")
    assert nodata == -9999
    assert (block == other).all()
    assert ((block == -9999) >= mask.repeat(2, 0).repeat(2, 1)).all()
    assert not [check for check in verify_output(source, tmp_path / "a.tif").checks if check.ok is False]


def test_a_mask_hides_them_too(make_raster, tmp_path):
    array, mask = holes(texture(1, 60, 50, low=1), 0)
    source = make_raster(array)
    shown = np.full(mask.shape[-2:], 255, "uint8")
    shown[:, 40:] = 0
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(source, "r+") as raster:
        raster.write_mask(shown)
    super_resolve(source, tmp_path / "a.tif", TOLD)
    expected = (shown > 0) & ~mask.reshape(shown.shape)
    assert (read(tmp_path / "a.tif")[1][0] == expected.repeat(2, 0).repeat(2, 1)).all()
    assert not [check for check in verify_output(source, tmp_path / "a.tif").checks if check.ok is False]


def test_another_value_can_be_written_into_them(pair, tmp_path):
    silent, _, mask = pair
    super_resolve(silent, tmp_path / "a.tif", replace(TOLD, nodata=65535))
    block, _, nodata = read(tmp_path / "a.tif")
    assert nodata == 65535
    assert ((block == 65535) == mask.repeat(2, 0).repeat(2, 1)).all()


def test_a_value_that_the_type_does_not_hold_is_refused(make_raster):
    with pytest.raises(OptionError, match=r"holds uint8, in which there is no -1; change --nodata-in"):
        RasterSource(make_raster(), nodata=-1)


def test_scores_and_training_sets_leave_them_out(pair, tmp_path):
    silent, declared, _ = pair
    scores = [
        asdict(evaluate_model("bicubic", [str(path)], ScoreOptions(nodata_in=nodata)).scenes[0])["methods"]
        for path, nodata in ((silent, 0), (declared, None))
    ]
    assert scores[0] == scores[1]
    counts = [
        build([path], tmp_path / str(nodata), SetOptions(size=16, validation=0, min_valid=0.85, nodata_in=nodata))
        for path, nodata in ((silent, 0), (declared, None))
    ]
    assert counts[0].tiles == counts[1].tiles
    assert counts[0].left_out == counts[1].left_out
    assert sum(counts[0].left_out.values()) > 0


def test_the_commands_take_the_value(pair, tmp_path):
    silent, _, _ = pair
    invoke = CliRunner().invoke
    done = invoke(main, ["info", str(silent), "--nodata-in", "0", "--model", "bicubic"])
    assert "nodata   value 0; " in done.output
    assert "; 0.00% of the values" not in done.output
    out = str(tmp_path / "a.tif")
    done = invoke(main, ["superresolve", str(silent), out, "--nodata-in", "0", "--model", "bicubic"])
    assert done.exit_code == 0, done.output
    assert invoke(main, ["verify", str(silent), out]).exit_code == 0
    assert invoke(main, ["compare", str(silent), out, "-o", str(tmp_path / "page.html")]).exit_code == 0
