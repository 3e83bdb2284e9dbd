"""Sends spans to an OpenTelemetry collector. Imported where one is set: the packages are an extra."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping

from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_INSTANCE_ID, SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.id_generator import IdGenerator, RandomIdGenerator
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    set_span_in_context,
)

EXPORT_SECONDS = 3.0
"""How long a collector that does not answer is waited for: by a thread of its own, and once more at the end."""


class Recorder:
    """Takes spans that are over; what a collector does not take is lost, and costs nothing else."""

    def __init__(self, endpoint: str | None, *, service: str, version: str, instance: str = "") -> None:
        attributes = {SERVICE_VERSION: version, **({SERVICE_INSTANCE_ID: instance} if instance else {})}
        if not os.environ.get("OTEL_SERVICE_NAME"):
            attributes[SERVICE_NAME] = service
        self._ids = _GivenIds()
        self._provider = TracerProvider(
            resource=Resource.create(attributes), id_generator=self._ids, shutdown_on_exit=False
        )
        timeout = None if os.environ.get("OTEL_EXPORTER_OTLP_TIMEOUT") else EXPORT_SECONDS
        # With an address of ours its scheme says whether it is TLS; without one the variables say all.
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=endpoint, timeout=timeout)))
        self._tracer = self._provider.get_tracer(service, version)

    def begin(self) -> str:
        """Return the first place of a new trace, "" where the sampler wants none."""
        random = RandomIdGenerator()
        trace_id, span_id = random.generate_trace_id(), random.generate_span_id()
        sampled = self._provider.sampler.should_sample(None, trace_id, "").decision.is_sampled()  # type: ignore[no-untyped-call]  # it has no types
        return f"00-{trace_id:032x}-{span_id:016x}-01" if sampled else ""

    def record(
        self,
        name: str,
        trace_id: str,
        span_id: str,
        parent_id: str,
        *,
        begin_ns: int,
        end_ns: int,
        attributes: Mapping[str, str | int],
        error: str,
        server: bool,
    ) -> None:
        """Hand over one span."""
        self._ids.trace_id, self._ids.span_id = int(trace_id, 16), int(span_id, 16)
        context = None
        if parent_id:
            place = SpanContext(int(trace_id, 16), int(parent_id, 16), is_remote=True, trace_flags=TraceFlags(1))
            context = set_span_in_context(NonRecordingSpan(place))
        span = self._tracer.start_span(
            name,
            context=context,
            kind=SpanKind.SERVER if server else SpanKind.INTERNAL,
            attributes=dict(attributes),
            start_time=begin_ns,
        )
        if error:
            span.set_status(Status(StatusCode.ERROR, error))
        span.end(end_time=max(begin_ns, end_ns))

    def close(self) -> None:
        """Send what is left, if somebody takes it soon."""
        # In a thread that nobody has to wait for: an exporter that tries again cannot be interrupted.
        closing = threading.Thread(target=self._provider.shutdown, name="spans", daemon=True)
        closing.start()
        closing.join(EXPORT_SECONDS)


class _GivenIds(IdGenerator):
    """Gives the ids that are due: spans' places were worked out before they began."""

    trace_id = 0
    span_id = 0

    def generate_trace_id(self) -> int:
        return self.trace_id

    def generate_span_id(self) -> int:
        return self.span_id
