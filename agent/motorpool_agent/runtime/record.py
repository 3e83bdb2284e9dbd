"""What is known of an instance: what is shown of it, and what is on disk of it."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from motorpool_agent import failpoints, metrics
from motorpool_agent.reconcile.assignment import Assignment
from motorpool_agent.reconcile.attempts import with_attempt
from motorpool_agent.reconcile.handle import Handle, Phase
from motorpool_agent.reconcile.observation import Attempt, Failure, ObservedInstance, State
from motorpool_agent.runtime import failures, logs, procfs
from motorpool_agent.runtime.context import Context
from motorpool_agent.runtime.executor import Running
from motorpool_agent.runtime.logreading import tail
from motorpool_agent.runtime.secrets import Secrets
from motorpool_agent.runtime.speed import Speed
from motorpool_agent.runtime.steps import Steps
from motorpool_agent.runtime.work import whole
from motorpool_agent.state import attempts
from motorpool_agent.state.errors import HandleError

log = logging.getLogger(__name__)

_ABSENT = (
    "the controller does not name this instance any more, and has not ordered its removal: it is left as it is; "
    "`motorpool adopt` takes it for an instance of its deployment, `motorpool release` ends it"
)


class Record:
    """The observed object, reported with every change, and the durable handle."""

    def __init__(self, context: Context, seen: ObservedInstance, handle: Handle | None, assignment: Assignment) -> None:
        self._context = context
        self._backend = assignment.backend
        self._steps = Steps(assignment)
        self.seen = seen
        self.handle = handle
        self.running: Running | None = None
        self._speed = Speed()
        self._kept = attempts.Attempts()
        self._begun: datetime | None = None
        self._secrets: tuple[Handle | None, Secrets] = (None, Secrets())

    @property
    def secrets(self) -> Secrets:
        """What of its launch nobody may read."""
        if self._secrets[0] is not self.handle:
            self._secrets = (self.handle, Secrets.of(self.handle))
        return self._secrets[1]

    @property
    def memory_limit_bytes(self) -> int | None:
        """The host memory that its container may take, None where it has no limit."""
        container = None if self.handle is None else self.handle.launch.container
        return None if container is None else container.memory_limit_bytes

    @property
    def age_seconds(self) -> float:
        """How long ago the run began: by the kernel's count where its process is known, as clocks are set."""
        if self.running is not None and self.running.engine is not None:
            return procfs.age_seconds(self.running.engine)
        started = None if self.handle is None else self.handle.start_time
        return 0.0 if started is None else max(0.0, (failures.now() - started).total_seconds())

    def see(self, **changes: Any) -> None:
        """Change fields of the observed object, and report it if that changed anything."""
        if changes.get("state", State.DOWNLOADING) is not State.DOWNLOADING:
            # Bytes are of a download under way.
            unknown = {"progress_bytes": None, "progress_total_bytes": None, "progress_bytes_per_second": None}
            changes = {**unknown, **changes}
        seen = replace(self.seen, **changes)
        if seen != self.seen:
            self.seen = seen
            self._context.notify()

    def left(self, assignment: Assignment) -> ObservedInstance:
        """Return what is shown of it while the controller does not name it: with what it runs, if it runs."""
        runs = None if self.running is None else assignment
        return replace(self.seen, state=State.QUARANTINED, message=_ABSENT, assignment=runs)

    def progress(
        self, state: State, message: str, done_bytes: int | None = None, total_bytes: int | None = None
    ) -> None:
        """Show what is being done before the launch, and how far it came: bytes alone at most once a second."""
        if done_bytes is None:
            self._speed = Speed()
        elif (state, message) == (self.seen.state, self.seen.message) and not self._speed.due(done_bytes):
            return
        self.see(
            state=state,
            message=message,
            progress_bytes=done_bytes,
            progress_total_bytes=total_bytes,
            progress_bytes_per_second=self._speed.bytes_per_second,
        )

    async def save(self, **changes: Any) -> None:
        """Change fields of the handle and write it; nothing hangs on that: what must be on disk was written before."""
        if self.handle is None:
            return
        self.handle = handle = replace(self.handle, **changes)
        try:
            await whole(asyncio.to_thread(self._context.handles.write, handle))
        except OSError as error:
            log.warning("handle was not written: %s", error, extra={"assignment_id": handle.assignment.assignment_id})

    def runs(self, running: Running, *, adopted: bool, **changes: Any) -> None:
        """Show a run's process, with other changes at once."""
        self.running = running
        self.see(
            pid=0 if running.engine is None else running.engine.pid,
            pid_start_ticks=0 if running.engine is None else running.engine.start_ticks,
            start_time=None if self.handle is None else self.handle.start_time,
            adopted=adopted,
            **changes,
        )

    def ended(self) -> None:
        """Its process is no more, or there was none: what it claimed of its devices is free."""
        self.running = None
        self._context.room.leave(self.seen.assignment_id)

    async def restore(self, handle: Handle, running: Running | None, **changes: Any) -> None:
        """Show what a former agent knew, and the process if it was found."""
        self._kept = await asyncio.to_thread(
            attempts.read, self._context.handles.directory(handle.assignment.assignment_id)
        )
        self._begun = handle.start_time
        changes |= {
            "attempt": handle.run,
            "attempts": self._kept.attempts,
            "launch": handle.launch.rendered,
            "restart_count": handle.restart_count,
            "first_failure": handle.first_failure,
            "last_failure": handle.last_failure,
        }
        if running is None:
            self.see(**changes)
        else:
            self.runs(running, adopted=True, **changes)

    def begins(self) -> int:
        """Begin another attempt, and return its number, which is that of its run, should it come to one."""
        number = max(0 if self.handle is None else self.handle.run, self._kept.last_number) + 1
        self._begun = failures.now()
        self.see(attempt=number)
        return number

    async def tail(self, run: int) -> tuple[str, ...]:
        """Return the last lines of a run, without secrets."""
        directory = self._context.handles.directory(self.seen.assignment_id)
        lines = await asyncio.to_thread(tail, directory, run, failures.TAIL_LINES, self.secrets)
        return failures.cut(lines)

    async def failed(
        self, failure: Failure, message: str, *, next_try_time: datetime | None, restart_count: int
    ) -> None:
        """Show a failure, keep its attempt, and have both on disk."""
        first = self.seen.first_failure or failure
        metrics.FAILURES.add(failure.reason)
        if self.handle is None or self.handle.run != self.seen.attempt or not self.handle.ready:
            metrics.LAUNCHES.add(self._backend, "failed")
            self._steps.failed(self.seen.attempt, self._begun, self.handle, failure.reason)
        await whole(asyncio.to_thread(self._keep, failure))
        self.see(
            state=State.ERROR,
            message=message,
            pid=0,
            pid_start_ticks=0,
            first_failure=first,
            last_failure=failure,
            next_try_time=next_try_time,
            attempts=self._kept.attempts,
        )
        await self.save(restart_count=restart_count, first_failure=first, last_failure=failure)

    def tried_again(self) -> None:
        """Show that the time to wait after a failure is over."""
        metrics.RESTARTS.add()
        restart_count = self.seen.restart_count + 1
        self.see(state=State.STARTING, message="trying again", restart_count=restart_count, next_try_time=None)

    def _keep(self, failure: Failure) -> None:
        try:
            directory = self._context.handles.directory(self.seen.assignment_id)
        except HandleError:
            return
        number, handle = self.seen.attempt, self.handle
        ended = Attempt(
            number=number,
            generation=self.seen.generation,
            begin_time=self._begun,
            executed=bool(logs.parts(directory, number)),
            ready=handle is not None and handle.run == number and handle.ready,
            failure=replace(failure, log_tail=failure.log_tail[-failures.ATTEMPT_LINES :]),
        )
        found = with_attempt(self._kept.attempts, ended, self._kept.row_from, self._context.kept)
        self._write(directory, replace(self._kept, attempts=found))
        logs.keep(directory, {attempt.number for attempt in found})

    def _write(self, directory: Path, kept: attempts.Attempts) -> None:
        self._kept = kept
        if not directory.is_dir():
            return
        try:
            attempts.write(directory, kept)
        except OSError as error:
            log.warning("attempts were not written: %s", error, extra={"assignment_id": self.seen.assignment_id})

    async def started(self, running: Running, handle: Handle) -> None:
        """Show and write that a launch was executed."""
        self.handle = replace(
            handle,
            phase=Phase.STARTED,
            engine=running.engine,
            shim=running.shim,
            container_id=running.container_id,
            invocation_id=running.invocation_id,
        )
        self._steps.launched(self.seen.attempt, self._begun, self.handle, running)
        self.runs(running, adopted=False, message="waiting until it is ready")
        await self.save()
        failpoints.reach("launch.recorded")

    async def became_ready(self) -> None:
        """Report it running, after it is on disk: a successor must not report less than was reported."""
        failpoints.reach("engine.ready")
        await self.save(ready=True)
        failpoints.reach("ready.recorded")
        if self.handle is not None:
            self._steps.ready(self.handle)
        metrics.LAUNCHES.add(self._backend, "ready")
        metrics.START_SECONDS.observe(self.age_seconds, self._backend)
        self.see(state=State.RUNNING, message="")

    async def ran_well(self) -> None:
        """Forget its restarts; attempts that fail from now on are another row."""
        if self._kept.attempts and self._kept.row_from <= self._kept.last_number:
            directory = self._context.handles.directory(self.seen.assignment_id)
            kept = replace(self._kept, row_from=self.seen.attempt)
            await whole(asyncio.to_thread(self._write, directory, kept))
        if self.seen.restart_count or self.seen.first_failure is not None:
            self.see(restart_count=0, first_failure=None)
            await self.save(restart_count=0, first_failure=None)

    def health(self, message: str) -> None:
        """Show that it stopped answering, or answers again."""
        self.see(message=message)
