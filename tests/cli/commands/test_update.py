from __future__ import annotations

import json

from motorpool import v1
from tests.cli.controller import Controller
from tests.cli.fleet import deployment, fill
from tests.cli.motorpool import Motorpool, error_of


def sent(controller: Controller) -> v1.UpdateDeploymentRequest:
    [request] = controller.requests
    assert isinstance(request, v1.UpdateDeploymentRequest)
    return request


def test_parameters_replace_those_there_were(controller: Controller, motorpool: Motorpool) -> None:
    """
    What stands after -- is what the engine is given; nothing else changes, and the way to see it is told.
    """
    fill(controller)

    result = motorpool("update", "smollm2", "--", "--ctx-size", "2048", "--metrics")

    assert 0 == result.exit_code
    assert "deployments/smollm2 has revision 2 now; its instances are replaced one by one\n" in result.stdout
    assert "`motorpool rollout undo smollm2`" in result.stdout
    assert ["spec.parameters"] == list(sent(controller).update_mask.paths)
    assert ["--ctx-size", "2048", "--metrics"] == list(controller.deployments["deployments/smollm2"].spec.parameters)


def test_only_what_is_given_is_changed(controller: Controller, motorpool: Motorpool) -> None:
    """
    Each option changes its own field; the deployment is changed only if it is as it was read.
    """
    fill(controller)
    controller.deployments["deployments/smollm2"].etag = "e7"

    motorpool("update", "smollm2", "-m", "/models/other.gguf", "--memory", "2GiB", "--device-memory", "", "--replace")

    request = sent(controller)
    assert "e7" == request.deployment.etag
    assert ["spec.model", "spec.claim.memory_bytes", "spec.claim.device_memory_bytes", "spec.rollout_strategy"] == list(
        request.update_mask.paths
    )
    assert "/models/other.gguf" == request.deployment.spec.model.local_path
    assert 2 << 30 == request.deployment.spec.claim.memory_bytes
    assert not request.deployment.spec.claim.HasField("device_memory_bytes")
    assert v1.ROLLOUT_STRATEGY_REPLACE == request.deployment.spec.rollout_strategy


def test_packages_and_the_time_to_drain(controller: Controller, motorpool: Motorpool) -> None:
    """
    Packages replace those there were, or are gone with an empty one; so is the deployment's own time to drain.
    """
    fill(controller)

    motorpool("update", "smollm2", "--package", "timm==1.0.25", "--package", "einops", "--drain-time", "1m")
    motorpool("update", "smollm2", "--package", "", "--drain-time", "")

    set_, cleared = controller.requests
    assert isinstance(set_, v1.UpdateDeploymentRequest)
    assert isinstance(cleared, v1.UpdateDeploymentRequest)
    assert ["spec.packages", "spec.drain_timeout"] == list(set_.update_mask.paths) == list(cleared.update_mask.paths)
    assert (["timm==1.0.25", "einops"], 60) == (
        list(set_.deployment.spec.packages),
        set_.deployment.spec.drain_timeout.seconds,
    )
    assert not cleared.deployment.spec.packages
    assert not cleared.deployment.spec.HasField("drain_timeout")


def test_what_is_loaded_beside_the_model(controller: Controller, motorpool: Motorpool) -> None:
    """
    Adapters replace those there were; guessing is said whole, or no more with an empty word.
    """
    fill(controller)

    motorpool(
        *("update", "smollm2", "--lora", "law=/models/law", "--speculative", "eagle3"),
        *("--draft-model", "/models/eagle", "--draft-tokens", "3"),
    )
    motorpool("update", "smollm2", "--lora", "", "--speculative", "")

    set_, cleared = controller.requests
    assert isinstance(set_, v1.UpdateDeploymentRequest)
    assert isinstance(cleared, v1.UpdateDeploymentRequest)
    spec = set_.deployment.spec
    assert [("law", "/models/law")] == [(each.adapter, each.source.local_path) for each in spec.lora_adapters]
    assert ("eagle3", "/models/eagle", 3) == (
        spec.speculative.algorithm,
        spec.speculative.draft_model.local_path,
        spec.speculative.draft_tokens,
    )
    assert ["spec.lora_adapters", "spec.speculative"] == list(cleared.update_mask.paths)
    assert not cleared.deployment.spec.lora_adapters
    assert not cleared.deployment.spec.HasField("speculative")


def test_where_it_may_run(controller: Controller, motorpool: Motorpool) -> None:
    """
    Labels and devices replace those there were, all at once.
    """
    fill(controller)

    motorpool(
        *("update", "smollm2", "--node-label", "rack=2", "--device", "nodes/rack1/devices/GPU-5a1f"),
        *("--strategy", "binpack"),
    )

    request = sent(controller)
    assert ["spec.node_selector", "spec.device_selector.devices", "spec.placement_strategy"] == list(
        request.update_mask.paths
    )
    assert {"rack": "2"} == dict(request.deployment.spec.node_selector.match_labels)
    assert ["nodes/rack1/devices/GPU-5a1f"] == list(request.deployment.spec.device_selector.devices)
    assert v1.PLACEMENT_STRATEGY_BINPACK == request.deployment.spec.placement_strategy


def test_variables_are_set_and_unset_one_by_one(controller: Controller, motorpool: Motorpool) -> None:
    """
    A variable that is not named stays as it is.
    """
    fill(controller)
    controller.deployments["deployments/smollm2"].spec.env.update({"A": "1", "B": "2", "C": "3"})

    motorpool("update", "smollm2", "-e", "B=x", "--unset-env", "C")

    assert {"A": "1", "B": "x"} == dict(sent(controller).deployment.spec.env)


def test_a_variable_that_is_not_set_cannot_be_unset(controller: Controller, motorpool: Motorpool) -> None:
    """
    The name, and those there are, are told.
    """
    fill(controller)

    result = motorpool("update", "smollm2", "--unset-env", "NOPE", "-o", "json")

    assert (2, "OPTION_INVALID") == (result.exit_code, error_of(result)["reason"])
    assert "there is none" in result.stderr


def test_nothing_to_change_is_refused(controller: Controller, motorpool: Motorpool) -> None:
    """
    A line that changes nothing says what could be changed.
    """
    fill(controller)

    result = motorpool("update", "smollm2")

    assert 2 == result.exit_code
    assert "Nothing is given" in result.stderr
    assert not controller.requests


def test_the_strategy_alone_replaces_nothing(controller: Controller, motorpool: Motorpool) -> None:
    """
    To let an old instance go first changes no instance by itself.
    """
    fill(controller)

    assert "its instances stay" in motorpool("update", "smollm2", "--replace").stdout


def test_dry_run(controller: Controller, motorpool: Motorpool) -> None:
    """
    --dry-run asks, and changes nothing.
    """
    fill(controller)

    result = motorpool("update", "smollm2", "--dry-run", "--", "--metrics")

    assert (0, "deployments/smollm2 would be accepted as revision 2\n") == (result.exit_code, result.stdout)
    assert sent(controller).validate_only
    assert 1 == controller.deployments["deployments/smollm2"].generation


def test_wait(controller: Controller, motorpool: Motorpool) -> None:
    """
    --wait tells how many were replaced, and returns when all were.
    """
    fill(controller)
    half, done = deployment(), deployment()
    for each, ready, outdated in ((half, 0, 1), (done, 1, 0)):
        each.generation = each.revision = 2
        each.rollout.state = v1.ROLLOUT_STATE_PROGRESSING
        each.rollout.ready_replicas, each.rollout.outdated_replicas = ready, outdated
    controller.script = [lambda: controller.put(half), lambda: controller.put(done)]

    result = motorpool("update", "smollm2", "--wait", "--", "--metrics")

    assert 0 == result.exit_code
    assert "0 of 1 ready of revision 2, 1 of former ones" in result.stderr
    assert "deployments/smollm2 is rolled out: 1 ready of revision 2\n" in result.stdout


def test_wait_ends_with_a_failure(controller: Controller, motorpool: Motorpool) -> None:
    """
    --wait gives up when a new instance failed, with what the controller says of it.
    """
    fill(controller)
    failed = deployment()
    failed.generation = failed.revision = 2
    failed.rollout.state = v1.ROLLOUT_STATE_FAILED
    failed.rollout.outdated_replicas = 1
    failed.rollout.message = "instances/x failed: no such option."
    controller.script = [lambda: controller.put(failed)]

    result = motorpool("update", "smollm2", "--wait", "-o", "json", "--", "--nope")

    assert (1, "ROLLOUT_FAILED") == (result.exit_code, error_of(result)["reason"])
    assert "instances/x failed: no such option." in json.loads(result.stderr)["error"]["message"]


def test_how_long_a_lost_node_keeps_its_instances(controller: Controller, motorpool: Motorpool) -> None:
    """
    A time, 0 or never is set by update and deploy, and describe tells it in the same words.
    """
    fill(controller)
    told = []
    for written in ("never", "0", "5m"):
        motorpool("update", "smollm2", "--reschedule-after", written)
        (line,) = [line for line in motorpool("describe", "smollm2").stdout.splitlines() if "Rescheduled" in line]
        told.append(" ".join(line.split()[1:]))
    motorpool("deploy", "other", "--model", "/m.gguf", "--reschedule-after", "never")

    assert ["never, while a node is lost", "0s after its node is lost", "5m after its node is lost"] == told
    assert -1 == controller.deployments["deployments/other"].spec.reschedule_after.seconds
