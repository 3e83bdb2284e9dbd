"""What a machine runs short of: told once it does, and no more once it has not for a while. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType

EASED_SECONDS = 60.0
"""How long there has to be enough of something again: what comes and goes is told of once a minute at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    """So much is left of something. Less than ``low`` is too little, and from ``enough`` on it is enough again.

    ``available`` is None where it cannot be measured now. ``shortage`` is the sentence for who has to see to it.
    """

    name: str
    available: int | None
    total: int
    low: int
    enough: int
    shortage: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """Whether a resource runs short, with what was measured as it began to."""

    condition: str
    pressed: bool = False
    message: str = ""
    time: datetime | None = None


class Pressure:
    """The conditions of a machine, as one measurement after the other shows them."""

    def __init__(self) -> None:
        self._conditions: dict[str, Condition] = {}
        self._enough_since: dict[str, float] = {}

    @property
    def conditions(self) -> Mapping[str, Condition]:
        """The conditions by name."""
        return MappingProxyType(self._conditions)

    def look(self, resources: Iterable[Resource], now: datetime, clock_seconds: float) -> bool:
        """Take note of a measurement; return whether it changed a condition. What is not known changes none."""
        before = dict(self._conditions)
        for resource in resources:
            name, left = resource.name, resource.available
            known = self._conditions.setdefault(name, Condition(condition=name))
            if left is None:
                continue
            if left < resource.enough:
                self._enough_since.pop(name, None)
            if left < resource.low and not known.pressed:
                self._conditions[name] = Condition(condition=name, pressed=True, message=resource.shortage, time=now)
            elif left >= resource.enough and known.pressed:
                since = self._enough_since.setdefault(name, clock_seconds)
                if clock_seconds - since >= EASED_SECONDS:
                    self._conditions[name] = Condition(condition=name)
        return before != self._conditions
