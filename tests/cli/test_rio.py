"""rio superresolve, through rio itself."""

import os
import signal
import time

import numpy as np
import pytest
import rasterio
from click.testing import CliRunner
from rasterio.rio.main import main_group

import geosr
from tests.conftest import texture

needs_plugin = pytest.mark.skipif(
    "superresolve" not in main_group.commands,
    reason="geosr is not installed anew since it is a plugin: pip install -e .",
)


def rio(*args):
    return CliRunner().invoke(main_group, [str(arg) for arg in args])


@needs_plugin
def test_rio_knows_the_command():
    assert "superresolve" in rio("--help").output
    shown = rio("superresolve", "--help").output
    for option in (
        "-o, --output",
        "--overwrite",
        "--co, --profile",
        "-b, --bidx",
        "-t, --dtype",
        "-f, --format",
        "--nodata",
    ):
        assert option in shown
    assert "rio superresolve scene.tif scene_x2.tif --scale 2" in shown


@needs_plugin
def test_it_writes_what_geosr_writes(make_raster, tmp_path):
    source = make_raster(texture(3, 40, 50, dtype="uint16", low=1, high=3000), nodata=0)
    options = geosr.Options(model="bicubic", scale=3, bands=(3, 1), creation={"COMPRESS": "lzw"}, dtype="float32")
    geosr.super_resolve(source, tmp_path / "geosr.tif", options)
    args = ("--model", "bicubic", "--scale", "3", "-b", "3", "-b", "1", "--co", "compress=LZW", "-t", "float32")
    done = rio("superresolve", source, tmp_path / "rio.tif", *args)
    assert (done.exit_code, done.output) == (0, "")
    assert (tmp_path / "rio.tif").read_bytes() == (tmp_path / "geosr.tif").read_bytes()


@needs_plugin
def test_output_bounds_and_unsigned_bytes_are_said_as_everywhere_in_rio(make_raster, tmp_path):
    source = make_raster(texture(1, 40, 50))
    bounds = "400100 4999700 400300 4999900"
    done = rio("superresolve", source, "-o", tmp_path / "o.tif", "-m", "bicubic", "--bounds", bounds, "-t", "ubyte")
    assert done.exit_code == 0, done.output
    with rasterio.open(tmp_path / "o.tif") as made:
        assert made.bounds == (400100, 4999700, 400300, 4999900)
        assert made.dtypes == ("uint8",)


@needs_plugin
def test_an_output_that_exists_is_kept_unless_told(make_raster, tmp_path):
    source, output = make_raster(texture(1, 20, 20)), tmp_path / "o.tif"
    output.write_text("mine")
    done = rio("superresolve", source, output, "-m", "bicubic")
    assert done.exit_code == 1
    assert done.output == f"Error: {str(output)!r} exists; choose another output or --overwrite\n"
    assert output.read_text() == "mine"
    assert rio("superresolve", source, output, "-m", "bicubic", "--overwrite").exit_code == 0
    with rasterio.open(output) as made:
        assert made.shape == (40, 40)


@needs_plugin
def test_errors_are_one_line(tmp_path, make_raster):
    done = rio("superresolve", tmp_path / "none.tif", tmp_path / "o.tif")
    assert done.exit_code == 1
    assert done.output.startswith("Error: cannot read")
    assert len(done.output.strip().splitlines()) == 1
    source = make_raster(np.zeros((1, 9, 9), "uint8"))
    assert rio("superresolve", tmp_path / "none.tif").exit_code == 2
    done = rio("superresolve", source, tmp_path / "o.tif", "-m", "nothing")
    assert done.output.startswith("Error: there is no model 'nothing'")
    assert not (tmp_path / "o.tif").exists()


@needs_plugin
def test_rio_s_verbosity_decides_what_is_said(make_raster, tmp_path):
    done = rio("-v", "superresolve", make_raster(texture(1, 20, 20)), tmp_path / "o.tif", "-m", "bicubic")
    assert "scene.tif: 1 of 1 tiles" in done.output


@needs_plugin
def test_an_output_that_is_missing_is_misuse(make_raster, tmp_path):
    source = make_raster(texture(1, 20, 20))
    done = rio("superresolve", source)
    assert done.exit_code == 2
    assert f"OUTPUT is missing: name it after '{source}'" in " ".join(done.output.split())
    assert rio("superresolve").exit_code == 2
    assert rio("superresolve", "-o", tmp_path / "o.tif").exit_code == 2


@needs_plugin
def test_parts_of_another_model_are_discarded_with_restart(make_raster, tmp_path):
    source, output = make_raster(texture(1, 40, 40)), tmp_path / "o.tif"

    def interrupt(done, total):
        if done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        geosr.super_resolve(source, output, geosr.Options(model="bicubic", scale=3, tile=20), progress=interrupt)
    done = rio("superresolve", source, output, "-m", "bicubic")
    assert done.exit_code == 1
    assert "--restart" in done.output
    assert rio("superresolve", source, output, "-m", "bicubic", "--restart").exit_code == 0
    with rasterio.open(output) as made:
        assert made.shape == (80, 80)


@needs_plugin
@pytest.mark.skipif(os.name == "nt", reason="signals are POSIX's")
def test_sigterm_unwinds_it(make_raster, tmp_path, monkeypatch):
    def terminated(job, target, **_):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(5)

    monkeypatch.setattr("geosr.superresolve.job.write", terminated)
    before = signal.getsignal(signal.SIGTERM)
    done = rio("superresolve", make_raster(texture(1, 20, 20)), tmp_path / "o.tif", "-m", "bicubic")
    assert done.exit_code == 130
    assert done.output == "Interrupted; nothing is half-written.\n"
    assert signal.getsignal(signal.SIGTERM) == before
