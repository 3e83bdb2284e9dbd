"""The controllers of one database: one leads, the others stand by."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Controller:
    """One of them, as it tells of itself when it starts, and again when it takes over."""

    name: str
    """The first of its public endpoints."""
    public_endpoints: tuple[str, ...]
    agent_endpoints: tuple[str, ...]
    start_time: datetime
    version: str = ""
    authorities: tuple[str, ...] = ()
    """Fingerprints of the authorities that it trusts, that which signs first. Who takes its place needs the same."""
    lead_time: datetime | None = None
    """Since when it led at last; None if it never did."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What the database knows of a controller: its row, whether it leads, and whether it is there now."""

    controller: Controller
    leads: bool
    present: bool


def agents_endpoints(me: Controller, others: Iterable[Standing]) -> tuple[str, ...]:
    """Return where agents may find a controller: the one that leads first, then those that are there."""
    rest = sorted(others, key=lambda each: (not each.present, each.controller.name))
    found = [me, *(each.controller for each in rest if each.controller.name != me.name)]
    return tuple(dict.fromkeys(endpoint for each in found for endpoint in each.agent_endpoints))
