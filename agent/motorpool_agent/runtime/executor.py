"""The seam between an instance and what executes it: processes today, containers and units by the same verbs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from motorpool_agent.reconcile.handle import Handle, Identity, LaunchRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class Exit:
    """How a run ended; all None when nobody saw it. ``error`` says why it was never executed."""

    exit_code: int | None = None
    signal: int | None = None
    out_of_memory: bool = False
    error: str = ""


class Verdict(StrEnum):
    """What the host shows of a handle's last run.

    ``nothing`` nothing was executed · ``starting`` a shim is at it · ``running`` found, matching on all counts ·
    ``exited`` ended, its status kept · ``gone`` ended, nobody saw how · ``uncertain`` matches in part only
    """

    NOTHING = "nothing"
    STARTING = "starting"
    RUNNING = "running"
    EXITED = "exited"
    GONE = "gone"
    UNCERTAIN = "uncertain"


@dataclass(slots=True, kw_only=True)
class Running:
    """One run of an instance. ``shim`` changes when a dead shim is replaced."""

    directory: Path
    run: int
    engine: Identity
    shim: Identity
    cgroup: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """A verdict, with what it rests on."""

    verdict: Verdict
    running: Running | None = None
    exit: Exit | None = None
    message: str = ""


class Executor(Protocol):
    """Executes launches and finds them again."""

    name: str

    async def start(self, directory: Path, run: int, record: LaunchRecord, before_exec: Callable[[], None]) -> Running:
        """Execute a launch. ``before_exec`` is called in a thread, and finished, before anything is executed."""
        ...

    def inspect(self, directory: Path, handle: Handle) -> Evidence:
        """Return what the host shows of a handle's last run, without waiting."""
        ...

    async def ended(self, running: Running) -> Exit:
        """Wait for the end of a run and return how it ended."""
        ...

    async def stop(self, directory: Path, grace_seconds: float) -> None:
        """End all that is provably of an instance, and prove that nothing is left; raise ``StopError`` otherwise."""
        ...

    def memory_bytes(self, running: Running) -> int | None:
        """Return the host memory that a run's processes hold, None if unknown."""
        ...

    def sweep(self, kept: frozenset[str]) -> None:
        """Remove what launches left on the host that came to nothing; ``kept`` are the assignments that stand."""
        ...
