"""Spans of what a program does; nothing at all where they are off."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from typing import TYPE_CHECKING

from motorpool_telemetry import traces
from motorpool_telemetry.errors import TelemetryError

if TYPE_CHECKING:
    from motorpool_telemetry.otlp import Recorder

VARIABLES = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
"""OpenTelemetry's own: an address in one of them is as good as our setting."""

log = logging.getLogger(__name__)
_recorder: Recorder | None = None


@contextmanager
def on(endpoint: str | None, *, service: str, instance: str = "") -> Iterator[None]:
    """Have spans sent while the block lasts, where an address is set, here or in OpenTelemetry's variables.

    ``service`` is the distribution of the program that tells; a TelemetryError says that its extra is missing.
    """
    global _recorder  # noqa: PLW0603  # one process, one collector
    if os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true" or not (
        endpoint or any(os.environ.get(variable) for variable in VARIABLES)
    ):
        yield
        return
    try:
        from motorpool_telemetry.otlp import Recorder  # noqa: PLC0415  # an extra, and heavy
    except ImportError as error:
        raise TelemetryError(
            f"tracing is on (tracing_endpoint, or {' or '.join(VARIABLES)}), and {error.name} is not installed: "
            f"pip install '{service}[tracing]', or leave the setting out"
        ) from error
    _recorder = Recorder(endpoint, service=service, version=version(service), instance=instance)
    try:
        yield
    finally:
        _recorder.close()
        _recorder = None


def begin(incoming: str) -> str:
    """Return the place of a call that somebody may have traced before; "" where spans are off."""
    if _recorder is None:
        return ""
    parent = traces.read(incoming)
    if not parent:
        return _recorder.begin()
    return traces.child(parent, os.urandom(8).hex()) if traces.sampled(parent) else ""


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
