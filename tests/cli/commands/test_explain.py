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
PLACED = v1.InstanceExplanation(
    instance="instances/large-2",
    state=v1.INSTANCE_STATE_RUNNING,
    candidates=[v1.Candidate(node="nodes/a", score=87.5, scores={"spread": 75, "locality": 100})],
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


def test_why_there(controller: Controller, motorpool: Motorpool) -> None:
    """
    A placed instance shows what was feasible, and what its score is made of.
    """
    controller.explanations["deployments/large"] = v1.ExplainDeploymentResponse(instances=[PLACED])

    output = motorpool("explain", "deployments/large").stdout

    assert "large-2 RUNNING: It runs on nodes/a." in output
    assert "a            87.5   locality 100.0, spread 75.0" in output


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
