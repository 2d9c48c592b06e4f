"""Losses and metrics of images (n, rows, cols, bands) with values about 0..1, on any backend.

Importing this module loads Keras.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import ops


@keras.saving.register_keras_serializable("geosr")
def l1(truth: Any, result: Any) -> Any:
    """The mean absolute error of each image."""
    return ops.mean(ops.abs(truth - result), axis=(1, 2, 3))


@keras.saving.register_keras_serializable("geosr")
def ssim(truth: Any, result: Any) -> Any:
    """1 - SSIM of each image, with the Gaussian window of 11 pixels and sigma 1.5 that the paper uses.

    Source: Z. Wang et al., Image Quality Assessment: From Error Visibility to Structural Similarity, IEEE TIP 2004.
    """
    bands = truth.shape[-1]
    line = np.exp(-(np.arange(-5, 6) ** 2) / (2 * 1.5**2))
    window = np.outer(line, line) / line.sum() ** 2
    kernel = ops.convert_to_tensor(np.repeat(window[:, :, None, None], bands, axis=2).astype("float32"))

    def local_mean(x: Any) -> Any:
        return ops.depthwise_conv(x, kernel, padding="valid", data_format="channels_last")

    mean_t, mean_r = local_mean(truth), local_mean(result)
    var_t = local_mean(truth * truth) - mean_t * mean_t
    var_r = local_mean(result * result) - mean_r * mean_r
    covariance = local_mean(truth * result) - mean_t * mean_r
    c1, c2 = 0.01**2, 0.03**2
    structure = (2 * covariance + c2) / (var_t + var_r + c2)
    return 1 - ops.mean((2 * mean_t * mean_r + c1) / (mean_t**2 + mean_r**2 + c1) * structure, axis=(1, 2, 3))


@keras.saving.register_keras_serializable("geosr")
def psnr(truth: Any, result: Any) -> Any:
    """The peak signal-to-noise ratio of each image in dB, for a peak of 1."""
    error = ops.mean(ops.square(ops.cast(truth, "float32") - ops.cast(result, "float32")), axis=(1, 2, 3))
    return -10 / np.log(10) * ops.log(ops.maximum(error, 1e-10))


LOSSES: dict[str, Callable[[Any, Any], Any]] = {"l1": l1, "ssim": ssim}
