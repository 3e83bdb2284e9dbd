"""The trace in which a command is called, handed on to the controller."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, NamedTuple

import grpc

from motorpool_telemetry.traces import read

VARIABLE = "TRACEPARENT"
"""As OpenTelemetry hands a trace to a program."""


class _Details(NamedTuple):
    method: str
    timeout: float | None
    metadata: Any
    credentials: grpc.CallCredentials | None
    wait_for_ready: bool | None
    compression: Any


class Trace(grpc.UnaryUnaryClientInterceptor):
    """Sends W3C's ``traceparent`` with each call, where the environment names one."""

    def __init__(self, environment: str | None = None) -> None:
        self._place = read(os.environ.get(VARIABLE, "") if environment is None else environment)

    def intercept_unary_unary(
        self,
        continuation: Callable[[grpc.ClientCallDetails, Any], Any],
        client_call_details: grpc.ClientCallDetails,
        request: Any,
    ) -> Any:
        """Return the call."""
        if not self._place:
            return continuation(client_call_details, request)
        details: Any = client_call_details
        told = _Details(
            method=details.method,
            timeout=details.timeout,
            metadata=[*(details.metadata or ()), ("traceparent", self._place)],
            credentials=details.credentials,
            wait_for_ready=getattr(details, "wait_for_ready", None),
            compression=getattr(details, "compression", None),
        )
        return continuation(told, request)  # type: ignore[arg-type]  # a tuple of its names, as gRPC's own are
