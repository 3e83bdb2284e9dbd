"""What is told of launches whose assignment belongs to a trace: each launch, and until it is ready."""

from __future__ import annotations

from datetime import datetime

from motorpool_agent.reconcile.assignment import Assignment
from motorpool_agent.reconcile.handle import Handle
from motorpool_agent.runtime import failures
from motorpool_agent.runtime.executor import Running
from motorpool_telemetry import tracing
from motorpool_telemetry.traces import child


class Steps:
    """Tells of one assignment's. An agent that was started anew finds the same places."""

    def __init__(self, assignment: Assignment) -> None:
        self._assignment = assignment

    def launched(self, attempt: int, begun: datetime | None, handle: Handle, running: Running) -> None:
        """Its engine was executed: what went before, images and downloads too, is over."""
        engine = {} if running.engine is None else {"process.pid": running.engine.pid}
        container = {"container.id": running.container_id} if running.container_id else {}
        self._record(
            "launch",
            self._launch(attempt),
            self._assignment.trace,
            begun,
            handle.start_time,
            attempt,
            {"motorpool.executor": running.executor, **engine, **container},
        )

    def ready(self, handle: Handle) -> None:
        """Its engine answers."""
        launch = self._launch(handle.run)
        self._record("ready", child(launch, "ready"), launch, handle.start_time, None, handle.run, {})

    def failed(self, attempt: int, begun: datetime | None, handle: Handle | None, reason: str) -> None:
        """It came to nothing, before its engine was executed or before that was ready."""
        launch = self._launch(attempt)
        about: dict[str, str | int] = {"error.type": reason}
        if handle is not None and handle.run == attempt and handle.start_time is not None:
            self._record("ready", child(launch, "ready"), launch, handle.start_time, None, attempt, about, error=reason)
        else:
            self._record("launch", launch, self._assignment.trace, begun, None, attempt, about, error=reason)

    def _launch(self, attempt: int) -> str:
        assignment = self._assignment
        rank = 0 if assignment.gang is None else assignment.gang.rank
        words = (assignment.assignment_id, str(assignment.generation), str(rank), str(attempt))
        return child(assignment.trace, "launch", *words)

    def _record(
        self,
        name: str,
        place: str,
        parent: str,
        begin: datetime | None,
        end: datetime | None,
        attempt: int,
        attributes: dict[str, str | int],
        *,
        error: str = "",
    ) -> None:
        assignment = self._assignment
        tracing.record(
            name,
            place,
            parent,
            begin_ns=_nanoseconds(begin or failures.now()),
            end_ns=_nanoseconds(end or failures.now()),
            attributes={
                "motorpool.instance": assignment.instance,
                "motorpool.deployment": assignment.deployment,
                "motorpool.backend": assignment.backend,
                "motorpool.backend.version": assignment.backend_version,
                "motorpool.attempt": attempt,
                **attributes,
            },
            error=error,
        )


def _nanoseconds(time: datetime) -> int:
    return int(time.timestamp() * 1e9)
