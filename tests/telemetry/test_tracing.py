import sys

import pytest

from motorpool_telemetry import tracing
from motorpool_telemetry.errors import TelemetryError
from tests.collector import Collector

SERVICE = "motorpool-telemetry"
PLACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def test_off_is_nothing() -> None:
    """
    Without an address no call has a place, also one that somebody traces, and nothing is told.
    """
    with tracing.on(None, service=SERVICE):
        assert "" == tracing.begin(PLACE)
        tracing.record("x", PLACE, begin_ns=0)


def test_disabled_is_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    OpenTelemetry's own switch holds over an address.
    """
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    with tracing.on("http://127.0.0.1:1", service=SERVICE):
        assert "" == tracing.begin(PLACE)


def test_place_of_a_call() -> None:
    """
    A call stands below its caller's, in its trace; where the caller keeps none neither do we; else a new one begins.
    """
    with Collector() as collector, tracing.on(collector.endpoint, service=SERVICE):
        below, other = tracing.begin(PLACE), tracing.begin("nonsense")
        unkept = tracing.begin(PLACE[:-2] + "00")

    assert (PLACE[:35], "") == (below[:35], unkept)
    assert below != PLACE
    assert other[:35] != PLACE[:35]


def test_sampler_of_the_environment_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A new trace is begun as OpenTelemetry's variables say; one that a caller keeps is kept.
    """
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "parentbased_traceidratio")
    monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", "0")
    with Collector() as collector, tracing.on(collector.endpoint, service=SERVICE):
        assert "" == tracing.begin("")
        assert tracing.begin(PLACE)


def test_span_reaches_the_collector() -> None:
    """
    What was told before the end is sent at the end, with its ids, times and error.
    """
    with Collector() as collector:
        with tracing.on(collector.endpoint, service=SERVICE):
            place = tracing.begin(PLACE)
            tracing.record("deploy", place, PLACE, begin_ns=1_000, end_ns=3_000, error="NOT_FOUND", server=True)
        ((service, span),) = collector.spans()

    assert (SERVICE, "deploy", 1_000, 3_000) == (
        service,
        span.name,
        span.start_time_unix_nano,
        span.end_time_unix_nano,
    )
    assert f"00-{span.trace_id.hex()}-{span.span_id.hex()}-01" == place
    assert PLACE[36:52] == span.parent_span_id.hex()
    assert (2, "NOT_FOUND", 2) == (span.status.code, span.status.message, span.kind)


def test_missing_packages_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Where spans are wanted and the extra is not installed, that is said, with what installs it.
    """
    monkeypatch.delitem(sys.modules, "motorpool_telemetry.otlp", raising=False)
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    with (
        pytest.raises(TelemetryError, match=r"pip install 'motorpool-telemetry\[tracing\]'"),
        tracing.on("http://127.0.0.1:1", service=SERVICE),
    ):
        pass
