import numpy as np
import pytest

from geosr.errors import OptionError


def test_ssim_is_scikit_image_s():
    from skimage.metrics import structural_similarity

    from geosr.models.losses import ssim

    rng = np.random.default_rng(0)
    a = rng.random((40, 50), "float32")
    b = np.clip(a + rng.normal(0, 0.1, a.shape), 0, 1).astype("float32")
    _, similarity = structural_similarity(
        a, b, data_range=1, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, full=True
    )
    assert abs(1 - float(ssim(a[None, ..., None], b[None, ..., None])[0]) - similarity[5:-5, 5:-5].mean()) < 1e-5


def test_fourier_is_numpy_s():
    from geosr.models.losses import fourier

    a, b = np.random.default_rng(0).random((2, 2, 20, 24, 3), "float32")
    spectrum = np.fft.fft2(a - b, axes=(1, 2), norm="ortho")
    expected = (np.abs(spectrum.real) + np.abs(spectrum.imag)).mean(axis=(1, 2, 3))
    assert np.allclose(np.asarray(fourier(a, b)), expected, atol=1e-5)


def test_psnr_is_scikit_image_s():
    from skimage.metrics import peak_signal_noise_ratio

    from geosr.models.losses import psnr

    a, b = np.random.default_rng(0).random((2, 20, 20), "float32")
    theirs = peak_signal_noise_ratio(a, b, data_range=1)
    assert abs(float(psnr(a[None, ..., None], b[None, ..., None])[0]) - theirs) < 1e-4


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("l1", {"l1": 1}),
        ("l1+0.1*ssim", {"l1": 1, "ssim": 0.1}),
        ("2*l2 + charbonnier", {"l2": 2, "charbonnier": 1}),
    ],
)
def test_a_mixture_is_the_weighted_sum_of_its_losses(text, parts):
    from geosr.models import LOSSES, registered
    from geosr.models.losses import Mixture

    a, b = np.random.default_rng(0).random((2, 1, 40, 40, 1), "float32")
    error = np.abs(a - b).astype("float64")
    by_hand = {"l1": error.mean(), "l2": (error**2).mean(), "charbonnier": np.sqrt(error**2 + 1e-6).mean()}
    by_hand["ssim"] = float(registered(LOSSES["ssim"])(a, b)[0])
    expected = sum(weight * by_hand[name] for name, weight in parts.items())
    assert float(Mixture(text)(a, b)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("text", ["l3", "l1+", "x*l1", "-1*l1", "nan*l1", ""])
def test_a_loss_that_is_none_is_refused(text):
    from geosr.models.losses import Mixture

    with pytest.raises(OptionError, match="a loss is a sum of l1, l2, charbonnier, fourier, ssim, ms-ssim"):
        Mixture(text)


def test_ms_ssim_of_one_scale_is_ssim_and_falls_with_noise():
    from geosr.models.losses import ms_ssim, ssim

    rng = np.random.default_rng(0)
    truth = rng.random((1, 20, 20, 1), "float32")
    near = truth + rng.normal(0, 0.05, truth.shape).astype("float32")
    assert float(ms_ssim(truth, near)[0]) == pytest.approx(float(ssim(truth, near)[0]), abs=1e-5)
    large = rng.random((1, 200, 200, 1), "float32")
    noisy = [large + rng.normal(0, sigma, large.shape).astype("float32") for sigma in (0.05, 0.2)]
    assert 0 < float(ms_ssim(large, noisy[0])[0]) < float(ms_ssim(large, noisy[1])[0]) < 1
    assert float(ms_ssim(large, large)[0]) == pytest.approx(0, abs=1e-5)
