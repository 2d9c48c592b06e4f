"""geosr qgis install, status and uninstall, in homes made for the test."""

import json
import os
import subprocess
import sys

import pytest
from click.testing import CliRunner

import geosr
from geosr.cli.main import main
from geosr.errors import InstallationError
from geosr.qgis import installation

ROOTS = {
    "linux": ".local/share/QGIS/QGIS3",
    "darwin": "Library/Application Support/QGIS/QGIS3",
    "win32": "AppData/Roaming/QGIS/QGIS4",
}


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A home with two profiles of QGIS, and no variable that leads elsewhere."""
    for name in ("QGIS_CUSTOM_CONFIG_PATH", "XDG_DATA_HOME", "APPDATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(sys, "platform", "linux")
    for name in ("default", "work"):
        (tmp_path / ROOTS["linux"] / "profiles" / name).mkdir(parents=True)
    return tmp_path


@pytest.fixture
def known(monkeypatch):
    """Every Python has this geosr, whether it finds it by itself or not: the real question is asked in test_qgis."""
    answer = {"version": geosr.__version__, "why": ""}
    monkeypatch.setattr(installation, "version_of", lambda python: (answer["version"], answer["why"]))
    return answer


def run(*args):
    return CliRunner().invoke(main, ["qgis", *map(str, args)])


def scripts(home, profile="default"):
    return home / ROOTS["linux"] / "profiles" / profile / "processing" / "scripts" / "geosr"


@pytest.mark.parametrize("platform", ROOTS)
def test_profiles_are_found_on_each_system(tmp_path, platform):
    (tmp_path / ROOTS[platform] / "profiles" / "default").mkdir(parents=True)
    [place] = installation.places(environ={}, home=tmp_path, platform=platform)
    assert place.profile == "default"
    assert place.folder == tmp_path / ROOTS[platform] / "profiles/default/processing/scripts/geosr"


@pytest.mark.parametrize(
    ("environ", "root"),
    [
        ({}, ".var/app/org.qgis.qgis/data/QGIS/QGIS3"),
        ({}, "snap/qgis/current/.local/share/QGIS/QGIS4"),
        ({"XDG_DATA_HOME": "{home}/data"}, "data/QGIS/QGIS3"),
        ({"QGIS_CUSTOM_CONFIG_PATH": "{home}/custom"}, "custom"),
    ],
)
def test_profiles_of_packages_and_of_variables_are_found(tmp_path, environ, root):
    (tmp_path / root / "profiles" / "mine").mkdir(parents=True)
    variables = {name: value.format(home=tmp_path) for name, value in environ.items()}
    assert [place.profile for place in installation.places(environ=variables, home=tmp_path, platform="linux")] == [
        "mine"
    ]


def test_it_is_installed_told_and_removed_in_all_profiles(home, known):
    result = run("install")
    assert result.exit_code == 0, result.output
    assert result.output.count(f"the scripts of geosr {geosr.__version__} are in") == 2
    for profile in ("default", "work"):
        assert sorted(path.name for path in scripts(home, profile).iterdir()) == sorted(
            [*installation.FILES, "geosr.json"]
        )
        notes = json.loads((scripts(home, profile) / "geosr.json").read_text())
        assert notes["python"] == os.path.abspath(sys.executable)  # noqa: PTH100 - links stay
        assert notes["version"] == geosr.__version__
        assert notes["models"][0] == "bicubic"
        assert "idn" in notes["models"]
    result = run("status")
    assert result.exit_code == 0
    assert result.output.count("good") == 2
    assert run("uninstall").output.count("the scripts are gone") == 2
    assert not scripts(home).exists()
    assert scripts(home).parent.is_dir()
    assert run("status").exit_code == 1
    assert run("uninstall").output == "The scripts were not installed; there is nothing to remove.\n"


def test_one_profile_or_a_folder_can_be_chosen(home, known, tmp_path):
    assert run("install", "--profile", "work").exit_code == 0
    assert not scripts(home).exists()
    assert scripts(home, "work").exists()
    assert run("install", "--scripts-dir", tmp_path / "shared").exit_code == 0
    [state] = json.loads(run("status", "--scripts-dir", tmp_path / "shared", "--json").output)
    assert state["state"] == "good"
    assert state["folder"] == str(tmp_path / "shared" / "geosr")
    assert json.loads(run("install", "--profile", "work", "--json").output) == [str(scripts(home, "work"))]


def test_what_is_not_found_is_one_line_that_says_what_to_do(home, tmp_path, known):
    result = run("install", "--profile", "nothere")
    assert result.exit_code == 1
    assert result.output == "Error: QGIS has no profile 'nothere'; there are default, work\n"
    with pytest.raises(InstallationError, match="start QGIS once, or name a folder of scripts with --scripts-dir"):
        installation.places(environ={}, home=tmp_path / "empty", platform="linux")


def test_a_folder_that_cannot_be_written_is_one_line(home, known, tmp_path):
    (tmp_path / "file").write_text("")
    result = run("install", "--scripts-dir", tmp_path / "file" / "in")
    assert result.exit_code == 1
    assert "cannot write to" in result.output
    assert "Traceback" not in result.output


@pytest.mark.parametrize(
    ("spoil", "state", "why"),
    [
        (lambda folder, known: known.update(version="9.9.9"), "stale", "has 9.9.9; run geosr qgis install there"),
        (lambda folder, known: (folder / "burst.py").write_text("# mine"), "stale", "burst.py was edited"),
        (lambda folder, known: known.update(version=None, why="there is no 'x'"), "broken", "there is no 'x'"),
        (lambda folder, known: (folder / "burst.py").unlink(), "broken", "burst.py is missing"),
        (lambda folder, known: (folder / "geosr.json").unlink(), "broken", "geosr.json is missing"),
        (lambda folder, known: (folder / "geosr.json").write_text("{"), "broken", "geosr.json is missing or damaged"),
    ],
)
def test_what_is_stale_or_broken_is_told_and_mended_by_installing_again(home, known, spoil, state, why):
    run("install", "--profile", "default")
    spoil(scripts(home), known)
    result = run("status")
    assert result.exit_code == 1
    assert result.output.startswith(state)
    assert why in result.output
    known.update(version=geosr.__version__, why="")
    assert run("install", "--profile", "default").exit_code == 0
    assert run("status").exit_code == 0


def test_scripts_of_another_version_of_the_package_are_stale(home, known):
    run("install", "--profile", "default")
    notes = json.loads((scripts(home) / "geosr.json").read_text())
    (scripts(home) / "burst.py").write_text("# older")
    notes["files"]["burst.py"] = installation.content_digest(b"# older")
    (scripts(home) / "geosr.json").write_text(json.dumps(notes))
    [state] = json.loads(run("status", "--json").output)
    assert (state["state"], "not those of this geosr" in state["why"]) == ("stale", True)


@pytest.mark.parametrize("command", ["install", "uninstall"])
def test_a_script_that_was_edited_is_kept(home, known, command):
    run("install", "--profile", "default")
    (scripts(home) / "burst.py").write_text("# mine")
    (scripts(home) / "__pycache__").mkdir()
    (scripts(home) / "__pycache__" / "burst.cpython-39.pyc").write_text("")
    result = run(command)
    assert "burst.py was edited: it is kept as" in result.output
    assert (scripts(home) / "burst.py.edited").read_text() == "# mine"
    if command == "uninstall":
        assert [path.name for path in scripts(home).iterdir()] == ["burst.py.edited"]


@pytest.mark.parametrize("command", ["install", "uninstall"])
@pytest.mark.parametrize("notes", [None, "{", '{"python": "python", "version": "1", "files": {}}'])
def test_a_script_that_geosr_did_not_write_is_kept(home, known, command, notes):
    scripts(home).mkdir(parents=True)
    (scripts(home) / "burst.py").write_text("# mine")
    (scripts(home) / "dataset.py").write_bytes((installation.SCRIPTS / "dataset.py").read_bytes())
    if notes:
        (scripts(home) / "geosr.json").write_text(notes)
    result = run(command, "--profile", "default")
    assert result.exit_code == 0, result.output
    assert f"burst.py is not that of geosr {geosr.__version__}: it is kept as" in result.output
    assert (scripts(home) / "burst.py.edited").read_text() == "# mine"
    names = {path.name for path in scripts(home).iterdir()}
    installed = {*installation.FILES, "geosr.json"} if command == "install" else set()
    assert names == {"burst.py.edited", *installed}


def test_each_edit_of_a_script_is_kept(home, known):
    for text in ("# first", "# second", "# third"):
        run("install", "--profile", "default")
        (scripts(home) / "burst.py").write_text(text)
    run("uninstall")
    contents = {path.name: path.read_text() for path in scripts(home).iterdir()}
    assert contents == {"burst.py.edited": "# first", "burst.py.edited.2": "# second", "burst.py.edited.3": "# third"}


@pytest.mark.parametrize(
    "notes",
    [
        '{"python": 5, "files": {"burst.py": 1}, "version": 3}',
        '{"python": "python", "files": {"burst.py": null}, "version": "1"}',
        '{"python": ["python"], "files": {}, "version": "1"}',
        '{"files": {}}',
        '{"files": []}',
        "[1]",
        "[" * 100_000,
        "\0",
    ],
)
def test_damaged_notes_are_told_and_removed(home, known, notes):
    run("install", "--profile", "default")
    (scripts(home) / "geosr.json").write_text(notes)
    result = run("status")
    assert (result.exit_code, result.output[:6]) == (1, "broken")
    assert "geosr.json is missing or damaged" in result.output
    assert json.loads(run("status", "--json").output)[0]["python"] is None
    assert run("uninstall").exit_code == 0
    assert not scripts(home).exists()


@pytest.mark.parametrize("python", ["\0", "x" * 5000, "/"])
def test_a_python_that_cannot_be_is_broken(home, python):
    notes = {"python": python, "version": geosr.__version__, "files": {}}
    scripts(home).mkdir(parents=True)
    (scripts(home) / "geosr.json").write_text(json.dumps(notes))
    result = run("status")
    assert (result.exit_code, result.output[:6]) == (1, "broken")


def test_removing_starts_no_python(home, known, monkeypatch):
    run("install", "--profile", "default")
    monkeypatch.setattr(installation, "version_of", lambda python: pytest.fail("a Python was started"))
    assert run("uninstall").exit_code == 0
    assert not scripts(home).exists()


def test_files_of_others_are_left_alone(home, known):
    run("install", "--profile", "default")
    (scripts(home) / "mine.py").write_text("# mine")
    run("uninstall")
    assert [path.name for path in scripts(home).iterdir()] == ["mine.py"]


def test_a_python_that_is_gone_or_has_no_geosr_is_said(tmp_path):
    assert installation.version_of(tmp_path / "python") == (None, f"there is no '{tmp_path / 'python'}'")
    environment = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", environment], check=True)
    python = next(path for path in (environment / "bin/python", environment / "Scripts/python.exe") if path.exists())
    assert installation.version_of(python) == (None, f"{str(python)!r} has no geosr")
    with pytest.raises(InstallationError, match="install geosr there first"):
        installation.install(installation.Place(tmp_path / "scripts"), python=python)
    assert not (tmp_path / "scripts").exists()


def test_help_of_each_has_an_example():
    for name in ("install", "status", "uninstall"):
        text = run(name, "--help").output
        assert "Example:" in text
        assert f"geosr qgis {name}" in text
