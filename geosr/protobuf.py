"""Protobuf message classes built from a table of their fields, in pools of their own, so that none clash."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory


def message_classes(package: str, messages: Mapping[str, Mapping[str, tuple[int, str]]]) -> dict[str, Any]:
    """Return the classes of a package's messages by name.

    Each field has its number and its kind: a scalar of proto3, as `bytes`, or the name of a message of the package,
    after `repeated` if there may be many.

    >>> Point = message_classes("doc", {"Point": {"x": (1, "int64"), "names": (2, "repeated string")}})["Point"]
    >>> Point(x=3, names=["a"]).SerializeToString()
    b'\\x08\\x03\\x12\\x01a'
    """
    file = descriptor_pb2.FileDescriptorProto(name=f"{package}.proto", package=package, syntax="proto3")
    types = descriptor_pb2.FieldDescriptorProto
    for name, fields in messages.items():
        message = file.message_type.add(name=name)
        for field, (number, kind) in fields.items():
            repeated, _, kind = kind.rpartition(" ")
            label = types.LABEL_REPEATED if repeated else types.LABEL_OPTIONAL
            if kind in messages:
                own = {"type": types.TYPE_MESSAGE, "type_name": f".{package}.{kind}"}
            else:
                own = {"type": getattr(types, f"TYPE_{kind.upper()}")}
            message.field.add(name=field, number=number, label=label, **own)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{package}.{name}")) for name in messages}
