"""The executors of this agent as one: each launch goes to the one that its record names."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

from motorpool_agent.reconcile.handle import Handle, LaunchRecord
from motorpool_agent.reconcile.observation import ExecutorStatus
from motorpool_agent.runtime.errors import LaunchError
from motorpool_agent.runtime.executor import Evidence, Exit, OneExecutor, Progress, Running, Verdict


class Executors:
    """An executor by the contract, made of several by name."""

    def __init__(self, executors: Mapping[str, OneExecutor]) -> None:
        self._executors = dict(executors)

    async def statuses(self) -> Mapping[str, ExecutorStatus]:
        """Return whether each one can execute something now, by its name."""
        found = await asyncio.gather(*(executor.status() for executor in self._executors.values()))
        return dict(zip(self._executors, found, strict=True))

    async def fetch(self, record: LaunchRecord, progress: Progress) -> None:
        """Get what a launch needs."""
        executor = self._executors.get(record.executor)
        if executor is None:
            raise LaunchError(
                "EXECUTOR_UNKNOWN",
                f"this agent has no executor {record.executor[:80]!r}, but {', '.join(self._executors)}; choose "
                "another version of the backend, or upgrade the agent",
                final=True,
            )
        await executor.fetch(record, progress)

    async def start(self, directory: Path, run: int, record: LaunchRecord, before_exec: Callable[[], None]) -> Running:
        """Execute a launch."""
        return await self._executors[record.executor].start(directory, run, record, before_exec)

    async def inspect(self, directory: Path, handle: Handle) -> Evidence:
        """Return what the host shows of a handle's last run."""
        executor = self._executors.get(handle.launch.executor)
        if executor is None:
            return Evidence(
                verdict=Verdict.UNCERTAIN, message=f"this agent has no executor {handle.launch.executor[:80]!r}"
            )
        return await executor.inspect(directory, handle)

    async def ended(self, running: Running) -> Exit:
        """Wait for the end of a run."""
        return await self._executors[running.executor].ended(running)

    async def stop(self, directory: Path, grace_seconds: float) -> None:
        """End all that is of an instance, whichever executor made it: a handle that names one may be unreadable."""
        for executor in self._executors.values():
            if executor.holds(directory):
                await executor.stop(directory, grace_seconds)

    def holds(self, directory: Path) -> bool:
        """Whether something of an instance may be here."""
        return any(executor.holds(directory) for executor in self._executors.values())

    def memory_bytes(self, running: Running) -> int | None:
        """Return the host memory that a run's processes hold."""
        return self._executors[running.executor].memory_bytes(running)

    def sweep(self, kept: frozenset[str]) -> None:
        """Remove what launches left that came to nothing."""
        for executor in self._executors.values():
            executor.sweep(kept)

    async def strangers(self, known: Collection[str]) -> Mapping[str, str]:
        """Return what has no handle."""
        found = await asyncio.gather(*(executor.strangers(known) for executor in self._executors.values()))
        return {assignment_id: what for each in found for assignment_id, what in each.items()}

    async def close(self) -> None:
        """Let go of everything."""
        await asyncio.gather(*(executor.close() for executor in self._executors.values()))
