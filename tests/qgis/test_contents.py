"""What QGIS is given, and the Python that it is for."""

import subprocess
import sys

import pytest

from geosr.errors import InstallationError
from geosr.models import cards
from geosr.qgis import contents, installation
from geosr.rasters.sensors import NATURAL, SENSORS


def test_the_files_are_those_of_their_lists():
    for kind, names in contents.FILES.items():
        assert [*contents.shipped(kind)] == [*names]
    for name in contents.BESIDE:
        assert contents.shipped("plugin")[name] == contents.shipped("scripts")[name]


def test_each_model_has_a_line_its_scales_and_whether_it_knows_sensors():
    models = contents.models()
    assert [*models] == ["bicubic", *sorted({card.name for card in cards.shipped()})]
    assert set(models) == set(contents.LINES)
    for name, facts in models.items():
        network = name != "bicubic"
        assert facts["network"] == network
        assert facts["scales"] == ([card.scale for card in cards.shipped() if card.name == name] or [*range(2, 9)])
        assert facts["knows_sensors"] == any(card.knows_sensors for card in cards.shipped() if card.name == name)


def test_the_sensors_are_those_of_the_command():
    lines = contents.sensor_lines()
    assert [*lines] == [NATURAL, *SENSORS]
    assert lines["landsat8"] == "B2 blue, B3 green, B4 red, B5 nir"


def test_a_python_that_is_gone_or_has_no_geosr_is_said(tmp_path):
    assert contents.version_of(tmp_path / "python") == (None, f"there is no '{tmp_path / 'python'}'")
    environment = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", environment], check=True)
    python = next(path for path in (environment / "bin/python", environment / "Scripts/python.exe") if path.exists())
    assert contents.version_of(python) == (None, f"{str(python)!r} has no geosr")
    with pytest.raises(InstallationError, match="install geosr there first"):
        installation.install(installation.Place("scripts", tmp_path / "scripts"), python=python)
    assert not (tmp_path / "scripts").exists()
