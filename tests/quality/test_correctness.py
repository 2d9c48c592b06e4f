import numpy as np
import pytest

from geosr.quality.correctness import QUANTILE, STEEPNESS, TEMPERATURE, correctness, enlarged
from tests.conftest import texture

SURE = 1 / (1 + 2 * np.exp(-1 / TEMPERATURE))
"""The share of what is certain: the softmin of 0, 1 and 1."""


@pytest.fixture
def blocks():
    """A truth, its input and that under bilinear interpolation."""
    truth = texture(3, 96, 80, seed=3).astype(float) + 5
    low = truth.reshape(3, 48, 2, 40, 2).mean(axis=(2, 4))
    return truth, enlarged(low, 2)


def everywhere(truth):
    return np.ones(truth.shape, bool)


def by_hand(result, truth, plain):
    """The formulas of the paper, one pixel after another, with an exact quantile."""

    def distance(one, other):
        return (np.abs(one - other) / (one + other)).mean(axis=0)

    reference, near, far = distance(plain, truth), distance(result, truth), distance(result, plain)
    least, shares = np.quantile(reference, QUANTILE), []
    for d, to_truth, to_input in zip(reference.ravel(), near.ravel(), far.ravel(), strict=True):
        if max(d, to_truth, to_input) <= least:
            continue
        x, y = to_truth / d, to_input / d
        bend = 1 - np.exp(-STEEPNESS * (x + y - 1))
        weights = np.exp(-np.array([x + y * bend, y + x * bend, np.exp(-STEEPNESS * x * y)]) / TEMPERATURE)
        shares.append(weights / weights.sum())
    return np.mean(shares, axis=0)


def test_the_truth_is_all_improvement_and_the_input_all_omission(blocks):
    truth, plain = blocks
    for result, place in ((truth, 0), (plain, 1)):
        found = correctness(result, truth, plain, everywhere(truth)).value
        assert found[place] == pytest.approx(SURE)
        assert found.sum() == pytest.approx(1)


def test_what_is_made_up_is_hallucination(blocks):
    truth, plain = blocks
    made_up = plain + np.random.default_rng(0).choice([-60, 60], truth.shape[1:])
    improvement, omission, hallucination = correctness(made_up.clip(1), truth, plain, everywhere(truth)).value
    assert hallucination > 0.8 > 0.2 > improvement + omission


@pytest.mark.parametrize("noise", [0.5, 5.0, 30.0])
def test_the_shares_are_those_of_the_paper(blocks, noise):
    truth, plain = blocks
    result = (0.5 * truth + 0.5 * plain + np.random.default_rng(1).normal(0, noise, truth.shape)).clip(1)
    found = correctness(result, truth, plain, everywhere(truth)).value
    np.testing.assert_allclose(found, by_hand(result, truth, plain), atol=0.01)


def test_tiles_add_up_and_invalid_pixels_do_not_count(blocks):
    truth, plain = blocks
    result, valid = 0.5 * (truth + plain), everywhere(truth)
    whole = correctness(result, truth, plain, valid)
    halves = [
        correctness(*(block[:, part] for block in (result, truth, plain, valid))) for part in (np.s_[:40], np.s_[40:])
    ]
    np.testing.assert_allclose((halves[0] + halves[1]).value, whole.value)
    valid[1, :40] = False
    result[:, :40] = 7
    np.testing.assert_allclose(correctness(result, truth, plain, valid).value, halves[1].value)
    assert np.isnan(correctness(result, truth, plain, ~everywhere(truth)).value).all()


def test_a_scene_without_detail_tells_nothing():
    flat = np.full((1, 20, 20), 9.0)
    assert np.isnan(correctness(flat, flat, flat, everywhere(flat)).value).all()


def test_bilinear_interpolation_is_that_of_others():
    skimage = pytest.importorskip("skimage.transform")
    low = texture(1, 20, 17, seed=4).astype(float)
    wanted = skimage.resize(low[0], (40, 34), order=1, mode="edge", anti_aliasing=False)
    np.testing.assert_allclose(enlarged(low, 2)[0], wanted, atol=1e-6)
