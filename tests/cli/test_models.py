import hashlib
import json
from dataclasses import fields, replace

import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

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


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    path, _ = write_network(tmp_path_factory.mktemp("network") / "net.onnx")
    return path


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@settings(max_examples=150)
@given(st.sampled_from([field.name for field in fields(cards.Card)]), JSON)
def test_a_card_with_any_json_in_a_field_is_shown_or_refused_in_one_line(network, name, value):
    card = json.loads(cards.shipped_path("span", 2).with_suffix(".json").read_text())
    digest = hashlib.sha256(network.read_bytes()).hexdigest()
    network.with_suffix(".json").write_text(json.dumps(card | {"sha256": digest, name: value}))
    for words in (["show", str(network)], ["show", str(network), "--json"]):
        result = CliRunner().invoke(main, ["models", *words])
        assert result.exit_code in (0, 1)
        assert result.exception is None or isinstance(result.exception, SystemExit)
        if result.exit_code:
            assert result.output.count("\n") == 1 and "net.json" in result.output


@pytest.mark.parametrize("content", ["", "{", "[]", "3", '{"name": "net"}', '{"scale": "two"}'])
def test_a_damaged_card_is_replaced_only_on_request(tmp_path, content):
    path, _ = write_network(tmp_path / "net.onnx")
    card = tmp_path / "net.json"
    card.write_text(content)
    for words in ([], ["--write"]):
        result = CliRunner().invoke(main, ["models", "show", str(path), *words])
        assert result.exit_code == 1
        assert "--write --overwrite" in result.output
        assert card.read_text() == content
    result = CliRunner().invoke(main, ["models", "show", str(path), "--write", "--overwrite"])
    assert result.exit_code == 0, result.output
    assert json.loads(card.read_text())["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
