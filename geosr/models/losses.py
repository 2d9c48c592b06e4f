"""Losses and metrics of images (n, rows, cols, bands) with values about 0..1, on any backend.

Importing this module loads Keras.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops

from geosr.errors import OptionError
from geosr.models import LOSSES, registered

MS_SSIM_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
WINDOW = 11
"""Rows and columns of SSIM's Gaussian window."""


def l1(truth: Any, result: Any) -> Any:
    """Return the mean absolute error of each image."""
    return ops.mean(ops.abs(truth - result), axis=(1, 2, 3))


def l2(truth: Any, result: Any) -> Any:
    """Return the mean squared error of each image."""
    return ops.mean(ops.square(truth - result), axis=(1, 2, 3))


def charbonnier(truth: Any, result: Any) -> Any:
    """Return the mean of sqrt(error^2 + 0.001^2): l1 with a round bottom.

    Source: P. Charbonnier et al., ICIP 1994; W.-S. Lai et al., LapSRN, CVPR 2017.
    """
    return ops.mean(ops.sqrt(ops.square(truth - result) + 1e-6), axis=(1, 2, 3))


def fourier(truth: Any, result: Any) -> Any:
    """Return the mean absolute value of the error's Fourier transform of each image, real and imaginary parts added.

    The transform is orthonormal. Source: S.-J. Cho et al., Rethinking Coarse-to-Fine Approach in Single Image
    Deblurring, ICCV 2021.
    """
    error = ops.transpose(ops.cast(truth - result, "float32"), (0, 3, 1, 2))
    real, imaginary = ops.fft2((error, ops.zeros_like(error)))
    rows, cols = error.shape[2:]
    return ops.mean(ops.abs(real) + ops.abs(imaginary), axis=(1, 2, 3)) / (rows * cols) ** 0.5


def ssim(truth: Any, result: Any) -> Any:
    """Return 1 - SSIM of each image, with the Gaussian window of 11 pixels and sigma 1.5 that the paper uses.

    Source: Z. Wang et al., Image Quality Assessment: From Error Visibility to Structural Similarity, IEEE TIP 2004.
    """
    luminance, structure = _similarity(truth, result)
    return 1 - ops.mean(luminance * structure, axis=(1, 2, 3))


def ms_ssim(truth: Any, result: Any) -> Any:
    """Return 1 - multi-scale SSIM of each image, over as many of the five scales as hold the window.

    The weights of the scales are normalised to sum to 1, as all five do (images of 176 pixels).
    Source: Z. Wang, E. Simoncelli, A. Bovik, Multi-scale Structural Similarity, Asilomar 2003.
    """
    side = min(truth.shape[1:3])
    scales = [weight for n, weight in enumerate(MS_SSIM_WEIGHTS) if side >> n >= WINDOW]
    total = 1.0
    for n, weight in enumerate(scales):
        luminance, structure = _similarity(truth, result)
        last = n == len(scales) - 1
        score = ops.mean(luminance * structure if last else structure, axis=(1, 2, 3))
        total *= ops.power(ops.maximum(score, 1e-6), weight / sum(scales))
        truth, result = (ops.average_pool(x, (2, 2), (2, 2), data_format="channels_last") for x in (truth, result))
    return 1 - total


@keras.saving.register_keras_serializable("geosr")
def psnr(truth: Any, result: Any) -> Any:
    """Return the peak signal-to-noise ratio of each image in dB, for a peak of 1."""
    error = ops.mean(ops.square(ops.cast(truth, "float32") - ops.cast(result, "float32")), axis=(1, 2, 3))
    return -10 / np.log(10) * ops.log(ops.maximum(error, 1e-10))


@keras.saving.register_keras_serializable("geosr", name="ssim_score")
def ssim_score(truth: Any, result: Any) -> Any:
    """Return the SSIM of each image."""
    return 1 - ssim(ops.cast(truth, "float32"), ops.cast(result, "float32"))


@keras.saving.register_keras_serializable("geosr")
class Mixture(keras.losses.Loss):
    """A weighted sum of losses, written as `l1` or `l1+0.1*ssim`.

    Raises:
        OptionError: the text names no loss, or a weight is not a positive number.
    """

    def __init__(self, text: str, **_: Any) -> None:
        super().__init__(name="loss")
        self.text = text
        self.terms = [_term(part, text) for part in text.split("+")]

    def call(self, y_true: Any, y_pred: Any) -> Any:
        truth, result = ops.cast(y_true, "float32"), ops.cast(y_pred, "float32")
        return sum(weight * registered(LOSSES[name])(truth, result) for weight, name in self.terms)

    def get_config(self) -> dict[str, Any]:
        return {"text": self.text}


def _term(part: str, text: str) -> tuple[float, str]:
    weight, _, name = part.strip().rpartition("*")
    try:
        factor = float(weight or 1)
    except ValueError:
        factor = 0.0
    if name.strip() not in LOSSES or not 0 < factor < np.inf:
        raise OptionError(f"a loss is a sum of {', '.join(LOSSES)}, as l1+0.1*ssim; got {text!r}")
    return factor, name.strip()


def _similarity(truth: Any, result: Any) -> tuple[Any, Any]:
    """Return the luminance term of SSIM, and its contrast and structure term, where the window lies inside."""
    bands = truth.shape[-1]
    half = WINDOW // 2
    line = np.exp(-(np.arange(-half, half + 1) ** 2) / (2 * 1.5**2))
    window = np.outer(line, line) / line.sum() ** 2
    kernel = ops.convert_to_tensor(np.repeat(window[:, :, None, None], bands, axis=2).astype("float32"))

    def local_mean(x: Any) -> Any:
        return ops.depthwise_conv(x, kernel, padding="valid", data_format="channels_last")

    mean_t, mean_r = local_mean(truth), local_mean(result)
    var_t = local_mean(truth * truth) - mean_t * mean_t
    var_r = local_mean(result * result) - mean_r * mean_r
    covariance = local_mean(truth * result) - mean_t * mean_r
    c1, c2 = 0.01**2, 0.03**2
    luminance = (2 * mean_t * mean_r + c1) / (mean_t**2 + mean_r**2 + c1)
    return luminance, (2 * covariance + c2) / (var_t + var_r + c2)
