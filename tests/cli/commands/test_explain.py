import json

from motorpool import v1
from tests.cli.controller import Controller
from tests.cli.fleet import GIB, TOO_LARGE, deployment
from tests.cli.motorpool import Motorpool

REFUSED = v1.InstanceExplanation(
    instance="instances/large-1",
    state=v1.INSTANCE_STATE_PENDING,
    refusals=[
        TOO_LARGE,
        v1.Refusal(stage="labels", reason="LABEL_DIFFERS", subject="nodes/b", count=1, message="[red]nodes/b[/red]"),
    ],
    verdict="It fits on no node.",
)
SPLIT = v1.Placement(
    members=[
        v1.PlacementMember(
            node="nodes/a",
            claim=v1.Claim(
                memory_bytes=GIB, devices=[v1.DeviceClaim(device_id=f"GPU-{n}", memory_bytes=9 * GIB) for n in (0, 1)]
            ),
        ),
        v1.PlacementMember(
            node="nodes/b", claim=v1.Claim(devices=[v1.DeviceClaim(device_id="GPU-0", memory_bytes=8 * GIB)]), rank=1
        ),
    ],
    framework="cuda",
    offloaded_layers=31,
    tensor_split=[12, 10, 9],
    context_length=8192,
    parallel=1,
)
PLACED = v1.InstanceExplanation(
    instance="instances/large-2",
    state=v1.INSTANCE_STATE_RUNNING,
    placement=SPLIT,
    candidates=[
        v1.Candidate(node="nodes/a", score=87.5, scores={"spread": 75, "locality": 100}, placement=SPLIT),
        v1.Candidate(node="nodes/c", score=80),
    ],
    verdict="It runs on nodes/a.",
)


def test_why_not(controller: Controller, motorpool: Motorpool) -> None:
    """
    A refusal is a line: what was needed, what was there, who holds the rest.
    """
    controller.explanations["deployments/large"] = v1.ExplainDeploymentResponse(
        estimate=v1.Estimate(upper_bytes=4 * 1024 * GIB, provenance="given by hand"), instances=[REFUSED]
    )

    output = motorpool("explain", "large").stdout

    assert "An instance needs 4 TiB: given by hand\n" in output
    assert "large-1 PENDING: It fits on no node.\n" in output
    for cell in ("MEMORY_SHORT", "nodes/rack1 (+2 more)", "4 TiB", "200 GiB", "instances/smollm2-x7k2p, reserved"):
        assert f"  {cell}  " in output
    assert "LABEL_DIFFERS  nodes/b                -       -          -" in output
    assert "[red]nodes/b[/red]" in output


def test_many_that_wait_alike(controller: Controller, motorpool: Motorpool) -> None:
    """
    Instances that wait for the same reasons are one line.
    """
    alike = [
        v1.InstanceExplanation(
            instance=f"instances/large-{number}", state=v1.INSTANCE_STATE_PENDING, like=REFUSED.instance
        )
        for number in range(2, 1002)
    ]
    controller.explanations["deployments/large"] = v1.ExplainDeploymentResponse(instances=[REFUSED, *alike])

    output = motorpool("explain", "large").stdout

    assert "large-2, large-3, large-4 and 997 more wait for the reasons of large-1.\n" in output
    assert len(output.splitlines()) < 10


def test_why_there(controller: Controller, motorpool: Motorpool) -> None:
    """
    A placed instance shows what was feasible, and what its score is made of.
    """
    controller.explanations["deployments/large"] = v1.ExplainDeploymentResponse(instances=[PLACED])

    output = motorpool("explain", "deployments/large").stdout

    assert "large-2 RUNNING: It runs on nodes/a." in output
    devices = "a: GPU-0 GPU-1 9 GiB each, host memory 1 GiB; b: GPU-0 8 GiB"
    assert f"Placed on  {devices}\n" in output
    assert "Decided    31 layers on devices, divided 12 + 10 + 9, 8,192 tokens of context, 1 at a time\n" in output
    assert f"{devices}  87.5   locality 100.0, spread 75.0" in output
    assert "\nc      " in output


def test_before_the_model_was_read(controller: Controller, motorpool: Motorpool) -> None:
    """
    An estimate that is not there is called unknown.
    """
    controller.put(deployment())
    controller.explanations["deployments/smollm2"] = v1.ExplainDeploymentResponse(
        estimate=v1.Estimate(provenance="the model was not read yet")
    )

    assert [
        "What an instance needs is unknown: the model was not read yet",
        "smollm2 wishes for no instances.",
    ] == motorpool("explain", "smollm2").stdout.splitlines()


def test_what_would_help(controller: Controller, motorpool: Motorpool) -> None:
    """
    What would make it fit stands under the rows.
    """
    controller.explanations["deployments/large"] = v1.ExplainDeploymentResponse(
        instances=[REFUSED], suggestions=[v1.Suggestion(message="It fits with --ctx-size 4096.")]
    )

    assert motorpool("explain", "large").stdout.endswith("\nWhat would make it fit\n- It fits with --ctx-size 4096.\n")


def test_how_many_nodes_were_looked_at(controller: Controller, motorpool: Motorpool) -> None:
    """
    What was seen and how long it took stands beside the answer, on stderr.
    """
    found = v1.ExplainDeploymentResponse(instances=[REFUSED], nodes_seen=10_000)
    found.decision_time.FromMicroseconds(3_200)
    controller.explanations["deployments/large"] = found

    assert "10,000 nodes were looked at in 3.2 ms" in motorpool("explain", "large").stderr


def test_as_json(controller: Controller, motorpool: Motorpool) -> None:
    """
    JSON is the whole explanation.
    """
    controller.explanations["deployments/large"] = v1.ExplainDeploymentResponse(instances=[REFUSED, PLACED])

    found = json.loads(motorpool("explain", "large", "-o", "json").stdout)

    assert ["INSTANCE_STATE_PENDING", "INSTANCE_STATE_RUNNING"] == [each["state"] for each in found["instances"]]
    assert "4398046511104" == found["instances"][0]["refusals"][0]["needed"]


def test_what_does_not_exist(motorpool: Motorpool) -> None:
    """
    Nothing to explain is exit code 5.
    """
    assert 5 == motorpool("explain", "large").exit_code
