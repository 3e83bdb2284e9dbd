"""Calls that the controller asks to be made again, made again: the same request, under the same request id."""

from __future__ import annotations

import random
import time
import uuid
from collections.abc import Callable
from typing import Any

import grpc

from motorpool_cli import failures

MOST_SECONDS = 15.0
"""What one waits for in all. Beyond that a person wants to know."""
_AGAIN = frozenset({grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.UNAVAILABLE})


class Retries(grpc.UnaryUnaryClientInterceptor):
    """Gives each change a request id, and repeats a call for as long as it is told when (RetryInfo)."""

    def __init__(self, sleep: Callable[[float], None] = time.sleep) -> None:
        self._sleep = sleep

    def intercept_unary_unary(
        self,
        continuation: Callable[[grpc.ClientCallDetails, Any], Any],
        client_call_details: grpc.ClientCallDetails,
        request: Any,
    ) -> Any:
        """Return the last call."""
        request, left = _identified(request), MOST_SECONDS
        while True:
            call = continuation(client_call_details, request)
            seconds = failures.retry_seconds(call) if call.code() in _AGAIN else None
            if seconds is None or seconds > left:
                return call
            left -= seconds
            # Not all of those who were sent away at once come back at once.
            self._sleep(seconds * random.uniform(1.0, 1.5))  # noqa: S311  # no secret


def _identified(request: Any) -> Any:
    """Return a request with an id, if it is one that changes something and has none."""
    if "request_id" not in request.DESCRIPTOR.fields_by_name or request.request_id or request.validate_only:
        return request
    named = type(request)()
    named.CopyFrom(request)
    named.request_id = uuid.uuid4().hex
    return named
