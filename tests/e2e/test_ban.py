"""A node that is shut out while it serves, and let back in."""

from __future__ import annotations

from pathlib import Path

import pytest

from motorpool import v1
from tests.e2e.chat import ask
from tests.e2e.fleet import Fleet, wait_for

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.promise("P6"), pytest.mark.promise("P3")]


def test_a_banned_node_runs_on_and_comes_back(fleet: Fleet, tiny_model: Path) -> None:
    """
    A banned node's session ends and nothing of it is let in, while what runs there answers on; let back in, its agent
    returns by itself and the very same instance counts again. Who did it stands in the audit log.
    """
    fleet.start_agent()
    fleet.deploy("tiny", tiny_model)
    before = fleet.wait_state("tiny", v1.INSTANCE_STATE_RUNNING)
    credentials = fleet.credentials("tiny")
    request = v1.GetNodeRequest(name="nodes/a")

    fleet.command("motorpool", "ban", "a", "--reason", "a strange hand")
    wait_for("the session to end", lambda: fleet.nodes.GetNode(request).state != v1.NODE_STATE_READY or None)
    shown = fleet.command("motorpool", "describe", "nodes/a").stdout
    assert "a strange hand" in shown
    assert ask(credentials)

    fleet.command("motorpool", "unban", "a")
    wait_for("the node to come back", lambda: fleet.nodes.GetNode(request).state == v1.NODE_STATE_READY or None, 90)
    after = fleet.wait_state("tiny", v1.INSTANCE_STATE_RUNNING)
    assert (before.name, before.pid, before.restart_count) == (after.name, after.pid, after.restart_count)
    assert ask(credentials)
    audited = fleet.command(
        *("motorpool-controller", "audit", "--data-dir", str(fleet.controller_dir), "--target", "nodes/a")
    ).stdout
    assert "OK NodeService/BanNode nodes/a by tokens/" in audited
    assert "OK NodeService/UnbanNode nodes/a by tokens/" in audited
