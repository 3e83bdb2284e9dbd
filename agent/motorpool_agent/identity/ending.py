"""How a call of many requests ended, as its server said it."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, TypeVar

import grpc
import grpc.aio

_PATIENCE_SECONDS = 1.0
_OWN_DETAILS = "Internal error from Core"

T = TypeVar("T")


class CallEnding:
    """Keeps the status that a call's server sent, for who is told another one.

    A message that was still on its way as the server ended the call has grpcio replace the server's status, its
    reasons and its times for coming again by an INTERNAL of its own (grpc/grpc#36066). Made before the first write.
    """

    def __init__(self, call: grpc.aio.Call) -> None:
        self._told = asyncio.Event()
        self._said: grpc.aio.AioRpcError | None = None
        call.add_done_callback(self._done)

    async def of(self, error: grpc.aio.AioRpcError) -> grpc.aio.AioRpcError:
        """Return what the server said instead of an error of grpcio's own; the error itself where nobody said more."""
        if not _is_own(error):
            return error
        with suppress(TimeoutError):
            async with asyncio.timeout(_PATIENCE_SECONDS):
                await self._told.wait()
        return self._said or error

    def _done(self, call: Any) -> None:
        # Called anew for each status that is set, before another one takes its place.
        error = grpc.aio.AioRpcError(
            _at_once(call.code()),
            _at_once(call.initial_metadata()),
            _at_once(call.trailing_metadata()),
            details=_at_once(call.details()),
            debug_error_string=_at_once(call.debug_error_string()),
        )
        if self._said is None and not _is_own(error):
            self._said = error
            self._told.set()


def _is_own(error: grpc.aio.AioRpcError) -> bool:
    return error.code() is grpc.StatusCode.INTERNAL and error.details() == _OWN_DETAILS


def _at_once(coroutine: Coroutine[Any, Any, T]) -> T:
    """Return what a coroutine returns that has nothing to wait for."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        result: T = end.value
        return result
    coroutine.close()
    raise AssertionError("a call that is done has all of its status")
