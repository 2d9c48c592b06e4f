"""The networks: builders by name, and .keras files saved and loaded safely. Keras is loaded on first use."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, ZipFile, is_zipfile

from geosr.errors import ModelError
from geosr.files import write_error
from geosr.models import libraries

MODELS: dict[str, str] = {
    "idn": "geosr.models.idn:build",
    "span": "geosr.models.span:build",
    "span_wide": "geosr.models.span:wide",
}
"""The function of each architecture, in its module, which makes the network of a scale and a number of bands."""

DEFAULT = "span"
"""The architecture that is trained, and the shipped model that is used, if no other is asked for."""


def build(name: str, scale: int, bands: int = 1, *, precision: str = "float32") -> Any:
    """The network (n, rows, cols, bands) -> (n, rows * scale, cols * scale, bands), with random weights."""
    keras = libraries.keras()
    module, _, function = MODELS[name].partition(":")
    builder: Callable[[int, int], Any] = getattr(import_module(module), function)
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(precision)
    try:
        return builder(scale, bands)
    finally:
        keras.config.set_dtype_policy(before)


def folded(model: Any) -> Any:
    """The network for inference: in float32, each reparameterised convolution folded into a plain one."""
    keras = libraries.keras()
    rep = import_module("geosr.models.layers").RepConv2D

    def plain(layer: Any) -> Any:
        if isinstance(layer, rep):
            return keras.layers.Conv2D(
                layer.filters, 3, padding="same", data_format="channels_last", name=layer.name, dtype="float32"
            )
        config = layer.get_config()
        return type(layer).from_config(config | {"dtype": "float32"} if "dtype" in config else config)

    result = keras.models.clone_model(model, clone_function=plain)
    for layer in model.layers:
        weights = layer.folded() if isinstance(layer, rep) else layer.get_weights()
        result.get_layer(layer.name).set_weights([keras.ops.convert_to_numpy(weight) for weight in weights])
    # Of the layers alone: a clone of a network that was trained would be saved with its optimizer.
    return keras.Model(result.input, result.output, name=model.name)


def begin_with(model: Any, other: Any) -> int:
    """Copies the weights of another network to the layers of the same name and shape; folded ones are unfolded.

    Returns how many layers there are that none fits.

    Raises:
        ModelError: no layer fits.
    """
    rep = import_module("geosr.models.layers").RepConv2D
    given = {layer.name: layer.get_weights() for layer in other.layers}
    fitting = missing = 0
    for layer in model.layers:
        shapes, weights = [w.shape for w in layer.weights], given.get(layer.name, [])
        if not shapes:
            continue
        if shapes == [w.shape for w in weights]:
            layer.set_weights(weights)
        elif isinstance(layer, rep) and [w.shape for w in weights] == [layer.kernel.shape, layer.bias.shape]:
            layer.unfold(*weights)
        else:
            missing += 1
            continue
        fitting += 1
    if not fitting:
        raise ModelError(f"{other.name!r} is another network: none of its layers fits; choose another --fine-tune")
    return missing


def save(model: Any, path: Path) -> None:
    """Saves the network as a .keras file, which has its name only when it is whole."""
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
    """A network of MODELS again, that computes with Keras' dtype policy, as mixed_bfloat16.

    Raises:
        ModelError: it is no network of MODELS, so that it is not known what of it must stay in float32.
    """
    name = model.name.split("_x")[0]
    if name not in MODELS:
        raise ModelError(f"{model.name!r} computes in float32 alone; the networks {', '.join(MODELS)} in others too")
    result = build(name, *shape(model), precision=policy)
    if begin_with(result, model):
        raise ModelError(f"{model.name!r} is another network than geosr's of that name, and computes in float32 alone")
    return result


def is_own(path: Path) -> bool:
    """Whether a .keras file says that it is a network of MODELS."""
    with suppress(OSError, BadZipFile, KeyError, ValueError, TypeError), ZipFile(path) as file:
        return json.loads(file.read("config.json"))["config"]["name"].split("_x")[0] in MODELS
    return False


def load(path: Path, *, compiled: bool = False, trust: bool = False) -> Any:
    """The network in a .keras file, whose code is never executed unless it is trusted.

    Raises:
        ModelError: the file is missing, is no .keras file, or needs code that is not here.
    """
    keras = libraries.keras()
    for module in ("layers", "losses", "optimizers", "schedules"):  # which registers what may be in the file
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


def shape(model: Any) -> tuple[int, int]:
    """Scale and bands of a network.

    Raises:
        ModelError: it does not take images of any size (n, rows, cols, bands) or does not enlarge them evenly.
    """
    taken = getattr(model, "input_shape", None)
    if not isinstance(taken, tuple) or len(taken) != 4 or taken[:3] != (None, None, None) or not taken[3]:
        raise ModelError(f"{model.name!r} takes {taken}; a network must take (None, None, None, bands)")
    side, bands = 32, taken[3]
    given = model.compute_output_shape((1, side, side, bands))
    if given[1] != given[2] or given[1] % side or given[3] != bands:
        raise ModelError(
            f"{model.name!r} gives {given[1:]} for {(side, side, bands)}; it must enlarge by a whole factor"
        )
    return given[1] // side, bands


def receptive_radius(model: Any) -> int:
    """Input pixels that a result depends on, on each side: the longest way through the layers.

    Raises:
        ModelError: a layer's reach is unknown or unbounded, so that no halo makes tiles exact.
    """
    layers = libraries.keras().layers
    radii: dict[int, int] = {id(tensor): 0 for tensor in model.inputs}
    for operation in model.operations:
        if isinstance(operation, layers.InputLayer):
            continue
        given = operation.input if isinstance(operation.input, (list, tuple)) else [operation.input]
        reached = max(radii[id(tensor)] for tensor in given) + _reach(operation)
        for tensor in operation.output if isinstance(operation.output, (list, tuple)) else [operation.output]:
            radii[id(tensor)] = reached
    return max(radii[id(tensor)] for tensor in model.outputs)


def pixel_bytes(model: Any) -> int:
    """Memory that an input pixel takes at the network's peak, in bytes.

    Twice what the widest layer takes and gives, in float32: 1,920 bytes for IDN, of which 1,500 to 1,750 were measured
    with TensorFlow on a CPU.
    """
    keras = libraries.keras()
    side = 32
    operations = [one for one in model.operations if not isinstance(one, keras.layers.InputLayer)]
    made = [one.output if isinstance(one.output, (list, tuple)) else [one.output] for one in operations]
    tensors = [tensor for some in made for tensor in some]
    given = (1, side, side, model.inputs[0].shape[-1])
    shapes = keras.Model(model.inputs, tensors).compute_output_shape(given)
    values = {id(t): math.prod(shape) / side**2 for t, shape in zip(tensors, shapes, strict=True)}

    def width(operation: Any) -> float:
        taken = operation.input if isinstance(operation.input, (list, tuple)) else [operation.input]
        given = operation.output if isinstance(operation.output, (list, tuple)) else [operation.output]
        return sum(values.get(id(t), 1) for t in [*taken, *given])

    return math.ceil(2 * 4 * max(width(one) for one in operations))


def _reach(operation: Any) -> int:
    """Input pixels on each side that one pixel of a layer's output depends on."""
    layers = libraries.keras().layers
    pixelwise = (layers.Activation, layers.Add, layers.Concatenate, layers.LeakyReLU, layers.Multiply, layers.Rescaling)
    if hasattr(operation, "reach"):
        return int(operation.reach)
    if isinstance(operation, layers.Conv2D) and set(operation.strides) == {1}:
        return max(
            -(-(size - 1) * step // 2)
            for size, step in zip(operation.kernel_size, operation.dilation_rate, strict=True)
        )
    if isinstance(operation, pixelwise) or type(operation).__name__ in ("GetItem", "Split"):
        return 0
    raise ModelError(
        f"the reach of layer {operation.name!r} ({type(operation).__name__}) is not known, so tiles would not be exact"
    )
