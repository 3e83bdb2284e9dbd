"""Of several controllers, commands find the one that leads."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from motorpool import v1
from tests.cli.authority import Authority
from tests.cli.controller import Controller
from tests.cli.motorpool import Motorpool, error_of


@pytest.fixture(name="standby")
def _standby(authority: Authority, tmp_path: Path) -> Iterator[Controller]:
    """
    Another controller of the same cluster.
    """
    folder = tmp_path / "standby"
    folder.mkdir()
    other = Controller(authority, folder)
    other.leader = ""
    yield other
    other.close()


def deploy(motorpool: Motorpool, server: str) -> int:
    return motorpool("--server", server, "deploy", "chat", "--model", "/models/m.gguf").exit_code


def created(controller: Controller) -> list[v1.CreateDeploymentRequest]:
    return [each for each in controller.requests if isinstance(each, v1.CreateDeploymentRequest)]


def test_the_named_leader_is_followed(controller: Controller, standby: Controller, motorpool: Motorpool) -> None:
    """
    One that stands by names the leader, which the command did not know: it goes there, once.
    """
    standby.leader = controller.address

    assert 0 == deploy(motorpool, standby.address)
    assert ([], 1) == (created(standby), len(created(controller)))


def test_lists_and_watches_follow_too(controller: Controller, standby: Controller, motorpool: Motorpool) -> None:
    """
    A stream that is turned away before its first message is opened where it belongs.
    """
    standby.leader = controller.address
    controller.put(v1.Node(name="nodes/rack1"))
    controller.script = [controller.end]
    result = motorpool("--server", standby.address, "nodes", "-w")

    assert "rack1" in result.output
    assert (1, []) == (len(controller.watched), standby.watched)


def test_one_that_does_not_answer_is_passed_over(
    controller: Controller, standby: Controller, motorpool: Motorpool
) -> None:
    """
    Of several named ones the next is asked, where one is gone.
    """
    standby.close()

    assert 0 == deploy(motorpool, f"{standby.address},{controller.address}")
    assert 1 == len(created(controller))


def test_one_without_its_database_is_left(controller: Controller, standby: Controller, motorpool: Motorpool) -> None:
    """
    One that cannot reach the database may be the only one: the next time another one is asked, for lists too.
    """
    standby.leader, standby.cut_off = None, True
    both = f"{standby.address},{controller.address}"

    assert 0 == deploy(motorpool, both)
    assert (1, []) == (len(created(controller)), created(standby))
    assert 0 == motorpool("--server", both, "nodes").exit_code


def test_nobody_leads_for_a_moment(controller: Controller, standby: Controller, motorpool: Motorpool) -> None:
    """
    While no controller knows a leader it is asked again, under the same request id.
    """
    controller.leader = ""
    asked = 0

    def lead() -> None:
        nonlocal asked
        asked += 1
        if asked == 3:
            controller.leader = None

    controller.on_call = lead

    assert 0 == deploy(motorpool, f"{standby.address},{controller.address}")
    assert (1, []) == (len(created(controller)), created(standby))


def test_an_untrusted_leader_is_not_spoken_to(standby: Controller, motorpool: Motorpool, tmp_path: Path) -> None:
    """
    Whoever is named has to be of the same authority: no token goes to another.
    """
    stranger = Controller(Authority(), tmp_path)
    standby.leader = stranger.address
    try:
        result = motorpool("--server", standby.address, "nodes", "-o", "json")
    finally:
        stranger.close()

    assert 3 == result.exit_code
    assert error_of(result)["reason"] in {"CONTROLLER_UNTRUSTED", "NOT_LEADER"}
    assert [] == stranger.traces


def test_a_server_of_a_list_that_is_none_is_told(motorpool: Motorpool) -> None:
    """
    Each of several is checked.
    """
    assert 2 == motorpool("--server", "10.0.0.1:7400,10.0.0.2", "nodes").exit_code
