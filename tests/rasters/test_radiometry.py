import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geosr.rasters import radiometry
from geosr.rasters.radiometry import Range, to_dtype


@given(st.floats(-1e4, 1e4), st.floats(1e-2, 1e5), st.floats(-3, 3))
def test_restore_is_the_inverse_of_normalise(low, span, value):
    values = Range((low,), (low + span,))
    block = np.full((1, 2, 2), low + span * value)
    assert np.allclose(values.restore(values.normalise(block)), block, rtol=1e-5, atol=span * 1e-6)


def test_nothing_is_clipped():
    values = radiometry.fixed(0, 100, 1)
    assert values.normalise(np.array([[[-50.0, 200.0]]])).tolist() == [[[-0.5, 2.0]]]


def test_a_sampled_range_is_robust_and_looks_at_valid_pixels_alone():
    band = np.linspace(100, 200, 10_000).reshape(1, 100, 100)
    band[0, 0, :5] = 60_000
    band[0, -1, :] = -9999
    valid = band != -9999
    values = radiometry.sampled(band, valid)
    assert 100 <= values.low[0] < 102
    assert 197 < values.high[0] <= 201


@pytest.mark.parametrize("fill", [0, 7])
def test_a_band_without_contrast_or_without_valid_pixels_has_a_range(fill):
    band = np.full((1, 4, 4), fill)
    for valid in (np.ones(band.shape, bool), np.zeros(band.shape, bool)):
        values = radiometry.sampled(band, valid)
        assert values.high[0] > values.low[0]


@pytest.mark.parametrize("dtype", ["uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64"])
def test_integers_are_rounded_and_saturated(dtype):
    info = np.iinfo(dtype)
    block = np.array([-1e30, 2.4, 2.6, 1e30])
    for kind in ("float32", "float64"):
        made = to_dtype(block.astype(kind), dtype)
        assert made[1:3].tolist() == [2, 3]
        assert made[0] == info.min
        assert made[3] >= info.max * (1 - 1e-15)


def test_floats_are_passed_on():
    assert to_dtype(np.array([1e30, -0.5]), "float64").tolist() == [1e30, -0.5]
