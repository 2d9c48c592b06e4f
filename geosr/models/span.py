"""SPAN, the Swift Parameter-free Attention Network: a fifth of IDN's work.

Source: C. Wan et al., Swift Parameter-free Attention Network for Efficient Super-Resolution, CVPR Workshops 2024. Here
the network adds its result to the bicubic enlargement, as IDN does, so that it cannot change what bicubic keeps.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
from keras import layers

from geosr.models.layers import Bicubic, PixelShuffle, RepConv2D, SensorConv2D, SensorFeatures

BLOCKS = 6
CHANNELS = 28
FEATURES = 32
"""Features of a sensor that the convolutions depend on."""

Convolve = Callable[[Any, str], Any]
"""A 3 x 3 convolution of a tensor, by name."""


def build(scale: int, bands: int = 1) -> keras.Model:
    """Return the network (n, rows, cols, bands) -> (n, rows * scale, cols * scale, bands), values about 0..1."""
    return _network("span", scale, bands, CHANNELS)


def build_for_sensors(scale: int, bands: int = 1) -> keras.Model:
    """Return `build` conditioned on a sensor: it takes the list of images and sensor (n, 3); see SensorFeatures."""
    sensor = keras.Input((3,), name="sensor")
    features = SensorFeatures(FEATURES, name="sensor_features")(sensor)

    def convolve(x: Any, name: str) -> Any:
        return SensorConv2D(CHANNELS, name=name)([x, features])

    image, total = _graph(scale, bands, CHANNELS, convolve)
    return keras.Model([image, sensor], total, name=f"span_for_sensors_x{scale}")


def build_wide(scale: int, bands: int = 1) -> keras.Model:
    """Return `build` with so many channels that all bands at once are as much work as one by one: 56 for four."""
    return _network("span_wide", scale, bands, 4 * round(CHANNELS * bands**0.5 / 4))


def _network(name: str, scale: int, bands: int, channels: int) -> keras.Model:
    image, total = _graph(scale, bands, channels, lambda x, layer: RepConv2D(channels, name=layer)(x))
    return keras.Model(image, total, name=f"{name}_x{scale}")


def _graph(scale: int, bands: int, channels: int, convolve: Convolve) -> tuple[Any, Any]:
    """Return the input and the output of the network."""
    image = keras.Input((None, None, bands), name="lr")
    # In steps of 8 bits: attention multiplies, and what is far below 1 would vanish from block to block.
    steps = layers.Rescaling(255.0, -127.5, dtype="float32", name="steps")(image)
    first = x = convolve(steps, "conv_1")
    blocks = []
    for block in range(1, BLOCKS + 1):
        x, inner = _attend(x, convolve, f"block_{block}")
        blocks.append((x, inner))
    last = convolve(x, "conv_2")
    x = layers.Concatenate(name="cat")([first, last, blocks[0][0], blocks[-1][1]])
    x = layers.Conv2D(channels, 1, data_format="channels_last", name="conv_cat")(x)
    small = keras.initializers.RandomNormal(0, 1e-3)  # so that the network begins as bicubic
    x = layers.Conv2D(
        bands * scale**2, 3, padding="same", data_format="channels_last", kernel_initializer=small, name="upsample"
    )(x)
    residual = layers.Rescaling(1 / 255, dtype="float32", name="values")(PixelShuffle(scale, name="shuffle")(x))
    enlarged = Bicubic(scale, name="bicubic")(image)
    return image, layers.Add(dtype="float32", name="sr")([enlarged, residual])


def _attend(x: Any, convolve: Convolve, name: str) -> tuple[Any, Any]:
    """Return a block of three convolutions, whose result weighs itself by its sign and size, and its first."""
    inner = convolve(x, f"{name}_c1")
    y = layers.Activation("silu", name=f"{name}_a1")(inner)
    y = layers.Activation("silu", name=f"{name}_a2")(convolve(y, f"{name}_c2"))
    y = convolve(y, f"{name}_c3")
    attention = layers.Rescaling(1.0, -0.5, name=f"{name}_centre")(layers.Activation("sigmoid", name=f"{name}_sig")(y))
    total = layers.Add(name=f"{name}_sum")([x, y])
    return layers.Multiply(name=f"{name}_out")([total, attention]), inner
