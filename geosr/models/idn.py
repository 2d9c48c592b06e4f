"""IDN, the Information Distillation Network.

Source: Z. Hui, X. Wang, X. Gao, Fast and Accurate Single Image Super-Resolution via Information Distillation
Network, CVPR 2018. Layers are named as in the authors' published network.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import layers

from geosr.models.layers import Bicubic, GroupedConv2D, SubpixelTransposed

BLOCKS = 4
SLICE = 16


def build(scale: int, bands: int = 1) -> keras.Model:
    """Return the network (n, rows, cols, bands) -> (n, rows * scale, cols * scale, bands), values about 0..1."""
    image = keras.Input((None, None, bands), name="lr")
    x = _conv(image, 64, "conv1")
    x = _conv(x, 64, "conv2")
    for block in range(1, BLOCKS + 1):
        x = _distil(x, block)
    residual = SubpixelTransposed(bands, 17, scale, name="upsample")(x)
    enlarged = Bicubic(scale, name="bicubic")(image)
    total = layers.Add(dtype="float32", name="sr")([enlarged, residual])
    return keras.Model(image, total, name=f"idn_x{scale}")


def _distil(x: Any, block: int) -> Any:
    """Return an enhancement unit (two stacks of three convolutions, 16 channels bypass the second) and compression."""
    name = f"conv{block + 2}"
    short = _conv(x, 48, f"{name}_1")
    short = _grouped(short, 32, f"{name}_2")
    short = _conv(short, 64, f"{name}_3")
    bypass, rest = keras.ops.split(short, [SLICE], axis=-1)
    long = _conv(rest, 64, f"{name}_4")
    long = _grouped(long, 48, f"{name}_5")
    long = _conv(long, 80, f"{name}_6")
    joined = layers.Concatenate(name=f"concat{block}")([x, bypass])
    return _conv(layers.Add(name=f"sum{block}")([joined, long]), 64, f"down{block}", size=1)


def _conv(x: Any, filters: int, name: str, *, size: int = 3) -> Any:
    x = layers.Conv2D(
        filters, size, padding="same", data_format="channels_last", kernel_initializer="he_normal", name=name
    )(x)
    return _leaky(x, name)


def _grouped(x: Any, filters: int, name: str) -> Any:
    return _leaky(GroupedConv2D(filters, 3, 4, name=name)(x), name)


def _leaky(x: Any, name: str) -> Any:
    return layers.LeakyReLU(negative_slope=0.05, name=f"relu_{name}")(x)
