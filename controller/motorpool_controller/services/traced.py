"""The span of a call that changes a deployment, in its caller's trace where there is one."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from motorpool_controller.domain.errors import DomainError
from motorpool_controller.services.callers import Context
from motorpool_telemetry import tracing
from motorpool_telemetry.traces import read

HEADER = "traceparent"
_SERVICE = "motorpool.v1.DeploymentService"


@dataclass(frozen=True, slots=True)
class Traced:
    """Where a call stands in a trace; ``place`` is empty where spans are off, or its caller keeps none."""

    method: str
    parent: str
    place: str
    begin_ns: int

    @contextmanager
    def span(self, deployment: str) -> Iterator[None]:
        """Tell of the call when the block ends, and how that was."""
        error = ""
        try:
            yield
        except DomainError as fault:
            error = fault.reason
            raise
        except Exception as fault:
            error = type(fault).__name__
            raise
        finally:
            tracing.record(
                f"{_SERVICE}/{self.method}",
                self.place,
                self.parent,
                begin_ns=self.begin_ns,
                attributes={
                    "rpc.system": "grpc",
                    "rpc.service": _SERVICE,
                    "rpc.method": self.method,
                    "motorpool.deployment": deployment,
                    **({"error.type": error} if error else {"rpc.grpc.status_code": 0}),
                },
                error=error,
                server=True,
            )


def traced(context: Context, method: str) -> Traced:
    """Return where a call stands that begins now."""
    given = next((str(value) for key, value in context.invocation_metadata() or () if key == HEADER), "")
    return Traced(method, read(given), tracing.begin(given), time.time_ns())
