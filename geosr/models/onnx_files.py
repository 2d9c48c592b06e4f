"""ONNX files: their messages, the notes that geosr keeps in them, and the check of those that others made.

Runtimes trust what a file says, and hang, or take memory without end, when it is out of all bounds.
"""

from __future__ import annotations

import math
import os
from functools import cache
from pathlib import Path
from typing import Any

from google.protobuf.message import DecodeError

from geosr.errors import ModelError
from geosr.protobuf import message_classes

LARGEST_OPSET = 100
"""Versions of operators that exist end at about 25."""
LARGEST_SIDE = 2**31 - 1
EXTERNAL = 1
"""The data_location of weights that are in another file."""


def check(path: Path) -> None:
    """Refuse an ONNX file that is none, or whose numbers are out of all bounds.

    Raises:
        ModelError: it says what is wrong.
    """
    try:
        content = path.read_bytes()
        message = _whole_proto().FromString(content)
    except OSError as error:
        raise ModelError(f"cannot read {os.fspath(path)!r}: {error.strerror or error}") from error
    except DecodeError as error:
        raise ModelError(f"{os.fspath(path)!r} is no ONNX file, or is damaged") from error
    if fault := _fault(message):
        raise ModelError(f"{os.fspath(path)!r} is no network that can be loaded: {fault}")


def _fault(message: Any) -> str | None:
    for opset in message.opset_import:
        if not 1 <= opset.version <= LARGEST_OPSET:
            return f"it has version {opset.version} of the operators {opset.domain or 'of ONNX'!r}"
    graph = message.graph
    constants = {tensor.name for tensor in graph.initializer}
    if not graph.output or not [value for value in graph.input if value.name not in constants]:
        return "it has no input, or no output"
    for value in (*graph.input, *graph.output):
        shape = [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        if not all(0 <= side <= LARGEST_SIDE for side in shape):
            return f"its {_text(value.name)} has the shape {shape}"
    for tensor in graph.initializer:
        if not all(0 <= side <= LARGEST_SIDE for side in tensor.dims) or math.prod(tensor.dims) > LARGEST_SIDE:
            return f"its constant {_text(tensor.name)} has the shape {list(tensor.dims)}"
        names = [entry.value for entry in tensor.external_data if entry.key == "location"]
        if tensor.data_location == EXTERNAL and any(Path(name).name != name or name == ".." for name in names):
            return f"its constant {_text(tensor.name)} is in {names[0]!r}, which is not beside it"
    return None


def _text(name: bytes) -> str:
    return repr(name[:60].decode(errors="backslashreplace"))


@cache
def model_proto() -> Any:
    """Return the message class ModelProto, whose other fields are kept as they are. Source: onnx.proto of ONNX."""
    messages = {
        "ModelProto": {"metadata_props": (14, "repeated StringStringEntryProto")},
        "StringStringEntryProto": {"key": (1, "string"), "value": (2, "string")},
    }
    return message_classes("onnx", messages)["ModelProto"]


@cache
def _whole_proto() -> Any:
    """Return the message class ModelProto for reading alone, as it has fields that the file may leave out."""
    messages = {
        "ModelProto": {
            "graph": (7, "GraphProto"),
            "opset_import": (8, "repeated OperatorSetIdProto"),
        },
        "OperatorSetIdProto": {"domain": (1, "string"), "version": (2, "int64")},
        "StringStringEntryProto": {"key": (1, "string"), "value": (2, "string")},
        "GraphProto": {
            "initializer": (5, "repeated TensorProto"),
            "input": (11, "repeated ValueInfoProto"),
            "output": (12, "repeated ValueInfoProto"),
        },
        "TensorProto": {
            "dims": (1, "repeated int64"),
            "name": (8, "bytes"),
            "external_data": (13, "repeated StringStringEntryProto"),
            "data_location": (14, "int64"),
        },
        "ValueInfoProto": {"name": (1, "bytes"), "type": (2, "TypeProto")},
        "TypeProto": {"tensor_type": (1, "TensorTypeProto")},
        "TensorTypeProto": {"shape": (2, "TensorShapeProto")},
        "TensorShapeProto": {"dim": (1, "repeated DimensionProto")},
        "DimensionProto": {"dim_value": (1, "int64")},
    }
    return message_classes("onnx", messages)["ModelProto"]
