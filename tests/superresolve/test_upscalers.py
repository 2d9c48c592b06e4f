import pickle
from dataclasses import replace

import numpy as np
import pytest

from geosr.errors import ModelError
from geosr.rasters.radiometry import fixed
from geosr.rasters.resample import enlarge
from geosr.superresolve import upscalers


def test_luma_changes_the_luma_alone(random_idn):
    rgb = np.random.default_rng(0).random((1, 3, 40, 40)).astype("float32") * 255
    values = fixed(0, 255, 3)
    output = upscalers.load_upscaler(str(random_idn()), mode="luma")(rgb, values)[0]
    low, high = enlarge(rgb[0], 2), output
    weights = upscalers.LUMA
    added = high - low
    assert np.abs(added).max() > 1
    assert np.abs(added - added[0]).max() < 1e-3  # the same in every colour: Cb and Cr are bicubic's
    each = upscalers.load_upscaler(str(random_idn()))(
        np.einsum("nbij,b->nij", rgb, weights)[:, None], fixed(0, 255, 1)
    )[0, 0]
    assert np.abs(np.einsum("bij,b->ij", high, weights) - each).max() < 1e-2


def test_a_network_pickles_as_its_path(random_idn):
    network = upscalers.load_upscaler(str(random_idn()))
    data = pickle.dumps(network)
    assert len(data) < 1000
    x = np.random.default_rng(0).random((1, 1, 40, 40)) * 255
    assert (pickle.loads(data)(x, fixed(0, 255, 1)) == network(x, fixed(0, 255, 1))).all()


@pytest.mark.parametrize("name", ["nothing.keras", "text.keras", "pickle.keras"])
def test_what_is_no_model_is_refused_and_never_executed(name, tmp_path):
    path = tmp_path / name
    if name.startswith("text"):
        path.write_text("not a model")
    if name.startswith("pickle"):
        path.write_bytes(pickle.dumps({"model": 1}))
    with pytest.raises(ModelError, match=name) as error:
        upscalers.load_upscaler(str(path))
    assert "\n" not in str(error.value)


def test_a_model_with_code_in_it_is_refused(tmp_path):
    import keras

    inputs = keras.Input((None, None, 1))
    model = keras.Model(inputs, keras.layers.Lambda(lambda x: x * 2)(inputs))
    model.save(tmp_path / "lambda.keras")
    with pytest.raises(ModelError, match="loaded safely"):
        upscalers.load_upscaler(str(tmp_path / "lambda.keras"))


def test_a_model_of_unknown_reach_is_refused(tmp_path):
    import keras

    inputs = keras.Input((None, None, 1))
    pooled = keras.layers.GlobalAveragePooling2D(keepdims=True)(inputs)
    model = keras.Model(inputs, keras.layers.UpSampling2D(2)(keras.layers.Add()([inputs, pooled])))
    model.save(tmp_path / "pool.keras")
    with pytest.raises(ModelError, match=r"sees farther than 128 pixels .* --blend"):
        upscalers.load_upscaler(str(tmp_path / "pool.keras"))


def test_a_scale_that_is_not_the_model_s_is_refused(random_idn):
    with pytest.raises(ModelError, match="enlarges by 2, not by 4"):
        upscalers.load_upscaler(str(random_idn()), 4)


@pytest.mark.parametrize("scale", [1, 3, 4])
def test_a_network_that_does_not_return_what_its_card_promises_is_refused(random_idn, scale):
    card = replace(upscalers.load_upscaler(str(random_idn())).card, scale=scale)
    network = upscalers.Network(random_idn(), card=card)
    with pytest.raises(ModelError, match=r"returned blocks of \(1, 1, 32, 32\) for .* promises"):
        network(np.zeros((1, 1, 16, 16), "uint8"), fixed(0, 255, 1))
