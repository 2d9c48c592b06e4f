"""Options that commands share: what the shell completes, and what they print."""

import json

import numpy as np
import pytest
from click.shell_completion import ShellComplete
from click.testing import CliRunner

from geosr.cli import options
from geosr.cli.main import COMMANDS, main
from geosr.models import cards
from geosr.rasters.sensors import SENSORS
from tests.conftest import texture


def completions(*words):
    *before, incomplete = words
    items = ShellComplete(main, {}, "geosr", "_GEOSR_COMPLETE").get_completions(before, incomplete)
    return [item.value for item in items], {item.type for item in items}


def test_commands_are_completed():
    assert set(completions("")[0]) == set(COMMANDS)
    assert completions("ev")[0] == ["evaluate"]


@pytest.mark.parametrize("command", ["superresolve", "info"])
def test_models_are_completed_by_name_and_else_as_files(command):
    assert set(completions(command, "--model", "")[0]) == {"bicubic", *(card.name for card in cards.shipped())}
    assert completions(command, "--model", "bi")[0] == ["bicubic"]
    assert completions(command, "--model", "runs/x2/")[1] == {"file"}


def test_sensors_and_options_are_completed():
    assert set(completions("superresolve", "--sensor", "")[0]) == {"natural", *SENSORS}
    assert "--overwrite" in completions("superresolve", "--over")[0]


def test_scenes_are_completed_as_files():
    assert completions("superresolve", "sce")[1] == {"file"}
    assert completions("superresolve", "scene.tif", "o")[1] == {"file"}


def test_json_has_null_for_what_is_no_number(capsys):
    options.echo_json({"psnr": [np.inf, float("nan"), 1.5]})
    assert json.loads(capsys.readouterr().out) == {"psnr": [None, None, 1.5]}


def test_compare_says_what_it_wrote(make_raster, tmp_path):
    source, output, page = make_raster(texture(1, 64, 64)), tmp_path / "o.tif", tmp_path / "page.html"
    assert CliRunner().invoke(main, ["superresolve", str(source), str(output), "-m", "bicubic", "-q"]).exit_code == 0
    words = ["compare", str(source), str(output), "-o", str(page), "--png"]
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 0, done.output
    assert done.stderr == f"written: {page}, {tmp_path / 'page.png'}\n"
    assert CliRunner().invoke(main, [*words, "--overwrite", "-q"]).stderr == ""
