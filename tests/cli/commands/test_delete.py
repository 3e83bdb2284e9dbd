import json

import pytest

from motorpool import v1
from tests.cli.controller import Controller, DroppedError
from tests.cli.fleet import deployment, fill, instance
from tests.cli.motorpool import Motorpool, error_of


def test_delete(controller: Controller, motorpool: Motorpool) -> None:
    """
    `delete` returns at once; instances stop first.
    """
    fill(controller)

    result = motorpool("delete", "smollm2")

    assert (0, "deployments/smollm2 is being deleted; its instances stop first\n") == (
        result.exit_code,
        result.stdout,
    )


def test_as_json(controller: Controller, motorpool: Motorpool) -> None:
    """
    JSON is the deployment as it is being deleted.
    """
    fill(controller)

    assert "DEPLOYMENT_STATE_DELETING" == json.loads(motorpool("delete", "smollm2", "-o", "json").stdout)["state"]


def test_wait(controller: Controller, motorpool: Motorpool) -> None:
    """
    --wait shows the instances stop, and returns when the deployment is gone.
    """
    fill(controller)
    controller.script = [
        lambda: controller.put(instance(v1.INSTANCE_STATE_STOPPING)),
        lambda: controller.remove("instances/smollm2-x7k2p"),
        lambda: controller.remove("deployments/smollm2"),
    ]

    result = motorpool("delete", "smollm2", "--wait")

    assert (0, "deployments/smollm2 is deleted\n") == (result.exit_code, result.stdout)
    assert "smollm2-x7k2p  STOPPING on rack1" in result.stderr


def test_wait_for_what_is_gone_at_once(controller: Controller, motorpool: Motorpool) -> None:
    """
    A deployment without instances may be gone before the watch begins.
    """
    controller.put(deployment())

    result = motorpool("delete", "smollm2", "--wait")

    assert (0, "deployments/smollm2 is deleted\n") == (result.exit_code, result.stdout)


def test_wait_for_what_was_made_again(controller: Controller, motorpool: Motorpool) -> None:
    """
    A new deployment under the old name is not waited for.
    """
    fill(controller)
    again = deployment()
    again.uid = "another"
    controller.script = [lambda: controller.put(again)]

    assert 0 == motorpool("delete", "smollm2", "--wait").exit_code


def test_wait_outlives_the_controller(controller: Controller, motorpool: Motorpool) -> None:
    """
    A stream that breaks while instances stop is opened again.
    """
    fill(controller)

    def drop() -> None:
        raise DroppedError

    controller.script = [drop, lambda: controller.remove("deployments/smollm2")]

    assert 0 == motorpool("delete", "smollm2", "--wait", "-o", "json").exit_code


def test_wait_runs_out(controller: Controller, motorpool: Motorpool) -> None:
    """
    A wait that runs out is exit code 1; the deletion goes on.
    """
    fill(controller)

    result = motorpool("delete", "smollm2", "--wait", "--timeout", "1s", "-o", "json")

    assert ("WAIT_TIMEOUT", 1) == (error_of(result)["reason"], result.exit_code)
    assert "It goes on by itself" in error_of(result)["message"]


def test_what_does_not_exist(motorpool: Motorpool) -> None:
    """
    Deleting nothing is exit code 5.
    """
    assert 5 == motorpool("delete", "smollm2", "--wait").exit_code


@pytest.mark.parametrize("output", ["table", "json"])
def test_a_node(controller: Controller, motorpool: Motorpool, output: str) -> None:
    """
    A node with instances is forgotten with --force only.
    """
    fill(controller)

    kept = motorpool("delete", "nodes/rack1", "-o", output)
    forgotten = motorpool("delete", "nodes/rack1", "--force", "-o", output)

    assert (6, 0) == (kept.exit_code, forgotten.exit_code)
    assert "NODE_NOT_EMPTY" in kept.stderr
    assert "nodes/rack1" in forgotten.stdout
    assert {} == controller.nodes
