"""Processors of several nodes, and the number of nodes that a user asks for."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from motorpool_controller.domain.fleet import BackendVersion
from motorpool_controller.domain.placement import Placement, Refusal
from motorpool_controller.domain.sizes import GIB
from motorpool_controller.domain.workload import Strategy
from motorpool_controller.scheduling.scheduler import explain, schedule
from motorpool_controller.scheduling.snapshot import Request, Snapshot
from tests.controller.scheduling.accelerators import QWEN3_32B, VENDORS, backend, cards, fleet, machine, wish

CHAT = "instances/chat-1"
WEIGHTS = 10 * GIB
SMALL = replace(QWEN3_32B, weight_bytes=WEIGHTS)
VLLM = backend(
    "vllm",
    cpu=True,
    versions=(BackendVersion(version="1.0", frameworks=("cpu", *VENDORS)),),
    distributed_styles=("mp",),
)
FIXED = 3 * GIB
"""The framework's footprint and the least cache, which each node has whole (B3.1)."""


def hosts(**memory: int) -> Snapshot:
    """Nodes without devices, each with so many GiB, that have vLLM built for processors."""
    nodes = [machine(name, memory=gib * GIB) for name, gib in memory.items()]
    return fleet(*nodes, facts=SMALL, backends={"vllm": VLLM})


def placed(snapshot: Snapshot, request: Request) -> Placement | None:
    return schedule(snapshot, [request]).placements.get(CHAT)


def claims(placement: Placement | None) -> dict[str, int]:
    return {} if placement is None else {member.node: member.claim.memory_bytes for member in placement.members}


def row(snapshot: Snapshot, request: Request, reason: str) -> Refusal:
    return next(row for row in explain(snapshot, request).refusals if row.reason == reason)


def test_each_node_holds_its_part_and_the_engine_whole() -> None:
    """
    A6, A7: of 10 GiB of weights with 1.2 each of two nodes has half; footprint and cache are claimed on both.
    """
    placement = placed(hosts(a=64, b=64, c=64), wish(0, "--nnodes", "2", "--tensor-parallel-size", "2"))

    each = WEIGHTS * 12 // 10 // 2 + FIXED
    assert {"nodes/a": each, "nodes/b": each} == claims(placement)
    assert placement is not None
    assert ("cpu", "mp", {}) == (placement.framework, placement.style, placement.parallelism)


def test_without_parallel_sizes_each_node_has_a_rank_of_one_tensor_group() -> None:
    """
    B14.8: the size that the user does not give is the placement's.
    """
    placement = placed(hosts(a=64, b=64), wish(0, "--nnodes", "2"))

    assert placement is not None
    assert {"tp": 2} == placement.parallelism


@pytest.mark.parametrize(("other", "together"), [("/srv/vllm/bin/vllm", True), ("", True), ("another version", False)])
def test_an_engine_may_lie_elsewhere_on_each_node(other: str, together: bool) -> None:
    """
    Nodes with the same version at different places share an instance; with another version they do not.
    """
    version = replace(VLLM.versions[0], executable="/opt/vllm/bin/vllm")
    differing = replace(version, version="2.0") if other == "another version" else replace(version, executable=other)
    snapshot = hosts(a=64, b=64)
    profiles = {"a": replace(VLLM, versions=(version,)), "b": replace(VLLM, versions=(differing,))}
    nodes = {name: replace(node, profiles={"vllm": name[-1]}) for name, node in snapshot.nodes.items()}
    placement = placed(replace(snapshot, nodes=nodes, profiles=profiles), wish(0, "--nnodes", "2"))

    assert (placement is not None) == together


def test_one_node_is_taken_unless_more_are_asked_for() -> None:
    """
    Tensor parallelism alone does not leave a node whose processors can hold it.
    """
    for request in (wish(0, "--tensor-parallel-size", "2"), wish(0, "--nnodes", "1"), wish(0)):
        placement = placed(hosts(a=64, b=64), request)
        assert placement is not None
        assert ("", 1) == (placement.style, len(placement.members))


def test_too_few_nodes_with_enough_are_told() -> None:
    """
    The row has how many nodes are wanted, and how many have a part's memory left.
    """
    refusal = row(hosts(a=64, b=8, c=4), wish(0, "--nnodes", "2"), "NODES_FEW")

    assert (2, 1, "nodes") == (refusal.needed, refusal.available, refusal.resource)
    assert "of the 3 that may run it" in refusal.message


@pytest.mark.parametrize(
    ("parameters", "changes", "reason"),
    [
        (("--nnodes", "2"), {"distributed": False}, "NODES_UNAVAILABLE"),
        (("--nnodes", "2", "--tensor-parallel-size", "3"), {}, "NODES_INDIVISIBLE"),
        (("--nnodes", "0"), {}, "PARAMETER_INVALID"),
    ],
)
def test_a_number_of_nodes_that_cannot_be_is_refused(
    parameters: tuple[str, ...], changes: dict[str, Any], reason: str
) -> None:
    """
    Against the deployment's own word, or against the sizes beside it: the row says what to leave out.
    """
    snapshot = hosts(a=64, b=64)
    request = wish(0, *parameters, **changes)

    assert placed(snapshot, request) is None
    assert reason == row(snapshot, request, reason).reason


def test_a_claim_by_hand_is_each_nodes() -> None:
    """
    B1.1: what a user claims of host memory is of every node.
    """
    placement = placed(hosts(a=64, b=64), wish(0, "--nnodes", "2", claim_memory_bytes=5 * GIB))

    assert {"nodes/a": 5 * GIB, "nodes/b": 5 * GIB} == claims(placement)


def test_the_emptiest_nodes_are_left_for_others_where_that_is_wished() -> None:
    """
    B13.1: binpack takes the nodes with least left, spread the first by name among equals.
    """
    snapshot = hosts(a=200, b=64, c=40)

    assert ["nodes/c", "nodes/b"] == list(claims(placed(snapshot, wish(0, "--nnodes", "2", strategy=Strategy.BINPACK))))
    assert ["nodes/a", "nodes/b"] == list(claims(placed(snapshot, wish(0, "--nnodes", "2"))))


def test_devices_of_as_many_nodes_as_asked_for() -> None:
    """
    With devices, too, the number is met exactly: 8 devices on two nodes are four of each, though one has eight.
    """
    snapshot = fleet(*(machine(name, cards(8)) for name in "abc"), backends={"vllm": VLLM})
    placement = placed(
        snapshot, wish(60, "--nnodes", "2", "--tensor-parallel-size", "4", "--pipeline-parallel-size", "2")
    )

    assert placement is not None
    assert {"nodes/a": 4, "nodes/b": 4} == {each.node: len(each.claim.devices) for each in placement.members}
