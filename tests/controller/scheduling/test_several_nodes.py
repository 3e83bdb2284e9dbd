"""Worked examples of several nodes, pinned devices and plans of many requests; the sums stand in the tests."""

from __future__ import annotations

from dataclasses import replace

import pytest

from motorpool_controller.domain.fleet import Device
from motorpool_controller.domain.placement import Claim, DeviceClaim, Member, Placement, Refusal
from motorpool_controller.domain.sizes import GIB
from motorpool_controller.domain.workload import ExtendedKvCache, Instance, Strategy
from motorpool_controller.scheduling.scheduler import Plan, explain, schedule
from motorpool_controller.scheduling.snapshot import Request, Snapshot
from tests.controller.fleets import placed
from tests.controller.scheduling.accelerators import QWEN3_32B, backend, cards, fleet, machine, wish

CHAT = "instances/chat-1"


def counts(plan: Plan, name: str = CHAT) -> dict[str, int]:
    """How many devices are taken of each node."""
    placement = plan.placements.get(name)
    return {} if placement is None else {member.node: len(member.claim.devices) for member in placement.members}


def reasons(snapshot: Snapshot, request: Request) -> dict[str, Refusal]:
    """Rows of an explanation, the last of each reason."""
    return {row.reason: row for row in explain(snapshot, request).refusals}


def gang(*nodes: str, backend: str = "vllm") -> Instance:
    """An instance that spans nodes, on the second card of each."""
    members = tuple(
        Member(node=f"nodes/{node}", claim=Claim(devices=(DeviceClaim("GPU-1", GIB),)), rank=rank)
        for rank, node in enumerate(nodes)
    )
    placement = Placement(members=members, framework="cuda", backend=backend, backend_version="1.0")
    return replace(placed("gang", memory=0), deployment="deployments/big", placement=placement)


def test_two_nodes_hold_what_one_does_not() -> None:
    """
    B6.7: 600 GiB need nine shares of 72 GiB; a node of eight gives 576 GiB, two give 1,152. Each claims its share.
    """
    plan = schedule(fleet(*(machine(name, cards(8)) for name in "abc")), [wish(600)])

    assert counts(plan) == {"nodes/a": 8, "nodes/b": 8}
    members = plan.placements[CHAT].members
    assert {claim.memory_bytes for member in members for claim in member.claim.devices} == {77_309_411_328}
    assert [member.rank for member in members] == [0, 1]
    assert plan.placements[CHAT].memory_fraction == 0.9


def test_a_world_of_twelve_on_nodes_of_eight() -> None:
    """
    A4: twelve devices are six on each of two nodes; with tensor groups of four, four on each of three.
    """
    snapshot = fleet(*(machine(name, cards(8)) for name in "abc"))

    assert counts(schedule(snapshot, [wish(100, "-pp", "12")])) == {"nodes/a": 6, "nodes/b": 6}
    assert counts(schedule(snapshot, [wish(100, "-tp", "4", "-pp", "3")])) == {
        "nodes/a": 4,
        "nodes/b": 4,
        "nodes/c": 4,
    }


def test_a_world_that_cannot_be_met_exactly_is_refused() -> None:
    """
    A4, A9, A16: eleven devices on nodes of eight are eleven nodes of one, or none; never eight or sixteen. SGLang too.
    """
    snapshot = fleet(*(machine(name, cards(8)) for name in "abc"))

    assert counts(schedule(snapshot, [wish(100, "-pp", "11")])) == {}
    assert counts(schedule(snapshot, [wish(100, "--pp-size", "11", backend="sglang")])) == {}
    assert counts(schedule(snapshot, [wish(100, "--tp", "8", "--pp", "3", backend="sglang")])) == {
        "nodes/a": 8,
        "nodes/b": 8,
        "nodes/c": 8,
    }


def test_groups_of_data_parallelism_stay_whole() -> None:
    """
    B6.8: four replicas of tensor size four, two on each node as --data-parallel-size-local says; three on a node are
    refused.
    """
    snapshot = fleet(*(machine(name, cards(8)) for name in "ab"))
    groups = ("-tp", "4", "-dp", "4")

    assert counts(schedule(snapshot, [wish(10, *groups, "-dpl", "2")])) == {"nodes/a": 8, "nodes/b": 8}
    assert counts(schedule(snapshot, [wish(10, *groups, "-dpl", "4")])) == {}


def test_without_a_fraction_every_node_claims_its_part() -> None:
    """
    A6: an embedding model of 100 GiB on two nodes of one card claims 50 GiB on each, and not nothing.
    """
    facts = replace(QWEN3_32B, categories=("embedding",), architectures=("BertModel",))
    plan = schedule(fleet(machine("a", cards(1)), machine("b", cards(1)), facts=facts), [wish(100)])

    assert [member.claim.devices[0].memory_bytes for member in plan.placements[CHAT].members] == [50 * GIB, 50 * GIB]


def test_host_memory_is_claimed_on_every_node() -> None:
    """
    A7: the extended cache takes 100 GiB of each node; a node with 90 GiB cannot take part, and the third does.
    """
    nodes = [machine("a", cards(8)), machine("b", cards(8), memory=90 * GIB), machine("c", cards(8))]
    cache = ExtendedKvCache(enabled=True, memory_bytes=100 * GIB)
    plan = schedule(fleet(*nodes), [wish(600, extended_kv_cache=cache)])

    assert counts(plan) == {"nodes/a": 8, "nodes/c": 8}
    assert [member.claim.memory_bytes for member in plan.placements[CHAT].members] == [100 * GIB, 100 * GIB]


def test_followers_claims_count() -> None:
    """
    A7: what an instance holds on its second node is not given away, and neither is its host memory.
    """
    first = schedule(fleet(machine("a", cards(1)), machine("b", cards(1))), [wish(100)]).placements[CHAT]
    standing = replace(placed("big", memory=0), deployment="deployments/big", placement=first)
    snapshot = fleet(machine("a", cards(1)), machine("b", cards(1)), instances=[standing])

    assert schedule(snapshot, [wish(60)]).placements == {}
    assert {row.subject for row in explain(snapshot, wish(60)).refusals if row.reason == "FRACTION_SHORT"} == {
        "nodes/a/devices/GPU-0",
        "nodes/b/devices/GPU-0",
    }


def test_one_instance_that_spans_nodes_on_each_node() -> None:
    """
    A15: with Ray a node takes part in one such instance of the backend; others are refused it by name, a backend that
    spans nodes in another way is not.
    """
    nodes = [machine(name, cards(8)) for name in "ab"]
    request = wish(600, "--gpu-memory-utilization", "0.8")
    busy = fleet(*nodes, instances=[gang("a", "b")])
    free = fleet(*nodes, instances=[gang("a", "b", backend="sglang")])
    mp = fleet(*nodes, instances=[gang("a", "b")], backends={"vllm": backend("vllm", distributed_styles=("mp",))})

    assert counts(schedule(busy, [request])) == {}
    assert "instances/gang" in reasons(busy, request)["DISTRIBUTED_BUSY"].message
    assert "vllm" in reasons(busy, request)["DISTRIBUTED_BUSY"].message
    assert counts(schedule(free, [request])) == {"nodes/a": 8, "nodes/b": 8}
    assert counts(schedule(mp, [request])) == {"nodes/a": 8, "nodes/b": 8}


def test_a_backend_that_spans_no_nodes_says_so() -> None:
    """
    B1.1: the flag is a gate; without a distributed style there is nothing behind it.
    """
    snapshot = fleet(
        machine("a", cards(8)), machine("b", cards(8)), backends={"vllm": backend("vllm", distributed_styles=())}
    )

    assert "DISTRIBUTED_UNSUPPORTED" in reasons(snapshot, wish(600, distributed=True))
    assert counts(schedule(fleet(machine("a", cards(8)), machine("b", cards(8))), [wish(600, distributed=False)])) == {}


def test_the_best_combination_is_told() -> None:
    """
    B6.7, A23: the row has what the best nodes give together, and what is needed.
    """
    snapshot = fleet(*(machine(f"n{number}", cards(2)) for number in range(5)))
    row = reasons(snapshot, wish(1000))["NODES_SHORT"]

    assert (row.needed, row.available) == (1000 * GIB, 10 * 77_309_411_328)
    assert "nodes/n0, nodes/n1, nodes/n2 and 2 more with 2 devices each" in row.message


def test_quiet_nodes_come_before_the_first_by_name() -> None:
    """
    A20: of equal nodes those take part that have least of the deployment, then of others, then by name; with binpack
    those with least left.
    """
    nodes = [machine(name, cards(2)) for name in "abc"]
    held = [placed("x", on="a", memory=4 * GIB, device_id="GPU-0", deployment="deployments/x")]
    spread = wish(200, "-tp", "1", "-pp", "4")

    assert counts(schedule(fleet(*nodes, instances=held), [spread])) == {"nodes/b": 2, "nodes/c": 2}
    packed = replace(spread, spec=replace(spread.spec, strategy=Strategy.BINPACK))
    assert counts(schedule(fleet(*nodes, instances=held), [packed])) == {"nodes/a": 2, "nodes/b": 2}


def test_mindie_takes_no_more_nodes_than_it_needs_and_devices_that_are_reachable() -> None:
    """
    A10, B8.5: of three nodes with eight NPUs of 64 GiB the fewest that hold 600 GiB (0.8 x 64 x 16 = 819.2), and NPUs
    without an address of their own do not take part.
    """
    npus = cards(8, 64, framework="cann", network_address="10.0.0.1")
    deaf = cards(8, 64, framework="cann")
    snapshot = fleet(machine("a", deaf), machine("b", npus), machine("c", npus), machine("d", npus))

    assert counts(schedule(snapshot, [wish(600, backend="mindie")])) == {"nodes/b": 8, "nodes/c": 8}


def test_pinned_devices_by_the_number() -> None:
    """
    B5.1, B1.1: two of four pinned devices for each instance; without a number the largest power of two.
    """
    snapshot = fleet(machine("a", cards(4)))
    pins = tuple(f"nodes/a/devices/GPU-{number}" for number in range(3))

    assert counts(schedule(snapshot, [wish(10, devices=pins, devices_per_instance=1)])) == {"nodes/a": 1}
    assert counts(schedule(snapshot, [wish(10, devices=pins)])) == {"nodes/a": 2}
    assert "DEVICES_DIFFER" in reasons(snapshot, wish(10, "-tp", "2", devices=pins, devices_per_instance=3))


def test_pinned_devices_go_through_the_same_checks() -> None:
    """
    A16: what is left counts for pinned devices too, with a fraction or without; overcommit is asked for, and recorded.
    """
    facts = replace(QWEN3_32B, categories=("embedding",), architectures=("BertModel",))
    held = [placed("x", memory=79 * GIB, device_id="GPU-0", deployment="deployments/x")]
    pins = ("nodes/a/devices/GPU-0",)
    for snapshot in (
        fleet(machine("a", cards(2)), instances=held),
        fleet(machine("a", cards(2)), instances=held, facts=facts),
    ):
        plan = schedule(snapshot, [wish(10, devices=pins, allow_overcommit=True)])

        assert schedule(snapshot, [wish(10, devices=pins)]).placements == {}
        assert plan.placements[CHAT].overcommitted
        assert schedule(snapshot, [wish(10, devices=pins, allow_overcommit=True, replicas=2)]).placements == {}


def test_pinned_devices_on_several_nodes_need_not_be_as_many_on_each() -> None:
    """
    B5.4-5, A4: three pinned devices, two here and one there, are one pipeline of three; four cannot be had of them.
    """
    snapshot = fleet(machine("a", cards(2)), machine("b", cards(2)))
    pins = ("nodes/a/devices/GPU-0", "nodes/a/devices/GPU-1", "nodes/b/devices/GPU-0")

    assert counts(schedule(snapshot, [wish(100, devices=pins, devices_per_instance=3)])) == {"nodes/a": 2, "nodes/b": 1}


def test_pinned_devices_of_two_kinds_make_no_instance() -> None:
    """
    B5.4-1: an instance that wants all pinned devices cannot have NVIDIA and AMD cards.
    """
    snapshot = fleet(machine("a", cards(1)), machine("b", cards(1, framework="rocm")))
    pins = ("nodes/a/devices/GPU-0", "nodes/b/devices/GPU-0")

    assert "DEVICES_MIXED" in reasons(snapshot, wish(100, devices=pins))


def test_pins_that_are_not_there_and_too_little_host_memory_are_rows() -> None:
    """
    A12: both are told.
    """
    snapshot = fleet(machine("a", cards(1), memory=GIB))
    rows = reasons(
        snapshot,
        wish(
            10,
            devices=("nodes/a/devices/GPU-7", "nodes/a/devices/GPU-0"),
            devices_per_instance=1,
            extended_kv_cache=ExtendedKvCache(enabled=True, memory_bytes=2 * GIB),
        ),
    )

    assert rows["DEVICE_UNKNOWN"].subject == "nodes/a/devices/GPU-7"
    assert (rows["MEMORY_SHORT"].needed, rows["MEMORY_SHORT"].available) == (2 * GIB, GIB)


def test_requests_of_one_plan_see_the_former() -> None:
    """
    A7, P2: of nine instances on a node of eight cards the ninth is refused, and its row names who is there.
    """
    requests = [wish(60, name=f"chat-{number}") for number in range(9)]
    plan = schedule(fleet(machine("a", cards(8))), requests)

    assert len(plan.placements) == 8
    (row,) = (row for row in plan.refusals["instances/chat-8"] if row.reason == "FRACTION_SHORT")
    assert row.count == 8
    assert row.holders[0].startswith("instances/chat-")


def test_an_instance_does_not_compete_with_itself() -> None:
    """
    A8: an instance that stands on its card may be placed there again.
    """
    standing = placed(memory=72 * GIB, device_id="GPU-0")

    assert explain(fleet(machine("a", cards(1)), instances=[standing]), wish(60)).placement is not None


def test_partitions_are_devices_and_their_parent_is_none() -> None:
    """
    Issue 5: a card that is cut into partitions is not offered; a partition is, and claims do not cross.
    """
    parent, part = cards(1)[0], replace(cards(1, 40)[0], device_id="MIG-0", partition_of="GPU-0")
    snapshot = fleet(machine("a", [parent, part]))
    placement = schedule(snapshot, [wish(30)]).placements[CHAT]

    assert [claim.device_id for claim in placement.members[0].claim.devices] == ["MIG-0"]
    assert "DEVICE_PARTITIONED" in reasons(snapshot, wish(30))


def partitions(gib: int, *parents: str) -> list[Device]:
    """A partition of each of these cards: MIG-0, MIG-1 …"""
    every = cards(len(parents), gib, prefix="MIG")
    return [replace(each, index=None, partition_of=parent) for each, parent in zip(every, parents, strict=True)]


@pytest.mark.parametrize("parents", [("GPU-0", "GPU-0"), ("GPU-0", "GPU-1")])
@pytest.mark.parametrize(
    "request_",
    [wish(60), wish(60, "--tensor-parallel-size", "2"), wish(30, devices_per_instance=2), wish(60, distributed=True)],
)
def test_partitions_are_not_taken_together(parents: tuple[str, ...], request_: Request) -> None:
    """
    A2: an engine reaches one partition: two of 40 GiB, of one card or of two, of one node or of two, hold no model of
    60 GiB, and no pair that was asked for; the row names the node and says so.
    """
    cut = [*cards(len(set(parents))), *partitions(40, *parents)]

    verdict = explain(fleet(machine("a", cut), machine("b", partitions(40, *parents))), request_)

    assert verdict.placement is None
    rows = {row.subject: row for row in verdict.refusals if row.reason == "PARTITIONS_ALONE"}
    assert {"nodes/a", "nodes/b"} == set(rows)
    assert rows["nodes/b"].message.startswith("nodes/b has 2 cuda partitions, and each works alone: ")


def test_pinned_partitions_are_not_taken_together() -> None:
    """
    A2 with A16: a user who pins two partitions for one instance, beyond what is left of them or not, is refused.
    """
    names = ("nodes/a/devices/MIG-0", "nodes/a/devices/MIG-1")
    pinned = wish(30, devices=names, devices_per_instance=2, allow_overcommit=True)

    verdict = explain(fleet(machine("a", partitions(40, "GPU-0", "GPU-0"))), pinned)

    assert (None, True) == (verdict.placement, "PARTITIONS_ALONE" in {row.reason for row in verdict.refusals})


def test_a_whole_card_is_not_taken_with_a_partition() -> None:
    """
    A2: of a node with two whole cards and two partitions the cards are taken together, and the partitions are not.
    """
    mixed = machine("a", [*cards(2, prefix="CARD"), *partitions(80, "GPU-0", "GPU-1")])

    (member,) = schedule(fleet(mixed), [wish(120)]).placements[CHAT].members

    assert {"CARD-0", "CARD-1"} == {claim.device_id for claim in member.claim.devices}
