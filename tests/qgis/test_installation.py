"""geosr qgis install, status and uninstall, in homes made for the test."""

import json
import os
import sys

import pytest
from click.testing import CliRunner

import geosr
from geosr.cli.main import main
from geosr.errors import InstallationError
from geosr.qgis import contents, installation

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
    for module in (contents, installation):
        monkeypatch.setattr(module, "version_of", lambda python: (answer["version"], answer["why"]))
    return answer


@pytest.fixture(params=["plugin", "scripts"])
def kind(request):
    return request.param


def run(*args):
    return CliRunner().invoke(main, ["qgis", *map(str, args)])


def install(kind, *args):
    return run("install", *["--scripts"] * (kind == "scripts"), *args)


def where(home, kind, profile="default"):
    return home / ROOTS["linux"] / "profiles" / profile / installation.PARENTS[kind] / "geosr"


def settings(home, profile="default"):
    return home / ROOTS["linux"] / "profiles" / profile / "QGIS" / "QGIS3.ini"


@pytest.mark.parametrize("platform", ROOTS)
def test_profiles_are_found_on_each_system(tmp_path, platform):
    (tmp_path / ROOTS[platform] / "profiles" / "default").mkdir(parents=True)
    plugin, scripts = installation.places(environ={}, home=tmp_path, platform=platform)
    profile = tmp_path / ROOTS[platform] / "profiles" / "default"
    assert plugin.profile == scripts.profile == "default"
    assert (plugin.folder, plugin.sibling) == (profile / "python/plugins/geosr", scripts.folder)
    assert (scripts.folder, scripts.sibling) == (profile / "processing/scripts/geosr", plugin.folder)
    assert plugin.settings == profile / "QGIS" / f"{ROOTS[platform][-5:]}.ini"


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
    places = installation.places(environ=variables, home=tmp_path, platform="linux")
    assert {place.profile for place in places} == {"mine"}


def test_it_is_installed_told_and_removed_in_all_profiles(home, known, kind):
    result = install(kind)
    assert result.exit_code == 0, result.output
    assert result.output.count(f"the {kind} of geosr {geosr.__version__}") == 2
    for profile in ("default", "work"):
        names = {path.name for path in where(home, kind, profile).iterdir()}
        assert names == {*contents.FILES[kind], "geosr.json"}
        notes = json.loads((where(home, kind, profile) / "geosr.json").read_text())
        assert notes["python"] == os.path.abspath(sys.executable)  # noqa: PTH100 - links stay
        assert notes["version"] == geosr.__version__
        assert next(iter(notes["models"])) == "bicubic"
        assert "idn" in notes["models"]
        assert settings(home, profile).exists() == (kind == "plugin")
    result = run("status")
    assert result.exit_code == 0
    assert result.output.count("good") == 2
    assert run("uninstall").output.count(f"the {kind}") == 2
    assert not where(home, kind).exists()
    assert where(home, kind).parent.is_dir()
    assert run("status").exit_code == 1
    assert run("uninstall").output == "Nothing is installed in QGIS; there is nothing to remove.\n"


def test_the_plugin_is_enabled_until_it_is_removed_and_the_settings_stay(home, known):
    before = b"[qgis]\r\nname=\xc3\xa4\r\n\r\n[PythonPlugins]\r\nother=true\r\n\r\n[z]\r\nGeosr=1\r\n"
    settings(home).parent.mkdir()
    settings(home).write_bytes(before)
    settings(home).chmod(0o600)
    run("install")
    assert settings(home).read_bytes() == before.replace(b"other=true\r\n", b"other=true\r\ngeosr=true\r\n")
    assert settings(home).stat().st_mode & 0o777 == 0o600
    assert settings(home, "work").read_text() == "[PythonPlugins]\ngeosr=true\n"
    settings(home).write_bytes(settings(home).read_bytes().replace(b"geosr=true", b"geosr=false"))
    result = run("status", "--profile", "default")
    assert (result.exit_code, result.output[:8]) == (1, "disabled")
    run("install")
    assert run("status").exit_code == 0
    run("uninstall")
    assert settings(home).read_bytes() == before
    assert not settings(home, "work").exists()


def test_the_plugin_and_the_scripts_take_each_other_s_place(home, known, kind):
    other = {"plugin": "scripts", "scripts": "plugin"}[kind]
    install(other)
    result = install(kind)
    assert result.exit_code == 0, result.output
    assert result.output.count(f"the {other}") == 2
    assert where(home, kind).exists()
    assert not where(home, other).exists()
    assert run("status").exit_code == 0
    assert settings(home).exists() == (kind == "plugin")


def test_algorithms_that_are_listed_twice_are_told(home, known):
    for place in installation.places("default"):
        installation.install(place)
    result = run("status")
    assert result.exit_code == 1
    assert result.output.startswith("good")
    assert "stale" in result.output
    assert "the plugin offers the same algorithms; run geosr qgis install" in result.output


def test_one_profile_or_a_folder_can_be_chosen(home, known, kind, tmp_path):
    assert install(kind, "--profile", "work").exit_code == 0
    assert not where(home, kind).exists()
    assert where(home, kind, "work").exists()
    assert run("install", "--scripts-dir", tmp_path / "shared").exit_code == 0
    [state] = json.loads(run("status", "--scripts-dir", tmp_path / "shared", "--json").output)
    assert (state["state"], state["kind"]) == ("good", "scripts")
    assert state["folder"] == str(tmp_path / "shared" / "geosr")
    assert json.loads(install(kind, "--profile", "work", "--json").output) == [str(where(home, kind, "work"))]


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
    (home / ROOTS["linux"] / "profiles" / "default" / "QGIS").write_text("")
    result = run("install", "--profile", "default")
    assert result.exit_code == 1
    assert result.output.startswith(f"Error: cannot write to '{settings(home).parent}")


@pytest.mark.parametrize(
    ("spoil", "state", "why"),
    [
        (lambda folder, known: known.update(version="9.9.9"), "stale", "has 9.9.9; run geosr qgis install"),
        (lambda folder, known: (folder / "burst.py").write_text("# mine"), "stale", "burst.py was edited"),
        (lambda folder, known: known.update(version=None, why="there is no 'x'"), "broken", "there is no 'x'"),
        (lambda folder, known: (folder / "burst.py").unlink(), "broken", "burst.py is missing"),
        (lambda folder, known: (folder / "geosr.json").unlink(), "broken", "geosr.json is missing"),
        (lambda folder, known: (folder / "geosr.json").write_text("{"), "broken", "geosr.json is missing or damaged"),
    ],
)
def test_what_is_stale_or_broken_is_told_and_mended_by_installing_again(home, known, kind, spoil, state, why):
    install(kind, "--profile", "default")
    spoil(where(home, kind), known)
    result = run("status")
    assert result.exit_code == 1
    assert result.output.startswith(state)
    assert why in result.output
    known.update(version=geosr.__version__, why="")
    assert install(kind, "--profile", "default").exit_code == 0
    assert run("status").exit_code == 0


def test_files_of_another_version_of_the_package_are_stale(home, known, kind):
    install(kind, "--profile", "default")
    notes = json.loads((where(home, kind) / "geosr.json").read_text())
    (where(home, kind) / "burst.py").write_text("# older")
    notes["files"]["burst.py"] = contents.content_digest(b"# older")
    (where(home, kind) / "geosr.json").write_text(json.dumps(notes))
    [state] = json.loads(run("status", "--json").output)
    assert (state["state"], "are not those of this geosr" in state["why"]) == ("stale", True)


@pytest.mark.parametrize("command", ["install", "uninstall"])
def test_a_file_that_was_edited_is_kept(home, known, kind, command):
    install(kind, "--profile", "default")
    (where(home, kind) / "burst.py").write_text("# mine")
    (where(home, kind) / "__pycache__").mkdir()
    (where(home, kind) / "__pycache__" / "burst.cpython-39.pyc").write_text("")
    result = install(kind) if command == "install" else run(command)
    assert "burst.py was edited: it is kept as" in result.output
    assert (where(home, kind) / "burst.py.edited").read_text() == "# mine"
    if command == "uninstall":
        assert [path.name for path in where(home, kind).iterdir()] == ["burst.py.edited"]


@pytest.mark.parametrize("command", ["install", "uninstall"])
@pytest.mark.parametrize("notes", [None, "{", '{"python": "python", "version": "1", "files": {}}'])
def test_a_file_that_geosr_did_not_write_is_kept(home, known, kind, command, notes):
    where(home, kind).mkdir(parents=True)
    (where(home, kind) / "burst.py").write_text("# mine")
    (where(home, kind) / "dataset.py").write_bytes(contents.shipped(kind)["dataset.py"])
    if notes:
        (where(home, kind) / "geosr.json").write_text(notes)
    result = install(kind, "--profile", "default") if command == "install" else run(command)
    assert result.exit_code == 0, result.output
    assert f"burst.py is not that of geosr {geosr.__version__}: it is kept as" in result.output
    assert (where(home, kind) / "burst.py.edited").read_text() == "# mine"
    names = {path.name for path in where(home, kind).iterdir()}
    installed = {*contents.FILES[kind], "geosr.json"} if command == "install" else set()
    assert names == {"burst.py.edited", *installed}


def test_each_edit_of_a_file_is_kept(home, known, kind):
    for text in ("# first", "# second", "# third"):
        install(kind, "--profile", "default")
        (where(home, kind) / "burst.py").write_text(text)
    run("uninstall")
    texts = {path.name: path.read_text() for path in where(home, kind).iterdir()}
    assert texts == {"burst.py.edited": "# first", "burst.py.edited.2": "# second", "burst.py.edited.3": "# third"}


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
def test_damaged_notes_are_told_and_removed(home, known, kind, notes):
    install(kind, "--profile", "default")
    (where(home, kind) / "geosr.json").write_text(notes)
    result = run("status")
    assert (result.exit_code, result.output[:6]) == (1, "broken")
    assert "geosr.json is missing or damaged" in result.output
    assert json.loads(run("status", "--json").output)[0]["python"] is None
    assert run("uninstall").exit_code == 0
    assert not where(home, kind).exists()


@pytest.mark.parametrize("python", ["\0", "x" * 5000, "/"])
def test_a_python_that_cannot_be_is_broken(home, kind, python):
    notes = {"python": python, "version": geosr.__version__, "files": {}}
    where(home, kind).mkdir(parents=True)
    (where(home, kind) / "geosr.json").write_text(json.dumps(notes))
    result = run("status")
    assert (result.exit_code, result.output[:6]) == (1, "broken")


def test_removing_starts_no_python(home, known, kind, monkeypatch):
    install(kind, "--profile", "default")
    monkeypatch.setattr(contents, "version_of", lambda python: pytest.fail("a Python was started"))
    assert run("uninstall").exit_code == 0
    assert not where(home, kind).exists()


def test_files_of_others_are_left_alone(home, known, kind):
    install(kind, "--profile", "default")
    (where(home, kind) / "mine.py").write_text("# mine")
    run("uninstall")
    assert [path.name for path in where(home, kind).iterdir()] == ["mine.py"]


def test_help_of_each_has_an_example():
    for name in ("install", "status", "uninstall"):
        text = run(name, "--help").output
        assert "Example:" in text
        assert f"geosr qgis {name}" in text
