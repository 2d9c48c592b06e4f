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
