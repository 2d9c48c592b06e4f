"""A network conditioned on a sensor is, for one sensor, the plain network that is made of it."""

import numpy as np
import pytest

from geosr import models
from geosr.models import conditioning

SENSOR, OTHER = (0.71, 0.26, 0.004), (0.94, 0.49, 0.0)


@pytest.fixture(scope="module")
def network():
    """A network whose layers all depend on the sensor, as after training."""
    model, rng = models.build("span_for_sensors", 2), np.random.default_rng(0)
    for layer in model.layers:
        if hasattr(layer, "weighing"):
            for weight in (layer.weighing, layer.shifting, layer.out):
                weight.assign(rng.normal(0, 0.1, weight.shape))
        elif layer.name == "upsample":
            layer.set_weights([100 * weight for weight in layer.get_weights()])
    return model


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(1).random((2, 30, 34, 1), np.float32)


def test_the_plain_network_for_a_sensor_gives_the_same(network, images):
    expected = network([images, np.float32([SENSOR, SENSOR])], training=False).numpy()
    assert np.abs(conditioning.plain(network, SENSOR)(images).numpy() - expected).max() < 1e-6
    assert np.abs(conditioning.plain(network, OTHER)(images).numpy() - expected).max() > 1e-2


def test_the_plain_network_is_as_large_as_one_that_knows_no_sensors(network):
    assert conditioning.plain(network).count_params() == models.fold(models.build("span", 2)).count_params()
    assert models.receptive_radius(network) == models.receptive_radius(models.build("span", 2))
    assert models.shape(network) == (2, 1)


def test_folding_halves_the_weights_and_changes_nothing(network, images, tmp_path):
    models.save(models.fold(network), tmp_path / "network.keras")
    folded = models.load(tmp_path / "network.keras")
    assert folded.count_params() < 0.6 * network.count_params()
    inputs = [images, np.float32([SENSOR, SENSOR])]
    assert np.abs(folded(inputs).numpy() - network(inputs, training=False).numpy()).max() < 1e-5
    assert np.abs(conditioning.plain(folded, SENSOR)(images).numpy() - folded(inputs).numpy()).max() < 1e-6


def test_a_conditioned_network_begins_as_the_plain_one_that_it_is_given(network, images):
    plain = conditioning.plain(network, SENSOR)
    fresh = models.build("span_for_sensors", 2)
    assert models.begin_with(fresh, plain) == 1  # the features of the sensor are new
    for sensor in (SENSOR, OTHER):
        result = fresh([images, np.float32([sensor, sensor])], training=False).numpy()
        assert np.abs(result - plain(images).numpy()).max() < 1e-5


def test_a_network_without_sensors_stays_as_it_is():
    model = models.build("span", 2)
    assert conditioning.plain(model, SENSOR) is model
    assert not conditioning.is_conditioned(model)
