import json

import pytest

from motorpool import v1
from tests.cli.controller import API_KEY, TOKEN, Controller
from tests.cli.fleet import GIB, TOO_LARGE, deployment, fill, instance
from tests.cli.motorpool import Motorpool, error_of, rows


def test_deployments(controller: Controller, motorpool: Motorpool) -> None:
    """
    A deployment shows how many of its instances run, and what one needs.
    """
    fill(controller)

    table = rows(motorpool("deployments").stdout)

    assert ["NAME", "STATE", "RUNNING", "BACKEND", "MODEL", "NEEDS", "AGE"] == table[0]
    assert ["smollm2", "AVAILABLE", "1/1", "automatic", "/models/smollm2.gguf", "512 MiB"] == table[1][:6]


@pytest.mark.parametrize(
    ("source", "shown"),
    [
        (v1.ModelSource(hugging_face=v1.HuggingFaceSource(repository="a/b")), "hf:a/b"),
        (v1.ModelSource(model_scope=v1.ModelScopeSource(model_id="a/b")), "ms:a/b"),
        (v1.ModelSource(), "-"),
    ],
)
def test_a_deployment_of_another_source(
    controller: Controller, motorpool: Motorpool, source: v1.ModelSource, shown: str
) -> None:
    """
    A model's source is one word; how many are wished is one where nothing was said.
    """
    controller.put(v1.Deployment(name="deployments/x", spec=v1.DeploymentSpec(model=source)))

    row = rows(motorpool("deployments").stdout)[1]

    assert ("0/1", shown) == (row[2], row[4])


def test_instances(controller: Controller, motorpool: Motorpool) -> None:
    """
    A running instance shows node, process, claim and endpoint.
    """
    fill(controller)

    row = rows(motorpool("ps").stdout)[1]

    assert ["smollm2-x7k2p", "RUNNING", "rack1", "4711", "512 MiB host", "http://10.0.0.7:40000", "0"] == row[:7]


def test_a_pending_instance_says_why(controller: Controller, motorpool: Motorpool) -> None:
    """
    A pending instance carries its first refusal as message, on one line.
    """
    controller.put(instance(v1.INSTANCE_STATE_PENDING, refusals=[TOO_LARGE]))

    header, row = rows(motorpool("instances").stdout)

    assert "MESSAGE" == header[-1]
    assert ["smollm2-x7k2p", "PENDING", "-", "-", "-", "-", "0"] == row[:7]
    assert TOO_LARGE.message == row[-1]


def test_a_claim_on_devices_is_told_apart(controller: Controller, motorpool: Motorpool) -> None:
    """
    Host and device memory are counted apart.
    """
    placed = instance()
    claim = placed.placement.members[0].claim
    claim.devices.extend(v1.DeviceClaim(device_id=name, memory_bytes=GIB) for name in "ab")
    controller.put(placed)

    assert "512 MiB host + 2 GiB device" == rows(motorpool("ps").stdout)[1][4]


def test_instances_of_one_deployment(controller: Controller, motorpool: Motorpool) -> None:
    """
    --deployment takes a bare or a full name.
    """
    fill(controller)
    controller.put(v1.Instance(name="instances/other", deployment="deployments/other"))

    for name in ("smollm2", "deployments/smollm2"):
        listed = json.loads(motorpool("ps", "--deployment", name, "-o", "json").stdout)["instances"]

        assert ["instances/smollm2-x7k2p"] == [each["name"] for each in listed]


@pytest.mark.parametrize(
    ("alias", "command"),
    [("workers", "nodes"), ("models", "deployments"), ("model-instances", "instances"), ("ps", "instances")],
)
def test_aliases(controller: Controller, motorpool: Motorpool, alias: str, command: str) -> None:
    """
    The words of other systems print what ours print.
    """
    fill(controller)

    assert motorpool(command).stdout == motorpool(alias).stdout
    assert motorpool(command, "-o", "json").stdout == motorpool(alias, "-o", "json").stdout


def test_endpoint(controller: Controller, motorpool: Motorpool) -> None:
    """
    `endpoint` shows all that a client of the model needs, the API key too.
    """
    fill(controller)

    table = rows(motorpool("endpoint", "smollm2").stdout)
    found = json.loads(motorpool("endpoint", "smollm2", "-o", "json").stdout)

    assert [["endpoint", "http://10.0.0.7:40000"], ["api key", API_KEY], ["model", "smollm2"]] == table
    assert {"endpoints": ["http://10.0.0.7:40000"], "api_key": API_KEY, "served_model_name": "smollm2"} == found


def test_endpoint_before_anything_runs(controller: Controller, motorpool: Motorpool) -> None:
    """
    A deployment of which nothing runs has no endpoint, and stderr says how to find out why.
    """
    controller.put(deployment())

    assert "motorpool explain smollm2" in motorpool("endpoint", "smollm2").stderr


def test_a_deployment_that_does_not_exist(motorpool: Motorpool) -> None:
    """
    What does not exist is exit code 5, and JSON on stderr where JSON was asked for.
    """
    result = motorpool("endpoint", "nobody", "-o", "json")

    assert (5, "") == (result.exit_code, result.stdout)
    assert {
        "reason": "NOT_FOUND",
        "message": "deployments/nobody does not exist.",
        "exit_code": 5,
    } == error_of(result)


@pytest.mark.parametrize(
    "line",
    [
        ["cluster"],
        ["nodes"],
        ["devices"],
        ["plugins"],
        ["backends"],
        ["deployments"],
        ["ps"],
        ["describe", "smollm2"],
        ["describe", "smollm2-x7k2p"],
        ["describe", "rack1"],
        ["events"],
        ["tokens", "list"],
        ["deploy", "other", "--model", "/m.gguf", "--wait"],
        ["cordon", "rack1"],
    ],
)
@pytest.mark.parametrize("output", ["table", "json"])
def test_secrets_stay_secret(controller: Controller, motorpool: Motorpool, line: list[str], output: str) -> None:
    """
    Neither the caller's token nor a deployment's API key is printed by anything but `endpoint`.
    """
    fill(controller)
    controller.script = [lambda: controller.put(deployment_available(controller))]

    result = motorpool(*line, "--output", output)

    assert 0 == result.exit_code, result.output
    assert not {secret for secret in (TOKEN, API_KEY) if secret in result.output}


def deployment_available(controller: Controller) -> v1.Deployment:
    available = v1.Deployment()
    available.CopyFrom(controller.deployments["deployments/other"])
    available.state = v1.DEPLOYMENT_STATE_AVAILABLE
    return available
