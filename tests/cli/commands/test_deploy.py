import json
from collections.abc import Callable

import pytest

from motorpool import v1
from tests.cli.controller import API_KEY, Controller, DroppedError, GapError
from tests.cli.fleet import CRASH, NOT_READ_YET, TOO_LARGE, deployment, instance
from tests.cli.motorpool import Motorpool, error_of

DEPLOY = ("deploy", "smollm2", "--model", "/models/smollm2.gguf")
WAIT = (*DEPLOY, "--wait", "--timeout", "60s")


@pytest.fixture
def script(controller: Controller) -> Callable[..., None]:
    """Let these things happen, one after another, while somebody watches."""

    def play(*steps: v1.Instance | v1.Deployment | str | type[Exception]) -> None:
        def step(what: v1.Instance | v1.Deployment | str | type[Exception]) -> Callable[[], None]:
            def happen() -> None:
                if isinstance(what, type):
                    raise what
                if isinstance(what, str):
                    controller.remove(what)
                elif isinstance(what, v1.Deployment):
                    controller.put(known(controller, what))
                else:
                    controller.put(what)

            return happen

        controller.script = [step(what) for what in steps]

    return play


def known(controller: Controller, changed: v1.Deployment) -> v1.Deployment:
    """Give the deployment the uid that it was created with."""
    found = controller.deployments.get(changed.name)
    return (
        v1.Deployment.FromString(changed.SerializeToString() + v1.Deployment(uid=found.uid).SerializeToString())
        if found
        else changed
    )


def request_of(controller: Controller) -> v1.CreateDeploymentRequest:
    (request,) = (each for each in controller.requests if isinstance(each, v1.CreateDeploymentRequest))
    return request


def test_deploy(controller: Controller, motorpool: Motorpool) -> None:
    """
    `deploy` returns at once, and says how to see more.
    """
    result = motorpool(*DEPLOY)

    assert 0 == result.exit_code
    assert "deployments/smollm2 is accepted" == result.stdout.splitlines()[0]
    assert "motorpool ps" in result.stdout
    assert 1 == request_of(controller).deployment.spec.replicas


def test_all_options_arrive(controller: Controller, motorpool: Motorpool) -> None:
    """
    Each option becomes its field; what follows `--` is the engine's.
    """
    result = motorpool(
        *DEPLOY,
        *("--backend", "llama-box", "--backend-version", "b9512", "--replicas", "2", "--served-name", "chat"),
        *("-e", "A=1", "--env", "B=x=y", "--node-label", "zone=a", "--device", "nodes/a/devices/0"),
        *("--strategy", "binpack", "--exposure", "local", "--memory", "1.5GiB"),
        *("--", "--ctx-size", "4096", "-o", "json"),
    )

    spec = request_of(controller).deployment.spec
    assert 0 == result.exit_code, result.output
    assert ("llama-box", "b9512", 2, "chat") == (
        spec.backend,
        spec.backend_version,
        spec.replicas,
        spec.served_model_name,
    )
    assert {"A": "1", "B": "x=y"} == spec.env
    assert {"zone": "a"} == spec.node_selector.match_labels
    assert ["nodes/a/devices/0"] == spec.device_selector.devices
    assert (v1.PLACEMENT_STRATEGY_BINPACK, v1.EXPOSURE_LOCAL) == (spec.placement_strategy, spec.exposure)
    assert 1_610_612_736 == spec.claim.memory_bytes
    assert ["--ctx-size", "4096", "-o", "json"] == spec.parameters


def test_as_json(motorpool: Motorpool) -> None:
    """
    JSON is the deployment, and nothing else is on stdout.
    """
    created = json.loads(motorpool(*DEPLOY, "-o", "json").stdout)

    assert ("deployments/smollm2", "DEPLOYMENT_STATE_PROGRESSING") == (created["name"], created["state"])


def test_dry_run(controller: Controller, motorpool: Motorpool) -> None:
    """
    --dry-run creates nothing and waits for nothing, and tells what would become of it; a program gets the deployment.
    """
    check = v1.Check(kind=v1.CHECK_KIND_PLACE, outcome=v1.CHECK_OUTCOME_FAILED, message="0 of 1 instances has a place.")
    controller.plan = v1.PlanDeploymentResponse(checks=[check])

    result = motorpool(*WAIT, "--dry-run")
    document = json.loads(motorpool(*WAIT, "--dry-run", "-o", "json").stdout)

    assert result.exit_code == 0
    assert result.stdout.startswith("deployments/smollm2 would be accepted\n")
    assert "is there room  no       0 of 1 instances has a place." in result.stdout
    assert "deployments/smollm2" == document["name"]
    assert {} == controller.deployments


def test_findings(motorpool: Motorpool) -> None:
    """
    What the controller notes on the wish goes to stderr.
    """
    assert "note: The backend checks no API key.\n" == motorpool(*DEPLOY, "--backend", "custom").stderr


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--model", "models/a.gguf"), "models/a.gguf looks like a path that is not absolute"),
        (("--model", "~/a.gguf"), "as the nodes see it"),
        (("--model", "/a", "--env", "HF_TOKEN_hunter2"), "--env takes KEY=VALUE"),
        (("--model", "/a", "--env", "=1"), "--env takes KEY=VALUE"),
        (("--model", "/a", "--env", "A=1", "--env", "A=2"), "--env A=… is given twice"),
        (("--model", "/a", "--node-label", "zone"), "--node-label takes KEY=VALUE"),
        (("--model", "/a", "--memory", "much"), "--memory much is not a size"),
        (("--model", "/a", "--memory", "-1"), "--memory -1 is not a size"),
        (("--model", "/a", "--image", ""), "--image is empty"),
        (("--model", "/a", "--strategy", "best"), "'best' is not one of 'spread', 'binpack'"),
        (("--model", "/a", "--exposure", "world"), "'world' is not one of 'node', 'local'"),
        (("--model", "/a", "--replicas", "-1"), "greater than or equal to 0"),
        (("--model", "/a", "--timeout", "soon"), "write e.g. 90s, 15m or 24h"),
        ((), "--model"),
        (("--model", "/a", "--colour", "red"), "--colour"),
    ],
)
def test_a_wrong_option(controller: Controller, motorpool: Motorpool, options: tuple[str, ...], words: str) -> None:
    """
    A value that cannot be meant is exit code 2, in JSON too, and nothing was sent.
    """
    table = motorpool("deploy", "x", *options)
    as_json = motorpool("deploy", "x", *options, "--output=json")

    assert (2, 2) == (table.exit_code, as_json.exit_code)
    assert words in table.stderr
    assert words in error_of(as_json)["message"]
    assert "hunter2" not in table.output
    assert [] == controller.requests


def test_a_name_that_exists(controller: Controller, motorpool: Motorpool) -> None:
    """
    A deployment of that name is exit code 6.
    """
    controller.put(deployment())

    result = motorpool(*WAIT)

    assert (6, "") == (result.exit_code, result.stdout)
    assert "error: deployments/smollm2 exists already; delete it first. [ALREADY_EXISTS]\n" == result.stderr


def test_wait_shows_every_state(motorpool: Motorpool, script: Callable[..., None]) -> None:
    """
    --wait tells each change once, on stderr, until all instances run; then the endpoint.
    """
    downloading = instance(v1.INSTANCE_STATE_DOWNLOADING)
    downloading.progress_bytes, downloading.progress_total_bytes = 1024**2, 4 * 1024**2
    starting = instance(v1.INSTANCE_STATE_STARTING)
    starting.state_message = "loading the model"
    script(
        instance(v1.INSTANCE_STATE_PENDING, refusals=[NOT_READ_YET]),
        instance(v1.INSTANCE_STATE_SCHEDULED),
        downloading,
        starting,
        starting,
        instance(v1.INSTANCE_STATE_RUNNING),
        deployment(),
    )

    result = motorpool(*WAIT)

    assert 0 == result.exit_code, result.output
    assert [
        "smollm2-x7k2p  PENDING: The model's headers are being read on nodes/rack1.",
        "smollm2-x7k2p  SCHEDULED on rack1",
        "smollm2-x7k2p  DOWNLOADING on rack1, 1 MiB of 4 MiB (25%)",
        "smollm2-x7k2p  STARTING on rack1: loading the model",
        "smollm2-x7k2p  RUNNING on rack1",
    ] == [line.split(" s  ", 1)[1] for line in result.stderr.splitlines()]
    assert [
        "deployments/smollm2 is accepted",
        "endpoint  http://10.0.0.7:40000",
        "`motorpool endpoint smollm2` shows its API key.",
    ] == result.stdout.splitlines()
    assert API_KEY not in result.output


def test_wait_as_json(motorpool: Motorpool, script: Callable[..., None]) -> None:
    """
    With JSON the deployment comes as it is in the end, and stderr stays empty.
    """
    script(instance(v1.INSTANCE_STATE_STARTING), instance(), deployment())

    result = motorpool(*WAIT, "-o", "json")

    assert "DEPLOYMENT_STATE_AVAILABLE" == json.loads(result.stdout)["state"]
    assert "" == result.stderr


def test_wait_for_what_runs_already(controller: Controller, motorpool: Motorpool) -> None:
    """
    What happened between the creation and the watch is not missed.
    """

    def at_once(created: v1.Deployment) -> None:
        controller.put(instance())
        controller.put(known(controller, deployment()))

    controller.when_created = at_once

    assert 0 == motorpool(*WAIT).exit_code


def test_wait_for_what_does_not_fit(controller: Controller, motorpool: Motorpool, script: Callable[..., None]) -> None:
    """
    An instance that fits nowhere ends the wait with its refusals; the deployment stands.
    """
    script(
        instance(v1.INSTANCE_STATE_PENDING, refusals=[NOT_READ_YET]),
        instance(v1.INSTANCE_STATE_PENDING, refusals=[TOO_LARGE]),
    )

    result = motorpool(*WAIT)

    assert 1 == result.exit_code
    assert "instances/smollm2-x7k2p fits nowhere now:" in result.stderr
    assert f"\n  - {TOO_LARGE.message}\n" in result.stderr
    assert "motorpool explain smollm2" in result.stderr
    assert "[MEMORY_SHORT]" in result.stderr
    assert ["deployments/smollm2"] == list(controller.deployments)


def test_wait_for_a_model_that_cannot_be_read(motorpool: Motorpool, script: Callable[..., None]) -> None:
    """
    What is wrong with the model is told as such; it is read again from time to time.
    """
    row = v1.Refusal(stage="facts", reason="MODEL_GATED", message="Its owner lets in whom they choose.")
    script(instance(v1.INSTANCE_STATE_PENDING, refusals=[row]))

    result = motorpool(*WAIT)

    assert "tried again from time to time" in result.stderr
    assert "can take it" not in result.stderr


def test_wait_for_what_does_not_fit_as_json(motorpool: Motorpool, script: Callable[..., None]) -> None:
    """
    With JSON, stderr is the one document that says why.
    """
    script(instance(v1.INSTANCE_STATE_PENDING, refusals=[TOO_LARGE]))

    result = motorpool(*WAIT, "-o", "json")

    assert ("MEMORY_SHORT", 1) == (error_of(result)["reason"], error_of(result)["exit_code"])
    assert "" == result.stdout


def test_wait_for_what_fails(motorpool: Motorpool, script: Callable[..., None]) -> None:
    """
    A failed instance ends the wait with its reason and the end of its log.
    """
    script(
        instance(v1.INSTANCE_STATE_STARTING),
        instance(v1.INSTANCE_STATE_ERROR, failure=CRASH),
    )

    result = motorpool(*WAIT)

    assert 1 == result.exit_code
    assert "failed: It exited with 1 after 0.3 s.\n  | loading model\n  | error: tensor 'blk.0' is missing\n" in (
        result.stderr
    )
    assert "motorpool logs smollm2-x7k2p` shows the whole log" in result.stderr
    assert "[EXITED]" in result.stderr


def test_wait_for_what_fails_before_it_is_executed(motorpool: Motorpool, script: Callable[..., None]) -> None:
    """
    What fails before there is a program has no log to be shown; that the deployment stands is told.
    """
    pull = v1.Failure(reason="IMAGE_PULL_FAILED", message="nosuch:1 could not be pulled: no such host.")
    script(instance(v1.INSTANCE_STATE_ERROR, failure=pull))

    result = motorpool(*WAIT)

    assert 1 == result.exit_code
    assert "failed: nosuch:1 could not be pulled: no such host.\n" in result.stderr
    assert "motorpool logs" not in result.stderr
    assert "`motorpool delete smollm2` gives it up" in result.stderr


def test_wait_runs_out(motorpool: Motorpool, script: Callable[..., None]) -> None:
    """
    A wait that runs out is exit code 1, and says that the deployment stands.
    """
    script(instance(v1.INSTANCE_STATE_STARTING))

    result = motorpool(*DEPLOY, "--wait", "--timeout", "1")

    assert 1 == result.exit_code
    assert "deployments/smollm2 does not run after 1 s. It stands, and goes on trying" in result.stderr
    assert "[WAIT_TIMEOUT]" in result.stderr


@pytest.mark.parametrize(
    "change",
    [
        "deployments/smollm2",
        deployment(state=v1.DEPLOYMENT_STATE_DELETING),
    ],
)
def test_wait_for_what_is_deleted(
    motorpool: Motorpool, script: Callable[..., None], change: v1.Deployment | str
) -> None:
    """
    A deployment that someone deletes meanwhile ends the wait.
    """
    script(instance(v1.INSTANCE_STATE_STARTING), change)

    result = motorpool(*WAIT)

    assert 1 == result.exit_code
    assert "deployments/smollm2 was deleted by someone else" in result.stderr


def test_wait_for_what_was_deleted_before(controller: Controller, motorpool: Motorpool) -> None:
    """
    A deployment that is gone before the watch begins ends the wait too.
    """
    controller.when_created = lambda created: controller.remove(created.name)

    assert "was deleted by someone else" in motorpool(*WAIT).stderr


def test_wait_outlives_the_controller(
    controller: Controller, motorpool: Motorpool, script: Callable[..., None]
) -> None:
    """
    A stream that breaks is opened again where it was; it is told where the next one breaks at once, too.
    """
    script(instance(v1.INSTANCE_STATE_STARTING), DroppedError, DroppedError, instance(), deployment())

    result = motorpool(*WAIT)

    tokens = [int(each.resume_token) for each in controller.requests if isinstance(each, v1.WatchRequest)]
    assert 0 == result.exit_code, result.output
    assert "The controller does not answer; waiting for it." in result.stderr
    assert 1 == result.stderr.count("STARTING")
    assert 1 == tokens[1] - tokens[0]


def test_wait_starts_over_after_a_gap(motorpool: Motorpool, script: Callable[..., None]) -> None:
    """
    Where the changes since are no longer kept, all is listed again.
    """
    script(GapError, instance(), deployment())

    assert 0 == motorpool(*WAIT).exit_code


def test_messages_move_no_cursor(motorpool: Motorpool, script: Callable[..., None]) -> None:
    """
    Control characters in what nodes report are shown as escapes.
    """
    evil = instance(v1.INSTANCE_STATE_ERROR, failure=v1.Failure(reason="EXITED", message="\x1b[2J\x07\u202egone"))
    script(evil)

    result = motorpool(*WAIT)

    assert r"\x1b[2J\x07\u202egone" in result.stderr
    assert "\x1b" not in result.output
