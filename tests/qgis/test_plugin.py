"""The plugin: its zip file, and its provider in the real QGIS."""

import ast
import configparser
import json
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import rasterio
from click.testing import CliRunner

import geosr
from geosr.cli.main import main
from geosr.qgis import contents, installation
from tests.conftest import DATA, texture
from tests.qgis.test_qgis import ALGORITHMS, INSTALL, QGIS_PROCESS, environment, qgis_process

QGIS = shutil.which("qgis.bin") or "qgis"


def run(*args):
    return CliRunner().invoke(main, ["qgis", *args])


@pytest.fixture(scope="module")
def plugin(tmp_path_factory):
    path = tmp_path_factory.mktemp("plugin") / "geosr.zip"
    done = CliRunner().invoke(main, ["qgis", "plugin", str(path)])
    assert done.exit_code == 0, done.output
    assert done.output.strip() == str(path)
    return path


def test_the_zip_holds_what_the_plugin_manager_needs(plugin):
    with zipfile.ZipFile(plugin) as archive:
        assert {name.partition("/")[0] for name in archive.namelist()} == {"geosr"}
        files = {name.partition("/")[2]: archive.read(name).decode() for name in archive.namelist()}
    assert {contents.NOTES, *contents.FILES["plugin"]} == set(files)
    metadata = configparser.ConfigParser()
    metadata.read_string(files["metadata.txt"])
    general = metadata["general"]
    # The entries that QGIS's documentation calls required, but for addresses, which this has none of.
    assert {"name", "qgisminimumversion", "description", "about", "version", "author"} <= set(general)
    assert general["version"] == geosr.__version__
    assert general["hasProcessingProvider"] == "yes"
    assert general["icon"] in files
    functions = {
        node.name for node in ast.parse(files["__init__.py"], feature_version=(3, 7)).body if "name" in node._fields
    }
    assert "classFactory" in functions
    assert json.loads(files[contents.NOTES])["python"] == sys.executable


def test_a_zip_that_exists_is_replaced_only_if_asked(plugin):
    before = plugin.read_bytes()
    done = CliRunner().invoke(main, ["qgis", "plugin", str(plugin)])
    assert done.exit_code == 1
    assert "exists" in done.output
    assert CliRunner().invoke(main, ["qgis", "plugin", str(plugin), "--overwrite"]).exit_code == 0
    assert plugin.read_bytes() == before


@pytest.mark.qgis
@pytest.mark.slow
@pytest.mark.skipif(not QGIS_PROCESS, reason=f"QGIS is not installed; install it with: {INSTALL}")
def test_qgis_has_a_provider_of_its_own_until_the_plugin_is_uninstalled(make_raster, tmp_path, monkeypatch):
    home = tmp_path / "home"
    (home / "runtime").mkdir(mode=0o700, parents=True)
    (home / "profiles" / "default").mkdir(parents=True)
    monkeypatch.setenv("QGIS_CUSTOM_CONFIG_PATH", str(home))
    assert "geosr:" not in qgis_process(home, "list").stdout
    settings = (home / "profiles/default/QGIS/QGIS3.ini").read_bytes()

    assert run("install").exit_code == 0
    listed = qgis_process(home, "list").stdout
    assert all(f"geosr:{name}" in listed for name in ALGORITHMS)
    assert "script:" not in listed
    source, output = make_raster(texture(2, 30, 20)), tmp_path / "o.tif"
    args = (f"INPUT={source}", f"OUTPUT={output}", "MODEL=bicubic", "SCALE=2")
    done = qgis_process(home, "--json", "run", "geosr:superresolveraster", "--", *args)
    assert done.returncode == 0, done.stderr
    with rasterio.open(source) as given, rasterio.open(output) as made:
        assert made.shape == (60, 40)
        assert made.bounds == given.bounds
        assert made.crs == given.crs

    assert qgis_process(home, "plugins", "disable", "geosr").returncode == 0
    assert run("status").output.startswith("disabled")
    assert run("install").exit_code == 0
    assert "geosr:" in qgis_process(home, "list").stdout
    assert run("uninstall").exit_code == 0
    listed = qgis_process(home, "list").stdout
    assert "native:" in listed
    assert "geosr" not in listed
    assert (home / "profiles/default/QGIS/QGIS3.ini").read_bytes() == settings


@pytest.fixture(scope="module")
def window(tmp_path_factory):
    """The pictures of a window of QGIS in which the plugin's dialogs were opened, and one was run."""
    home, pictures = tmp_path_factory.mktemp("home"), tmp_path_factory.mktemp("pictures")
    (home / "profiles" / "default").mkdir(parents=True)
    (home / "runtime").mkdir(mode=0o700)
    for place in installation.places(environ={"QGIS_CUSTOM_CONFIG_PATH": str(home)}):
        if place.kind == "plugin":
            installation.install(place)
    shutil.copy(DATA / "neon_osbs_rgb.tif", pictures / "scene.tif")
    code = Path(__file__).with_name("in_qgis_window.py")
    words = ["xvfb-run", "-a", "-s", "-screen 0 1400x1000x24", QGIS, "--nologo", "--noversioncheck"]
    words += ["--profiles-path", str(home), "--code", str(code)]
    more = {"QGIS_PICTURES": str(pictures), "QGIS_SCENE": str(pictures / "scene.tif"), "QT_QPA_PLATFORM": "xcb"}
    done = subprocess.run(
        words, capture_output=True, text=True, check=False, env=environment(home, **more), timeout=300
    )
    assert (pictures / "told.json").exists(), done.stdout + done.stderr
    return pictures


@pytest.mark.qgis
@pytest.mark.slow
@pytest.mark.skipif(not (QGIS_PROCESS and shutil.which("xvfb-run")), reason=f"QGIS or Xvfb is missing: {INSTALL}")
def test_the_dialog_runs_in_a_window_and_the_result_is_shown(window):
    told = json.loads((window / "told.json").read_text())
    assert told["ok"], told
    assert told["layers"] == {"scene": "multibandcolor", "scene x2": "multibandcolor"}
    assert told["results"]["OUTPUT"] == str(window / "scene_x2.tif")
    assert "Cancel" not in told["log"]
    assert "--cancel-on-eof" in told["log"]
    with rasterio.open(window / "scene_x2.tif") as made, rasterio.open(window / "scene.tif") as before:
        assert made.width == 2 * before.width
    for name in ("dialog", "done", "window", "batch", "model"):
        with rasterio.open(window / f"{name}.png") as picture:
            assert len({tuple(pixel) for pixel in picture.read().reshape(picture.count, -1).T[::97]}) > 20, name

    # Of each list: its lines, its value, and whether it can be used.
    lists = told["lists"]
    lines = [f"{name}: {line}" for name, line in contents.LINES.items()]
    assert lists["span"]["MODEL"] == [lines, "span", True]
    assert lists["span"]["SENSOR"][0] == [f"{name}: {line}" for name, line in contents.sensor_lines().items()]
    assert lists["span"]["SENSOR"][1:] == ["natural", True]
    assert [line[0] for line in lists["span"]["SCALE"][0]] == ["2", "3", "4"]
    assert lists["bicubic"]["SCALE"] == [list("2345678"), 2, True]
    assert lists["bicubic"]["SENSOR"][1:] == ["natural", False]
    assert not any(usable for _, _, usable in (lists["own"]["MODEL"], lists["own"]["SCALE"]))
    assert lists["own"]["SENSOR"][2]
    assert told["batch"] == told["model"] == {"MODEL": "span", "SCALE": 2, "SENSOR": "natural"}
    assert told["groups"] == {
        "Rasters": ["Super-resolve raster"],
        "Training": ["Build super-resolution training set"],
        "Photographs": ["Stack photo burst"],
    }
