import json

import pytest

from motorpool import v1
from tests.cli.controller import Controller
from tests.cli.fleet import CRASH, GIB, NODE, NOON, TOO_LARGE, deployment, fill, instance, pair
from tests.cli.motorpool import Motorpool


@pytest.mark.parametrize("name", ["smollm2", "deployments/smollm2"])
def test_a_deployment(controller: Controller, motorpool: Motorpool, name: str) -> None:
    """
    A deployment comes with its instances and its events.
    """
    fill(controller)

    output = motorpool("describe", name).stdout

    for words in (
        "Model       /models/smollm2.gguf",
        "Format      gguf llama Q4_1",
        "Parameters  --ctx-size 4096",
        "Needs       512 MiB (weights 90 MiB, kv cache 180 MiB; from the file's headers)",
        "Executor    process",
        "Exposure    node",
        "Instance     smollm2-x7k2p",
        'Command      llama-server --alias "my model"',
        "Environment  LLAMA_API_KEY=***",
        "Process      4711, started 2025-10-09 08:53:20",
        "DEPLOYMENT_CREATED",
    ):
        assert words in output


def test_a_deployment_as_json(controller: Controller, motorpool: Motorpool) -> None:
    """
    JSON is the deployment, its instances and its events in one document.
    """
    fill(controller)

    found = json.loads(motorpool("describe", "smollm2", "-o", "json").stdout)

    assert "deployments/smollm2" == found["name"]
    assert ["instances/smollm2-x7k2p"] == [each["name"] for each in found["instances"]]
    assert ["DEPLOYMENT_CREATED"] == [event["reason"] for event in found["events"]]


def test_a_deployment_in_containers(controller: Controller, motorpool: Motorpool) -> None:
    """
    A deployment with an image is executed in containers, which shows before any instance was launched.
    """
    boxed = deployment()
    boxed.spec.image = "engines/llama:1"
    controller.put(boxed)

    output = motorpool("describe", "smollm2").stdout

    assert "Executor    docker\nImage       engines/llama:1\n" in output


def test_the_devices_of_an_instance(controller: Controller, motorpool: Motorpool) -> None:
    """
    An instance shows which devices it claims, and how much of each.
    """
    placed = instance()
    [member] = placed.placement.members
    member.claim.devices.add(device_id="GPU-5a1f", memory_bytes=3 * GIB)
    controller.put(placed)

    output = motorpool("describe", "smollm2-x7k2p").stdout

    assert "Claim        512 MiB host + 3 GiB device\nDevices      GPU-5a1f (3 GiB)\n" in output


@pytest.mark.parametrize("name", ["smollm2-x7k2p", "instances/smollm2-x7k2p"])
def test_an_instance_that_failed(controller: Controller, motorpool: Motorpool, name: str) -> None:
    """
    A failed instance shows its failure once, with the end of its log below it.
    """
    fill(controller)
    controller.put(instance(v1.INSTANCE_STATE_ERROR, failure=CRASH))

    output = motorpool("describe", name).stdout

    assert (
        "Last failure  2025-10-09 08:53:20 EXITED: It exited with 1 after 0.3 s.\n"
        "              | loading model\n"
        "              | error: tensor 'blk.0' is missing\n"
    ) in output
    assert "First failure" not in output


def test_an_instance_that_is_tried_again(controller: Controller, motorpool: Motorpool) -> None:
    """
    A failed instance shows when it is tried again, and the line by which its failure was recognised.
    """
    failure = v1.Failure(
        time=NOON, reason="DISK_FULL", message="The disk is full.", log_tail=["a", "full", "b"], evidence="full"
    )
    failed = instance(v1.INSTANCE_STATE_ERROR, failure=failure)
    failed.next_try_time.CopyFrom(NOON)
    controller.put(failed)

    output = motorpool("describe", "smollm2-x7k2p").stdout

    assert "Next try      2025-10-09 08:53:20\n" in output
    assert "DISK_FULL: The disk is full.\n              | full\n" in output
    assert "| b\n" not in output


def test_the_attempts_of_an_instance(controller: Controller, motorpool: Motorpool) -> None:
    """
    Attempts are a table: when, how they ended, and why; those that are not kept are counted, and the present one shown.
    """
    failing = instance(v1.INSTANCE_STATE_STARTING, failure=CRASH)
    killed = v1.Failure(time=NOON, reason="OUT_OF_MEMORY", message="too much", signal=9, out_of_memory=True)
    missing = v1.Failure(time=NOON, reason="MODEL_NOT_FOUND", message="no such file")
    failing.attempt = 10
    failing.attempts.extend(
        [
            v1.Attempt(number=1, begin_time=NOON, failure=CRASH, executed=True),
            v1.Attempt(number=8, begin_time=NOON, failure=killed, executed=True, ready=True),
            v1.Attempt(number=9, failure=missing),
        ]
    )
    controller.put(failing)

    shown = motorpool("describe", "instances/smollm2-x7k2p").stdout
    rows = [" ".join(line.split()) for line in shown[shown.index("ATTEMPT") :].splitlines()]

    assert rows[0] == "ATTEMPT BEGAN ENDED HOW EXIT CAUSE"
    assert rows[1].startswith("1 ")
    assert rows[1].endswith("EXITED status 1 It exited with 1 after 0.3 s.")
    assert rows[2].startswith("… 6 more - ")
    assert rows[3].endswith("OUT_OF_MEMORY after it was ready SIGKILL, out of memory too much")
    assert rows[4].startswith("9 - ")
    assert rows[4].endswith("MODEL_NOT_FOUND not executed no such file")
    assert rows[5].startswith("10 ")
    assert "STARTING" in rows[5]
    document = json.loads(motorpool("describe", "instances/smollm2-x7k2p", "-o", "json").stdout)
    assert [1, 8, 9] == [each["number"] for each in document["attempts"]]


def test_an_instance_that_is_pending(controller: Controller, motorpool: Motorpool) -> None:
    """
    A pending instance shows each refusal.
    """
    controller.put(instance(v1.INSTANCE_STATE_PENDING, refusals=[TOO_LARGE, TOO_LARGE]))

    assert 2 == motorpool("describe", "smollm2-x7k2p").stdout.count(f"Refused   {TOO_LARGE.message}\n")


@pytest.mark.parametrize("name", ["rack1", "nodes/rack1"])
def test_a_node(controller: Controller, motorpool: Motorpool, name: str) -> None:
    """
    A node shows its machine, its plugins and its events.
    """
    fill(controller)

    output = motorpool("describe", name).stdout

    for words in (
        "Machine     rack1.example: linux/amd64, 6.1.0",
        "Busy        25 %",
        "Labels      zone=a",
        "Executor    docker does not work: it does not answer; start it\nExecutor    process works\n",
        "nvidia 0.1.0: QUARANTINED (pid 4711, 40 MiB, 23 open files, last measured in 12 ms) NVML answers with 999",
        "NODE_UNREACHABLE",
    ):
        assert words in output


def test_a_node_that_runs_short(controller: Controller, motorpool: Motorpool) -> None:
    """
    What a node runs short of is told with since when, why and what is left now; and in the list of nodes.
    """
    fill(controller)
    node = v1.Node.FromString(NODE.SerializeToString())
    node.conditions.extend(
        [
            v1.NodeCondition(condition="data_disk", pressed=True, message="1 MiB are free", time=NOON),
            v1.NodeCondition(condition="memory_stall"),
            v1.NodeCondition(condition="processes"),
        ]
    )
    node.usage.resources.extend(
        [
            v1.ResourceUsage(resource="data_disk", available=GIB // 2, total=9 * GIB, low=GIB),
            v1.ResourceUsage(resource="memory_stall", available=97, total=100, low=80),
            v1.ResourceUsage(resource="processes", total=100, low=10),
        ]
    )
    controller.put(node)
    shown = motorpool("describe", "nodes/rack1").stdout

    assert ": 1 MiB are free (512 MiB of 9 GiB left, 1 GiB at least)" in shown
    assert "data_disk: PRESSED since " in shown
    assert "memory_stall: enough (3 % of the last minute stalled)" in shown
    assert "processes: enough (what is left is not known)" in shown
    assert "READY (pressed)" in motorpool("nodes").stdout


def test_a_node_as_json(controller: Controller, motorpool: Motorpool) -> None:
    """
    A node has no instances of its own in JSON.
    """
    fill(controller)

    assert "instances" not in json.loads(motorpool("describe", "rack1", "-o", "json").stdout)


def test_nothing_of_that_name(motorpool: Motorpool) -> None:
    """
    A name that nothing has is exit code 5, and the message says where to look.
    """
    result = motorpool("describe", "nobody")

    assert 5 == result.exit_code
    assert "No deployment, instance or node is called nobody; `motorpool deployments`" in result.stderr


def test_members_of_an_instance_on_two_nodes(controller: Controller, motorpool: Motorpool) -> None:
    """
    Each member says what it does, with its process and ports; a follower's command differs, and is told.
    """
    controller.put(pair())

    output = motorpool("describe", "smollm2-pair1").stdout

    for words in (
        "Decided      over 2 nodes by mp",
        "nodes/rack1 (rank 0): running (pid 4711)",
        "nodes/rack2 (rank 1): error: the engine was ended by signal 9 (ports http 40010)",
        "| llama-server --headless",
    ):
        assert words.lower() in output.lower(), output
