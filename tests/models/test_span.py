import pytest

from geosr import models


def test_span_has_the_size_that_is_measured():
    assert models.fold(models.build("span", 4, 3)).count_params() == 150_688


def test_the_wide_span_of_four_bands_is_as_much_work_as_span_four_times():
    # What a pixel of the input costs: each weight of a convolution is multiplied once.
    single, four = (
        models.fold(models.build(name, 2, bands)).count_params() for name, bands in [("span", 1), ("span_wide", 4)]
    )
    assert four == pytest.approx(4 * single, rel=0.02)
