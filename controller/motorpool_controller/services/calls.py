"""Counts calls by method and by how they ended."""

from __future__ import annotations

import asyncio
import time
from types import TracebackType
from typing import Any

import grpc

from motorpool_controller import metrics

UNKNOWN = "unknown"
"""A method that there is not: what strangers call is no label."""
_CODES: dict[object, str] = {code.value[0]: code.name for code in grpc.StatusCode}


class Counted:
    """Counts a call of a method that there is when the block ends; ``timed``: how long it took, too.

    No generator: each session of a fleet is a call, and would have the generator's frame for as long as it lasts.
    """

    __slots__ = ("_began", "_context", "_method", "_timed")

    def __init__(self, method: str, context: grpc.aio.ServicerContext[Any, Any], *, timed: bool) -> None:
        self._method = method
        self._context = context
        self._timed = timed
        self._began = 0.0

    def __enter__(self) -> None:
        self._began = time.perf_counter()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        code = "OK"
        if isinstance(error, grpc.aio.AbortError):
            code = _name(self._context.code())
        elif isinstance(error, asyncio.CancelledError | GeneratorExit):
            code = "CANCELLED"
        metrics.CALLS.add(self._method, code)
        if self._timed:
            metrics.CALL_SECONDS.observe(time.perf_counter() - self._began, self._method)


def _name(code: object) -> str:
    """Return a code's name; gRPC has it as itself or as its number."""
    return code.name if isinstance(code, grpc.StatusCode) else _CODES.get(code, UNKNOWN)
