import json

import pytest

from motorpool import v1
from tests.cli.controller import Controller
from tests.cli.fleet import CRASH, deployment, fill, instance
from tests.cli.motorpool import Motorpool, error_of


def test_scale(controller: Controller, motorpool: Motorpool) -> None:
    """
    The number of instances is changed, and nothing else of the deployment.
    """
    fill(controller)

    result = motorpool("scale", "smollm2", "--replicas", "3")

    assert (0, "deployments/smollm2 wishes for 3 instances\n") == (result.exit_code, result.stdout)
    [request] = controller.requests
    assert isinstance(request, v1.UpdateDeploymentRequest)
    assert ["spec.replicas"] == list(request.update_mask.paths)
    assert 3 == controller.deployments["deployments/smollm2"].spec.replicas
    assert ["--ctx-size", "4096"] == list(controller.deployments["deployments/smollm2"].spec.parameters)


def test_to_none(controller: Controller, motorpool: Motorpool) -> None:
    """
    Zero is a number of instances: none.
    """
    fill(controller)

    assert "wishes for 0 instances" in motorpool("scale", "smollm2", "--replicas", "0").stdout
    assert controller.deployments["deployments/smollm2"].spec.HasField("replicas")


def test_wait(controller: Controller, motorpool: Motorpool) -> None:
    """
    --wait tells the new instance's states, and returns when all run, with their addresses.
    """
    fill(controller)
    second = instance(name="smollm2-b2222")
    done = deployment()
    done.spec.replicas = 2
    controller.script = [
        lambda: controller.put(second),
        lambda: controller.put(done),
    ]

    result = motorpool("scale", "smollm2", "--replicas", "2", "--wait")

    assert 0 == result.exit_code
    assert "smollm2-b2222  RUNNING on rack1" in result.stderr
    assert "endpoint" in result.stdout


def test_wait_for_fewer(controller: Controller, motorpool: Motorpool) -> None:
    """
    --wait for fewer returns when those that are too many are gone, and tells that they stop.
    """
    fill(controller)
    second = instance(name="smollm2-b2222")
    controller.put(second)
    controller.script = [
        lambda: controller.put(deployment()),
        lambda: controller.put(instance(v1.INSTANCE_STATE_STOPPING, name="smollm2-b2222")),
        lambda: controller.remove(second.name),
    ]

    result = motorpool("scale", "smollm2", "--replicas", "1", "--wait")

    assert 0 == result.exit_code
    assert "smollm2-b2222  STOPPING" in result.stderr
    assert second.name not in controller.instances


def test_as_json(controller: Controller, motorpool: Motorpool) -> None:
    """
    JSON is the deployment as it is wished for now.
    """
    fill(controller)

    found = json.loads(motorpool("scale", "smollm2", "--replicas", "2", "-o", "json").stdout)

    assert ("deployments/smollm2", 2) == (found["name"], found["spec"]["replicas"])


@pytest.mark.parametrize(("name", "replicas", "code"), [("nobody", "1", 5), ("smollm2", "-1", 2), ("smollm2", "x", 2)])
def test_what_cannot_be(controller: Controller, motorpool: Motorpool, name: str, replicas: str, code: int) -> None:
    """
    A deployment that does not exist is exit code 5, a number that cannot be is 2.
    """
    fill(controller)

    assert code == motorpool("scale", name, "--replicas", replicas).exit_code


def test_without_a_number(controller: Controller, motorpool: Motorpool) -> None:
    """
    Without --replicas nothing is sent, and the message names it.
    """
    fill(controller)

    result = motorpool("scale", "smollm2", "-o", "json")

    assert 2 == result.exit_code
    assert "--replicas" in error_of(result)["message"]
    assert [] == controller.requests


def test_wait_for_fewer_passes_over_a_failure(controller: Controller, motorpool: Motorpool) -> None:
    """
    An instance that failed is one too many, and stopped: it is waited for, and no reason to give up.
    """
    fill(controller)
    controller.put(instance(v1.INSTANCE_STATE_ERROR, name="smollm2-b2222", failure=CRASH))
    controller.script = [
        lambda: controller.put(instance(v1.INSTANCE_STATE_STOPPING, name="smollm2-b2222", failure=CRASH)),
        lambda: controller.remove("instances/smollm2-b2222"),
        lambda: controller.put(deployment()),
    ]

    result = motorpool("scale", "smollm2", "--replicas", "1", "--wait")

    assert 0 == result.exit_code, result.stderr
    assert "smollm2-b2222  STOPPING" in result.stderr


def test_wait_gives_up_on_a_failure_that_stays(controller: Controller, motorpool: Motorpool) -> None:
    """
    When no more are left than are wished, one that failed is told.
    """
    fill(controller)
    failed = instance(v1.INSTANCE_STATE_ERROR, failure=CRASH)
    other = instance(v1.INSTANCE_STATE_ERROR, name="smollm2-b2222", failure=CRASH)
    controller.put(failed)
    controller.put(other)
    controller.script = [lambda: controller.remove("instances/smollm2-b2222")]

    result = motorpool("scale", "smollm2", "--replicas", "1", "--wait")

    assert 1 == result.exit_code
    assert "instances/smollm2-x7k2p failed" in result.stderr
