from __future__ import annotations

from motorpool import v1
from tests.cli.controller import Controller
from tests.cli.fleet import NOON, deployment, fill
from tests.cli.motorpool import Motorpool, error_of


def changed(state: v1.RolloutState.ValueType, message: str = "", *, outdated: int = 0) -> v1.Deployment:
    """A deployment at its second revision."""
    made = deployment()
    made.generation = made.revision = 2
    made.rollout.CopyFrom(
        v1.Rollout(state=state, message=message, state_time=NOON, ready_replicas=1, outdated_replicas=outdated)
    )
    return made


def test_status(controller: Controller, motorpool: Motorpool) -> None:
    """
    How far it is, since when, and what holds it up.
    """
    fill(controller)
    controller.put(changed(v1.ROLLOUT_STATE_NO_ROOM, "There is no room.", outdated=2))

    output = motorpool("rollout", "status", "smollm2").stdout

    for line in (
        "Revision    2\n",
        "Rollout     NO_ROOM\n",
        "Since       2025-10-09 08:53:20\n",
        "Ready       1 of 1\n",
        "Former      2 still stand\n",
        "Message     There is no room.\n",
    ):
        assert line in output


def test_status_of_what_was_never_changed(controller: Controller, motorpool: Motorpool) -> None:
    """
    A deployment with one spec has no rollout.
    """
    fill(controller)

    assert "Rollout     none: the spec was never changed\n" in motorpool("rollout", "status", "smollm2").stdout


def test_status_waits(controller: Controller, motorpool: Motorpool) -> None:
    """
    --wait returns once no former instance is left.
    """
    fill(controller)
    controller.put(changed(v1.ROLLOUT_STATE_PROGRESSING, outdated=1))
    controller.script = [lambda: controller.put(changed(v1.ROLLOUT_STATE_COMPLETE))]

    result = motorpool("rollout", "status", "smollm2", "--wait")

    assert 0 == result.exit_code
    assert "is rolled out" in result.stdout


def test_status_waits_no_longer_than_told(controller: Controller, motorpool: Motorpool) -> None:
    """
    When time is over, how to go on is told.
    """
    fill(controller)
    controller.put(changed(v1.ROLLOUT_STATE_PROGRESSING, outdated=1))

    result = motorpool("rollout", "status", "smollm2", "--wait", "--timeout", "1s", "-o", "json")

    assert (1, "WAIT_TIMEOUT") == (result.exit_code, error_of(result)["reason"])


def test_a_change_by_somebody_else_ends_the_waiting(controller: Controller, motorpool: Motorpool) -> None:
    """
    What is waited for will not come any more, and that is said.
    """
    fill(controller)
    controller.put(changed(v1.ROLLOUT_STATE_PROGRESSING, outdated=1))
    third = changed(v1.ROLLOUT_STATE_PROGRESSING)
    third.generation = third.revision = 3
    controller.script = [lambda: controller.put(third)]

    result = motorpool("rollout", "status", "smollm2", "--wait", "-o", "json")

    assert (1, "CHANGED") == (result.exit_code, error_of(result)["reason"])


def test_history_tells_what_changed(controller: Controller, motorpool: Motorpool) -> None:
    """
    Each revision shows what it changed of the one before, and which is the present one.
    """
    fill(controller)
    first, second = deployment().spec, deployment().spec
    second.parameters[:] = ["--ctx-size", "2048"]
    second.claim.memory_bytes = 5
    second.replicas = 7
    second.exposure = v1.EXPOSURE_LOCAL
    controller.revisions["deployments/smollm2"] = v1.ListDeploymentRevisionsResponse(
        revisions=[
            v1.DeploymentRevision(revision=1, spec=first, create_time=NOON, replicas=2),
            v1.DeploymentRevision(revision=4, spec=second, create_time=NOON, current=True, replicas=1),
        ]
    )

    *_, one, two = motorpool("rollout", "history", "smollm2").stdout.splitlines()

    assert ["1", "2025-10-09", "08:53:20", "2"] == one.split()[:4]
    assert ["4", "2025-10-09", "08:53:20", "1", "present"] == two.split()[:5]
    assert "parameters: --ctx-size 4096 → --ctx-size 2048" in two
    assert "exposure: exposure_unspecified → exposure_local" in two
    assert "claim.memory_bytes: 0 → 5" in two
    assert "replicas:" not in two


def test_undo(controller: Controller, motorpool: Motorpool) -> None:
    """
    The spec before is asked for, if the deployment is as it was read.
    """
    fill(controller)
    controller.put(changed(v1.ROLLOUT_STATE_FAILED, "No."))
    controller.deployments["deployments/smollm2"].etag = "e9"

    result = motorpool("rollout", "undo", "smollm2")

    assert 0 == result.exit_code
    assert "deployments/smollm2 has revision 1 now" in result.stdout
    [request] = controller.requests
    assert isinstance(request, v1.RollbackDeploymentRequest)
    assert (0, "e9") == (request.revision, request.etag)


def test_undo_to_a_revision(controller: Controller, motorpool: Motorpool) -> None:
    """
    --to names the revision; --dry-run changes nothing.
    """
    fill(controller)
    controller.put(changed(v1.ROLLOUT_STATE_COMPLETE))

    result = motorpool("rollout", "undo", "smollm2", "--to", "1", "--dry-run")

    assert "deployments/smollm2 would return to revision 1\n" == result.stdout
    assert 2 == controller.deployments["deployments/smollm2"].revision


def test_undo_of_what_was_never_changed(controller: Controller, motorpool: Motorpool) -> None:
    """
    Without a former spec there is nothing to return to.
    """
    fill(controller)

    result = motorpool("rollout", "undo", "smollm2", "-o", "json")

    assert (6, "NO_FORMER_SPEC") == (result.exit_code, error_of(result)["reason"])
