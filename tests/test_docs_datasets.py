"""What docs/datasets.md says is so: its commands and its examples run, its fields are those of a sample."""

import re
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner

from geosr.cli.main import main
from geosr.dataset import records
from geosr.rasters.sensors import SENSORS
from tests.conftest import texture
from tests.dataset.helpers import at

PAGE = (Path(__file__).parents[1] / "docs" / "datasets.md").read_text()


@pytest.fixture
def built(make_raster, tmp_path, monkeypatch):
    """The commands of the page, run in their order."""
    (tmp_path / "scenes" / "deep").mkdir(parents=True)
    for i in range(4):
        make_raster(texture(3, 200, 200, seed=i), f"scenes/deep/s{i}.tif", transform=at(4e5 + 5000 * i, 5e6))
    monkeypatch.chdir(tmp_path)
    for line in re.findall(r"```bash\n(.*?)```", PAGE, re.S)[0].splitlines():
        done = CliRunner().invoke(main, shlex.split(line)[1:])
        assert done.exit_code == 0, f"{line}\n{done.output}"
    return tmp_path / "out"


def test_the_commands_and_the_examples_run(built, capsys):
    pytest.importorskip("tensorflow_datasets", reason="needs TensorFlow Datasets: pip install tensorflow-datasets")
    blocks = re.findall(r"```python\n(.*?)```", PAGE, re.S)
    assert len(blocks) == 3
    for block in blocks:
        said = {}
        exec(block, said)
        if "batches" in said:
            down, gt = said["down"].numpy(), said["gt"].numpy()
            assert gt.shape[1:] == (96, 96, 3)
            assert down.shape[1:] == (48, 48, 3)
            assert gt.min() >= 0
            assert gt.max() <= 1
            assert abs(gt.mean() - down.mean()) < 0.01
    told = capsys.readouterr().out
    assert "uint8 (96, 96, 3) (48, 48, 3)" in told
    assert (built / "x2" / "Validation").is_dir()


def test_the_fields_are_those_of_a_sample(built):
    sample = records.read(built / "x2" / "Training").sample(0)
    told = re.findall(r"^\| `(\w+)` \|", PAGE, re.M)
    assert sorted(told) == sorted(records.features(records.encode(sample)))


def test_the_sensors_are_named():
    assert set(SENSORS) <= set(re.findall(r"`([\w-]+)`", PAGE))
