"""Keras layers that the networks share, written with keras.ops alone so that they run on any backend.

Importing this module loads Keras.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops

from geosr.rasters.resample import REACH, enlarging_taps


def depth_to_space(x: Any, scale: int, bands: int) -> Any:
    """Return (n, rows, cols, bands * scale * scale) as (n, rows * scale, cols * scale, bands)."""
    rows, cols = ops.shape(x)[1:3]
    x = ops.reshape(x, (-1, rows, cols, bands, scale, scale))
    x = ops.transpose(x, (0, 1, 4, 2, 5, 3))
    return ops.reshape(x, (-1, rows * scale, cols * scale, bands))


@keras.saving.register_keras_serializable("geosr")
class Bicubic(keras.layers.Layer):
    """The bicubic enlargement of geosr.rasters.resample, always in float32, which a network adds its residual to."""

    def __init__(self, scale: int, **kwargs: Any) -> None:
        super().__init__(**{**kwargs, "dtype": "float32"}, trainable=False)
        self.scale = scale
        self.reach = REACH
        taps = enlarging_taps(scale)
        kernel = np.einsum("pi,qj->ijpq", taps, taps)
        self.kernel = kernel.reshape(*kernel.shape[:2], 1, scale * scale).astype("float32")

    def call(self, x: Any) -> Any:
        for axis in (1, 2):
            first, last = _ends(x, axis)
            x = ops.concatenate([ops.flip(first, axis), x, ops.flip(last, axis)], axis=axis)
        bands = x.shape[-1]
        kernel = ops.tile(ops.convert_to_tensor(self.kernel), (1, 1, bands, 1))
        return depth_to_space(
            ops.depthwise_conv(x, kernel, padding="valid", data_format="channels_last"), self.scale, bands
        )

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return _enlarged(input_shape, self.scale, input_shape[-1])

    def get_config(self) -> dict[str, Any]:
        return {"name": self.name, "scale": self.scale}


@keras.saving.register_keras_serializable("geosr")
class GroupedConv2D(keras.layers.Layer):
    """A convolution in groups, computed as one dense convolution whose kernel is block-diagonal.

    The same function as Conv2D(groups=...) with the same number of weights; on a CPU 1.7 times faster forward and
    many times faster in training.
    """

    def __init__(self, filters: int, size: int, groups: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.filters, self.size, self.groups = filters, size, groups
        self.reach = size // 2

    def build(self, input_shape: tuple[int, ...]) -> None:
        channels = input_shape[-1]
        each = channels // self.groups
        self.kernel = self.add_weight(shape=(self.size, self.size, each, self.filters), name="kernel")
        self.bias = self.add_weight(shape=(self.filters,), initializer="zeros", name="bias")
        rows, cols = np.arange(channels) // each, np.arange(self.filters) // (self.filters // self.groups)
        self.diagonal = (rows[:, None] == cols[None, :]).astype("float32")

    def call(self, x: Any) -> Any:
        diagonal = ops.cast(self.diagonal, self.compute_dtype)
        kernel = ops.tile(ops.cast(self.kernel, self.compute_dtype), (1, 1, self.groups, 1)) * diagonal
        return ops.conv(x, kernel, padding="same", data_format="channels_last") + ops.cast(
            self.bias, self.compute_dtype
        )

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return (*input_shape[:-1], self.filters)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "filters": self.filters, "size": self.size, "groups": self.groups}


@keras.saving.register_keras_serializable("geosr")
class SubpixelTransposed(keras.layers.Layer):
    """A transposed convolution with stride `scale`, whose output lies on the pixels of the enlarged grid.

    Output pixel y gets sum over i of x[i] * kernel[y + size // 2 + 1 - scale - scale * i]: Caffe's Deconvolution
    padded by size // 2 gives exactly these values from row and column scale - 1 on, which is where IDN's authors add
    it to the bicubic image. Computed as an ordinary convolution to scale * scale channels, which become pixels.
    """

    def __init__(self, filters: int, size: int, scale: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.filters, self.size, self.scale = filters, size, scale
        self.first = size // 2 + 1 - scale
        self.reach = -(-max(self.first, size - scale - self.first) // scale)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        shape = (self.size, self.size, input_shape[-1], self.filters)
        self.kernel = self.add_weight(shape=shape, initializer=keras.initializers.RandomNormal(0, 1e-3), name="kernel")
        self.bias = self.add_weight(shape=(self.filters,), initializer="zeros", name="bias")

    def call(self, x: Any) -> Any:
        s, taps = self.scale, 2 * self.reach + 1
        before = s * self.reach - self.first
        after = s * taps - self.size - before
        channels = x.shape[-1]
        kernel = ops.pad(ops.cast(self.kernel, self.compute_dtype), [[before, after], [before, after], [0, 0], [0, 0]])
        kernel = ops.reshape(kernel, (taps, s, taps, s, channels, self.filters))
        kernel = ops.transpose(ops.flip(ops.flip(kernel, 0), 2), (0, 2, 4, 5, 1, 3))
        kernel = ops.reshape(kernel, (taps, taps, channels, self.filters * s * s))
        x = depth_to_space(ops.conv(x, kernel, padding="same", data_format="channels_last"), s, self.filters)
        return x + ops.cast(self.bias, self.compute_dtype)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return _enlarged(input_shape, self.scale, self.filters)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "filters": self.filters, "size": self.size, "scale": self.scale}


@keras.saving.register_keras_serializable("geosr")
class PixelShuffle(keras.layers.Layer):
    """A layer that turns scale * scale channels of each band into pixels."""

    reach = 0

    def __init__(self, scale: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.scale = scale

    def call(self, x: Any) -> Any:
        return depth_to_space(x, self.scale, x.shape[-1] // self.scale**2)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return _enlarged(input_shape, self.scale, (input_shape[-1] or 0) // self.scale**2)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "scale": self.scale}


@keras.saving.register_keras_serializable("geosr")
class RepConv2D(keras.layers.Layer):
    """A 3 x 3 convolution trained as the sum of two branches: itself, and 1 x 1, 3 x 3, 1 x 1 in sequence.

    The kernels are multiplied out in every step (`folded`), so that training costs no more than one convolution; a
    Conv2D with the product is the same function. Source: the Conv3XC of SPAN, whose second branch is 1 x 1; X. Ding et
    al., RepVGG, CVPR 2021.
    """

    reach = 1
    GAIN = 2

    def __init__(self, filters: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.filters = filters

    def build(self, input_shape: tuple[int, ...]) -> None:
        channels, wide_in, wide = input_shape[-1], self.GAIN * input_shape[-1], self.GAIN * self.filters

        def kernel(name: str, *shape: int) -> Any:
            # The product is taken in float32, whatever the precision of the convolution.
            return self.add_weight(shape=shape, initializer="glorot_uniform", name=name, autocast=False)

        self.kernel = kernel("kernel", 3, 3, channels, self.filters)
        self.into = kernel("into", channels, wide_in)
        self.middle = kernel("middle", 3, 3, wide_in, wide)
        self.out = kernel("out", wide, self.filters)
        self.bias = self.add_weight(shape=(self.filters,), initializer="zeros", name="bias", autocast=False)

    def folded(self) -> tuple[Any, Any]:
        """Return the kernel and bias of the plain convolution that is the same function."""
        return self.kernel + ops.matmul(ops.matmul(self.into, self.middle), self.out), self.bias

    def unfold(self, kernel: Any, bias: Any) -> None:
        """Become the convolution with this kernel and bias; the second branch adds nothing at first."""
        for weight, value in ((self.kernel, kernel), (self.bias, bias), (self.out, ops.zeros_like(self.out))):
            weight.assign(value)

    def call(self, x: Any) -> Any:
        kernel, bias = (ops.cast(weight, self.compute_dtype) for weight in self.folded())
        return ops.conv(x, kernel, padding="same", data_format="channels_last") + bias

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return (*input_shape[:-1], self.filters)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "filters": self.filters}


@keras.saving.register_keras_serializable("geosr")
class SensorFeatures(keras.layers.Layer):
    """Features (1, units) of what a sensor does to a picture, which the layers of a conditioned network depend on.

    Takes (n, 3): the modulation transfer at half of the Nyquist frequency and at it, and the noise in parts of the
    range (geosr.rasters.sensors.Setting). All images of a batch are of one sensor: the first row counts.
    """

    reach = 0

    def __init__(self, units: int, **kwargs: Any) -> None:
        super().__init__(**{**kwargs, "dtype": "float32"})
        self.units = units

    def build(self, input_shape: tuple[int, ...]) -> None:
        self.kernel = self.add_weight(shape=(3, self.units), initializer="glorot_uniform", name="kernel")
        self.bias = self.add_weight(shape=(self.units,), initializer="zeros", name="bias")

    def call(self, sensor: Any) -> Any:
        half, whole, noise = ops.split(sensor[:1], 3, axis=1)
        level = ops.log(noise + 5e-4) / np.log(10)
        scaled = ops.concatenate([(half - 0.8) / 0.12, (whole - 0.3) / 0.15, (level + 2.6) / 0.5], axis=1)
        return ops.silu(ops.matmul(scaled, self.kernel) + self.bias)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return (1, self.units)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "units": self.units}


@keras.saving.register_keras_serializable("geosr")
class SensorConv2D(RepConv2D):
    """A RepConv2D whose kernel and bias depend on the features of a sensor; called with [x, features].

    The kernel is a sum of several, of which the first counts fully and the features weigh the others. For one sensor
    it is a plain convolution (`folded`), so that conditioning costs nothing in inference. Source of the sum: B. Yang et
    al., CondConv, NeurIPS 2019.
    """

    EXPERTS = 4

    def build(self, input_shape: list[tuple[int, ...]]) -> None:  # type: ignore[override]
        super().build(input_shape[0])
        _add_experts(self, *input_shape)

    def folded(self, features: Any) -> tuple[Any, Any]:  # type: ignore[override]
        """Return kernel and bias of the one convolution that this one is for features (1, units)."""
        return _mixed(self, *super().folded(), features)

    def unfold(self, kernel: Any, bias: Any, *dependence: Any) -> None:
        """Become the convolution with this kernel and bias, and with a FoldedSensorConv2D's other weights."""
        super().unfold(kernel, bias)
        for weight, value in zip((self.experts, self.weighing, self.shifting), dependence, strict=False):
            weight.assign(value)

    def call(self, inputs: list[Any]) -> Any:
        x, features = inputs
        kernel, bias = (ops.cast(weight, self.compute_dtype) for weight in self.folded(features))
        return ops.conv(x, kernel, padding="same", data_format="channels_last") + bias

    def compute_output_shape(  # type: ignore[override]
        self, input_shape: list[tuple[int | None, ...]]
    ) -> tuple[int | None, ...]:
        return (*input_shape[0][:-1], self.filters)


@keras.saving.register_keras_serializable("geosr")
class FoldedSensorConv2D(keras.layers.Layer):
    """A SensorConv2D whose first kernel is multiplied out: the same function in half of the weights."""

    reach = 1

    def __init__(self, filters: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.filters = filters

    def build(self, input_shape: list[tuple[int, ...]]) -> None:
        image, _ = input_shape
        self.kernel = self.add_weight(shape=(3, 3, image[-1], self.filters), name="kernel")
        self.bias = self.add_weight(shape=(self.filters,), initializer="zeros", name="bias")
        _add_experts(self, *input_shape)

    def folded(self, features: Any) -> tuple[Any, Any]:
        """Return kernel and bias of the one convolution that this one is for features (1, units)."""
        return _mixed(self, self.kernel, self.bias, features)

    def call(self, inputs: list[Any]) -> Any:
        x, features = inputs
        kernel, bias = self.folded(features)
        return ops.conv(x, kernel, padding="same", data_format="channels_last") + bias

    def compute_output_shape(self, input_shape: list[tuple[int | None, ...]]) -> tuple[int | None, ...]:
        return (*input_shape[0][:-1], self.filters)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "filters": self.filters}


def _add_experts(layer: Any, image: tuple[int, ...], features: tuple[int, ...]) -> None:
    """Add the weights by which a convolution depends on features: small kernels, and how features weigh them."""
    channels, filters, experts = image[-1], layer.filters, SensorConv2D.EXPERTS
    small = keras.initializers.RandomNormal(0, 0.1 / (3 * channels**0.5))

    def weight(name: str, *shape: int, initializer: Any = "zeros") -> Any:
        return layer.add_weight(shape=shape, initializer=initializer, name=name, autocast=False)

    layer.experts = weight("experts", experts, 3, 3, channels, filters, initializer=small)
    layer.weighing = weight("weighing", features[-1], experts)
    layer.shifting = weight("shifting", features[-1], filters)


def _mixed(layer: Any, kernel: Any, bias: Any, features: Any) -> tuple[Any, Any]:
    shares = ops.reshape(ops.matmul(features, layer.weighing), (-1, 1, 1, 1, 1))
    return kernel + ops.sum(shares * layer.experts, axis=0), bias + ops.matmul(features, layer.shifting)[0]


def _ends(x: Any, axis: int) -> tuple[Any, Any]:
    if axis == 1:
        return x[:, :REACH], x[:, -REACH:]
    return x[:, :, :REACH], x[:, :, -REACH:]


def _enlarged(shape: tuple[int | None, ...], scale: int, bands: int | None) -> tuple[int | None, ...]:
    sides = tuple(side if side is None else side * scale for side in shape[1:3])
    return (shape[0], *sides, bands)
