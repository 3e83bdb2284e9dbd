"""The trace in which a command is called, handed on to the controller."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import grpc

from motorpool_cli.bearer import with_metadata
from motorpool_telemetry.traces import read

VARIABLE = "TRACEPARENT"
"""As OpenTelemetry hands a trace to a program."""


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
        return continuation(with_metadata(client_call_details, ("traceparent", self._place)), request)
