"""geosr dataset as it is typed."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import zipfile

import pytest
from affine import Affine
from click.testing import CliRunner

from geosr.cli.main import main
from geosr.dataset import records
from tests.conftest import one_line_error, texture
from tests.dataset.helpers import at, three_places
from tests.dataset.test_job import content


def run(*words, **more):
    return CliRunner().invoke(main, ["dataset", *map(str, words)], **more)


def command(*words, **more):
    return subprocess.run(
        [sys.executable, "-m", "geosr", "dataset", *map(os.fspath, words)], capture_output=True, text=True, **more
    )


def test_scenes_are_files_folders_patterns_vrts_and_vsi_paths(make_raster, tmp_path):
    scenes = three_places(make_raster)
    (tmp_path / "in" / "deep").mkdir(parents=True)
    moved = [scenes[0].rename(tmp_path / "in" / "a.tif"), scenes[1].rename(tmp_path / "in" / "deep" / "b.tif")]
    with zipfile.ZipFile(tmp_path / "c.zip", "w") as archive:
        archive.write(scenes[2], "c.tif")
    (tmp_path / "d.vrt").write_text(
        '<VRTDataset rasterXSize="100" rasterYSize="100"><SRS>EPSG:32633</SRS>'
        "<GeoTransform>600000,10,0,5000000,0,-10</GeoTransform>"
        + "".join(
            f'<VRTRasterBand dataType="Byte" band="{b}"><SimpleSource><SourceFilename>{moved[0]}</SourceFilename>'
            f"<SourceBand>{b}</SourceBand></SimpleSource></VRTRasterBand>"
            for b in (1, 2)
        )
        + "</VRTDataset>"
    )
    names = {
        "folder": ([tmp_path / "in"], {"a.tif"}),
        "pattern": ([tmp_path / "in" / "**" / "*.tif"], {"a.tif", "b.tif"}),
        "vsi": ([f"/vsizip/{tmp_path / 'c.zip'}/c.tif"], {"c.tif"}),
        "vrt": ([tmp_path / "d.vrt"], {"d.vrt"}),
        "twice": ([tmp_path / "in", tmp_path / "in" / "a.tif"], {"a.tif"}),
    }
    for name, (words, wanted) in names.items():
        done = run(*words, tmp_path / name, "--size", "32", "--validation", "0", "-q")
        assert done.exit_code == 0, done.output
        found = list(records.read(tmp_path / name / "x2" / "Training"))
        assert {s.scene for s in found} == wanted
        assert len(found) == 9 * len(wanted)


def test_patterns_and_folders_that_hold_nothing_are_said(tmp_path):
    (tmp_path / "empty").mkdir()
    for word, told in [("empty", "no .tif files in"), ("*.tif", "cannot read")]:
        done = run(tmp_path / word, tmp_path / "out")
        assert done.exit_code == 1
        assert told in done.output


def test_a_folder_called_as_a_command_is_a_folder(make_raster, tmp_path, monkeypatch):
    (tmp_path / "info").mkdir()
    make_raster(texture(1, 64, 64), "info/a.tif")
    monkeypatch.chdir(tmp_path)
    done = run("./info", "out", "--size", "32", "--validation", "0", "-q")
    assert done.exit_code == 0, done.output
    done = run("info", "out")
    assert "a.tif: 1 band, uint8, range 0,255; Training 4" in done.output


def test_options_may_stand_before_the_scenes(make_raster, tmp_path):
    done = run("--size", "32", "--validation", "0", "-q", make_raster(texture(1, 64, 64)), tmp_path / "out")
    assert done.exit_code == 0, done.output


def test_every_option_reaches_the_set(make_raster, tmp_path):
    scenes = [
        make_raster(texture(2, 240, 240, seed=i), f"s{i}.tif", transform=at(4e5 + 5000 * i, 5e6)) for i in range(3)
    ]
    words = "--size 24 --scale 3 --bands 2 --degradation mtf+noise+quantise --mtf 0.4 --noise 0.02,0.01 --bits 7"
    words += " --split block --block 60 --validation 0.1 --test 0.1 --min-valid 0.5 --min-variance 1e-6 --no-bic-up"
    words += " --seed 4 --nodata-in 250"
    done = run(*scenes, tmp_path / "out", *words.split(), "--json", "-q")
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert set(told) == {"folder", "tiles", "left_out"}
    options = json.loads(run("info", tmp_path / "out", "--json").output)["options"]
    assert options == {
        "scale": 3, "size": 24, "bands": [2], "each_band": False, "dtype": None, "split": "block", "block": 60,
        "validation": 0.1, "test": 0.1, "aoi": None, "exclude": None, "min_valid": 0.5, "min_variance": 1e-6,
        "nodata_in": 250, "max_tiles": None, "seed": 4, "bic_up": False, "format": "tfrecord", "gzip": False,
        "degradation": {
            "steps": ["mtf", "noise", "quantise"], "mtf": [0.4], "noise": [0.02, 0.01], "bits": 7,
        },
    }  # fmt: skip


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--degradation", "noise"], "begins with one of bicubic, mtf"),
        (["--degradation", "blur"], "made of bicubic, mtf, noise, quantise"),
        (["--mtf", "kodak"], "or one of sentinel2-10m"),
        (["--mtf", "2"], "numbers from 0.01 to below 1"),
        (["--noise", "1"], "two parts of the range"),
    ],
)
def test_options_that_make_no_sense_are_misuse(make_raster, tmp_path, words, told):
    done = run(make_raster(), tmp_path / "out", *words)
    assert done.exit_code == 2
    assert told in " ".join(done.output.split())


def test_bad_input_is_one_line(make_raster, tmp_path):
    scene = make_raster(texture(3, 64, 64))
    other = make_raster(texture(1, 64, 64, dtype="uint16"), "other.tif", transform=at(5e5, 5e6))
    words = {
        "different numbers of bands": [scene, other],
        "--dtype uint16": [scene, other, "--each-band"],
        "multiple of the scale 2": [scene, "--size", "33"],
        "no training tile of 96 x 96": [scene],
        "whose values uint8 does not hold": [other, "--dtype", "uint8", "--size", "32"],
        "there is no such file": [scene, "--size", "32", "--aoi", tmp_path / "none.gpkg"],
        "has bands 1 to 3, got 7": [scene, "--bands", "7", "--size", "32"],
        "cannot read": [tmp_path / "none.tif"],
        "leave tiles for training": [scene, "--size", "32", "--validation", "0.6", "--test", "0.4"],
    }
    for told, (first, *rest) in words.items():
        names = [word for word in rest if str(word).endswith("other.tif")]
        options = [word for word in rest if word not in names]
        done = run(first, *names, tmp_path / "out", *options, "-q")
        assert done.exit_code == 1, done.output
        [line] = done.output.strip().splitlines()
        assert line.startswith("Error: ")
        assert told in line
        assert not (tmp_path / "out").exists()


def test_no_space_is_one_line_and_leaves_no_set(make_raster, tmp_path):
    """On a file system of its own that is full."""
    if shutil.which("mount") is None or os.geteuid():
        pytest.skip("needs root, to mount a small file system")
    (tmp_path / "small").mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=200k", "none", tmp_path / "small"], check=False).returncode:
        pytest.skip("needs leave to mount a small file system")
    try:
        done = command(make_raster(texture(3, 400, 400)), tmp_path / "small" / "out", "--size", "32", "-q")
        assert "may need" in one_line_error(done)
        assert list((tmp_path / "small").iterdir()) == []
    finally:
        subprocess.run(["umount", tmp_path / "small"], check=True)


@pytest.mark.slow
def test_ctrl_c_leaves_parts_and_the_same_command_goes_on(make_raster, tmp_path):
    scenes = [
        make_raster(texture(3, 720, 720, seed=i), f"s{i}.tif", transform=Affine(10, 0, 4e5 + 9000 * i, 0, -10, 5e6))
        for i in range(4)
    ]
    words = [*map(os.fspath, scenes), os.fspath(tmp_path / "out"), "--size", "16", "-q"]
    process = subprocess.Popen(
        [sys.executable, "-m", "geosr", "dataset", *words], stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    end = time.monotonic() + 120
    while not list((tmp_path / "out").glob(".x2.geosr/*.part")) and time.monotonic() < end:
        time.sleep(0.002)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert not (tmp_path / "out" / "x2").exists()
    assert command(*words).returncode == 0
    whole = command(*words[:-4], tmp_path / "whole", *words[-3:])
    assert whole.returncode == 0, whole.stderr
    assert content(tmp_path / "out") == content(tmp_path / "whole")


def test_the_help_names_the_commands():
    done = run("--help")
    assert done.output.startswith("Usage: main dataset [OPTIONS] SCENES... OUT")
    for name in ("info", "audit", "preview", "convert"):
        assert f"geosr dataset {name}" in done.output
        assert run(name, "--help").exit_code == 0
