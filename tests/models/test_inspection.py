import numpy as np
import pytest

from geosr import models
from geosr.models import cards, conditioning, inspection, runtimes

RADII = {("idn", 2): 30, ("idn", 3): 29, ("idn", 4): 28}
RADII |= {(name, scale): 21 for name in ("span", "span_for_sensors", "span_wide") for scale in (2, 3, 4)}


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("name", list(models.MODELS))
def test_the_radius_from_the_layers_is_the_reach_of_a_change(name, scale):
    import tensorflow as tf

    model = models.build(name, scale)
    radius = models.receptive_radius(model)
    assert radius == RADII[name, scale]
    rng = np.random.default_rng(0)
    # Positive and of mean 1 over what goes in, so that nothing cancels, vanishes or grows on the way.
    positive = [
        (rng.random(w.shape) + 0.5) / np.prod(w.shape[:-1]) if w.ndim > 1 else w * 0 for w in model.get_weights()
    ]
    model.set_weights(positive)
    side = 2 * radius + 21
    x = tf.ones((1, side, side, 1))
    with tf.GradientTape() as tape:
        tape.watch(x)
        middle = slice(side // 2 * scale, (side // 2 + 1) * scale)
        total = tf.reduce_sum(model(conditioning.inputs(model, x))[:, middle, middle])
    rows, cols = np.nonzero(np.asarray(tape.gradient(total, x))[0, ..., 0])
    assert max(np.abs(rows - side // 2).max(), np.abs(cols - side // 2).max()) == radius


def test_the_radius_of_an_even_kernel_is_its_longer_side():
    import keras

    inputs = keras.Input((None, None, 1))
    outputs = keras.layers.Conv2D(1, 4, padding="same")(inputs)
    assert models.receptive_radius(keras.Model(inputs, outputs)) == 2


@pytest.mark.slow
def test_how_far_the_shipped_networks_see_is_what_their_layers_say():
    for card in cards.shipped():
        path = cards.shipped_path(card.name, card.scale)
        assert inspection.measured_radius(runtimes.load(path), card.bands, card.scale) == card.halo


@pytest.mark.parametrize("name", list(models.MODELS))
@pytest.mark.parametrize("bands", [1, 3])
def test_multiply_adds_are_those_of_the_kernels_that_openvino_computes(name, bands):
    from geosr.models import conditioning, inference, libraries

    side = 16
    model = conditioning.plain(models.fold(models.build(name, 2, bands)))
    network = libraries.openvino().Core().read_model(inference.converted(model, ""))
    network.reshape([1, bands, side, side])
    total = 0
    for operation in network.get_ops():
        if operation.get_type_name() in ("Convolution", "GroupConvolution"):
            kernel, output = operation.input(1).get_shape(), operation.output(0).get_shape()
            total += np.prod(output[-2:]) * np.prod(kernel)
    assert total / side**2 == pytest.approx(inspection.multiply_adds(model), rel=0.01)
