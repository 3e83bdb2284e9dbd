"""What happened, for people."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class Severity(StrEnum):
    """How much an event matters."""

    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happened; equal events in a row are folded with their count."""

    name: str
    time: datetime
    first_time: datetime
    severity: Severity
    reason: str
    subject: str
    message: str
    count: int = 1
    revision: int = 0
