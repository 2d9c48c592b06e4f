"""The Processing scripts as texts: what QGIS is not needed for to see."""

import ast
import os
import re
import shutil
import sys
from pathlib import Path

import pytest

from geosr.burst.options import ALIGN_MODES, METHODS, Options
from geosr.cli.burst import burst
from geosr.cli.dataset import dataset
from geosr.cli.main import main
from geosr.cli.superresolve import superresolve
from geosr.models import cards
from geosr.qgis import installation
from geosr.rasters import profile

SCRIPTS = sorted(installation.SCRIPTS.glob("*.py"))
COMMANDS = {"superresolve": superresolve, "dataset": dataset, "burst": burst}
ALLOWED = {
    "json", "math", "os", "queue", "shlex", "shutil", "signal", "subprocess", "tempfile", "threading", "time", "qgis",
}  # fmt: skip
COMMON = re.compile(
    r"^(# [\w ]+: these lines are the same[^\n]*)\n(.*?)^# End of the lines that are the same\.$", re.M | re.S
)

each = pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)


def tree(script):
    return ast.parse(script.read_text(), feature_version=(3, 7))


def parameters(script):
    """The parameters of the command that the script runs, by name."""
    # With the names of the whole command, for click keeps the option that it makes of them.
    names = main.context_settings["help_option_names"]
    command = COMMANDS[script.stem].make_context(script.stem, ["in", "out"], help_option_names=names).command
    return {param.name: param for param in command.params}


def constants(script):
    """The names that the algorithm's class has values for."""
    [algorithm] = [
        node
        for node in tree(script).body
        if isinstance(node, ast.ClassDef) and any(getattr(b, "id", "") == "QgsProcessingAlgorithm" for b in node.bases)
    ]
    pairs = [node for node in algorithm.body if isinstance(node, ast.Assign)]
    return {node.targets[0].id: ast.literal_eval(node.value) for node in pairs}


def test_there_are_three():
    assert [script.stem for script in SCRIPTS] == ["burst", "dataset", "superresolve"]
    assert {script.name for script in SCRIPTS} < set(installation.FILES)


@each
def test_it_is_python_3_7_and_imports_only_qgis_and_the_standard_library(script):
    imported = set()
    for node in ast.walk(tree(script)):
        if isinstance(node, ast.Import):
            imported |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0
            imported.add(node.module.partition(".")[0])
    assert imported <= ALLOWED
    assert ALLOWED - {"qgis"} <= sys.stdlib_module_names


@each
def test_nothing_runs_when_it_is_imported(script):
    kinds = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.ClassDef)
    for node in tree(script).body:
        if isinstance(node, ast.Assign):
            ast.literal_eval(node.value)
        elif isinstance(node, ast.Expr):
            assert isinstance(node.value, ast.Constant)
        else:
            assert isinstance(node, kinds)


@each
def test_it_has_one_algorithm_which_qgis_can_make_again(script):
    text = script.read_text()
    assert text.count("(QgsProcessingAlgorithm):") == 1
    name = re.search(r"class (\w+)\(QgsProcessingAlgorithm\)", text)[1]
    assert f"return {name}()" in text
    for member in ("name", "displayName", "group", "groupId", "shortHelpString", "helpUrl", "icon", "tr"):
        assert f"def {member}(self" in text


def test_what_they_share_is_the_same_in_each():
    shared = {}
    for script in SCRIPTS:
        found = COMMON.findall(script.read_text())
        assert found, script
        for title, lines in found:
            shared.setdefault(title, set()).add(lines)
    assert len(shared) == 2
    assert all(len(versions) == 1 for versions in shared.values())


@each
def test_it_removes_what_the_child_held_and_its_folders_when_they_are_empty(script, tmp_path):
    [child] = [node for node in tree(script).body if getattr(node, "name", "") == "Child"]
    names = {"os": os, "shutil": shutil}
    exec(compile(ast.Module([child], []), str(script), "exec"), names)  # the module needs QGIS, this method does not
    one = names["Child"].__new__(names["Child"])
    new = tmp_path / "new" / "out"
    (new / ".o.tif.geosr").mkdir(parents=True)
    (new / ".o.tif.lock").write_text("")
    (new / "notes.txt").write_text("mine")
    one.temporary = [str(new / ".o.tif.geosr"), str(new / ".o.tif.lock"), str(new / "gone")]
    one.made = [str(new), str(new.parent)]
    one.clear()
    assert [path.name for path in new.iterdir()] == ["notes.txt"]
    (new / "notes.txt").unlink()
    one.clear()
    assert list(tmp_path.iterdir()) == []


@each
def test_each_option_that_it_gives_is_one_of_the_command(script):
    params = parameters(script)
    known = {name for param in params.values() for name in param.opts}
    strings = {n.value for n in ast.walk(tree(script)) if isinstance(n, ast.Constant) and isinstance(n.value, str)}
    given = {text.partition("=")[0] for text in strings if re.match(r"--[a-z-]+(=|$)", text)}
    assert {"--progress", "--cancel-on-eof"} < given
    assert given <= known
    assert script.stem in strings


@each
def test_each_parameter_is_used(script):
    text = script.read_text()
    for name in constants(script):
        assert text.count(f"self.{name}") >= 1 or f'"{name}"' in text, name


def test_the_choices_are_those_of_the_library():
    raster, stack = constants(SCRIPTS[2]), constants(SCRIPTS[0])
    assert tuple(raster["DATA_TYPES"]) == profile.DTYPES
    assert raster["MODELS"] == ["bicubic", *sorted({card.name for card in cards.shipped()})]
    assert set(stack["METHODS"]) == set(METHODS)
    assert tuple(stack["DEFAULT_METHODS"]) == Options().methods
    assert tuple(stack["ALIGN_MODES"]) == ALIGN_MODES


@each
def test_defaults_and_limits_are_the_command_s(script):
    command = parameters(script)
    text = script.read_text()
    [(least, most)] = re.findall(r"self\.SCALE.*?minValue=(\d+), maxValue=(\d+)", text)
    assert (int(least), int(most)) == (command["scale"].type.min, command["scale"].type.max)
    if script.stem == "dataset":
        for name, key in (("SCALE", "scale"), ("TILE_SIZE", "size"), ("VALIDATION", "validation"), ("SEED", "seed")):
            default = re.search(rf"self\.{name},.*?defaultValue=([\d.]+)", text, re.S)[1]
            assert float(default) == command[key].default


def test_the_page_has_a_section_for_each_help_button():
    page = (installation.SCRIPTS / "geosr.html").read_text()
    for script in SCRIPTS:
        anchor = re.search(r'"geosr\.html"\)\)\.toString\(\) \+ "#(\w+)"', script.read_text())[1]
        assert f'<h2 id="{anchor}">' in page
        assert f'return "{anchor}"' in script.read_text()


def test_the_help_names_the_default_and_every_scale_of_the_networks():
    page = (installation.SCRIPTS / "geosr.html").read_text()
    [default] = re.findall(r"<code>(\w+)</code>, the default", page)
    assert default == superresolve.params[[param.name for param in superresolve.params].index("model")].default
    *low, high = sorted({card.scale for card in cards.shipped()})
    assert f"{', '.join(map(str, low))} or {high} with the networks" in page
    assert {card.name for card in cards.shipped()} <= set(re.findall(r"<code>(\w+)</code>", page))


def test_all_files_are_in_the_package():
    import configparser

    setup = configparser.ConfigParser()
    setup.read(Path(__file__).parents[2] / "setup.cfg")
    patterns = setup["options.package_data"]["geosr"].split()
    for name in installation.FILES:
        assert (installation.SCRIPTS / name).is_file()
        assert any((Path("qgis") / "scripts" / name).match(pattern) for pattern in patterns), name
