"""Counts calls by method and by how they ended."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import grpc

from motorpool_controller import metrics

UNKNOWN = "unknown"
"""A method that there is not: what strangers call is no label."""
_CODES: dict[object, str] = {code.value[0]: code.name for code in grpc.StatusCode}


@contextmanager
def counted(method: str, context: grpc.aio.ServicerContext[Any, Any], *, timed: bool) -> Iterator[None]:
    """Count a call of a method that there is when the block ends; ``timed``: how long it took, too."""
    began = time.perf_counter()
    code = "OK"
    try:
        yield
    except grpc.aio.AbortError:
        code = _name(context.code())
        raise
    except (asyncio.CancelledError, GeneratorExit):
        code = "CANCELLED"
        raise
    finally:
        metrics.CALLS.add(method, code)
        if timed:
            metrics.CALL_SECONDS.observe(time.perf_counter() - began, method)


def _name(code: object) -> str:
    """Return a code's name; gRPC has it as itself or as its number."""
    return code.name if isinstance(code, grpc.StatusCode) else _CODES.get(code, UNKNOWN)
