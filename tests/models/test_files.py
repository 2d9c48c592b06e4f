import numpy as np
import pytest

from geosr import models
from geosr.models.conditioning import inputs

ARCHITECTURES = [(name, scale, bands) for name in models.MODELS for scale in (2, 3, 4) for bands in (1, 3)]
every = pytest.mark.parametrize(("name", "scale", "bands"), ARCHITECTURES)


@every
def test_shapes_and_finite_output(name, scale, bands):
    model = models.build(name, scale, bands)
    output = np.asarray(model(inputs(model, np.random.default_rng(0).random((2, 17, 23, bands), "float32"))))
    assert output.shape == (2, 17 * scale, 23 * scale, bands)
    assert np.isfinite(output).all()
    assert models.shape(model) == (scale, bands)


@every
def test_every_weight_has_a_gradient(name, scale, bands):
    import tensorflow as tf

    model = models.build(name, scale, bands)
    for layer in model.layers:
        if hasattr(layer, "weighing"):  # 0 at first, so that the experts have none
            layer.weighing.assign(layer.weighing + 0.1)
    with tf.GradientTape() as tape:
        images = tf.random.uniform((1, 32, 32, bands), seed=1)
        loss = tf.reduce_mean(tf.square(model(inputs(model, images))))
    for weight, gradient in zip(
        model.trainable_variables, tape.gradient(loss, [v.value for v in model.trainable_variables]), strict=True
    ):
        assert gradient is not None, weight.path
        assert np.abs(gradient).max() > 0, weight.path


@pytest.mark.slow
@every
def test_saved_and_loaded_safely_it_is_the_same_function(name, scale, bands, tmp_path):
    model = models.build(name, scale, bands)
    models.save(model, tmp_path / "m.keras")
    copy = models.load(tmp_path / "m.keras")
    x = np.random.default_rng(0).random((1, 16, 16, bands), "float32")
    assert np.allclose(model(inputs(model, x)), copy(inputs(copy, x)), atol=1e-6)


@pytest.mark.parametrize("name", list(models.MODELS))
def test_a_folded_network_is_the_same_function_and_unfolds_again(name):
    model = models.build(name, 2)
    rng = np.random.default_rng(0)
    model.set_weights([rng.normal(0, 0.1, w.shape) for w in model.get_weights()])
    x = rng.random((1, 30, 30, 1), "float32")
    plain = models.fold(model)
    assert {layer.compute_dtype for layer in plain.layers} == {"float32"}
    expected = model(inputs(model, x))
    assert np.allclose(expected, plain(inputs(plain, x)), atol=1e-4)
    copy = models.build(name, 2)
    models.begin_with(copy, plain)
    assert np.allclose(expected, copy(inputs(copy, x)), atol=1e-4)
