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
MOST_OF_SEVERAL_SECONDS = 40.0
"""Of several controllers: until one that stands by has taken the place of one that stands still."""
_ROUND_SECONDS = 1.0
_AGAIN = frozenset({grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.UNAVAILABLE})
_HOPS = 8


class Retries(grpc.UnaryUnaryClientInterceptor):
    """Gives each change a request id, and repeats a call for as long as it is told when (RetryInfo), or told where.

    ``several`` says whether more than one controller is known: then those that do not answer are asked again in turn.
    """

    def __init__(
        self, several: Callable[[], bool] = lambda: False, *, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self._several = several
        self._sleep = sleep

    def intercept_unary_unary(
        self,
        continuation: Callable[[grpc.ClientCallDetails, Any], Any],
        client_call_details: grpc.ClientCallDetails,
        request: Any,
    ) -> Any:
        """Return the last call."""
        request, waited, hops = _identified(request), 0.0, 0
        while True:
            call = continuation(client_call_details, request)
            if getattr(call, "elsewhere", False) and hops < _HOPS:
                hops += 1
                continue
            hops = 0
            seconds = self._wait_seconds(call)
            most = MOST_OF_SEVERAL_SECONDS if self._several() else MOST_SECONDS
            if seconds is None or waited + seconds > most:
                return call
            waited += seconds
            # Not all of those who were sent away at once come back at once.
            self._sleep(seconds * random.uniform(1.0, 1.5))  # noqa: S311  # no secret

    def _wait_seconds(self, call: Any) -> float | None:
        """Return when to make a call again; None where it is not to be made."""
        if call.code() in _AGAIN and (seconds := failures.retry_seconds(call)) is not None:
            return seconds
        away = call.code() is grpc.StatusCode.UNAVAILABLE and isinstance(call, grpc.RpcError)
        return _ROUND_SECONDS if away and failures.unanswered(call) and self._several() else None


def _identified(request: Any) -> Any:
    """Return a request with an id, if it is one that changes something and has none."""
    if "request_id" not in request.DESCRIPTOR.fields_by_name or request.request_id or request.validate_only:
        return request
    named = type(request)()
    named.CopyFrom(request)
    named.request_id = uuid.uuid4().hex
    return named
