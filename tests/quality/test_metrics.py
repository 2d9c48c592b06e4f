import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from scipy.ndimage import gaussian_filter
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from geosr.grid import Window
from geosr.quality import metrics
from geosr.quality.metrics import Mean
from geosr.rasters.radiometry import to_dtype
from geosr.rasters.resample import enlarge, shrink
from tests.conftest import texture

BICUBIC = {2: 33.66, 3: 30.39, 4: 28.42}

seeds = st.integers(0, 2**32 - 1)


def pair(seed=0, bands=3, rows=70, cols=80):
    """A truth and a result that is off by noise."""
    rng = np.random.default_rng(seed)
    truth = texture(bands, rows, cols, seed=seed, dtype="float64", low=20, high=230)
    return truth + rng.normal(0, 5, truth.shape), truth


def holes(shape, seed=0):
    """A mask with rectangles that are not valid, other ones in each band."""
    rng = np.random.default_rng(seed)
    valid = np.ones(shape, bool)
    for band in valid:
        for _ in range(2):
            row, col = rng.integers(0, shape[1] - 8), rng.integers(0, shape[2] - 8)
            band[row : row + rng.integers(1, 8), col : col + rng.integers(1, 8)] = False
    return valid


def white(seed, sigma=1.0, rows=256, cols=256):
    return np.random.default_rng(seed).normal(0, sigma, (1, rows, cols))


def test_psnr_and_ssim_of_whole_images_are_scikit_image_s():
    made, truth = pair()
    peaks = [255, 100, 40]
    wanted = [peak_signal_noise_ratio(t, m, data_range=p) for t, m, p in zip(truth, made, peaks, strict=True)]
    assert metrics.psnr(made, truth, peak=peaks) == pytest.approx(wanted, abs=1e-12)
    wanted = [
        structural_similarity(t, m, data_range=p, gaussian_weights=True, sigma=1.5, use_sample_covariance=False)
        for t, m, p in zip(truth, made, peaks, strict=True)
    ]
    assert metrics.ssim(made, truth, peak=peaks) == pytest.approx(wanted, abs=1e-12)


def test_integers_do_not_wrap_around():
    made, truth = np.full((2, 20, 20), 250, np.uint8), np.full((2, 20, 20), 5, np.uint8)
    assert metrics.rmse(made, truth).tolist() == [245, 245]
    assert metrics.sam(made, truth) == pytest.approx(0, abs=1e-12)
    assert metrics.consistency(truth, np.full((2, 10, 10), 250, np.uint8)) == pytest.approx([245, 245])


def test_an_image_is_like_itself():
    _, truth = pair()
    assert metrics.psnr(truth, truth, peak=255).tolist() == [np.inf] * 3
    assert metrics.ssim(truth, truth, peak=255) == pytest.approx([1, 1, 1])
    assert metrics.sam(truth, truth) == 0
    assert metrics.ergas(truth, truth, scale=2) == 0
    assert metrics.consistency(truth, shrink(truth, 2)).tolist() == [0, 0, 0]


@given(seeds, st.sampled_from([0.0, -1e6, np.nan, np.inf]))
def test_what_stands_in_invalid_pixels_does_not_matter(seed, rubbish):
    made, truth = pair(seed)
    valid = holes(truth.shape, seed)
    low_valid = valid[:, ::2, ::2] & valid[:, 1::2, ::2] & valid[:, ::2, 1::2] & valid[:, 1::2, 1::2]
    low = shrink(truth, 2)

    def scores(made, truth, low):
        return [
            metrics.psnr(made, truth, peak=255, valid=valid),
            metrics.ssim(made, truth, peak=255, valid=valid),
            metrics.rmse(made, truth, valid=valid),
            metrics.sam(made, truth, valid=valid),
            metrics.ergas(made, truth, scale=2, valid=valid),
            metrics.consistency(made, low, valid=low_valid),
            metrics.spectra(made, truth, scale=2, valid=valid).made,
        ]

    clean = scores(made, truth, low)
    made, truth = (np.where(valid, block, rubbish) for block in (made, truth))
    for one, other in zip(clean, scores(made, truth, np.where(low_valid, low, rubbish)), strict=True):
        assert np.array_equal(one, other, equal_nan=True)


def test_ssim_counts_the_pixels_whose_whole_window_is_valid():
    made, truth = pair(bands=1)
    valid = np.ones(truth.shape, bool)
    valid[:, 30:33, 40:42] = False
    told, counted = metrics.similarities(made, truth, peak=255, valid=valid)
    wanted = np.zeros_like(valid)
    for row in range(5, 65):
        for col in range(5, 75):
            wanted[0, row, col] = valid[0, row - 5 : row + 6, col - 5 : col + 6].all()
    assert (counted == wanted).all()
    _, whole = structural_similarity(
        truth[0], made[0], data_range=255, gaussian_weights=True, use_sample_covariance=False, full=True
    )
    assert told[wanted] == pytest.approx(whole[None][wanted], abs=1e-12)


def test_images_smaller_than_a_window_have_no_ssim_and_no_spectrum():
    made, truth = pair(rows=10, cols=80)
    assert np.isnan(metrics.ssim(made, truth, peak=255)).all()
    assert np.isnan(metrics.spectra(made, truth, scale=2).recovered).all()


def test_where_nothing_is_valid_there_is_no_score():
    made, truth = pair()
    none = np.zeros(truth.shape, bool)
    assert np.isnan(metrics.psnr(made, truth, peak=255, valid=none)).all()
    assert np.isnan(metrics.sam(made, truth, valid=none))
    assert np.isnan(metrics.ergas(made, truth, scale=2, valid=none))


@given(seeds, st.integers(1, 69), st.integers(1, 79))
def test_means_of_parts_add_up_to_that_of_the_whole(seed, row, col):
    made, truth = pair(seed)
    valid = holes(truth.shape, seed)
    field = metrics.squared_errors(made, truth)
    parts = [(rows, cols) for rows in np.s_[:row, row:] for cols in np.s_[:col, col:]]
    one, *more = [Mean.of(field[:, rows, cols], valid[:, rows, cols]) for rows, cols in parts]
    whole = sum(more, one)
    assert np.sqrt(whole.value) == pytest.approx(metrics.rmse(made, truth, valid=valid))


@pytest.mark.parametrize(
    ("made", "truth", "angle"),
    [([1, 0], [0, 1], 90), ([1, 1], [2, 0], 45), ([-1, 0], [3, 0], 180), ([1, np.tan(np.radians(1e-6))], [1, 0], 1e-6)],
)
def test_spectral_angles_are_those_between_the_vectors(made, truth, angle):
    blocks = [np.array(vector, float)[:, None, None] * np.ones((2, 3, 3)) for vector in (made, truth)]
    assert metrics.sam(*blocks) == pytest.approx(angle, rel=1e-9)


@given(seeds, st.floats(0.01, 100))
def test_spectral_angles_do_not_change_with_brightness(seed, gain):
    made, truth = pair(seed)
    assert metrics.sam(gain * made, truth) == pytest.approx(metrics.sam(made, truth))
    cosine = (made * truth).sum(0) / np.linalg.norm(made, axis=0) / np.linalg.norm(truth, axis=0)
    assert metrics.sam(made, truth) == pytest.approx(np.degrees(np.arccos(cosine)).mean(), rel=1e-6)


def test_vectors_without_a_direction_have_no_angle():
    made, truth = pair()
    truth[:, :10] = 0
    assert metrics.sam(made, truth) == pytest.approx(metrics.sam(made[:, 10:], truth[:, 10:]))


def test_ergas_is_wald_s():
    """Two bands with RMSE 3 and 4 and means 30 and 20, pixels half as wide: 50 sqrt((0.01 + 0.04) / 2)."""
    truth = np.stack([np.full((10, 10), 30.0), np.full((10, 10), 20.0)])
    sign = np.where(np.indices((10, 10)).sum(axis=0) % 2, 1, -1)
    made = truth + sign * np.array([3.0, 4.0])[:, None, None]
    assert metrics.ergas(made, truth, scale=2) == pytest.approx(50 * np.sqrt(0.025))
    assert metrics.ergas(made, truth, scale=4) == pytest.approx(25 * np.sqrt(0.025))
    assert metrics.ergas(7 * made, 7 * truth, scale=2) == pytest.approx(50 * np.sqrt(0.025))


def test_consistency_is_that_of_the_result_shrunk():
    made, _ = pair()
    low = to_dtype(shrink(made, 2), "uint8")
    error = shrink(made, 2) - low
    assert metrics.consistency(made, low) == pytest.approx(np.sqrt((error**2).mean(axis=(1, 2))))
    assert (metrics.consistency(made + 3, low) > 2.9).all()


def test_consistency_counts_where_the_kernel_sees_valid_pixels():
    made, _ = pair(bands=1)
    low = shrink(made, 2)
    valid = np.ones(low.shape, bool)
    valid[:, 10, 10] = False
    _, counted = metrics.inconsistencies(made, low, valid=valid)
    assert np.argwhere(~counted[0]).tolist() == [[row, col] for row in range(8, 13) for col in range(8, 13)]


@pytest.mark.parametrize("cycles", [(4, 0), (0, 20), (12, 5), (30, 30)])
def test_a_wave_has_its_power_at_its_frequency(cycles):
    rows, cols = np.indices((64, 128))
    wave = np.cos(2 * np.pi * (cycles[0] * rows + cycles[1] * cols) / 64)[None]
    found = metrics.spectra(wave, wave, scale=2)
    power = found.truth[0]
    strongest = power.argmax(axis=1)[int(max(cycles) > 16)]
    assert strongest == round(np.hypot(*cycles))
    assert power[int(max(cycles) <= 16)].sum() < 1e-9 * power.sum()
    # The Hann window spreads it over the bins beside it, and keeps 3/8 of it squared: that of both windows is all.
    assert power.sum() == pytest.approx(2 * 64**4 * 0.5 * (3 / 8) ** 2)
    assert found.windows.tolist() == [2]


def test_the_spectrum_of_white_noise_is_flat():
    noise = white(0, sigma=3, rows=512, cols=512)
    found = metrics.spectra(noise, noise, scale=2)
    frequencies, power = found.radial(found.truth)
    assert frequencies[-1] == 0.5
    # Freed of its mean, the first bins hold less; those after them have few coefficients.
    assert power[0, 6:] == pytest.approx(9 * 64**2 * (3 / 8) ** 2, rel=0.1)


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_what_the_input_held_is_not_what_is_recovered(scale):
    """A picture without anything beyond the input's Nyquist has recovered nothing, however near it is to the truth."""
    truth = white(1)
    frequencies = np.abs(np.fft.fftfreq(256))
    kept = np.maximum.outer(frequencies, frequencies) < 0.4 / scale
    made = np.fft.ifft2(np.fft.fft2(truth) * kept).real
    found = metrics.spectra(made, truth, scale=scale)
    assert found.recovered[0] == pytest.approx(0, abs=0.01)
    assert found.energy[0] == pytest.approx(0, abs=0.01)


@given(seeds, st.floats(0.1, 2), st.floats(0, 2))
def test_noise_adds_energy_and_recovers_nothing(seed, gain, noise):
    truth = white(seed)
    found = metrics.spectra(gain * truth + white(seed + 1, noise), truth, scale=2)
    # 16 windows of 64 x 64 have some 10,000 independent coefficients: five standard deviations of a mean of them.
    assert found.recovered[0] == pytest.approx(gain, abs=0.05 * noise + 1e-9)
    assert found.energy[0] == pytest.approx(gain**2 + noise**2, abs=0.1 * (gain + noise) * noise + 1e-9)


def test_what_is_right_in_a_third_of_the_windows_is_a_third():
    truth = white(3, rows=192, cols=192)
    made = truth.copy()
    made[:, 64:] = 0
    found = metrics.spectra(made, truth, scale=2)
    assert found.recovered[0] == pytest.approx(1 / 3, abs=0.02)
    assert found.energy[0] == pytest.approx(found.recovered[0])


def test_the_best_estimate_has_what_it_takes_off_the_error():
    """Of a truth that is a sum of what can be known and what cannot, the estimate is what can."""
    known, unknown = white(6, 2.0), white(7, 1.0)
    found = metrics.spectra(known, known + unknown, scale=2)
    assert found.recovered[0] == pytest.approx(4 / 5, abs=0.03)
    assert found.energy[0] == pytest.approx(4 / 5, abs=0.03)


@pytest.mark.slow
@given(seeds)
def test_invented_detail_is_not_recovered(seed):
    """Noise as strong as the missing detail brings back all the energy, and none of the truth."""
    truth = texture(1, 512, 512, seed=seed % 1000, dtype="float64")
    plain = enlarge(shrink(truth, 2), 2)
    other = texture(1, 512, 512, seed=seed % 1000 + 1000, dtype="float64")
    made = plain + other - enlarge(shrink(other, 2), 2)
    found, bicubic = (metrics.spectra(result, truth, scale=2) for result in (made, plain))
    assert found.energy[0] > 0.8
    assert found.recovered[0] == pytest.approx(bicubic.recovered[0], abs=0.05)


def test_what_runs_against_the_truth_is_less_than_nothing():
    found = metrics.spectra(-white(4), white(4), scale=2)
    assert found.recovered == pytest.approx([-1])
    assert found.energy == pytest.approx([1])


def test_spectra_of_parts_add_up_to_those_of_the_whole():
    made, truth = pair(rows=130, cols=256)
    whole = metrics.spectra(made, truth, scale=3)
    halves = [metrics.spectra(made[..., cols], truth[..., cols], scale=3) for cols in np.s_[:128, 128:]]
    for name in ("truth", "made", "shared", "windows"):
        assert getattr(sum(halves[1:], halves[0]), name) == pytest.approx(getattr(whole, name))
    assert whole.windows.tolist() == [8] * 3


def test_windows_with_an_invalid_pixel_have_no_spectrum():
    made, truth = pair(rows=64, cols=192, bands=1)
    valid = np.ones(truth.shape, bool)
    valid[0, 5, 70] = False
    beside = [metrics.spectra(made[..., cols], truth[..., cols], scale=2) for cols in np.s_[:64, 128:]]
    assert metrics.spectra(made, truth, scale=2, valid=valid).shared == pytest.approx(sum(beside[1:], beside[0]).shared)


def test_energy_does_not_change_with_the_unit():
    made, truth = pair(rows=128, cols=128)
    made = gaussian_filter(made, (0, 0.7, 0.7))
    one, other = (metrics.spectra(40 * made + k, 40 * truth + k, scale=2) for k in (0, 5000))
    assert one.recovered == pytest.approx(other.recovered)
    assert one.energy == pytest.approx(other.energy)


def test_luma_is_matlab_s_of_pure_colours():
    """Source: the table of 100 % colour bars in ITU-R BT.601."""
    colours = np.array([[0, 0, 0], [255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 0], [255, 255, 255]], np.uint8)
    assert metrics.luma(colours.T[:, None])[0, 0].tolist() == [16, 81, 145, 41, 210, 235]


def test_the_border_that_papers_shave_is_left_out():
    made, truth = pair()
    whole = Window(0, 0, 80, 70)
    inside = metrics.inner(whole, whole, 3)
    cut = np.s_[:, 3:-3, 3:-3]
    assert metrics.rmse(made, truth, valid=inside) == pytest.approx(metrics.rmse(made[cut], truth[cut]))
    assert metrics.ssim(made, truth, peak=9, valid=inside) == pytest.approx(metrics.ssim(made[cut], truth[cut], peak=9))
    assert metrics.inner(whole, whole, 0).all()
    part = Window(60, 40, 20, 20)
    assert (metrics.inner(part, whole, 3) == inside[part.slices(within=whole)]).all()


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_the_paper_protocol_reproduces_bicubic_s_published_set5(shared, scale):
    """8-bit Y, shrunk without rounding, enlarged, rounded, `scale` pixels shaved: 33.66, 30.39 and 28.42 dB."""
    scores = []
    for path in sorted((shared / "Set5").glob("*.bmp")):
        y = metrics.luma(np.asarray(Image.open(path).convert("RGB")).transpose(2, 0, 1))
        rows, cols = (side // scale * scale for side in y.shape[1:])
        truth = y[:, :rows, :cols]
        made = to_dtype(enlarge(shrink(truth, scale), scale), "uint8")
        whole = Window(0, 0, *truth.shape[:0:-1])
        scores.append(metrics.psnr(made, truth, peak=255, valid=metrics.inner(whole, whole, scale))[0])
    assert len(scores) == 5
    assert np.mean(scores) == pytest.approx(BICUBIC[scale], abs=0.02)
