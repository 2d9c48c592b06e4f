"""The Processing scripts and what they are written from, as texts: what QGIS is not needed for to see."""

import ast
import difflib
import itertools
import math
import os
import re
import shutil
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geosr.burst.options import ALIGN_MODES, METHODS, Options
from geosr.cli.burst import burst
from geosr.cli.dataset import dataset
from geosr.cli.main import main
from geosr.cli.superresolve import superresolve
from geosr.models import cards
from geosr.qgis import contents
from geosr.rasters import profile

SCRIPTS = {Path(name).stem: text.decode() for name, text in contents.shipped("scripts").items() if name[-3:] == ".py"}
SOURCES = {path.stem: path.read_text() for path in contents.SCRIPTS.glob("*.py")}
COMMANDS = {"superresolve": superresolve, "dataset": dataset, "burst": burst}
ALLOWED = {
    "json", "math", "os", "queue", "shlex", "shutil", "signal", "subprocess", "tempfile", "threading", "time", "qgis",
}  # fmt: skip
each = pytest.mark.parametrize("script", SCRIPTS)


def tree(script):
    return ast.parse(SCRIPTS[script], feature_version=(3, 7))


def parameters(script):
    """The parameters of the command that the script runs, by name."""
    # With the names of the whole command, for click keeps the option that it makes of them.
    names = main.context_settings["help_option_names"]
    command = COMMANDS[script].make_context(script, ["in", "out"], help_option_names=names).command
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
    assert set(SCRIPTS) == {"burst", "dataset", "superresolve"}


@each
def test_it_is_python_3_7_and_imports_only_qgis_and_the_standard_library(script):
    imported = set()
    for node in ast.walk(tree(script)):
        if isinstance(node, ast.Import):
            imported |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, node.module
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
    text = SCRIPTS[script]
    assert text.count("QgsProcessingAlgorithm):") == 1
    assert "return type(self)()" in text
    for member in ("name", "displayName", "group", "groupId", "shortHelpString", "helpUrl", "icon", "tr"):
        assert f"def {member}(self" in text


def test_what_they_share_stands_once_and_is_in_each_script():
    shared = SOURCES["common"][SOURCES["common"].index("GRACE = ") :].strip()
    for name, text in SCRIPTS.items():
        assert "from ." not in text
        assert text.count(shared) == 1
        assert SOURCES[name].count("from .common import ") == 1
    longest = max(
        difflib.SequenceMatcher(None, *map(str.splitlines, (SOURCES[a], SOURCES[b])), autojunk=False)
        .find_longest_match()
        .size
        for a, b in itertools.combinations(SOURCES, 2)
    )
    assert longest <= 8


def common(name, **modules):
    """A class of the shared module, which itself needs QGIS."""
    [node] = [node for node in ast.parse(SOURCES["common"]).body if getattr(node, "name", "") == name]
    exec(compile(ast.Module([node], []), "common.py", "exec"), modules)
    return modules[name]


def test_a_child_removes_what_it_held_and_its_folders_when_they_are_empty(tmp_path):
    child = common("Child", os=os, shutil=shutil)
    one = child.__new__(child)
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


@given(st.integers(1, 9), st.data())
def test_progress_moves_between_steps_and_never_backwards(total, data):
    now = [0.0]
    pace = common("Pace", math=math, time=time)(clock=lambda: now[0])
    pace.start(data.draw(st.integers(0, total - 1)), total)
    last = pace.percent()
    while pace.done < total:
        for seconds in data.draw(st.lists(st.floats(0.05, 30), max_size=3)):
            now[0] += seconds
            assert last <= pace.percent() <= 100 * (pace.done + 0.95) / total + 1e-9
            last = pace.percent()
        pace.step(pace.done + 1)
        assert last <= pace.percent()
        last = pace.percent()
    assert last == 100


def test_a_step_without_news_moves_the_bar_each_second():
    now = [0.0]
    pace = common("Pace", math=math, time=time)(clock=lambda: now[0])
    pace.start(0, 1)
    shown = []
    for second in range(15):
        now[0] = second
        shown.append(int(pace.percent()))
    assert len(set(shown)) == len(shown)


@each
def test_each_option_that_it_gives_is_one_of_the_command(script):
    params = parameters(script)
    known = {name for param in params.values() for name in param.opts}
    strings = {n.value for n in ast.walk(tree(script)) if isinstance(n, ast.Constant) and isinstance(n.value, str)}
    given = {text.partition("=")[0] for text in strings if re.match(r"--[a-z-]+(=|$)", text)}
    assert {"--progress", "--cancel-on-eof"} < given
    assert given <= known
    assert script in strings


@each
def test_each_parameter_is_used(script):
    text = SCRIPTS[script]
    for name in constants(script):
        assert text.count(f"self.{name}") >= 1 or f'"{name}"' in text, name


def test_the_choices_are_those_of_the_library():
    raster, stack = constants("superresolve"), constants("burst")
    assert tuple(raster["DATA_TYPES"]) == profile.DTYPES
    assert raster["MODELS"] == [*contents.models()]
    assert raster["SENSORS"] == [*contents.sensor_lines()][:1]
    assert set(stack["METHODS"]) == set(METHODS)
    assert tuple(stack["DEFAULT_METHODS"]) == Options().methods
    assert tuple(stack["ALIGN_MODES"]) == ALIGN_MODES


@each
def test_defaults_and_limits_are_the_command_s(script):
    command = parameters(script)
    text = SCRIPTS[script]
    [(least, most)] = re.findall(r"self\.SCALE.*?minValue=(\d+), maxValue=(\d+)", text)
    assert (int(least), int(most)) == (command["scale"].type.min, command["scale"].type.max)
    if script == "dataset":
        for name, key in (("SCALE", "scale"), ("TILE_SIZE", "size"), ("VALIDATION", "validation"), ("SEED", "seed")):
            default = re.search(rf"self\.{name},.*?defaultValue=([\d.]+)", text, re.S)[1]
            assert float(default) == command[key].default


def test_the_page_has_a_section_for_each_help_button():
    page = (contents.SCRIPTS / "geosr.html").read_text()
    for text in SCRIPTS.values():
        anchor = re.search(r'def name\(self\):\n        return "(\w+)"', text)[1]
        assert f'<h2 id="{anchor}">' in page


def test_the_help_names_the_default_and_every_scale_of_the_networks():
    page = (contents.SCRIPTS / "geosr.html").read_text()
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
    for path in [*contents.SCRIPTS.iterdir(), *contents.PLUGIN.iterdir()]:
        relative = path.relative_to(contents.SCRIPTS.parents[1])
        assert path.name == "__pycache__" or any(relative.match(pattern) for pattern in patterns), relative
