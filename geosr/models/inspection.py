"""Properties of networks: scale, bands, memory, and the radius of what they see, from the layers or measured."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from geosr.errors import ModelError
from geosr.grid import Block
from geosr.models import libraries

if TYPE_CHECKING:
    from geosr.models.runtimes import Runtime

FARTHEST = 128
"""Largest radius that is measured, in pixels; a network that sees farther has no useful halo."""
PROBES = 3


def shape(model: Any) -> tuple[int, int]:
    """Return scale and bands of a network.

    Raises:
        ModelError: it does not take images of any size (n, rows, cols, bands) or does not enlarge them evenly.
    """
    inputs = getattr(model, "input_shape", None)
    sensor = inputs[1:] if isinstance(inputs, list) and inputs[1:] == [(None, 3)] else []  # of a conditioned network
    inputs = inputs[0] if isinstance(inputs, list) and sensor else inputs
    if not isinstance(inputs, tuple) or len(inputs) != 4 or inputs[:3] != (None, None, None) or not inputs[3]:
        raise ModelError(f"{model.name!r} takes {inputs}; a network must take (None, None, None, bands)")
    side, bands = 32, inputs[3]
    image = (1, side, side, bands)
    outputs = model.compute_output_shape([image, *sensor] if sensor else image)
    if outputs[1] != outputs[2] or outputs[1] % side or outputs[3] != bands:
        raise ModelError(
            f"{model.name!r} gives {outputs[1:]} for {(side, side, bands)}; it must enlarge by a whole factor"
        )
    return outputs[1] // side, bands


def receptive_radius(model: Any) -> int:
    """Return the input pixels on each side that a result depends on: the sum along the longest path through the layers.

    Raises:
        ModelError: a layer's reach is unknown or unbounded, so that no halo makes tiles exact.
    """
    radii: dict[int, int] = {id(tensor): 0 for tensor in model.inputs}
    for operation in _operations(model):
        radius = max(radii[id(tensor)] for tensor in _tensors(operation.input)) + _reach(operation)
        for tensor in _tensors(operation.output):
            radii[id(tensor)] = radius
    return max(radii[id(tensor)] for tensor in model.outputs)


def multiply_adds(model: Any) -> int:
    """Return the multiplications with additions that the network's kernels take for each input pixel.

    A kernel works on each pixel of its input; grouped convolutions are computed as dense ones.
    """
    values = _values(model)
    total = 0.0
    for operation in _operations(model):
        if hasattr(operation, "kernel"):
            image, kernel = _tensors(operation.input)[0], operation.kernel.shape
            total += math.prod(kernel[:-2]) * kernel[-1] * values.get(id(image), image.shape[-1])
    return round(total)


def pixel_bytes(model: Any) -> int:
    """Return the memory that an input pixel takes at the network's peak, in bytes.

    Twice the input and output of the widest layer, in float32: 1,920 bytes for IDN, where 1,500 to 1,750 were measured
    with TensorFlow on a CPU.
    """
    values = _values(model)
    widths = (
        sum(values.get(id(tensor), 1) for tensor in [*_tensors(operation.input), *_tensors(operation.output)])
        for operation in _operations(model)
    )
    return math.ceil(2 * 4 * max(widths))


def _operations(model: Any) -> list[Any]:
    layers = libraries.keras().layers
    return [operation for operation in model.operations if not isinstance(operation, layers.InputLayer)]


def _values(model: Any) -> dict[int, float]:
    """Return the values of each layer's output for each input pixel, by the identity of its tensor."""
    side = 32
    tensors = [tensor for operation in _operations(model) for tensor in _tensors(operation.output)]
    whole = libraries.keras().Model(model.inputs, tensors)
    shapes = whole.compute_output_shape((1, side, side, model.inputs[0].shape[-1]))
    return {id(tensor): math.prod(sides) / side**2 for tensor, sides in zip(tensors, shapes, strict=True)}


def _tensors(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) else [value]


def _reach(operation: Any) -> int:
    """Return the input pixels on each side that one pixel of a layer's output depends on."""
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


def measured_radius(network: Runtime, bands: int, scale: int) -> int | None:
    """Measure the input pixels on each side that a result depends on; None if more than FARTHEST, or without bound.

    Two blocks of noise that differ on one side of a line give results that differ as far beyond it as the network
    sees. A network whose result depends on a pixel's position in the block has no such radius either, as with windows
    of attention or strides; it shows by comparing the results of a shifted block.
    """
    try:
        return _radius(network, bands, scale)
    except ModelError:  # the network takes no blocks of these sizes, as some with strides
        return None


def _radius(network: Runtime, bands: int, scale: int) -> int | None:
    random = np.random.default_rng(0)
    radius = 0
    for probe in range(PROBES):
        for turns in range(4):
            distance = _beyond(network, bands, scale, random, turns, cut=FARTHEST + probe)
            if distance > FARTHEST:
                return None
            radius = max(radius, distance)
    return radius if _is_shift_invariant(network, bands, scale, random, radius) else None


def _beyond(network: Runtime, bands: int, scale: int, random: np.random.Generator, turns: int, *, cut: int) -> int:
    """Return the columns beyond the cut that change with those before it, in blocks rotated by `turns` right angles."""
    noise = random.random((1, bands, 32, cut + FARTHEST + 32), np.float32)
    other = noise.copy()
    other[..., :cut] = random.random(other[..., :cut].shape, np.float32)
    results = [_rotate(network(_rotate(block, turns)), -turns) for block in (noise, other)]
    changes = np.flatnonzero((results[0] != results[1]).any(axis=(0, 1, 2))[cut * scale :])
    return -(-(int(changes.max(initial=-1)) + 1) // scale)


def _is_shift_invariant(network: Runtime, bands: int, scale: int, random: np.random.Generator, radius: int) -> bool:
    block = random.random((1, bands, 2 * radius + 40, 2 * radius + 40), np.float32)
    first, other = network(block[..., :-1, :-1]), network(block[..., 1:, 1:])
    inner = slice((radius + 1) * scale, -(radius + 1) * scale)
    shifted = slice(radius * scale, -(radius + 2) * scale)
    return bool(np.allclose(first[..., inner, inner], other[..., shifted, shifted], rtol=0, atol=1e-4 * np.ptp(first)))


def _rotate(block: Block, turns: int) -> Block:
    return np.ascontiguousarray(np.rot90(block, turns, axes=(2, 3)))
