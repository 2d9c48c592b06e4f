"""IDN weights read from the Caffe files that its authors published. Nothing in the file is executed."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError
from numpy.typing import NDArray

from geosr import models
from geosr.errors import ModelError
from geosr.protobuf import message_classes

Weights = NDArray[np.float32]


def read_idn(path: Path, scale: int) -> Any:
    """Return the IDN network for `scale` with the weights of the authors' Caffe file.

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
    """Return the blobs of each layer that has any, by its name.

    Raises:
        ModelError: the file cannot be read as a Caffe network.
    """
    try:
        layers = _net_parameter().FromString(path.read_bytes()).layer
        blobs = {layer.name: [_array(blob) for blob in layer.blobs] for layer in layers if layer.blobs}
    except OSError as error:
        raise ModelError(f"cannot read {os.fspath(path)!r}: {error.strerror}") from error
    except (DecodeError, ValueError) as error:
        raise ModelError(f"{os.fspath(path)!r} is not a Caffe network") from error
    if not blobs:
        raise ModelError(f"{os.fspath(path)!r} is not a Caffe network with weights")
    return blobs


def _array(blob: Any) -> Weights:
    return np.array(blob.data, np.float32).reshape(blob.shape.dim)


@cache
def _net_parameter() -> Any:
    """Return the message class NetParameter. Source: caffe.proto of BVLC Caffe."""
    messages = {
        "NetParameter": {"layer": (100, "repeated LayerParameter")},
        "LayerParameter": {"name": (1, "string"), "blobs": (7, "repeated BlobProto")},
        "BlobProto": {"data": (5, "repeated float"), "shape": (7, "BlobShape")},
        "BlobShape": {"dim": (1, "repeated int64")},
    }
    return message_classes("caffe", messages)["NetParameter"]
