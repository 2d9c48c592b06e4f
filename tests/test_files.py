"""Values of files that others wrote."""

import json

import pytest

from geosr.files import DEPTH, json_value


@pytest.mark.parametrize("text", ['{"a": [1, 2.5, null]}', b'"x"', "3", "[" * DEPTH + "]" * DEPTH])
def test_json_is_what_it_says(text):
    assert json_value(text) == json.loads(text)


@pytest.mark.parametrize(
    "text",
    [
        "[" * (DEPTH + 1) + "]" * (DEPTH + 1),
        '{"a":' * 900 + "1" + "}" * 900,
        "[" * 100_000 + "]" * 100_000,
        '{"a":' * 100_000,
        "[1,",
        "",
        b"\xff\xfe",
        "9" * 10_000,
    ],
    ids=lambda text: str(text[:6]),
)
def test_depth_without_end_and_no_json_are_one_kind_of_error(text):
    with pytest.raises(ValueError, match=r"."):
        json_value(text)
