"""A changed deployment with real engines: no request fails meanwhile, and there is a way back."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from motorpool import v1
from tests.e2e.chat import ask
from tests.e2e.fleet import Fleet, wait_for

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(300)]


class Caller:
    """Asks in a loop, each time one of the endpoints that there are at the moment."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._stop = threading.Event()
        self.answers = 0
        self.failures: list[str] = []

    def _ask(self) -> None:
        while not self._stop.is_set():
            try:
                found = self._fleet.credentials("chat")
                chosen = found.endpoints[self.answers % len(found.endpoints)]
                del found.endpoints[:]
                found.endpoints.append(chosen)
                ask(found)
            except Exception as error:  # noqa: BLE001  # whatever a caller sees fail counts
                self.failures.append(repr(error))
            self.answers += 1

    @contextmanager
    def asking(self) -> Iterator[None]:
        thread = threading.Thread(target=self._ask)
        thread.start()
        try:
            yield
        finally:
            self._stop.set()
            thread.join()


def contexts(fleet: Fleet) -> set[str]:
    """The contexts of the instances that run."""
    launches = [each.launch for each in fleet.instances("chat") if each.state == v1.INSTANCE_STATE_RUNNING]
    return {launch.argv[list(launch.argv).index("--ctx-size") + 1] for launch in launches}


def names(fleet: Fleet) -> set[str]:
    return {each.name for each in fleet.instances("chat") if each.state == v1.INSTANCE_STATE_RUNNING}


def two_running(fleet: Fleet, model: Path) -> None:
    fleet.start_agent()
    fleet.command("motorpool", "deploy", "chat", "--model", str(model), "--replicas", "2", "--wait", "--", "-c", "512")


def test_a_change_fails_no_request(fleet: Fleet, tiny_model: Path) -> None:
    """
    While both replicas are replaced by ones with another context, a caller has answers without one failure; and back.
    """
    two_running(fleet, tiny_model)
    before = names(fleet)
    caller = Caller(fleet)
    with caller.asking():
        wait_for("some answers", lambda: caller.answers > 5)
        done = fleet.command("motorpool", "update", "chat", "--wait", "--", "-c", "1024")
        asked = caller.answers
        wait_for("some answers of the new ones", lambda: caller.answers > asked + 5)
        changed = contexts(fleet)
        undone = fleet.command("motorpool", "rollout", "undo", "chat", "--wait")

    assert [] == caller.failures
    assert caller.answers > 20
    assert "is rolled out: 2 ready of revision 2" in done.stdout
    assert {"1024"} == changed
    assert "is rolled out: 2 ready of revision 1" in undone.stdout
    assert {"512"} == contexts(fleet)
    assert not before & names(fleet)
    history = fleet.command("motorpool", "rollout", "history", "chat").stdout
    assert "parameters: -c 1024 → -c 512" in history


def test_a_bad_change_is_held_up_while_the_old_ones_answer(fleet: Fleet, tiny_model: Path) -> None:
    """
    An argument that the engine refuses stops the rollout, says why, and leaves the former instances; undo clears it up.
    """
    two_running(fleet, tiny_model)
    before = names(fleet)
    caller = Caller(fleet)
    with caller.asking():
        failed = fleet.command(
            "motorpool", "update", "chat", "--wait", "--", "-c", "512", "--pooling", "nope", check=False
        )
        status = fleet.command("motorpool", "rollout", "status", "chat").stdout
        serving = names(fleet)
        undone = fleet.command("motorpool", "rollout", "undo", "chat", "--wait")
        asked = caller.answers
        wait_for("some more answers", lambda: caller.answers > asked + 5)

    assert 1 == failed.returncode
    assert "llama.cpp does not take the argument --pooling nope" in failed.stderr
    assert "FAILED" in status
    assert "2 of the former go on serving" in status
    assert before == serving
    assert "is rolled out: 2 ready of revision 1" in undone.stdout
    assert before == names(fleet)
    assert [] == caller.failures
    wait_for("the failed one to be gone", lambda: len(fleet.instances("chat")) == 2)


def test_without_room_the_old_one_serves_until_it_may_go(fleet: Fleet, tiny_model: Path) -> None:
    """
    Where a node has no room for two, a change waits and says so; told to replace, it goes through.
    """
    fleet.start_agent()
    node = fleet.nodes.GetNode(v1.GetNodeRequest(name="nodes/a"))
    claim = str(int(node.usage.memory_available_bytes * 0.6))
    deploy = ("motorpool", "deploy", "chat", "--model", str(tiny_model), "--memory", claim, "--wait", "--", "-c", "512")
    fleet.command(*deploy)
    stuck = fleet.command("motorpool", "update", "chat", "--wait", "--", "-c", "1024", check=False)
    answer = ask(fleet.credentials("chat"))
    done = fleet.command("motorpool", "update", "chat", "--replace", "--wait")

    assert 1 == stuck.returncode
    assert "[ROLLOUT_NO_ROOM]" in stuck.stderr
    assert "`motorpool update chat --replace`" in stuck.stderr
    assert answer
    assert "is rolled out: 1 ready of revision 2" in done.stdout
    assert {"1024"} == contexts(fleet)


def test_a_crash_loop_shows_its_next_try(fleet: Fleet, tiny_model: Path) -> None:
    """
    An instance that fails again and again says why, and when it is tried next.
    """
    fleet.start_agent()
    fleet.deploy("chat", tiny_model, parameters=["--pooling", "nope"])

    def waiting() -> str | None:
        for instance in fleet.instances("chat"):
            if instance.HasField("next_try_time") and instance.restart_count:
                return fleet.command("motorpool", "describe", instance.name).stdout
        return None

    shown = wait_for("a second failure", waiting)

    assert "Next try" in shown
    assert "PARAMETER_REFUSED: llama.cpp does not take the argument --pooling nope" in shown
    assert "First failure" in shown
