"""What was placed once can be adopted as it was; what has no room, or is made of another spec, is refused in rows."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from motorpool_controller.domain.fleet import NodeState
from motorpool_controller.domain.hub_files import HubFile, HubModel
from motorpool_controller.domain.pinning import pinned_source
from motorpool_controller.domain.sizes import GIB
from motorpool_controller.domain.workload import Deployment, Instance, InstanceState, ModelSource, SourceKind
from motorpool_controller.reconcile.adoption import Around, Found, adopted, is_full, waiting
from motorpool_controller.reconcile.adoption_rows import refusals
from motorpool_controller.reconcile.world import Report, World
from tests.controller.fleets import NOW, deployment, device, node, placed, world
from tests.controller.reconcile.deciding import settled

HUB = ModelSource(kind=SourceKind.HUGGING_FACE, repository="o/n", file="m.gguf")
FOUND = HubModel(commit="c" * 40, files=(HubFile(path="m.gguf", size_bytes=7),))


def lost(**spec: Any) -> tuple[World, Instance]:
    """
    Place a deployment's instance on a node with a card; return the world, and the instance.
    """
    rested = settled(world([node("a", devices=[device()])], [deployment(**spec)]))
    [instance] = rested.instances.values()
    assert instance.placement is not None
    return rested, instance


def found(of: World, instance: Instance, **changes: Any) -> Found:
    """
    What its node says of it, once no record knows it.
    """
    assert instance.assignment is not None
    report = Report(assignment_id=instance.uid, generation=1, state=InstanceState.QUARANTINED, pid=7)
    return Found(node=of.nodes["nodes/a"], report=report, assignment=replace(instance.assignment, **changes))


def around(of: World, *beside: Instance, wish: Deployment | None = None) -> Around:
    standing = wish or of.deployments["deployments/chat"]
    return Around(
        deployment=standing,
        siblings=tuple(each for each in beside if each.deployment == standing.name),
        beside=tuple(each for each in beside if each.placement is not None),
        profiles=of.profiles,
        declared=of.declared,
    )


@pytest.mark.parametrize(
    "spec",
    [
        {},
        {"parameters": ("--ctx-size 2048 --threads 4", "--unheard x")},
        {"parameters": ("-ngl 12",)},
        {"env": {"A": "b"}, "restart_on_error": False, "served_model_name": "it"},
        {"devices": ("nodes/a/devices/GPU-0",)},
        {"claim_memory_bytes": GIB, "claim_device_memory_bytes": GIB},
        {"backend": "llama-box", "match_labels": {}},
        {"packages": ("p==1",), "image": "i:1"},
    ],
)
def test_whatever_was_placed_can_be_adopted(spec: dict[str, Any]) -> None:
    """
    Of any spec, what a decision placed is an instance again, with the same place, claim and assignment.
    """
    before, instance = lost(**spec)
    told = found(before, instance)
    there = around(before)

    assert () == refusals(told, there)
    made = adopted(told, there, NOW)
    assert instance.placement is not None
    assert replace(instance.placement, score=0.0) == made.placement
    assert instance.assignment == made.assignment
    assert (instance.name, instance.uid, instance.template_generation) == (
        made.name,
        made.uid,
        made.template_generation,
    )
    assert (7, True) == (made.pid, made.adopted)


def test_the_fleet_rests_after_an_adoption() -> None:
    """
    Put into the records, it is what its deployment wishes for: nothing is placed or stopped.
    """
    before, instance = lost()
    made = adopted(found(before, instance), around(before), NOW)
    after = settled(replace(before, instances={made.name: made}))

    assert {made.name: made} == after.instances


@pytest.mark.parametrize(("gib", "expected"), [(23, set()), (24, {"CLAIMS_TOO_LARGE"})], ids=["fits", "does not fit"])
def test_claims_of_others_are_left_to_them(gib: int, expected: set[str]) -> None:
    """
    A claim that fits beside those of others is taken; else the row says what is left, and who has the rest.
    """
    before, instance = lost(claim_memory_bytes=GIB // 4, claim_device_memory_bytes=GIB)
    other = placed("other-1", memory=gib * GIB, device_id="GPU-0", deployment="deployments/other")
    rows = refusals(found(before, instance), around(before, other))

    assert expected == {row.reason for row in rows}
    for row in rows:
        assert (GIB, 0, ("instances/other-1",)) == (row.needed, row.available, row.holders)


@pytest.mark.parametrize(
    ("model", "revision", "expected"),
    [
        # Looked up: the commit that was found.
        (True, "", set()),
        (True, "d" * 40, {"SPEC_DIFFERS"}),
        # Not looked up yet: any commit of the default branch, and no other revision than the one that is named.
        (False, "", set()),
        (False, "d" * 40, set()),
    ],
)
def test_a_model_of_a_hub_is_compared_as_it_was_pinned(model: bool, revision: str, expected: set[str]) -> None:
    """
    An instance has its hub's commit; its deployment knows it, or was made again and does not yet.
    """
    before, instance = lost()
    wish = deployment(model=HUB, backend="llama_cpp")
    if model:
        wish = replace(wish, hub_models=((HUB, FOUND),))
    told = pinned_source(HUB, FOUND)
    if revision:
        told = replace(told, revision=revision)
    rows = refusals(found(before, instance, model=replace(told, commit="")), around(before, wish=wish))

    assert expected == {row.reason for row in rows}


def test_one_that_waits_gives_way() -> None:
    """
    Of a deployment that is complete the youngest that waits for a place gives way; without one it is full.
    """
    before, instance = lost()
    old = replace(placed("chat-2"), placement=None, assignment=None)
    young = replace(old, name="instances/chat-3", uid="u3", create_time=NOW)
    two = around(before, old, young, wish=deployment(replicas=2))
    full = around(before, placed("chat-2"), wish=deployment())

    assert young is waiting(two, instance.uid)
    assert not is_full(two, instance.uid)
    assert waiting(full, instance.uid) is None
    assert is_full(full, instance.uid)
    assert "REPLICAS_COMPLETE" in {row.reason for row in refusals(found(before, instance), full)}


def test_a_node_that_is_away_is_not_believed() -> None:
    """
    What a node that counts as lost said is no adoption's ground, nor an instance's that leaves with its deployment.
    """
    before, instance = lost()
    away = replace(found(before, instance), node=replace(before.nodes["nodes/a"], state=NodeState.UNREACHABLE))
    leaving = around(before, wish=replace(deployment(), delete_time=NOW))

    assert {"NODE_NOT_READY"} == {row.reason for row in refusals(away, around(before))}
    assert {"DEPLOYMENT_LEAVES"} == {row.reason for row in refusals(found(before, instance), leaving)}
