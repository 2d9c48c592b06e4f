import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from geosr.burst import reducers
from geosr.burst.reducers import REDUCERS

stacks = st.tuples(st.integers(1, 9), st.integers(1, 3), st.just(6), st.just(7)).flatmap(
    lambda shape: arrays.arrays(np.float32, shape, elements=st.floats(0, 1000, width=32))
)


def all_used(stack):
    return np.ones((len(stack), *stack.shape[2:]), bool)


def noise(frames, *, seed=0, level=10.0, side=40):
    return np.random.default_rng(seed).normal(100, level, (frames, 3, side, side)).astype(np.float32)


@given(stacks)
def test_median_is_numpy_s(stack):
    np.testing.assert_allclose(reducers.median(stack, all_used(stack)), np.median(stack, axis=0), rtol=1e-6)


@given(stacks, st.randoms(use_true_random=False))
def test_mean_and_median_leave_out_what_does_not_count(stack, random):
    used = np.array([random.random() < 0.6 for _ in range(stack[:, 0].size)]).reshape(all_used(stack).shape)
    hidden = np.where(used[:, None], stack, np.nan)
    some = used.any(axis=0)
    for made, expected in (
        (reducers.mean(stack, used), np.nanmean(hidden[..., some], axis=0)),
        (reducers.median(stack, used), np.nanmedian(hidden[..., some], axis=0)),
    ):
        np.testing.assert_allclose(made[:, some], expected, rtol=1e-5, atol=1e-5)
        assert (made[:, ~some] == 0).all()


@given(stacks)
def test_every_reducer_stays_within_the_values_and_ignores_their_order(stack):
    for name, reducer in REDUCERS.items():
        made = reducer(stack, all_used(stack))
        assert (made >= stack.min(axis=0) - 1e-2).all(), name
        assert (made <= stack.max(axis=0) + 1e-2).all(), name
        np.testing.assert_allclose(reducer(stack[::-1], all_used(stack)), made, rtol=1e-3, atol=1e-2, err_msg=name)


@given(st.integers(1, 40))
def test_comparators_sort_any_number(count):
    values = np.random.default_rng(count).random((count, 5))
    for i, j in reducers.comparators(count):
        assert i < j
        values[i], values[j] = np.minimum(values[i], values[j]), np.maximum(values[i], values[j])
    assert (np.diff(values, axis=0) >= 0).all()


@pytest.mark.parametrize("name", ["mean", "sigma", "robust"])
def test_noise_falls_with_the_square_root_of_the_frames(name):
    few, many = (np.std(REDUCERS[name](noise(n), all_used(noise(n)))) for n in (4, 16))
    assert few / many == pytest.approx(2, rel=0.12)


def test_robust_is_as_good_as_the_mean_where_nothing_moves():
    stack = noise(10)
    spread = {name: np.std(REDUCERS[name](stack, all_used(stack))) for name in ("mean", "median", "robust")}
    assert spread["robust"] < 1.05 * spread["mean"]
    assert spread["median"] > 1.15 * spread["mean"]


@pytest.mark.parametrize("name", ["median", "trimmed", "sigma", "robust"])
def test_a_thing_in_one_frame_leaves_no_ghost(name):
    stack = noise(8, level=2.0)
    stack[3, :, 10:20, 10:20] += 120
    made = REDUCERS[name](stack, all_used(stack))
    inner = made[:, 12:18, 12:18].mean()
    assert abs(inner - 100) < 3
    assert abs(reducers.mean(stack, all_used(stack))[:, 12:18, 12:18].mean() - 115) < 1


def test_sigma_needs_no_noise_to_be_the_mean():
    stack = np.full((5, 1, 3, 3), 7, np.float32)
    assert (reducers.sigma(stack, all_used(stack)) == 7).all()


def test_deviation_is_numpy_s():
    stack = noise(6)
    expected = np.sqrt(stack.var(axis=0).mean(axis=0))
    np.testing.assert_allclose(reducers.deviation(stack, all_used(stack)), expected, rtol=1e-3)
