import dataclasses
import types
import typing
from collections.abc import Mapping
from datetime import UTC, datetime
from enum import Enum
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from motorpool_controller.domain.declarations import DeclaredBackend
from motorpool_controller.domain.event import Event
from motorpool_controller.domain.fleet import Node, Profile
from motorpool_controller.domain.workload import Deployment, Instance
from motorpool_controller.store.codec import decode, encode, microseconds, time_of
from tests.controller.rows import NOW, deployment, instance, node


def specimens(hint: Any) -> list[Any]:
    """Values of a type that differ from every default: one for each member of a union, None apart."""
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        hints = typing.get_type_hints(hint)
        values = {field.name: specimens(hints[field.name]) for field in dataclasses.fields(hint)}
        most = max(map(len, values.values()))
        return [hint(**{name: found[i % len(found)] for name, found in values.items()}) for i in range(most)]
    arguments = typing.get_args(hint)
    origin = typing.get_origin(hint)
    if origin in {types.UnionType, typing.Union}:
        return [value for argument in arguments if argument is not type(None) for value in specimens(argument)]
    if origin is tuple and Ellipsis not in arguments:
        return [tuple(specimens(argument)[0] for argument in arguments)]
    if origin is tuple:
        return [tuple(specimens(arguments[0]))]
    if origin is Mapping:
        return [{"key": value} for value in specimens(arguments[1])]
    if isinstance(hint, type) and issubclass(hint, Enum):
        return list(hint)
    scalars: dict[Any, list[Any]] = {
        str: ['text \u2603 "\\'],
        int: [2**53 + 1],
        float: [0.1],
        bool: [True, False],
        datetime: [NOW],
    }
    return scalars[hint]


@pytest.mark.parametrize("kind", [Node, Deployment, Instance, Profile, Event, DeclaredBackend])
def test_row_survives(kind: type[Any]) -> None:
    """
    A row with every field set, of every type that the field may have, is decoded as it was encoded.
    """
    for value in specimens(kind):
        assert value == decode(encode(value), kind)


def test_any_mapping_is_stored() -> None:
    """
    A read-only mapping in a row is stored like a dict.
    """
    value = dataclasses.replace(node("a"), agent_labels=types.MappingProxyType({"zone": "b"}))

    assert value == decode(encode(value), Node)


def test_field_of_a_newer_version_is_passed_over() -> None:
    """
    A row that a newer controller wrote is read without what this one does not know.
    """
    body = msgspec.json.decode(encode(deployment("d")))
    body["invented_later"] = {"x": 1}

    assert deployment("d") == decode(msgspec.json.encode(body).decode(), Deployment)


def test_field_that_an_older_version_did_not_write_has_its_default() -> None:
    """
    A row without a field that came later is read with that field's default.
    """
    body = msgspec.json.decode(encode(instance("i", memory_bytes=1)))
    del body["refusals"]

    assert instance("i", memory_bytes=1) == decode(msgspec.json.encode(body).decode(), Instance)


@given(st.datetimes(min_value=datetime(1971, 1, 1), timezones=st.just(UTC)))  # noqa: DTZ001  # made aware
def test_time_survives_exactly(time: datetime) -> None:
    """
    A time goes into a column and comes back to the microsecond.
    """
    assert time == time_of(microseconds(time))


def test_broken_row_is_not_half_read() -> None:
    """
    A body that is not the row it should be raises instead of giving a partial row.
    """
    with pytest.raises(msgspec.ValidationError):
        decode('{"name": "deployments/a"}', Deployment)
