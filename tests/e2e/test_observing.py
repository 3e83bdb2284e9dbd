"""What controller and agent tell whoever watches over them, as the real commands tell it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.fleet import Fleet, Process, wait_for

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
