"""IDN weights read from the Caffe files that its authors published.

A .caffemodel is a protobuf: NetParameter.layer (100) holds name (1) and blobs (7); a blob holds data (5) and
shape (7). Nothing in the file is executed.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geosr import models
from geosr.errors import ModelError

Weights = NDArray[np.float32]


def read_idn(path: Path, scale: int) -> Any:
    """The IDN network for `scale` with the weights of the authors' Caffe file.

    Raises:
        ModelError: the file is no Caffe network, or not IDN.
    """
    blobs = read_blobs(path)
    model = models.build("idn", scale)
    for layer in model.layers:
        if not layer.weights:
            continue
        if layer.name not in blobs:
            raise ModelError(f"{os.fspath(path)!r} is not IDN: it has no layer {layer.name!r}")
        # Caffe convolves (out, in, rows, cols); its transposed convolution is (in, out, rows, cols).
        order = (2, 3, 0, 1) if layer.name == "upsample" else (2, 3, 1, 0)
        try:
            kernel, bias = blobs[layer.name]
            layer.set_weights([kernel.transpose(order), bias])
        except ValueError as error:
            shapes = [blob.shape for blob in blobs[layer.name]]
            raise ModelError(f"{os.fspath(path)!r} is not IDN: layer {layer.name!r} has the shapes {shapes}") from error
    return model


def read_blobs(path: Path) -> dict[str, list[Weights]]:
    """The blobs of each layer that has any, by its name.

    Raises:
        ModelError: the file cannot be read as a Caffe network.
    """
    try:
        layers = [dict(_layer(value)) for number, value in _fields(memoryview(path.read_bytes())) if number == 100]
        named = {bytes(layer["name"]).decode(): layer["blobs"] for layer in layers}
    except OSError as error:
        raise ModelError(f"cannot read {os.fspath(path)!r}: {error.strerror}") from error
    except (ValueError, IndexError, KeyError, TypeError) as error:
        raise ModelError(f"{os.fspath(path)!r} is not a Caffe network") from error
    if not any(named.values()):
        raise ModelError(f"{os.fspath(path)!r} is not a Caffe network with weights")
    return {name: blobs for name, blobs in named.items() if blobs}


def _layer(message: memoryview) -> Iterator[tuple[str, Any]]:
    fields = list(_fields(message))
    yield "name", next((value for number, value in fields if number == 1), b"")
    yield "blobs", [_blob(value) for number, value in fields if number == 7]


def _blob(message: memoryview) -> Weights:
    fields = list(_fields(message))
    data = b"".join(value for number, value in fields if number == 5)
    shapes = [value for number, value in fields if number == 7]
    dims = [d for shape in shapes for number, value in _fields(shape) if number == 1 for d in _integers(value)]
    return np.frombuffer(data, "<f4").reshape(dims)


def _integers(value: int | memoryview) -> Iterator[int]:
    """The numbers of a repeated field, packed or not."""
    if isinstance(value, int):
        yield value
        return
    at = 0
    while at < len(value):
        number, at = _varint(value, at)
        yield number


def _fields(message: memoryview) -> Iterator[tuple[int, Any]]:
    """The fields of a protobuf message: number, and an integer or the bytes."""
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        kind = key & 7
        if kind == 0:
            value, at = _varint(message, at)
            yield key >> 3, value
            continue
        if kind == 2:
            size, at = _varint(message, at)
        elif kind in (1, 5):
            size = 8 if kind == 1 else 4
        else:
            raise ValueError(f"wire type {kind}")
        if at + size > len(message):
            raise ValueError("truncated")
        yield key >> 3, message[at : at + size]
        at += size


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at
