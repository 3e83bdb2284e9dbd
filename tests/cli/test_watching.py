import json

import pytest

from motorpool import v1
from tests.cli.controller import Controller, GapError
from tests.cli.fleet import deployment, fill, instance
from tests.cli.motorpool import Motorpool, rows


@pytest.mark.parametrize("output", ["table", "json", "yaml"])
def test_changes_follow_the_list(controller: Controller, motorpool: Motorpool, output: str) -> None:
    """
    The list comes first, then each change under it, and what is gone is told; nothing is told twice.
    """
    fill(controller)
    failed = instance(v1.INSTANCE_STATE_ERROR)
    controller.script = [
        lambda: controller.put(instance()),
        lambda: controller.put(failed),
        lambda: controller.remove(failed.name),
        lambda: controller.put(instance(name="smollm2-new")),
    ]

    stdout, stderr = until_enough(controller, motorpool, "instances", "--watch", "-o", output)

    if output == "table":
        states = [row[:2] for row in rows(stdout)[1:]]
        assert [["smollm2-x7k2p", "RUNNING"], ["smollm2-x7k2p", "ERROR"], ["smollm2-new", "RUNNING"]] == states
        assert "instances/smollm2-x7k2p is gone" in stderr
    elif output == "json":
        first, *lines = stdout.split("\n}\n")
        changes = [json.loads(line) for line in lines[0].splitlines()]
        assert ["instances/smollm2-x7k2p"] == [each["name"] for each in json.loads(first + "}")["instances"]]
        assert ["INSTANCE_STATE_ERROR", None, "INSTANCE_STATE_RUNNING"] == [each.get("state") for each in changes]
        assert {"deleted": failed.name} == changes[1]
    else:
        assert 3 == stdout.count("---\n")


def test_each_list_can_be_watched(controller: Controller, motorpool: Motorpool) -> None:
    """
    Nodes, deployments and events go on, too, each with its own.
    """
    fill(controller)
    asked = {}
    for words in (("nodes",), ("deployments",), ("events", "nodes/rack1"), ("events", "smollm2")):
        controller.script = []
        controller.watched.clear()
        until_enough(controller, motorpool, *words, "-w")
        (request,) = controller.watched[:1]
        asked[words] = (list(request.kinds), request.deployment, request.node)

    assert {
        ("nodes",): (["nodes"], "", ""),
        ("deployments",): (["deployments"], "", ""),
        ("events", "nodes/rack1"): (["events"], "", "nodes/rack1"),
        ("events", "smollm2"): (["events"], "deployments/smollm2", ""),
    } == asked


def test_gap_is_closed_by_listing_again(controller: Controller, motorpool: Motorpool) -> None:
    """
    Where the controller does not keep what was missed, the list is compared with what was shown.
    """
    fill(controller)

    def away() -> None:
        controller.deployments.pop("deployments/smollm2")
        controller.deployments["deployments/other"] = deployment("other")
        raise GapError

    controller.script = [away]

    stdout, stderr = until_enough(controller, motorpool, "deployments", "-w")

    assert "deployments/smollm2 is gone" in stderr
    assert ["other"] == [row[0] for row in rows(stdout)[2:]]


def until_enough(controller: Controller, motorpool: Motorpool, *words: str) -> tuple[str, str]:
    """Run a command that goes on until the controller refuses to."""
    controller.script.append(controller.end)
    try:
        done = motorpool(*words)
    finally:
        controller.refusal = None
    assert "enough" in done.stderr, done.output
    return done.stdout, done.stderr
