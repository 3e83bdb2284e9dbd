"""One trace from a person's call to an engine that answers, as a collector receives it."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from motorpool import v1
from tests.collector import Collector, attributes
from tests.e2e.fleet import BIN, Fleet, free_port, wait_for

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

TRACE, CALLER = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
CALL = "motorpool.v1.DeploymentService/CreateDeployment"


@pytest.fixture(name="collector")
def _collector() -> Iterator[Collector]:
    with Collector() as collector:
        yield collector


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "100")


def test_a_deployment_is_one_trace(
    tmp_path: Path, engines: Path, tiny_model: Path, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    The call, the decision, the assignment, the launch and the wait for it are spans of the caller's trace, each below
    the one before it, by whoever did it.
    """
    monkeypatch.setenv("MOTORPOOL_CONTROLLER_TRACING_ENDPOINT", collector.endpoint)
    monkeypatch.setenv("MOTORPOOL_TRACING_ENDPOINT", collector.endpoint)
    with closing(Fleet(tmp_path, engines)) as fleet:
        fleet.start_controller()
        fleet.start_agent()
        deploy = ("motorpool", "deploy", "chat", "--model", str(tiny_model), "--", "-c", "512")
        fleet.command(*deploy, TRACEPARENT=f"00-{TRACE}-{CALLER}-01")
        fleet.wait_state("chat", v1.INSTANCE_STATE_RUNNING)
        steps = [CALL, "schedule", "assign", "launch", "ready"]
        wait_for("five spans", lambda: len({span.name for _, span in collector.spans()} & set(steps)) == 5 or None)
        found = {span.name: (service, span) for service, span in collector.spans()}
        fleet.delete("chat")

    assert set(steps) == set(found)
    assert ["motorpool-controller"] * 3 + ["motorpool-agent"] * 2 == [found[name][0] for name in steps]
    spans = [found[name][1] for name in steps]
    assert {TRACE} == {span.trace_id.hex() for span in spans}
    assert [CALLER, *(span.span_id.hex() for span in spans[:-1])] == [span.parent_span_id.hex() for span in spans]
    assert all(span.start_time_unix_nano <= span.end_time_unix_nano for span in spans)
    told = [attributes(span.attributes) for span in spans]
    assert ("grpc", "CreateDeployment", "0") == tuple(
        told[0][name] for name in ("rpc.system", "rpc.method", "rpc.grpc.status_code")
    )
    assert {"deployments/chat"} == {each["motorpool.deployment"] for each in told}
    assert "nodes/a" == told[1]["motorpool.nodes"]
    assert int(told[3]["process.pid"]) > 0


def test_a_launch_that_fails_says_so(
    tmp_path: Path, engines: Path, tiny_model: Path, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    Without a caller's trace the call begins one; a launch that comes to nothing has its reason, the next one follows.
    """
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.endpoint)
    with closing(Fleet(tmp_path, engines)) as fleet, socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        fleet.start_controller()
        fleet.start_agent("a", "--port-range", f"{port}-{port}")
        fleet.command("motorpool", "deploy", "chat", "--model", str(tiny_model), "--", "-c", "512")
        wait_for("a launch", lambda: [1 for _, span in collector.spans() if span.name == "launch"] or None)
        taken.close()
        wait_for("it to be ready", lambda: [1 for _, span in collector.spans() if span.name == "ready"] or None)
        fleet.delete("chat")
    spans = [span for _, span in collector.spans()]
    (call,), launches = [each for each in spans if each.name == CALL], [each for each in spans if each.name == "launch"]

    assert b"" == call.parent_span_id
    assert 1 == len({span.trace_id for span in spans})
    assert ("NO_FREE_PORT", 2) == (attributes(launches[0].attributes)["error.type"], launches[0].status.code)
    assert 0 == launches[-1].status.code
    assert 1 == len({launch.parent_span_id for launch in launches})
    assert len(launches) == len({launch.span_id for launch in launches})


def test_a_lost_collector_costs_nothing_but_spans(
    tmp_path: Path, engines: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    Where nobody takes the spans, models are deployed as ever, and both end when they are told to.
    """
    monkeypatch.setenv("MOTORPOOL_CONTROLLER_TRACING_ENDPOINT", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setenv("MOTORPOOL_TRACING_ENDPOINT", f"http://127.0.0.1:{free_port()}")
    with closing(Fleet(tmp_path, engines)) as fleet:
        controller = fleet.start_controller()
        agent = fleet.start_agent()
        fleet.command("motorpool", "deploy", "chat", "--model", str(tiny_model), "--wait", "--", "-c", "512")
        fleet.delete("chat")
        ended = [agent.terminate(), controller.terminate()]

    assert [0, 0] == ended


@pytest.mark.parametrize(
    ("command", "variable"),
    [
        (["motorpool-controller", "run"], "MOTORPOOL_CONTROLLER_TRACING_ENDPOINT"),
        (["motorpool-agent", "run"], "MOTORPOOL_TRACING_ENDPOINT"),
    ],
)
def test_bad_endpoint_is_told(tmp_path: Path, command: list[str], variable: str) -> None:
    """
    What is no address of a collector is refused, with what may stand there.
    """
    done = subprocess.run(
        [BIN / command[0], *command[1:], "--data-dir", str(tmp_path)],
        env={variable: "collector"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert 2 == done.returncode
    assert variable in done.stderr
    assert "http://" in done.stderr
