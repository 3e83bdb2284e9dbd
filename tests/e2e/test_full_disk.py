"""A data directory without room: said, refused on, and nothing lost that stands; over a restart of the agent too."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from motorpool import v1
from tests.e2e.fleet import Fleet, wait_for

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.slow,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a small disk"),
]

EXAMPLE = Path(__file__).parents[2] / "examples" / "backends"


@pytest.fixture(name="small")
def make_small(tmp_path: Path) -> Iterator[Fleet]:
    """
    A fleet whose node has a data directory of 8 MiB of its own.
    """
    (tmp_path / "engines").mkdir()
    disk = tmp_path / "a"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m,mode=700", "tmpfs", str(disk)], check=True)
    fleet = Fleet(tmp_path, tmp_path / "engines")
    try:
        fleet.start_controller()
        fleet.start_agent()
        declaration = (EXAMPLE / "phrasebook.yaml").read_text(encoding="utf-8")
        file = tmp_path / "phrasebook.yaml"
        file.write_text(declaration.replace("/opt/phrasebook/", f"{EXAMPLE}/"))
        fleet.command("motorpool", "backends", "apply", "-f", str(file))
        yield fleet
    finally:
        fleet.close()
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


def deploy(fleet: Fleet, name: str) -> None:
    model = str(EXAMPLE / "phrasebook.txt")
    fleet.command("motorpool", "deploy", name, "--backend", "phrasebook", "--model", model)


def answers(fleet: Fleet) -> bool:
    [endpoint] = fleet.credentials("first").endpoints
    return httpx.get(f"{endpoint}/health", timeout=10).status_code == 200


@pytest.mark.promise("P1")
@pytest.mark.timeout(300)
def test_a_full_disk(small: Fleet) -> None:
    """
    The node is pressed with figures and advice, and what is new waits for that reason; what runs goes on, and is
    adopted by an agent that starts without room; no file is half written. With room again the node takes what waits.
    """
    deploy(small, "first")
    before = small.wait_state("first", v1.INSTANCE_STATE_RUNNING)
    ballast = small.folder / "a" / "ballast"
    with ballast.open("ab", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(bytes(4096)):
            pass

    def pressed() -> v1.NodeCondition | None:
        node = small.nodes.GetNode(v1.GetNodeRequest(name="nodes/a"))
        return next((each for each in node.conditions if each.condition == "data_disk" and each.pressed), None)

    told = wait_for("the node to be pressed", pressed)
    deploy(small, "second")
    waits = wait_for(
        "the second to be refused",
        lambda: next(
            (row for each in small.instances("second") for row in each.refusals if row.reason == "NODE_PRESSED"), None
        ),
    )
    small.agents["a"].kill()
    small.start_agent()
    after = wait_for(
        "the first to be adopted", lambda: next((each for each in small.instances("first") if each.adopted), None)
    )

    assert "0 MiB of 8 MiB are free" in told.message
    assert "free some space there" in waits.message
    assert "READY (pressed)" in small.command("motorpool", "nodes").stdout
    assert (before.pid, before.pid_start_ticks, v1.INSTANCE_STATE_RUNNING) == (
        after.pid,
        after.pid_start_ticks,
        after.state,
    )
    assert answers(small)
    assert [v1.INSTANCE_STATE_PENDING] == [each.state for each in small.instances("second")]
    for file_of_json in (small.folder / "a").rglob("*.json"):
        assert json.loads(file_of_json.read_bytes()), file_of_json

    ballast.unlink()
    small.wait_state("second", v1.INSTANCE_STATE_RUNNING, timeout_seconds=150)
    assert pressed() is None
    assert answers(small)
    reasons = small.command("motorpool", "events", "nodes/a").stdout
    assert "NODE_PRESSED" in reasons
    assert "NODE_EASED" in reasons
