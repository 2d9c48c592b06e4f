import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geosr.rasters.resample import enlarge


def test_a_grouped_convolution_is_keras_s_own():
    import keras

    from geosr.models.layers import GroupedConv2D

    mine, theirs = GroupedConv2D(32, 3, 4), keras.layers.Conv2D(32, 3, padding="same", groups=4)
    x = np.random.default_rng(0).random((1, 9, 9, 48), "float32")
    mine(x), theirs(x)
    theirs.set_weights([mine.get_weights()[0], np.arange(32.0)])
    mine.set_weights(theirs.get_weights())
    assert mine.count_params() == theirs.count_params()
    assert np.allclose(mine(x), theirs(x), atol=1e-4)


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_the_transposed_convolution_is_caffe_s_moved_to_the_pixels_of_the_enlarged_grid(scale):
    from geosr.models.layers import SubpixelTransposed

    layer = SubpixelTransposed(1, 17, scale)
    x = np.random.default_rng(0).random((1, 12, 13, 2), "float32")
    output = np.asarray(layer(x))[0, ..., 0]
    kernel = layer.get_weights()[0][..., 0]
    full = np.zeros(((12 - 1) * scale + 17, (13 - 1) * scale + 17))
    for i in range(12):
        for j in range(13):
            full[i * scale : i * scale + 17, j * scale : j * scale + 17] += kernel @ x[0, i, j]
    caffe = full[8:-8, 8:-8]  # pad: 8
    assert np.allclose(output[scale - 1 :, scale - 1 :], caffe, atol=1e-6)


@given(st.integers(2, 4), st.integers(2, 12), st.integers(2, 12), st.integers(1, 3))
def test_the_bicubic_layer_is_the_one_bicubic(scale, rows, cols, bands):
    from geosr.models.layers import Bicubic

    block = np.random.default_rng(rows).random((bands, rows, cols), "float32")
    output = np.asarray(Bicubic(scale)(block.transpose(1, 2, 0)[None]))[0].transpose(2, 0, 1)
    assert np.allclose(output, enlarge(block, scale), atol=1e-5)
