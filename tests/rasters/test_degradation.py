"""Degradations by physics: the modulation that was asked for, no shift, no flux lost, noise as the signal says."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

from geosr.errors import OptionError
from geosr.rasters.degradation import SHRINKING, STEPS, Degradation
from geosr.rasters.degrading import gaussian_taps
from geosr.rasters.radiometry import fixed
from geosr.rasters.resample import shrink
from geosr.rasters.sensors import SENSORS

UNIT = fixed(0, 1, 1)


def degraded(block, scale=2, *, values=UNIT, seed=(0,), **settings):
    return Degradation(**settings)(block, scale, values=values, seed=seed)


def modulation(block, period):
    """The amplitude of the wave of this period along the columns, least squares, without the edges."""
    row = block[0, block.shape[1] // 2, 8:-8]
    x = np.arange(8, 8 + len(row)) + 0.5
    basis = np.stack([np.cos(2 * np.pi * x / period), np.sin(2 * np.pi * x / period), np.ones_like(x)], axis=1)
    wave = np.linalg.lstsq(basis, row, rcond=None)[0]
    return float(np.hypot(*wave[:2])), float(np.arctan2(wave[1], wave[0]))


def wave(period, rows=64, cols=256, phase=0.3):
    x = np.arange(cols) + 0.5
    return np.broadcast_to(np.cos(2 * np.pi * x / period - phase), (1, rows, cols))


@given(st.sampled_from([2, 3, 4, 8]), st.floats(0.02, 0.65))
def test_the_transfer_at_nyquist_is_the_one_asked_for(scale, gain):
    taps = gaussian_taps(gain, scale)
    spectrum = np.fft.fft(taps, 2 * scale * 4096)
    assert abs(spectrum[4096]) == pytest.approx(gain, abs=1e-9)
    assert (taps > 0).all()
    assert (np.diff(np.abs(spectrum[:4097])) <= 1e-4).all()


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("gain", [0.15, 0.3, 0.5])
def test_waves_lose_what_a_gaussian_takes_and_do_not_move(scale, gain):
    for periods in (2.5, 4, 10):
        made = degraded(wave(periods * scale), scale, steps=("mtf",), mtf=(gain,))
        amplitude, phase = modulation(made, periods)
        assert amplitude == pytest.approx(gain ** ((2 / periods) ** 2), abs=0.004)
        assert phase == pytest.approx(0.3, abs=1e-3)


def test_the_edge_of_a_field_has_the_transfer_asked_for():
    """The slanted edge method: the transform of the edge's derivative, sampled finely by an edge at many phases."""
    scale, gain, cols = 2, 0.25, 128
    x = np.arange(cols * 8) / 8
    profile = []
    for eighth in range(16):
        fine = (x >= cols / 2 + eighth / 8).astype(float).reshape(1, 1, cols, 8).mean(-1)  # area sampled
        edge = np.broadcast_to(fine, (1, 32, cols))
        made = degraded(edge, scale, steps=("mtf",), mtf=(gain,))[0, 8]
        profile += [(i + 0.5 - (cols / 2 + eighth / 8) / scale, v) for i, v in enumerate(made)]
    places, values = np.array(sorted(profile)).T
    spread = np.gradient(values, places[1] - places[0])
    frequency = 0.5
    transfer = abs((spread * np.exp(-2j * np.pi * frequency * places)).sum() / spread.sum())
    box = np.sinc(frequency / scale)  # the pixels that the edge was laid on
    assert transfer / box == pytest.approx(gain, abs=0.005)


@pytest.mark.parametrize("steps", [("bicubic",), ("mtf",)])
@pytest.mark.parametrize("scale", [2, 3, 4])
def test_a_spot_keeps_its_place_and_its_flux(steps, scale):
    spot = np.zeros((1, 96, 96))
    spot[0, 48, 41] = 1
    spot = gaussian_filter(spot, (0, 3 * scale, 3 * scale))
    made = degraded(spot, scale, steps=steps)[0]
    rows, cols = np.indices(made.shape) + 0.5
    assert made.sum() * scale**2 == pytest.approx(spot.sum(), rel=1e-3)
    assert (rows * made).sum() / made.sum() * scale == pytest.approx(48.5, abs=0.02)
    assert (cols * made).sum() / made.sum() * scale == pytest.approx(41.5, abs=0.02)


@pytest.mark.parametrize("steps", [("bicubic",), ("mtf",), ("mtf", "noise", "quantise")])
def test_a_flat_field_keeps_its_value(steps):
    made = degraded(np.full((1, 24, 24), 0.6), steps=steps, noise=(0, 0))
    assert np.allclose(made, 0.6, atol=1 / 255)


def test_bicubic_is_what_the_rest_of_the_program_shrinks_by():
    block = np.random.default_rng(0).random((3, 32, 32))
    assert (degraded(block, 4, values=fixed(0, 1, 3)) == shrink(block, 4)).all()


def test_each_band_has_its_own_transfer():
    image = np.concatenate([wave(8)] * 3)
    made = degraded(image, values=fixed(0, 1, 3), steps=("mtf",), mtf=(0.2, 0.3, 0.6))
    found = [modulation(made[i : i + 1], 4)[0] for i in range(3)]
    assert found == pytest.approx([0.2**0.25, 0.3**0.25, 0.6**0.25], abs=0.01)


def test_the_part_of_a_block_within_reach_is_all_that_counts():
    block = np.random.default_rng(1).random((1, 96, 96))
    for steps, scale in [(("mtf",), 2), (("mtf",), 3), (("bicubic",), 4)]:
        how = Degradation(steps, mtf=(0.1,))
        reach = how.reach(scale)
        assert reach % scale == 0
        other = block.copy()
        other[:, : 48 - reach], other[:, :, : 48 - reach] = 9, 9
        one, two = (how(b, scale, values=UNIT)[:, 48 // scale :, 48 // scale :] for b in (block, other))
        assert np.abs(one - two).max() < 1e-12


@pytest.mark.parametrize("level", [0.0, 0.25, 1.0])
def test_the_variance_of_noise_follows_the_signal(level):
    flat = np.full((1, 800, 800), 100 + level * 400)
    made = degraded(flat, values=fixed(100, 500, 1), steps=("bicubic", "noise"), noise=(0.05, 0.02))
    wanted = 400**2 * (0.05**2 * level + 0.02**2)
    assert made.var() == pytest.approx(wanted, rel=0.02)
    assert made.mean() == pytest.approx(flat.mean(), abs=0.2)
    shifted = np.corrcoef(made[0, :, 1:].ravel(), made[0, :, :-1].ravel())[0, 1]
    assert abs(shifted) < 0.01


def test_noise_is_that_of_its_seed():
    block = np.full((2, 16, 16), 0.5)
    one, same, other = (
        degraded(block, values=fixed(0, 1, 2), seed=seed, steps=("mtf", "noise")) for seed in [(1, 2), (1, 2), (1, 3)]
    )
    assert (one == same).all()
    assert (one != other).all()
    assert (one[0] != one[1]).any()


def test_quantised_values_are_the_nearest_level_beyond_the_range_too():
    ramp = np.linspace(-50, 250, 4096).reshape(1, 64, 64).repeat(2, 1).repeat(2, 2)
    made = degraded(ramp, values=fixed(0, 150, 1), steps=("bicubic", "quantise"), bits=4)
    assert np.allclose(made / 10, np.rint(made / 10), atol=1e-6)
    assert np.abs(made - shrink(ramp, 2)).max() <= 5 + 1e-9
    assert made.min() < 0
    assert made.max() > 150


@pytest.mark.parametrize("name", SENSORS)
@pytest.mark.parametrize("scale", [2, 3, 4])
def test_every_sensor_can_be_simulated(name, scale):
    gains = tuple(SENSORS[name].values())
    how = Degradation(("mtf",), mtf=gains)
    how.check(len(gains), scale)
    block = np.ones((len(gains), 24, 24))
    assert np.allclose(how(block, scale, values=fixed(0, 1, len(block))), 1)


@pytest.mark.parametrize(("steps", "gain"), [(("mtf", "noise"), 0.26), (("bicubic",), 0.5)])
def test_a_network_is_told_the_transfer_and_the_noise_that_waves_show(steps, gain):
    how = Degradation(steps, mtf=(gain,), noise=(0.02, 0.003))
    [told] = how.sensor_settings(2, [0.25])
    clean = Degradation(steps[:1], mtf=(gain,))
    for period, transfer in ((8, told.half), (4.02, told.nyquist)):
        amplitude, _ = modulation(clean(wave(period), 2, values=UNIT), period / 2)
        assert amplitude == pytest.approx(transfer, abs=0.01)
    flat = how(np.full((1, 400, 400), 0.25), 2, values=UNIT)
    assert flat.std() == pytest.approx(told.noise, rel=0.02, abs=1e-9)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"steps": ("blur",)}, "made of bicubic, mtf, noise, quantise, got 'blur'"),
        ({"steps": ("noise", "mtf")}, r"begins with one of bicubic, mtf, .* got noise\+mtf"),
        ({"steps": ("mtf", "bicubic")}, "begins with one of"),
        ({"steps": ()}, "begins with one of"),
        ({"mtf": (0.0,)}, "mtf must be from 0.01 to below 1, got 0"),
        ({"noise": (float("nan"), 0.0)}, "noise must be"),
        ({"bits": 0}, "bits must be 1 to 16, got 0"),
    ],
)
def test_what_makes_no_sense_is_refused(settings, told):
    with pytest.raises(OptionError, match=told):
        Degradation(**settings)


def test_what_does_not_fit_is_refused():
    with pytest.raises(OptionError, match="given for 4 bands, and the scenes have 3"):
        Degradation(("mtf",), mtf=(0.55, 0.55, 0.55, 0.53)).check(3, 2)
    with pytest.raises(OptionError, match=r"mtf must be below 0\.707 at scale 2, got 0\.8"):
        Degradation(("mtf",), mtf=(0.8,)).check(3, 2)
    Degradation(("mtf",), mtf=(0.8,)).check(3, 3)
    assert set(SHRINKING) < set(STEPS)
