"""Domain dataclasses to JSON and back; times to microseconds and back."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import TypeVar

import msgspec

from motorpool_controller.domain.controllers import Controller
from motorpool_controller.domain.declarations import DeclaredBackend
from motorpool_controller.domain.event import Event
from motorpool_controller.domain.fleet import Node, Profile
from motorpool_controller.domain.peak import Peak
from motorpool_controller.domain.workload import Deployment, Instance

T = TypeVar("T", Node, Deployment, Instance, Profile, Peak, Event, DeclaredBackend, Controller)
Body = Node | Deployment | Instance | Profile | Peak | Event | DeclaredBackend | Controller


def _plain(value: object) -> object:
    """Any mapping may stand where the domain asks for one; JSON knows one kind."""
    if isinstance(value, Mapping):
        return dict(value)
    raise NotImplementedError(f"{type(value).__name__} cannot be stored")


_ENCODER = msgspec.json.Encoder(order="deterministic", enc_hook=_plain)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def encode(value: Body) -> str:
    """Return the JSON of a row's body; equal values give equal text."""
    return _ENCODER.encode(value).decode()


def decode(body: str, kind: type[T]) -> T:
    """Return the value of a row's body. Fields that a newer version wrote are passed over."""
    return msgspec.json.decode(body, type=kind)


def microseconds(time: datetime) -> int:
    """Return a time as microseconds since 1970, exactly."""
    return (time - _EPOCH) // _MICROSECOND


def time_of(value: int) -> datetime:
    """Return the time of so many microseconds since 1970."""
    return _EPOCH + value * _MICROSECOND
