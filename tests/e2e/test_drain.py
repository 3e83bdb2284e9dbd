"""Nodes that are drained with real engines: no request fails meanwhile, and nothing is forgotten over restarts."""

from __future__ import annotations

from pathlib import Path

import pytest

from motorpool import v1
from tests.e2e.fleet import Fleet, wait_for
from tests.e2e.test_rollout import Caller, names, two_running

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(300)]


def drain_of(fleet: Fleet) -> v1.Drain:
    return fleet.nodes.GetNode(v1.GetNodeRequest(name="nodes/a"), timeout=10, wait_for_ready=True).cordon.drain


def places(fleet: Fleet) -> set[str]:
    return {member.node for each in fleet.instances("chat") for member in each.placement.members}


def test_a_drain_fails_no_request(fleet: Fleet, tiny_model: Path) -> None:
    """
    While a node is drained a caller has answers without one failure; then all serve elsewhere, and it takes work again
    when it is uncordoned.
    """
    two_running(fleet, tiny_model)
    fleet.start_agent("b")
    caller = Caller(fleet)
    with caller.asking():
        wait_for("some answers", lambda: caller.answers > 5)
        drained = fleet.command("motorpool", "drain", "a", "--reason", "new fans", "--wait", "--timeout", "90s")
        asked = caller.answers
        wait_for("some more answers", lambda: caller.answers > asked + 5)
    listed = fleet.command("motorpool", "nodes").stdout
    described = fleet.command("motorpool", "describe", "nodes/a").stdout

    assert [] == caller.failures
    assert "nodes/a is drained, 2 moved" in drained.stdout
    assert "1 of 2 moved" in drained.stderr
    assert {"nodes/b"} == places(fleet)
    assert "READY (drained)" in listed
    assert "2 of 2 moved, done" in described
    fleet.command("motorpool", "uncordon", "a")
    fleet.command("motorpool", "drain", "b", "--wait", "--timeout", "90s")
    assert {"nodes/a"} == places(fleet)


def test_a_drain_outlives_controller_and_agent(fleet: Fleet, tiny_model: Path) -> None:
    """
    Without another node the drain waits, and says for what, also after controller and agent were killed; with one, it
    comes to its end, and the old instance served until then.
    """
    fleet.start_agent("a")
    fleet.command("motorpool", "deploy", "chat", "--model", str(tiny_model), "--wait", "--", "-c", "512")
    before = names(fleet)
    fleet.command("motorpool", "drain", "a", "--reason", "new fans")
    wait_for("what it waits for", lambda: [each for wait in drain_of(fleet).waits for each in wait.refusals])
    controller = fleet.controller
    assert controller is not None
    controller.kill()
    fleet.agents["a"].kill()
    fleet.start_controller()
    fleet.start_agent("a")
    waits = drain_of(fleet).waits
    described = fleet.command("motorpool", "describe", "nodes/a").stdout
    kept = names(fleet)
    fleet.start_agent("b")
    wait_for("the drain to end", lambda: drain_of(fleet).state == v1.DRAIN_STATE_DRAINED)

    assert before == kept == {wait.instance for wait in waits}
    assert ["NODE_CORDONED"] == [row.reason for wait in waits for row in wait.refusals]
    assert "nodes/a is cordoned by" in described
    assert "new fans" in described
    wait_for("the new one to serve", lambda: names(fleet) and not names(fleet) & before)
    assert {"nodes/b"} == places(fleet)
