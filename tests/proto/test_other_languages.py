"""What generators of other languages make of our names."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator

from google.protobuf.descriptor import Descriptor, FieldDescriptor

from motorpool import v1

TEXT = (FieldDescriptor.TYPE_STRING, FieldDescriptor.TYPE_BYTES)


def messages() -> Iterator[Descriptor]:
    names = [module.name for module in pkgutil.iter_modules(v1.__path__) if module.name.endswith("_pb2")]
    files = [importlib.import_module(f"motorpool.v1.{name}").DESCRIPTOR for name in names]
    waiting = [message for file in files for message in file.message_types_by_name.values()]
    while waiting:
        message = waiting.pop()
        waiting += message.nested_types
        yield message


def test_no_two_fields_have_one_getter_in_java() -> None:
    """
    Java reads the bytes of a string `file` by getFileBytes(): a field `file_bytes` beside it does not compile there.
    """
    found = [
        f"{message.full_name}.{field.name}_bytes"
        for message in messages()
        for field in message.fields
        if field.type in TEXT and f"{field.name}_bytes" in message.fields_by_name
    ]

    assert [] == found
    assert {"Node", "CompanionFile", "WatchResponse"} <= {message.name for message in messages()}
