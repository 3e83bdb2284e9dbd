"""The seam between an instance and what executes it: processes, containers and units by the same verbs."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from motorpool_agent.reconcile.handle import Handle, Identity, LaunchRecord
from motorpool_agent.reconcile.observation import ExecutorStatus


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
    ``exited`` ended, its status kept · ``gone`` ended, nobody saw how · ``uncertain`` matches in part only ·
    ``unknown`` who could tell does not answer now: asked again
    """

    NOTHING = "nothing"
    STARTING = "starting"
    RUNNING = "running"
    EXITED = "exited"
    GONE = "gone"
    UNCERTAIN = "uncertain"
    UNKNOWN = "unknown"


@dataclass(slots=True, kw_only=True)
class Running:
    """One run of an instance.

    A process has an ``engine`` and a ``shim``, which changes when a dead shim is replaced. A container has an id, a
    unit one of its invocation; its ``engine`` is its first process, None where this agent cannot see it.
    """

    executor: str
    directory: Path
    run: int
    engine: Identity | None = None
    shim: Identity | None = None
    cgroup: str = ""
    container_id: str = ""
    invocation_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """A verdict, with what it rests on."""

    verdict: Verdict
    running: Running | None = None
    exit: Exit | None = None
    message: str = ""


class Progress(Protocol):
    """Is told how far something comes that takes long."""

    def __call__(self, message: str, done_bytes: int | None, total_bytes: int | None, /) -> None:
        """Take note."""
        ...


class Executor(Protocol):
    """Executes launches and finds them again. ``tests/agent/runtime/conformance.py`` says what each one must do."""

    async def fetch(self, record: LaunchRecord, progress: Progress) -> None:
        """Get what a launch needs and this machine has not; raise ``LaunchError`` if it cannot be had."""
        ...

    async def start(self, directory: Path, run: int, record: LaunchRecord, before_exec: Callable[[], None]) -> Running:
        """Execute a launch. ``before_exec`` is called in a thread, and finished, before anything is executed."""
        ...

    async def inspect(self, directory: Path, handle: Handle) -> Evidence:
        """Return what the host shows of a handle's last run."""
        ...

    async def ended(self, running: Running) -> Exit:
        """Wait for the end of a run and return how it ended."""
        ...

    async def stop(self, directory: Path, grace_seconds: float) -> None:
        """End all that is provably of an instance, and prove that nothing is left; raise ``StopError`` otherwise.

        The run's output is in its log files when this returns.
        """
        ...

    def holds(self, directory: Path) -> bool:
        """Whether something of an instance may be here."""
        ...

    def memory_bytes(self, running: Running) -> int | None:
        """Return the host memory that a run's processes hold, None if unknown."""
        ...

    def sweep(self, kept: frozenset[str]) -> None:
        """Remove what launches left on the host that came to nothing; ``kept`` are the assignments that stand."""
        ...

    async def strangers(self, known: Collection[str]) -> Mapping[str, str]:
        """Return what carries this agent's mark and has no handle: assignment id, and what was found."""
        ...

    async def close(self) -> None:
        """Let go of everything; what runs goes on."""
        ...


class OneExecutor(Executor, Protocol):
    """An executor of one kind, which can tell whether it works."""

    async def status(self) -> ExecutorStatus:
        """Return whether it can execute something now; never raises."""
        ...
