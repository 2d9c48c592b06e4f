"""Sensors that are simulated do what the network is told: their transfer on waves, their noise, no shift."""

import numpy as np
import pytest
from scipy.ndimage import correlate1d, gaussian_filter

from geosr.errors import OptionError
from geosr.rasters.resample import enlarge, shrink, shrinking_taps
from geosr.training.options import Options
from geosr.training.simulation import MARGIN, Simulation, draw_sensor, power_taps, simulate

PLAIN = Options(bits=(16,), jpeg=(95, 98))


def sensors(count=200, **options):
    rng = np.random.default_rng(0)
    return [draw_sensor(rng, Options(**options)) for _ in range(count)]


def wave(period, side, axis=1):
    x = np.arange(side) + 0.5
    row = 0.5 + 0.4 * np.cos(2 * np.pi * x / period)
    return np.broadcast_to(row if axis == 1 else row[:, None], (1, side, side)).astype(np.float32)


def amplitude(row, period):
    x = np.arange(len(row)) + 0.5
    basis = np.stack([np.cos(2 * np.pi * x / period), np.sin(2 * np.pi * x / period), np.ones_like(x)], axis=1)
    return float(np.hypot(*np.linalg.lstsq(basis, row, rcond=None)[0][:2]))


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_the_network_is_told_the_transfer_that_waves_show(scale):
    rng = np.random.default_rng(1)
    for sensor in sensors(20, scale=scale):
        quiet = Simulation(sensor.down, sensor.across, 0.0, scale)
        for share, expected in ((0.5, quiet.setting.half), (0.98, quiet.setting.nyquist)):
            period = 2 / share
            gains = []
            for axis in (0, 1):
                low, _ = quietly(wave(period * scale, 96 * scale, axis), quiet, rng)
                gains.append(amplitude(low[0].mean(axis=1 - axis), period) / 0.4)
            assert np.mean(gains) == pytest.approx(expected, abs=0.03)


def quietly(truth, sensor, rng, tries=100):
    """A simulation in which nothing else was drawn: of 16 bits, not moved, not striped."""
    plain = sensor_only(truth, sensor)
    for _ in range(tries):
        low, high = simulate(truth, sensor, PLAIN, rng)
        if np.abs(low - plain).max() < 1e-4:
            return low, high
    raise AssertionError("no plain simulation was drawn")


def sensor_only(truth, sensor):
    blurred = truth[0].astype(float)
    for axis, taps in ((0, sensor.down), (1, sensor.across)):
        blurred = correlate1d(blurred, taps, axis, mode="reflect", origin=-(sensor.scale % 2 == 0))
    # An even number of weights is centred between two pixels: scipy's origin and ours differ by none.
    k = sensor.scale
    best = min(
        (blurred[i::k, j::k] for i in range(k) for j in range(k)),
        key=lambda block: np.abs(block[8:-8, 8:-8] - shrink(truth[0], k)[8:-8, 8:-8]).mean(),
    )
    return best[None, MARGIN:-MARGIN, MARGIN:-MARGIN]


def test_all_settings_lie_within_the_ranges():
    drawn = sensors(mtf=(0.2, 0.4), noise=(0.001, 0.01))
    gaussian = [s.setting for s in drawn if not np.array_equal(s.down, shrinking_taps(2))]
    assert all(0.17 < setting.nyquist < 0.43 for setting in gaussian)
    assert all(setting.noise == 0 or 0.001 <= setting.noise <= 0.01 for setting in gaussian)
    assert 0.1 < np.mean([s.noise == 0 for s in drawn]) < 0.3
    assert 0.2 < 1 - len(gaussian) / len(drawn) < 0.4


def test_a_flat_truth_stays_flat_and_shows_the_noise():
    rng = np.random.default_rng(0)
    sensor = Simulation(power_taps(0.3, 3, 2), power_taps(0.3, 3, 2), 0.01, 2)
    noise = [np.std(simulate(np.full((1, 200, 200), 0.5, "f4"), sensor, PLAIN, rng)[0]) for _ in range(30)]
    assert np.median(noise) == pytest.approx(0.01, rel=0.03)


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_whatever_is_drawn_does_not_move_the_picture(scale):
    """Crops that are resampled are moved there and back: enlarged, they lie on their truth."""
    rng = np.random.default_rng(3)
    ground = gaussian_filter(rng.standard_normal((3, 60 * scale, 60 * scale)), (0, 1.5 * scale, 1.5 * scale))
    ground = ((ground - ground.min()) / np.ptp(ground)).astype(np.float32)
    options = Options(scale=scale, noise=(1e-6, 1e-6), jpeg=(98, 98), bits=(12,))
    for _ in range(40):
        low, high = simulate(ground, draw_sensor(rng, options), options, rng)
        assert low.shape[1] * scale == high.shape[1]
        big = enlarge(low[0], scale)
        errors = {
            (row, col): np.abs(np.roll(big, (row, col), (0, 1)) - high[0])[8:-8, 8:-8].mean()
            for row in (-1, 0, 1)
            for col in (-1, 0, 1)
        }
        assert min(errors, key=errors.get) == (0, 0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mtf": (0.4, 0.2)}, "mtf must be two numbers from 0.05 to 0.65 that rise"),
        ({"noise": (0.0, 0.1)}, "noise must be"),
        ({"jpeg": (0, 101)}, "jpeg must be"),
        ({"bits": (0,)}, "bits must be from 1 to 16"),
    ],
)
def test_ranges_that_make_no_sense_are_refused(options, message):
    with pytest.raises(OptionError, match=message):
        Options(**options)
