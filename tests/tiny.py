"""A network of three layers, whose training compiles in a second."""

import keras
from keras import layers

from geosr.models.layers import Bicubic, PixelShuffle, RepConv2D


def build(scale, bands=1):
    image = keras.Input((None, None, bands), name="lr")
    x = layers.Activation("silu", name="silu")(RepConv2D(8, name="conv_1")(image))
    x = layers.Conv2D(bands * scale**2, 3, padding="same", name="upsample")(x)
    x = PixelShuffle(scale, name="shuffle")(x)
    total = layers.Add(dtype="float32", name="sr")([Bicubic(scale, name="bicubic")(image), x])
    return keras.Model(image, total, name=f"tiny_x{scale}")
