"""The tries to run an instance, and how they failed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """One failure of an instance; ``log_tail`` is at most 200 lines, ``evidence`` the one that shows the reason."""

    time: datetime
    reason: str
    message: str
    exit_code: int | None = None
    signal: int | None = None
    out_of_memory: bool = False
    evidence: str = ""
    log_tail: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One try to run an instance on its node, ended by ``failure``; what was never ``executed`` has no log."""

    number: int
    failure: Failure
    generation: int = 0
    begin_time: datetime | None = None
    executed: bool = False
    ready: bool = False
