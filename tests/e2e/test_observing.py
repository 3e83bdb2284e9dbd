"""What controller and agent tell whoever watches over them, as the real commands tell it."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.fleet import Fleet, Process, free_port, wait_for
from tests.tables import samples

pytestmark = [pytest.mark.e2e, pytest.mark.slow]


@pytest.fixture(name="fleet")
def _fleet(tmp_path: Path) -> Iterator[Fleet]:
    """
    A cluster whose controller is not started, without engines.
    """
    fleet = Fleet(tmp_path, tmp_path / "engines")
    try:
        yield fleet
    finally:
        fleet.close()


def lines(process: Process) -> list[dict[str, Any]]:
    return [json.loads(line) for line in process.log.read_text(encoding="utf-8").splitlines()]


def test_logs_are_one_json_object_a_line(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Every line of both is an object with the same names, from the first to the last; no token is in one.
    """
    monkeypatch.setenv("MOTORPOOL_CONTROLLER_LOG_FORMAT", "json")
    monkeypatch.setenv("MOTORPOOL_LOG_FORMAT", "json")
    controller = fleet.start_controller()
    token = fleet.join_token()
    agent = fleet.launch_agent(token=token)
    wait_for("the agent's session", lambda: "session opened" in agent.tail() or None)
    assert [0, 0] == [agent.terminate(), controller.terminate()]

    told, heard = lines(controller), lines(agent)

    for line in [*told, *heard]:
        assert ["time", "level", "logger", "message"] == list(line)[:4]
        assert UTC == datetime.fromisoformat(line["time"]).tzinfo
        assert line["time"].endswith("Z")
        assert line["level"] in {"debug", "info", "warning", "error"}
    ready = next(line for line in told if line["message"] == "controller ready")
    started = next(line for line in heard if line["message"] == "agent started")
    assert ("motorpool_controller", 1) == (ready["logger"], ready["epoch"])
    assert ("motorpool_agent.main.agent", "nodes/a") == (started["logger"], started["node"])
    assert ["controller stopped", "agent stopped"] == [told[-1]["message"], heard[-1]["message"]]
    assert token not in controller.tail() + agent.tail()


def fetch(port: int, path: str) -> tuple[int, str] | None:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=30) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()
    except OSError:
        return None


def test_both_serve_metrics_and_probes(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Both are ready, and count each other; without its controller an agent is alive, and not ready.
    """
    controller_port, agent_port = free_port(), free_port()
    monkeypatch.setenv("MOTORPOOL_CONTROLLER_METRICS_LISTEN", f"127.0.0.1:{controller_port}")
    monkeypatch.setenv("MOTORPOOL_METRICS_LISTEN", f"127.0.0.1:{agent_port}")
    controller = fleet.start_controller()
    agent = fleet.launch_agent(token=fleet.join_token())
    wait_for("the agent to be ready", lambda: fetch(agent_port, "/readyz") == (200, "ok\n") or None)

    def counted(port: int, name: str) -> float:
        _, text = fetch(port, "/metrics") or (0, "")
        return sum(value for (found, _), value in samples(text).items() if found == name)

    wait_for("a heartbeat", lambda: counted(controller_port, "motorpool_controller_heartbeats_total") or None)
    assert (200, "ok\n") == fetch(controller_port, "/readyz") == fetch(controller_port, "/healthz")
    assert (1, 1) == (
        counted(controller_port, "motorpool_controller_sessions"),
        counted(agent_port, "motorpool_agent_sessions_opened_total"),
    )
    assert counted(agent_port, "motorpool_agent_plugin_calls_total") >= 1
    assert counted(agent_port, "process_resident_memory_bytes") > 0

    controller.kill()
    wait_for("the agent to miss it", lambda: (fetch(agent_port, "/readyz") or (0,))[0] == 503 or None)
    assert (200, "ok\n") == fetch(agent_port, "/healthz")
    assert agent.running()


@pytest.mark.parametrize("command", ["motorpool-controller", "motorpool-agent"])
def test_without_metrics_their_library_is_not_loaded(command: str) -> None:
    """
    Neither command imports Prometheus's client or OpenTelemetry to run as it does by default.
    """
    module = {"motorpool-controller": "motorpool_controller.serving", "motorpool-agent": "motorpool_agent.main.agent"}
    done = subprocess.run(
        [sys.executable, "-c", f"import sys, {module[command]}; print(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    )

    assert not {"prometheus_client", "opentelemetry"} & set(done.stdout.split())
