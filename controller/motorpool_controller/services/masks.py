"""Field masks: which fields of a message are changed, or shown.

protobuf's own MergeMessage turns absent into zero in versions that are still supported.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.internal.containers import RepeatedCompositeFieldContainer
from google.protobuf.message import Message

from motorpool_controller.domain.names import shown
from motorpool_controller.services.convert import fields

M = TypeVar("M", bound=Message)


class Reader(Generic[M]):
    """Keeps of messages their names and the fields of a mask; all of them where the mask is empty."""

    def __init__(self, mask: FieldMask, kind: type[M]) -> None:
        self._kind = kind
        self._paths = [path.split(".") for path in ["name", *mask.paths]] if mask.paths else []
        for path in self._paths:
            if not _copy(path, kind(), kind()):
                raise fields.invalid("read_mask", f"{shown('.'.join(path))} is no field of {kind.DESCRIPTOR.name}")

    def add(self, messages: RepeatedCompositeFieldContainer[M], show: Callable[[M], None]) -> None:
        """Add to an answer's messages one that ``show`` writes: in its place, unless only parts of it are wanted."""
        if not self._paths:
            show(messages.add())
            return
        whole, kept = self._kind(), messages.add()
        show(whole)
        for path in self._paths:
            _copy(path, whole, kept)


def masked(mask: FieldMask, source: M, into: M, *, below: str) -> M:
    """Return ``into`` with the fields of the mask as ``source`` has them; one that is absent there becomes absent.

    Paths begin with ``below``; an empty mask means all of it.
    """
    result = type(into)()
    result.CopyFrom(into)
    for path in mask.paths or [below]:
        names = path.split(".")
        if names[0] != below or not _copy(names, source, result):
            raise fields.invalid("update_mask", f"{path!r} is no field that can be changed; name {below}.FIELD")
    return result


def _copy(path: list[str], source: Message, into: Message) -> bool:
    """Copy one field, named from here on; return whether there is such a field."""
    name, *rest = path
    field = source.DESCRIPTOR.fields_by_name.get(name)
    if field is None:
        return False
    value = getattr(source, name)
    inner = field.message_type is not None and field.has_presence
    if rest:
        return inner and _copy(rest, value, getattr(into, name))
    into.ClearField(name)
    if inner or hasattr(value, "MergeFrom"):
        if not inner or source.HasField(name):
            getattr(into, name).MergeFrom(value)
    elif not field.has_presence or source.HasField(name):
        setattr(into, name, value)
    return True
