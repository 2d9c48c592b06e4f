"""Networks conditioned on a sensor, turned into the plain network for one. Keras is loaded on first use."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from geosr import models
from geosr.models import libraries

SUFFIX = "_for_sensors"
"""Ending of the names of conditioned architectures."""
CONDITIONED = ("SensorConv2D", "FoldedSensorConv2D")
REFERENCE = (0.936, 0.486, 0.0)
"""The sensor that a conditioned network is described for: the bicubic kernel, without noise."""


def is_conditioned(model: Any) -> bool:
    """Return True if a network takes the numbers of a sensor beside the image."""
    return len(model.inputs) == 2


def inputs(model: Any, images: Any, sensor: Sequence[float] = REFERENCE) -> Any:
    """Return the input of a network for images (n, rows, cols, bands): with the sensor, if it is conditioned."""
    if not is_conditioned(model):
        return images
    ops = libraries.keras().ops
    return [ops.convert_to_tensor(images), ops.convert_to_tensor([tuple(sensor)] * len(images), "float32")]


def plain(model: Any, sensor: Sequence[float] = REFERENCE) -> Any:
    """Return the network for one sensor, for inference; a network that is not conditioned comes back as it is.

    Args:
        model: The network.
        sensor: Modulation transfer at half of the Nyquist frequency and at it, and the noise; see SensorFeatures.
    """
    if not is_conditioned(model):
        return model
    keras = libraries.keras()
    features = model.get_layer("sensor_features")(keras.ops.convert_to_tensor([tuple(sensor)], "float32"))
    result = models.fold(models.build(model.name.split(SUFFIX)[0], *models.shape(model)))
    for layer in result.layers:
        own = model.get_layer(layer.name)
        weights = own.folded(features) if type(own).__name__ in CONDITIONED else own.get_weights()
        layer.set_weights([keras.ops.convert_to_numpy(weight) for weight in weights])
    return result
