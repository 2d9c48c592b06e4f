import json
from dataclasses import replace

import pytest
from click.testing import CliRunner

from geosr.cli.main import main
from geosr.models import cards
from geosr.superresolve import upscalers
from tests.models.networks import write_network


@pytest.mark.parametrize("name", ["idn", "span"])
@pytest.mark.parametrize("scale", [2, 3, 4])
def test_a_shipped_card_is_shown_with_its_scores(name, scale):
    result = CliRunner().invoke(main, ["models", "show", name, "--scale", str(scale), "--json"])
    assert result.exit_code == 0, result.output
    card = json.loads((cards.WEIGHTS / f"{name}_x{scale}.json").read_text())
    [content] = json.loads(result.output)
    assert content | card == content
    text = CliRunner().invoke(main, ["models", "show", name, "--scale", str(scale)]).output
    for command in card["commands"]:
        assert command in text
    assert f"{card['scores'][next(iter(card['scores']))]['NAIP Santa Monica']['gain']}" in text


def test_bicubic_is_no_network_to_show():
    result = CliRunner().invoke(main, ["models", "show", "bicubic"])
    assert result.exit_code == 1
    assert "bicubic is interpolation, with no network in it" in result.output


def test_a_card_of_another_file_is_not_replaced(tmp_path):
    path, _ = write_network(tmp_path / "net.onnx")
    cards.write(replace(cards.of(path), sha256="0" * 64, licence="theirs"), path)
    result = CliRunner().invoke(main, ["models", "show", str(path), "--write"])
    assert result.exit_code == 1
    assert "is the card of another file" in result.output
    assert json.loads((tmp_path / "net.json").read_text())["licence"] == "theirs"
    assert CliRunner().invoke(main, ["models", "show", "span", "--write"]).exit_code == 2


def test_a_card_beside_the_file_is_believed_and_written(tmp_path):
    path, _ = write_network(tmp_path / "net.onnx", "mean")
    result = CliRunner().invoke(main, ["models", "show", str(path), "--write"])
    assert result.exit_code == 0, result.output
    card = json.loads((tmp_path / "net.json").read_text())
    assert (card["scale"], card["bands"], card["halo"]) == (2, 1, None)
    cards.write(replace(cards.of(path), halo=12), path)
    assert upscalers.load_upscaler(str(path)).halo == 12
