"""Spans of what the agent does, from an assignment to a ready engine; nothing at all where they are off."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from typing import TYPE_CHECKING

from motorpool_agent import traces

if TYPE_CHECKING:
    from motorpool_agent.otlp import Recorder

VARIABLES = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
"""OpenTelemetry's own: an address in one of them is as good as our setting."""

log = logging.getLogger(__name__)
_recorder: Recorder | None = None


class TracingError(Exception):
    """Spans are wanted, and cannot be made."""


@contextmanager
def on(endpoint: str | None, *, instance: str = "") -> Iterator[None]:
    """Have spans sent while the block lasts, where an address is set, here or in OpenTelemetry's variables."""
    global _recorder  # noqa: PLW0603  # one process, one collector
    if os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true" or not (
        endpoint or any(os.environ.get(variable) for variable in VARIABLES)
    ):
        yield
        return
    try:
        from motorpool_agent.otlp import Recorder  # noqa: PLC0415  # an extra, and heavy
    except ImportError as error:
        raise TracingError(
            f"tracing is on (tracing_endpoint, or {' or '.join(VARIABLES)}), and {error.name} is not installed: "
            "pip install 'motorpool-agent[tracing]', or leave the setting out"
        ) from error
    _recorder = Recorder(endpoint, service="motorpool-agent", version=version("motorpool-agent"), instance=instance)
    try:
        yield
    finally:
        _recorder.close()
        _recorder = None


def record(
    name: str,
    place: str,
    parent: str = "",
    *,
    begin_ns: int,
    end_ns: int | None = None,
    attributes: Mapping[str, str | int] | None = None,
    error: str = "",
    server: bool = False,
) -> None:
    """Tell of a span that is over; without a place there is none."""
    if _recorder is None or not place:
        return
    ids = {"trace_id": traces.trace_id(place), "span_id": traces.span_id(place)}
    _recorder.record(
        name,
        **ids,
        parent_id=traces.span_id(traces.read(parent)),
        begin_ns=begin_ns,
        end_ns=time.time_ns() if end_ns is None else end_ns,
        attributes=attributes or {},
        error=error,
        server=server,
    )
    log.debug("span ended", extra={**ids, "span": name})
