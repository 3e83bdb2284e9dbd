from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from motorpool_controller.domain.errors import InvalidError
from motorpool_controller.domain.specs import check_spec, revised
from motorpool_controller.domain.workload import LoraAdapter, ModelSource, SourceKind, Speculative
from tests.controller.fleets import SMOLLM2, deployment, spec

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
    scaled = revised(deployment(), spec(replicas=3))

    assert (scaled.generation, scaled.template_generation) == (2, 1)


def test_another_model_replaces_and_forgets() -> None:
    """
    A new model makes a new template, and its facts are not yet known.
    """
    before = deployment(facts=SMOLLM2)
    after = revised(before, replace(before.spec, model=ModelSource(kind=LOCAL, path="/other.gguf")))

    assert (after.generation, after.template_generation, after.facts) == (2, 2, None)


def test_the_same_spec_is_no_change() -> None:
    """
    Saying the same again leaves the generation as it is.
    """
    before = deployment()

    assert revised(before, before.spec) is before
