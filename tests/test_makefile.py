"""The targets that people with scenes run."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import geosr
from tests.conftest import texture

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.skipif(not shutil.which("make"), reason="needs make: sudo apt-get install make")


@pytest.fixture(scope="module")
def venv(tmp_path_factory):
    """A folder that make takes for an environment in which geosr is installed."""
    folder = tmp_path_factory.mktemp("venv")
    (folder / "bin").mkdir()
    (folder / "bin" / "python").symlink_to(sys.executable)
    (folder / "bin" / "geosr").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m geosr "$@"\n')
    (folder / "bin" / "geosr").chmod(0o755)
    for name in (".installed", ".dev"):
        (folder / name).touch()
        os.utime(folder / name, (2**32, 2**32))
    return folder


def make(venv, *args):
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        ["make", "-C", ROOT, f"VENV={venv}", *map(str, args)], capture_output=True, text=True, env=env, check=False
    )


@pytest.mark.parametrize(
    ("args", "wanted"),
    [
        (
            ["superresolve", "SCENES={}", "OUT=b", "SCALE=4", "MODEL=span", "ARGS=--bands 1"],
            "superresolve {} b --scale 4 --model span --bands 1",
        ),
        (["superresolve", "SCENES={}/"], "superresolve {}/ {}_x2 --scale 2 --model span"),
        (["dataset", "SCENES={}"], "dataset {} out --scale 2"),
        (["train", "DATA=d", "RUNS=r", "SCALE=4", "MODEL=span"], "train d r --scale 4 --model span"),
        (["evaluate", "SCENES={}", "MODEL=span"], "evaluate span {} --scale 2"),
        (["burst", "PHOTOS=p"], "burst p superresolution/"),
        (["qgis"], "qgis install"),
    ],
)
def test_a_target_is_a_command(venv, tmp_path, args, wanted):
    done = make(venv, "-n", *(arg.format(tmp_path) for arg in args))
    assert done.returncode == 0, done.stderr
    lines = [line.split() for line in done.stdout.splitlines() if "/bin/geosr" in line]
    assert [line[1:] for line in lines] == [wanted.format(tmp_path, tmp_path).split()]


@pytest.mark.slow
def test_a_folder_is_done_and_passed_over_the_second_time(venv, tmp_path, make_raster):
    (tmp_path / "scenes").mkdir()
    make_raster(texture(1, 20, 20), "scenes/a.tif")
    args = ("superresolve", f"SCENES={tmp_path / 'scenes'}/", "MODEL=bicubic")
    assert make(venv, *args).returncode == 0
    assert [path.name for path in (tmp_path / "scenes_x2").iterdir()] == ["a.tif"]
    assert "a.tif: done already" in make(venv, *args).stderr


def test_without_scenes_it_says_what_to_name(venv):
    done = make(venv, "superresolve")
    assert done.returncode == 2
    assert "name the folder of the scenes, as SCENES=dir" in done.stderr


def test_help_describes_every_target(venv):
    shown = make(venv, "help").stdout
    for target in ("superresolve", "dataset", "train", "evaluate", "burst", "qgis"):
        assert any(line.startswith(f"{target} ") for line in shown.splitlines())
    assert "SCENES=dir" in shown


def test_clean_leaves_results_alone(venv):
    shown = make(venv, "-n", "clean", "OUT=/results", "RUNS=/results").stdout
    assert "/results" not in shown


@pytest.mark.slow
def test_a_wheel_is_small_and_runs_where_this_checkout_is_not(tmp_path):
    """Builds it, as `make dist` does, from what git has."""
    files = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\n")
    for name in filter(None, files):
        if name.startswith(("geosr/", "setup.cfg", "pyproject.toml", "README.md", "LICENSE", "MANIFEST.in")):
            (tmp_path / "tree" / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, tmp_path / "tree" / name)
    pip = [sys.executable, "-m", "pip", "-q", "--disable-pip-version-check"]
    build = [*pip, "wheel", "--no-deps", "-w", tmp_path, tmp_path / "tree"]
    done = subprocess.run(build, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    [wheel] = tmp_path.glob("*.whl")
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    words = [sys.executable, ROOT / "tests" / "wheel.py", wheel, "--borrow"]
    done = subprocess.run(words, capture_output=True, text=True, env=env, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "MB" in done.stdout


def test_the_citation_is_of_this_version():
    import yaml

    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == geosr.__version__
    assert citation["license"] == "MIT"
    assert f"## [{citation['version']}] - {citation['date-released']}" in (ROOT / "CHANGELOG.md").read_text()
