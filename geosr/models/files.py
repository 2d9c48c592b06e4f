"""Building networks, saving them as .keras files, loading them safely. Keras is loaded on first use."""

from __future__ import annotations

import os
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, ZipFile, is_zipfile

from geosr.errors import ModelError
from geosr.files import json_value, write_error
from geosr.models import MODELS, libraries, registered
from geosr.models.inspection import shape


def build(name: str, scale: int, bands: int = 1, *, precision: str = "float32") -> Any:
    """Return the network (n, rows, cols, bands) -> (n, rows * scale, cols * scale, bands), with random weights."""
    keras = libraries.keras()
    default = keras.config.dtype_policy()
    keras.config.set_dtype_policy(precision)
    try:
        return registered(MODELS[name])(scale, bands)
    finally:
        keras.config.set_dtype_policy(default)


def fold(model: Any) -> Any:
    """Return the network for inference: in float32, each reparameterised convolution folded into a plain one."""
    keras = libraries.keras()
    layers = import_module("geosr.models.layers")

    def plain(layer: Any) -> Any:
        if isinstance(layer, layers.SensorConv2D):
            return layers.FoldedSensorConv2D(layer.filters, name=layer.name, dtype="float32")
        if isinstance(layer, layers.RepConv2D):
            return keras.layers.Conv2D(
                layer.filters, 3, padding="same", data_format="channels_last", name=layer.name, dtype="float32"
            )
        config = layer.get_config()
        return type(layer).from_config(config | {"dtype": "float32"} if "dtype" in config else config)

    result = keras.models.clone_model(model, clone_function=plain)
    for layer in model.layers:
        if isinstance(layer, layers.SensorConv2D):
            weights = [*super(layers.SensorConv2D, layer).folded(), layer.experts, layer.weighing, layer.shifting]
        else:
            weights = layer.folded() if isinstance(layer, layers.RepConv2D) else layer.get_weights()
        result.get_layer(layer.name).set_weights([keras.ops.convert_to_numpy(weight) for weight in weights])
    # A new model of the layers alone: a clone of a trained network would be saved with its optimizer.
    return keras.Model(result.input, result.output, name=model.name)


def begin_with(model: Any, other: Any) -> int:
    """Copy the weights of another network to the layers of the same name and shape; return the number of others.

    Folded convolutions are unfolded.

    Raises:
        ModelError: no layer fits.
    """
    rep = import_module("geosr.models.layers").RepConv2D
    source = {layer.name: layer.get_weights() for layer in other.layers}
    fitting = missing = 0
    for layer in model.layers:
        shapes, weights = [w.shape for w in layer.weights], source.get(layer.name, [])
        if not shapes:
            continue
        if shapes == [w.shape for w in weights]:
            layer.set_weights(weights)
        elif isinstance(layer, rep) and [w.shape for w in weights[:2]] == [layer.kernel.shape, layer.bias.shape]:
            layer.unfold(*weights)
        else:
            missing += 1
            continue
        fitting += 1
    if not fitting:
        raise ModelError(f"{other.name!r} is another network: none of its layers fits; choose another --fine-tune")
    return missing


def save(model: Any, path: Path) -> None:
    """Save the network as a .keras file, which gets its name only when it is complete."""
    part = path.with_name(f".{path.stem}.part.keras")
    try:
        model.save(part)
        part.replace(path)
    except OSError as error:
        raise write_error(path.parent, error) from error
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)


def in_precision(model: Any, policy: str) -> Any:
    """Return a network of MODELS that computes with a dtype policy of Keras, as mixed_bfloat16.

    Raises:
        ModelError: it is no network of MODELS, so that the layers that must stay in float32 are unknown.
    """
    name = model.name.split("_x")[0]
    if name not in MODELS:
        raise ModelError(f"{model.name!r} computes in float32 alone; the networks {', '.join(MODELS)} in others too")
    result = build(name, *shape(model), precision=policy)
    if begin_with(result, model):
        raise ModelError(f"{model.name!r} is another network than geosr's of that name, and computes in float32 alone")
    return result


def is_own(path: Path) -> bool:
    """Return True if a .keras file says that it is a network of MODELS."""
    with suppress(OSError, BadZipFile, KeyError, ValueError, TypeError), ZipFile(path) as file:
        return json_value(file.read("config.json"))["config"]["name"].split("_x")[0] in MODELS
    return False


def load(path: Path, *, compiled: bool = False, trust: bool = False) -> Any:
    """Return the network in a .keras file, whose code is never executed unless it is trusted.

    Raises:
        ModelError: the file is missing, is no .keras file, or needs code that is not here.
    """
    keras = libraries.keras()
    for module in ("layers", "losses", "optimizers", "schedules"):  # they register classes that a file may name
        import_module(f"geosr.models.{module}")
    if not path.is_file():
        raise ModelError(f"no model {os.fspath(path)!r}; give a .keras file or a name that geosr models lists")
    if not is_zipfile(path):
        raise ModelError(f"{os.fspath(path)!r} is no .keras file; geosr train makes them")
    try:
        return keras.saving.load_model(path, compile=compiled, safe_mode=not trust)
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise ModelError(f"{os.fspath(path)!r} is not a model that can be loaded safely: {reason}") from error
