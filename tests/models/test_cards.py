import dataclasses
import json

import pytest

from geosr.errors import ModelError
from geosr.models import cards
from geosr.rasters.radiometry import PERCENTILES
from geosr.superresolve import upscalers


def test_a_card_beside_a_model_is_believed_only_for_that_file(random_idn, tmp_path):
    path = tmp_path / "m.keras"
    path.write_bytes(random_idn().read_bytes())
    card = cards.describe(path, cards.digest_of(path))
    assert (card.scale, card.bands, card.halo) == (2, 1, 30)
    content = {**{f: getattr(card, f) for f in card.__slots__}, "purpose": "testing"}
    path.with_suffix(".json").write_text(json.dumps(content))
    assert cards.of(path).purpose == "testing"
    path.with_suffix(".json").write_text(json.dumps(content | {"sha256": "another"}))
    assert cards.of(path).purpose == ""


@pytest.mark.slow
def test_shipped_cards_tell_the_truth_about_their_networks():
    assert cards.shipped(), "no model is shipped"
    for card in cards.shipped():
        path = cards.shipped_path(card.name, card.scale)
        description = cards.describe(path, cards.digest_of(path))
        for name in ("scale", "bands", "halo", "sha256", "parameters", "multiply_adds", "pixel_bytes"):
            assert getattr(card, name) == getattr(description, name), name
        assert "percentiles {:g} and {:g}".format(*PERCENTILES) in card.range == description.range
        assert card.purpose
        assert card.training_data
        assert card.licence


@pytest.mark.parametrize("path", sorted(cards.WEIGHTS.glob("*.json")), ids=lambda path: path.stem)
def test_the_cards_that_ship_follow_the_schema(path):
    import jsonschema

    schema = json.loads((cards.WEIGHTS.parent / "card.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(json.loads(path.read_text()), schema, format_checker=jsonschema.FormatChecker())
    assert set(schema["properties"]) == {field.name for field in dataclasses.fields(cards.Card)}


def test_a_scale_that_is_not_shipped_names_what_is():
    with pytest.raises(ModelError, match=r"no shipped model 'idn' for scale 7; there are .*bicubic"):
        upscalers.load_upscaler("idn", 7)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("scale", 2**40),
        ("scale", 0),
        ("scale", True),
        ("scale", float("nan")),
        ("bands", 2**31),
        ("halo", 2**62),
        ("halo", -1),
        ("pixel_bytes", 10**400),
        ("parameters", 2**64),
        ("scores", {"psnr": 10**400}),
        ("scores", {"psnr": {"scene": {"bicubic": 10**400, "gain": 1}}}),
        ("scores", [[]] * 3),
        ("commands", ["a", 1]),
        ("purpose", {"a": 1}),
    ],
)
def test_a_value_out_of_all_bounds_is_no_card(tmp_path, name, value):
    (tmp_path / "net.onnx").write_bytes(b"network")
    card = cards.Card(name="net", scale=2, bands=1, halo=3, sha256="", parameters=0)
    file = tmp_path / "net.json"
    file.write_text(json.dumps({**dataclasses.asdict(card), name: value}))
    with pytest.raises(ModelError, match=rf"^'.*net.json' is not the card of a model: .*'{name}'"):
        cards.of(tmp_path / "net.onnx")


@pytest.mark.parametrize("text", ["[" * 100_000, '{"scores": ' * 500 + "1" + "}" * 500, "[]", "1"])
def test_depth_without_end_is_no_card(tmp_path, text):
    (tmp_path / "net.onnx").write_bytes(b"network")
    (tmp_path / "net.json").write_text(text)
    with pytest.raises(ModelError, match="is not the card of a model"):
        cards.of(tmp_path / "net.onnx")
