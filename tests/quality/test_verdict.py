"""The sentence on a result: what it says for figures that are good, bad, and unknown."""

import pytest

from geosr.quality.verdict import decimals, verdict

NAN = float("nan")


@pytest.mark.parametrize(
    ("error", "fine", "sentence"),
    [
        (
            4.0,
            0.4,
            "Shrunk back, the result agrees with the input to 4.0 DN (0.40 % of the range shown) and adds detail",
        ),
        (30.0, 0.4, "Shrunk back, the result roughly agrees with the input, to 30 DN (3.00 % of"),
        (80.0, 0.4, "Shrunk back, the result departs from the input by 80 DN (8.00 % of"),
        (4.0, 0.1, "of the range shown) and adds hardly any detail finer than the input's pixels."),
        (NAN, 0.1, "could not be held against the input"),
    ],
)
def test_a_result_is_judged_by_the_input(error, fine, sentence):
    totals = {"consistency": (9.0, error), "beyond the input": (0.1, fine)}
    text = verdict(["bicubic", "result"], totals, results=1, span=1000, unit="DN")
    assert sentence in text
    assert text.endswith(".")


def test_an_error_below_that_of_bicubic_interpolation_agrees():
    totals = {"consistency": (90.0, 80.0), "beyond the input": (0.1, 0.1)}
    assert "agrees with the input to 80 " in verdict(["bicubic", "result"], totals, results=1, span=1000)


def test_the_truth_decides_where_there_is_one():
    totals = {"consistency": (9, 4, NAN), "beyond the input": (0, 1, 2), "PSNR": (30.0, 32.25, NAN),
              "recovered": (12.0, 43.0, NAN)}  # fmt: skip
    text = verdict(["bicubic", "result", "truth"], totals, results=1, span=1000)
    assert text == (
        "The result is 2.25 dB nearer to the truth than bicubic interpolation and holds 43 % of the detail that the "
        "input cannot hold (bicubic 12 %)."
    )
    totals["PSNR"] = (30.0, 29.0, NAN)
    assert "1.00 dB farther from the truth" in verdict(["bicubic", "a_x2", "truth"], totals, results=1, span=1000)


def test_a_file_keeps_its_own_letters():
    totals = {"PSNR": (30.0, 29.0, 31.0, NAN), "recovered": (12.0, NAN, NAN, NAN)}
    text = verdict(["bicubic", "a_x2", "b_x2", "truth"], totals, results=2, span=1000)
    assert text.startswith("a_x2 is 1.00 dB farther")
    assert "; b_x2 is 1.00 dB nearer to the truth than bicubic interpolation." in text


def test_figures_of_a_column_have_equal_decimals():
    assert decimals([12.34, 0.5, NAN], 3) == 1
    assert decimals([0.00123], 2) == 4
    assert decimals([]) == 1
