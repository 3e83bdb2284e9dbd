from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from motorpool_controller.domain.errors import InvalidError, NotFoundError, PreconditionError
from motorpool_controller.domain.rollouts import restored
from motorpool_controller.domain.specs import check_spec, revised
from motorpool_controller.domain.workload import (
    LoraAdapter,
    ModelSource,
    Rollout,
    RolloutState,
    RolloutStrategy,
    SourceKind,
    Speculative,
)
from tests.controller.fleets import NOW, SMOLLM2, deployment, spec

LOCAL = SourceKind.LOCAL_PATH
HUB = ModelSource(kind=SourceKind.HUGGING_FACE, repository="Qwen/Qwen3-8B", file="*Q4*.gguf")


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"replicas": 0},
        {"replicas": 1000},
        {"model": HUB},
        {"env": {"A_1": "x"}, "served_model_name": "org/chat:v1", "backend": "llama-box"},
        {"devices": ("nodes/a/devices/0",), "allow_overcommit": True},
        {"reschedule_after_seconds": -1.0},
        {"categories": ("llm", "embedding")},
    ],
)
def test_sane_specs_pass(changes: dict[str, Any]) -> None:
    """
    A spec that can be served, now or later, is valid.
    """
    check_spec(spec(**changes))


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"replicas": -1}, "spec.replicas"),
        ({"replicas": 1001}, "spec.replicas"),
        ({"model": ModelSource(kind=LOCAL)}, "spec.model.local_path"),
        ({"model": ModelSource(kind=LOCAL, path="models/x.gguf")}, "spec.model.local_path"),
        ({"model": ModelSource(kind=LOCAL, path="/a/../b")}, "spec.model.local_path"),
        ({"model": ModelSource(kind=LOCAL, path="/x", repository="a/b")}, "spec.model"),
        ({"model": ModelSource(kind=SourceKind.HUGGING_FACE, repository="x")}, "spec.model.hugging_face"),
        ({"env": {"1A": "x"}}, "spec.env"),
        ({"env": {"A": "\0"}}, "spec.env"),
        ({"env": {"LD_PRELOAD": "x"}}, "spec.env"),
        ({"served_model_name": "two words"}, "spec.served_model_name"),
        ({"backend": "rm -rf"}, "spec.backend"),
        ({"claim_memory_bytes": 0}, "spec.claim.memory_bytes"),
        ({"claim_device_memory_bytes": -5}, "spec.claim.device_memory_bytes"),
        ({"devices": ("a:0",)}, "spec.device_selector.devices"),
        ({"devices": ("nodes/a/devices/0",) * 2}, "spec.device_selector.devices"),
        (
            {"devices": ("nodes/a/devices/0",), "devices_per_instance": 2},
            "spec.device_selector.devices_per_instance",
        ),
        ({"allow_overcommit": True}, "spec.allow_overcommit"),
        ({"categories": ("poetry",)}, "spec.categories"),
        ({"reschedule_after_seconds": float("nan")}, "spec.reschedule_after"),
        ({"drain_seconds": -1.0}, "spec.drain_timeout"),
        ({"drain_seconds": 3_601.0}, "spec.drain_timeout"),
        ({"drain_seconds": float("nan")}, "spec.drain_timeout"),
        ({"parameters": ("a\0",)}, "spec.parameters"),
        ({"match_labels": {"": "x"}}, "spec.node_selector.match_labels"),
        ({"speculative": Speculative(algorithm="")}, "spec.speculative.algorithm"),
        ({"lora_adapters": (LoraAdapter("a", HUB), LoraAdapter("a", HUB))}, "spec.lora_adapters"),
    ],
)
def test_a_fault_names_its_field(changes: dict[str, Any], field: str) -> None:
    """
    What cannot be is refused with the field that says it.
    """
    with pytest.raises(InvalidError) as caught:
        check_spec(spec(**changes))

    assert caught.value.metadata["field"] == field
    assert caught.value.message.startswith(f"{field}: ")


def test_all_faults_are_named() -> None:
    """
    Who made three mistakes hears of all three.
    """
    with pytest.raises(InvalidError) as caught:
        check_spec(spec(replicas=-1, env={"1": ""}, backend="?"))

    assert set(caught.value.metadata["fields"].split(",")) == {"spec.replicas", "spec.env", "spec.backend"}


def test_another_number_of_replicas_replaces_nothing() -> None:
    """
    Scaling raises the generation, and not that of the template.
    """
    scaled = revised(deployment(), spec(replicas=3), NOW)

    assert (scaled.generation, scaled.template_generation) == (2, 1)


def test_another_model_replaces_and_forgets() -> None:
    """
    A new model makes a new template, and its facts are not yet known.
    """
    before = deployment(facts=SMOLLM2)
    after = revised(before, replace(before.spec, model=ModelSource(kind=LOCAL, path="/other.gguf")), NOW)

    assert (after.generation, after.template_generation, after.facts) == (2, 2, None)


def test_the_same_spec_is_no_change() -> None:
    """
    Saying the same again leaves the generation as it is.
    """
    before = deployment()

    assert revised(before, before.spec, NOW) is before


def test_a_spec_of_before_has_its_generation_of_then() -> None:
    """
    Changed back, a deployment has the generation that its spec had at first, and the other spec as the one before.
    """
    before = deployment()
    there = revised(before, spec(parameters=("-c", "4096")), NOW)
    back = revised(there, before.spec, NOW)

    assert (3, 1) == (back.generation, back.template_generation)
    assert [(2, ("-c", "4096"))] == [(each.template_generation, each.spec.parameters) for each in back.former]


def test_only_so_many_former_specs_are_kept() -> None:
    """
    The oldest of more than ten former specs is forgotten.
    """
    made = deployment()
    for number in range(1, 15):
        made = revised(made, spec(parameters=("-c", str(1024 * number))), NOW)

    assert [5, 6, 7, 8, 9, 10, 11, 12, 13, 14] == [each.template_generation for each in made.former]


def test_the_strategy_of_rollouts_leaves_instances_be() -> None:
    """
    How a change is to be carried out is none itself.
    """
    made = revised(deployment(), spec(rollout_strategy=RolloutStrategy.REPLACE), NOW)

    assert (2, 1, None) == (made.generation, made.template_generation, made.rollout)


def test_a_rollout_without_room_is_looked_at_anew() -> None:
    """
    When the strategy changes, what was said of room before holds no more.
    """
    made = revised(deployment(), spec(parameters=("-c", "4096")), NOW)
    stuck = replace(made, rollout=Rollout(state=RolloutState.NO_ROOM, state_time=NOW, message="No room."))
    after = revised(stuck, replace(stuck.spec, rollout_strategy=RolloutStrategy.REPLACE), NOW)

    assert Rollout(state=RolloutState.PROGRESSING, state_time=NOW) == after.rollout


def test_restoring_keeps_the_number_of_instances() -> None:
    """
    The spec before comes back with so many instances as are wished now; one that is not kept is refused by number.
    """
    made = revised(deployment(), spec(parameters=("-c", "4096"), replicas=3), NOW)

    assert spec(replicas=3) == restored(made, None)
    assert spec(replicas=3) == restored(made, 1)
    assert made.spec == restored(made, 2)
    with pytest.raises(NotFoundError, match="no revision 7; those kept are 1, 2"):
        restored(made, 7)
    with pytest.raises(PreconditionError, match="never had another spec"):
        restored(deployment(), None)
