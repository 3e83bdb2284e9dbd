"""What is loaded beside a model: each node is asked about it, and its weights are claimed with the model's."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from motorpool_controller.domain.sizes import GIB
from motorpool_controller.domain.workload import LoraAdapter, ModelSource, SourceKind, Speculative
from motorpool_controller.scheduling.scheduler import explain, schedule
from motorpool_controller.scheduling.snapshot import Reading, Snapshot
from motorpool_formats.facts import ModelFacts
from tests.controller.fleets import PATH
from tests.controller.scheduling.accelerators import QWEN3_32B, backend, cards, fleet, machine, wish

CHAT = "instances/chat-1"
LAW, EAGLE = "/models/law", "/models/eagle"
BACKENDS = {"vllm": backend("vllm", features=("lora", "speculative"))}
SMALL = replace(QWEN3_32B, weight_bytes=10 * GIB)
ADAPTER = replace(QWEN3_32B, categories=("adapter",), weight_bytes=2 * GIB)
DRAFT = replace(QWEN3_32B, weight_bytes=3 * GIB)


def local(path: str) -> ModelSource:
    return ModelSource(kind=SourceKind.LOCAL_PATH, path=path)


WISHES: dict[str, Any] = {
    "lora_adapters": (LoraAdapter("law", local(LAW)),),
    "speculative": Speculative(algorithm="eagle3", draft_model=local(EAGLE)),
}


def nodes(**beside: Reading) -> Snapshot:
    """Nodes a and b with the model; ``a_law`` is what a answered about the adapter."""
    there = fleet(machine("a", cards(1)), machine("b", cards(1)), facts=SMALL, backends=BACKENDS)
    answers = {
        (f"nodes/{name[0]}", {"law": LAW, "eagle": EAGLE}[name[2:]]): reading for name, reading in beside.items()
    }
    return replace(there, readings={**there.readings, **answers})


def needed(snapshot: Snapshot, **changes: Any) -> int:
    estimate = explain(snapshot, wish(0, **changes)).estimate
    assert estimate is not None
    assert estimate.upper is not None, estimate
    return estimate.upper


def read(facts: ModelFacts) -> Reading:
    return Reading(facts=facts)


def test_nodes_are_asked_about_all_of_it_at_once() -> None:
    """
    Until a node has told of adapter and draft it waits for the answers, and so does the instance.
    """
    plan = schedule(nodes(a_law=read(ADAPTER)), [wish(0, **WISHES)])

    assert {} == plan.placements
    assert {("nodes/a", EAGLE), ("nodes/b", LAW), ("nodes/b", EAGLE)} == set(plan.questions)
    unread = replace(nodes(), readings={})
    everything = {(node, path) for node in ("nodes/a", "nodes/b") for path in (PATH, LAW, EAGLE)}
    assert everything == set(schedule(unread, [wish(0, **WISHES)]).questions)
    rows = explain(nodes(), wish(0, **WISHES)).refusals
    assert {"MODEL_NOT_READ_YET"} == {row.reason for row in rows}
    assert "the adapter “law” at /models/law" in rows[0].message


def test_its_weights_are_claimed() -> None:
    """
    B3.1: adapters and drafts count as the model's weights do, 1.2 times.
    """
    whole = nodes(a_law=read(ADAPTER), b_law=read(ADAPTER), a_eagle=read(DRAFT), b_eagle=read(DRAFT))

    plain = needed(whole)
    assert 2 * GIB * 12 // 10 == needed(whole, lora_adapters=WISHES["lora_adapters"]) - plain
    assert 5 * GIB * 12 // 10 == needed(whole, **WISHES) - plain


def test_it_runs_where_all_of_it_lies() -> None:
    """
    A node that lacks the adapter says so, with its name and place; the other one takes the instance.
    """
    gone = Reading(error_reason="MODEL_NOT_FOUND", error_message="/models/law does not exist")
    snapshot = nodes(a_law=gone, b_law=read(ADAPTER))
    request = wish(0, lora_adapters=WISHES["lora_adapters"])
    placement = schedule(snapshot, [request]).placements[CHAT]

    assert ["nodes/b"] == [member.node for member in placement.members]
    pinned = wish(0, lora_adapters=WISHES["lora_adapters"], devices=("nodes/a/devices/GPU-0",))
    rows = explain(snapshot, pinned).refusals
    row = next(row for row in rows if row.reason == "MODEL_NOT_FOUND")
    assert "nodes/a cannot use the adapter “law” at /models/law: /models/law does not exist" in row.message


@pytest.mark.parametrize(("facts", "said"), [(DRAFT, "is a model, and an adapter is wanted there")])
def test_a_model_is_no_adapter(facts: ModelFacts, said: str) -> None:
    """
    What lies there has to be what it is meant to be.
    """
    snapshot = nodes(a_law=read(facts), b_law=read(facts))
    rows = explain(snapshot, wish(0, lora_adapters=WISHES["lora_adapters"])).refusals

    assert {"MODEL_UNFIT"} == {row.reason for row in rows}
    assert said in rows[0].message
