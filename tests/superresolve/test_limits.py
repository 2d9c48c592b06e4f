"""Results stay near the input around them; those that are there already stay as they are."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import maximum_filter, minimum_filter

from geosr.superresolve.limits import SIDE, SLACK, limited


@given(st.integers(0, 99), st.sampled_from([2, 3, 4]))
def test_no_result_goes_beyond_the_input_around_it_by_more_than_the_slack(seed, scale):
    rng = np.random.default_rng(seed)
    low = rng.uniform(0, 1, (1, 2, 9, 11)).astype(np.float32)
    high = rng.uniform(-1, 2, (1, 2, 9 * scale, 11 * scale)).astype(np.float32)
    result = limited(high.copy(), low, scale)
    for band, values, before in zip(low[0], result[0], high[0], strict=True):
        top, bottom = maximum_filter(band, SIDE), minimum_filter(band, SIDE)
        most, least = (np.kron(ends, np.ones((scale, scale))) for ends in (top + SLACK * (top - bottom), bottom))
        assert (values <= most + 1e-6).all()
        assert (values >= np.minimum(least - SLACK * (most - least), 0) - 1e-6).all()
        assert (values >= -1e-6).all()
        same = (before <= most - 1e-6) & (before >= least)
        assert (values[same] == before[same]).all()


def test_a_flat_input_gives_a_flat_result():
    assert (limited(np.random.default_rng(0).random((1, 1, 8, 8)), np.full((1, 1, 4, 4), 0.5, "f4"), 2) == 0.5).all()


def test_values_below_the_range_stay_as_low_as_the_input():
    low = np.full((1, 1, 6, 6), -0.25, np.float32)
    assert (limited(np.full((1, 1, 12, 12), -3.0), low, 2) == -0.25).all()
