"""What a node's machine has left, and what it runs short of."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceUsage:
    """So much is left of so much: bytes, percent or a count, None where unknown; less than ``low`` is too little."""

    resource: str
    available: int | None
    total: int
    low: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """Whether a node runs short of a resource: then since when, what was measured, and what to do."""

    condition: str
    pressed: bool = False
    message: str = ""
    time: datetime | None = None
