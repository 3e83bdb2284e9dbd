import json
from typing import Any

from motorpool import v1
from tests.cli.controller import ACTOR, Controller
from tests.cli.fleet import DEVICE, NODE, NOON, fill
from tests.cli.motorpool import Motorpool, rows


def requests(controller: Controller, kind: type) -> list[Any]:
    return [request for request in controller.requests if isinstance(request, kind)]


def with_device(controller: Controller) -> None:
    fill(controller)
    node = v1.Node()
    node.CopyFrom(NODE)
    node.devices.append(DEVICE)
    controller.put(node)


def test_cordon(controller: Controller, motorpool: Motorpool) -> None:
    """
    A cordoned node shows it beside its state, with the reason and who gave it; uncordoned, nothing.
    """
    fill(controller)

    cordoned = motorpool("cordon", "rack1", "--reason", "new fans")
    listed = rows(motorpool("nodes").stdout)[1]
    described = motorpool("describe", "nodes/rack1").stdout
    freed = motorpool("uncordon", "nodes/rack1", "-o", "json")

    assert "nodes/rack1 is cordoned: it takes nothing new\n" == cordoned.stdout
    assert ("READY (cordoned)", f"new fans (by {ACTOR})") == (listed[1], listed[-1])
    assert f"the node by {ACTOR}: new fans" in described
    assert "cordoned" not in json.loads(freed.stdout)
    assert ["new fans"] == [each.reason for each in requests(controller, v1.CordonNodeRequest)]


def test_device(controller: Controller, motorpool: Motorpool) -> None:
    """
    NODE/DEVICE is one device of a node, in whatever way it is written.
    """
    with_device(controller)

    for name in ("rack1/GPU-5a1f", "nodes/rack1/devices/GPU-5a1f"):
        assert 0 == motorpool("cordon", name).exit_code

    assert {DEVICE.name} == {each.name for each in requests(controller, v1.CordonNodeRequest)}
    assert "GPU-5a1f by" in motorpool("describe", "nodes/rack1").stdout


def test_drain(controller: Controller, motorpool: Motorpool) -> None:
    """
    A drain says how many instances are to be moved; its deadline and reason are sent.
    """
    fill(controller)
    controller.drain = v1.Drain(total_instances=2, remaining_instances=2)

    done = motorpool("drain", "rack1", "--reason", "fans", "--deadline", "30m")
    (request,) = requests(controller, v1.DrainNodeRequest)

    assert "nodes/rack1 is cordoned, and 2 instances are to be moved\n" == done.stdout
    assert ("fans", 1800) == (request.reason, request.deadline_timeout.seconds)
    assert "READY (draining)" == rows(motorpool("nodes").stdout)[1][1]


def test_without_deadline_none_is_sent(controller: Controller, motorpool: Motorpool) -> None:
    """
    Left out, the deadline is absent; forced, it is now; both together are refused.
    """
    fill(controller)

    motorpool("drain", "rack1")
    motorpool("drain", "rack1", "--force")
    both = motorpool("drain", "rack1", "--force", "--deadline", "5m")
    bad = motorpool("drain", "rack1", "--deadline", "soon")

    sent = requests(controller, v1.DrainNodeRequest)
    assert [False, True] == [each.HasField("deadline_timeout") for each in sent]
    assert 0 == sent[1].deadline_timeout.seconds
    assert (2, 2) == (both.exit_code, bad.exit_code)
    assert "write e.g. 90s, 15m or 24h" in " ".join(bad.stderr.split())


def test_bare_name_of_an_instance(controller: Controller, motorpool: Motorpool) -> None:
    """
    A name that no node has is an instance's; one that nothing has is told.
    """
    fill(controller)

    done = motorpool("drain", "smollm2-x7k2p", "--reason", "leaks")
    back = motorpool("uncordon", "smollm2-x7k2p")
    none = motorpool("drain", "nothing")

    assert "instances/smollm2-x7k2p is to be replaced\n" == done.stdout
    assert "instances/smollm2-x7k2p stays where it is\n" == back.stdout
    assert (5, True) == (none.exit_code, "No node or instance is called nothing" in none.stderr)


def test_wait_tells_each_move(controller: Controller, motorpool: Motorpool) -> None:
    """
    With --wait each step is told, and what is waited for, until nothing is left.
    """
    fill(controller)
    wait = v1.DrainWait(
        instance="instances/smollm2-x7k2p", message="it waits for a place for instances/smollm2-2: no room"
    )
    controller.drain = v1.Drain(total_instances=1, remaining_instances=1, waits=[wait])

    def finish() -> None:
        node = v1.Node()
        node.CopyFrom(controller.nodes["nodes/rack1"])
        node.cordon.drain.MergeFrom(v1.Drain(state=v1.DRAIN_STATE_DRAINED, complete_time=NOON))
        node.cordon.drain.remaining_instances = 0
        node.cordon.drain.ClearField("waits")
        controller.put(node)

    controller.script = [finish]
    done = motorpool("drain", "rack1", "--wait")

    assert 0 == done.exit_code, done.stderr
    assert done.stdout.endswith("nodes/rack1 is drained, 1 moved\n")
    assert "0 of 1 moved" in done.stderr
    assert "smollm2-x7k2p: it waits for a place for instances/smollm2-2: no room" in done.stderr


def test_wait_ends_when_it_is_taken_back(controller: Controller, motorpool: Motorpool) -> None:
    """
    A drain that someone else takes back is told, and the command fails.
    """
    fill(controller)

    def free() -> None:
        node = v1.Node()
        node.CopyFrom(controller.nodes["nodes/rack1"])
        node.ClearField("cordon")
        controller.put(node)

    controller.script = [free]
    done = motorpool("drain", "rack1", "--wait", "-o", "json")

    assert (1, "DRAIN_ENDED") == (done.exit_code, json.loads(done.stderr)["error"]["reason"])


def test_wait_runs_out(controller: Controller, motorpool: Motorpool) -> None:
    """
    When the time to wait is over, the drain goes on, and the command says where to look.
    """
    fill(controller)

    done = motorpool("drain", "rack1", "--wait", "--timeout", "1s")

    assert 1 == done.exit_code
    assert "motorpool describe rack1" in done.stderr
