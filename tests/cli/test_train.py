import json
import re
import shlex

import pytest
from click.testing import CliRunner

from geosr.cli.main import main
from geosr.dataset import job
from geosr.dataset.options import Options
from tests.conftest import texture


def run(*arguments):
    return CliRunner().invoke(main, ["train", *map(str, arguments)])


@pytest.fixture
def data(make_raster, tmp_path):
    scenes = [make_raster(texture(1, 100, 100, seed=i), f"s{i}.tif", crs=None) for i in range(3)]
    job.build(scenes, tmp_path / "data", Options(size=32, validation=0.3))
    return tmp_path / "data"


@pytest.mark.slow
def test_the_command_line_comes_before_the_file_of_options(data, tmp_path):
    (tmp_path / "run.yaml").write_text("epochs: 5\ncrop: 12\nbatch: 4\nloss: l2\n")
    result = run(data, tmp_path / "runs", "--options", tmp_path / "run.yaml", "--epochs", 1)
    assert result.exit_code == 0, result.output
    assert re.search(r"written: .*span_x2\.keras.* in ", result.stderr)
    record = json.loads((tmp_path / "runs" / "x2" / "options.json").read_text())
    assert {name: record[name] for name in ("epochs", "crop", "batch", "loss", "model")} == {
        "epochs": 1,
        "crop": 12,
        "batch": 4,
        "loss": "l2",
        "model": "span",
    }


@pytest.mark.slow
def test_a_run_is_repeated_by_the_options_or_the_command_that_it_wrote(data, tmp_path):
    result = run(
        data, tmp_path / "runs", "--epochs", 1, "--crop", 12, "--batch", 4, "--fine-tune", "span", "--rate", 1e-5
    )
    assert result.exit_code == 0, result.output
    record = tmp_path / "runs" / "x2" / "options.json"
    result = run(data, tmp_path / "again", "--options", record)
    assert result.exit_code == 0, result.output
    assert json.loads((tmp_path / "again" / "x2" / "options.json").read_text()) == json.loads(record.read_text())
    [command] = json.loads((tmp_path / "runs" / "x2" / "span_x2.json").read_text())["commands"]
    program, name, *words = shlex.split(command.replace(str(tmp_path / "runs"), str(tmp_path / "third")))
    assert (program, name) == ("geosr", "train")
    result = run(*words)
    assert result.exit_code == 0, result.output
    assert json.loads((tmp_path / "third" / "x2" / "options.json").read_text()) == json.loads(record.read_text())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("epochs: many", "run.yaml': epochs: 'many' is not a valid integer"),
        ("epochs: [1]", "run.yaml': epochs: '[1]' is not a valid integer"),
        ("batch: 4.7", "run.yaml': batch: '4.7' is not a valid integer"),
        ("crop:", "run.yaml': crop: it has no value"),
        ("seed: -1", "run.yaml': seed: -1 is not in the range"),
        ("seed: 4294967296", "run.yaml': seed: 4294967296 is not in the range"),
        ("model: resnet", "'resnet' is not"),
        ("rate: -1", "-1.0 is not in the range"),
        ("speed: 9", "has speed, which is no option; there are average, bands, batch"),
    ],
)
def test_a_file_of_options_is_refused_as_the_command_line_is(text, message, tmp_path):
    (tmp_path / "run.yaml").write_text(text)
    result = run(tmp_path, tmp_path / "runs", "--options", tmp_path / "run.yaml")
    assert result.exit_code in (1, 2)
    assert message in result.output
    assert not (tmp_path / "runs").exists()


def test_a_loss_that_is_none_is_refused_before_anything_is_written(data, tmp_path):
    result = run(data, tmp_path / "runs", "--loss", "l3", "--crop", 12)
    assert result.exit_code == 1
    assert "a loss is a sum of l1, l2" in result.output
    assert not (tmp_path / "runs").exists()


def test_parallel_names_the_backend_it_needs(data, tmp_path):
    result = run(data, tmp_path / "runs", "--parallel", "--crop", 12)
    assert result.exit_code == 1
    assert "KERAS_BACKEND=jax" in result.output
