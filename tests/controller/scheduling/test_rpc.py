"""GGUF models on devices of several nodes (B9.6): not offered by any plugin yet, as agents start no RPC servers."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from motorpool_controller.domain.placement import Placement
from motorpool_controller.domain.sizes import GIB, MIB
from motorpool_controller.domain.workload import Instance, Strategy
from motorpool_controller.scheduling.columns import Columns
from motorpool_controller.scheduling.scheduler import _plan, explain, schedule
from motorpool_controller.scheduling.snapshot import Request, Snapshot
from tests.controller.fleets import placed
from tests.controller.scheduling.accelerators import BACKENDS, LLAMA_70B, backend, cards, fleet, machine, wish
from tests.controller.scheduling.reference import Reference, as_place

CHAT = "instances/chat-1"
MEMORY = st.sampled_from([*(64 * GIB,) * 6, 0, 100 * MIB])
RPC = {**BACKENDS, "gguf": backend("gguf", distributed_styles=("rpc",))}


def llama(*parameters: str, name: str = "chat-1", **changes: object) -> Request:
    return wish(0, *parameters, backend="gguf", name=name, **{"cpu_offloading": False, **changes})


def placement_of(there: Snapshot, request: Request) -> Placement:
    return schedule(there, [request]).placements[CHAT]


def devices(placement: Placement) -> list[tuple[str, list[str]]]:
    return [(each.node, [claim.device_id for claim in each.claim.devices]) for each in placement.members]


def held(on: str, device_id: str, gib: float) -> Instance:
    return placed(f"held-{on}-{device_id.lower()}", on=on, device_id=device_id, memory=int(gib * GIB), deployment="d/x")


def test_layers_are_divided_among_nodes_by_what_is_left() -> None:
    """
    B9.6: three nodes of one 24 GiB card: two hold 48 GiB, and the model's 39.6 GiB with 2 x (0.5 GiB of library and 0.5
    of buffers) fit. The leader is the first by name; the server comes first in the split, as the engine orders them.
    """
    there = fleet(*(machine(name, cards(1, 24)) for name in "abc"), facts=LLAMA_70B, backends=RPC)
    placement = placement_of(there, llama("-c", "2048"))

    assert devices(placement) == [("nodes/a", ["GPU-0"]), ("nodes/b", ["GPU-0"])]
    assert placement.offloaded_layers == 81
    assert placement.tensor_split == (41.0, 40.0)  # of 81 layers: ceil(40.5) to the server, the rest to the leader
    server, leader = placement.members[1].claim, placement.members[0].claim
    # 41 layers of 490 MiB are 19.62 GiB, their cache of 8 MiB each 0.32 GiB; library and buffers come on top.
    assert server.devices[0].memory_bytes > 41 * (513_802_240 + 8 * MIB) + 500 * MIB
    assert leader.devices[0].memory_bytes > 39 * (513_802_240 + 8 * MIB) + 500 * MIB  # and the output layer
    assert all(claim.devices[0].memory_bytes <= 24 * GIB for claim in (server, leader))


def test_followers_memory_is_claimed_too() -> None:
    """
    A7: a node that serves holds host memory for it, and one without any is passed over.
    """
    there = fleet(
        machine("a", cards(1, 24)),
        machine("b", cards(1, 24), memory=100 * MIB),
        machine("c", cards(1, 24)),
        facts=LLAMA_70B,
        backends=RPC,
    )
    placement = placement_of(there, llama("-c", "2048"))

    assert devices(placement) == [("nodes/a", ["GPU-0"]), ("nodes/c", ["GPU-0"])]
    assert placement.members[1].claim.memory_bytes == 150 * MIB


def test_the_node_with_most_left_leads_and_the_freest_devices_serve() -> None:
    """
    B9.6, A22: two cards of 16 GiB beat one of 24; of the others the one with 20 GiB left is taken before that with 10.
    """
    there = fleet(
        machine("a", cards(1, 24)),
        machine("b", cards(2, 16)),
        machine("c", cards(1, 24)),
        facts=LLAMA_70B,
        backends=RPC,
        instances=[held("a", "GPU-0", 14), held("c", "GPU-0", 4)],
    )
    placement = placement_of(there, llama("-c", "2048"))

    assert devices(placement) == [("nodes/b", ["GPU-0", "GPU-1"]), ("nodes/c", ["GPU-0"])]
    assert len(placement.tensor_split) == 3
    assert sum(placement.tensor_split) == 81


def test_one_node_comes_before_several_and_several_before_a_part() -> None:
    """
    B9.3: two devices of one node hold it all, so no other serves them; without the room, all layers on several nodes
    come before some on one.
    """
    roomy = fleet(machine("a", cards(2, 24)), machine("b", cards(2, 24)), facts=LLAMA_70B, backends=RPC)
    tight = fleet(machine("a", cards(1, 24)), machine("b", cards(1, 24)), facts=LLAMA_70B, backends=RPC)

    assert len(placement_of(roomy, llama("-c", "2048", cpu_offloading=None)).members) == 1
    placement = placement_of(tight, llama("-c", "2048", cpu_offloading=None))
    assert (len(placement.members), placement.offloaded_layers) == (2, 81)


def test_as_many_layers_as_fit_where_host_memory_may_hold_the_rest() -> None:
    """
    B9.6: two cards of 16 GiB do not hold 81 layers; with cpu_offloading as many as do are on them, else it is refused.
    """
    there = fleet(machine("a", cards(1, 16)), machine("b", cards(1, 16)), facts=LLAMA_70B, backends=RPC)

    placement = placement_of(there, llama("-c", "2048", cpu_offloading=True))
    assert len(placement.members) == 2
    assert 40 < (placement.offloaded_layers or 0) < 81

    verdict = explain(there, llama("-c", "2048"))
    (row,) = [row for row in verdict.refusals if row.reason == "NODES_SHORT"]
    assert (row.needed or 0) > (row.available or 0) == 32 * GIB
    assert "nodes/a can lead" in row.message


@pytest.mark.parametrize(
    ("styles", "distributed", "expected"),
    [(("rpc",), None, 2), (("rpc",), True, 2), (("rpc",), False, 0), ((), True, 0)],
)
def test_only_where_profile_and_wish_allow_it(styles: tuple[str, ...], distributed: bool | None, expected: int) -> None:
    """
    B9.3: it takes a profile that says how nodes are spanned, and a wish that does not forbid it.
    """
    backends = {**BACKENDS, "gguf": backend("gguf", distributed_styles=styles)}
    there = fleet(machine("a", cards(1, 24)), machine("b", cards(1, 24)), facts=LLAMA_70B, backends=backends)
    plan = schedule(there, [llama("-c", "2048", distributed=distributed)])

    assert len(plan.placements[CHAT].members if CHAT in plan.placements else ()) == expected


def test_layers_and_splits_that_are_asked_for_are_kept() -> None:
    """
    B9.6: ``-ngl 60`` puts exactly 60 there, ``--tensor-split`` names the devices of all nodes together, in its ratios.
    """
    there = fleet(*(machine(name, cards(1, 24)) for name in "abc"), facts=LLAMA_70B, backends=RPC)

    layers = placement_of(there, llama("-c", "2048", "-ngl", "60", cpu_offloading=True))
    assert (layers.offloaded_layers, len(layers.members)) == (60, 2)
    split = placement_of(there, llama("-c", "2048", "-ts", "2,1,1"))
    assert len(split.members) == 3
    assert split.tensor_split == (41.0, 20.0, 20.0)


@st.composite
def cases(draw: st.DrawFn) -> tuple[Snapshot, Request]:
    """Fleets of cards too small for the model, some of them in use."""
    nodes, instances = [], []
    for name in "abcd"[: draw(st.integers(2, 4))]:
        framework = draw(st.sampled_from(["cuda", "cuda", "cuda", "rocm"]))
        count, gib = draw(st.sampled_from([1, 1, 2, 3])), draw(st.sampled_from([12, 16, 24, 24]))
        nodes.append(machine(name, cards(count, gib, framework), memory=draw(MEMORY)))
        instances += [
            held(name, f"GPU-{number}", gib * draw(st.integers(1, 8)) / 8)
            for number in range(count)
            if draw(st.integers(0, 3)) == 0
        ]
    parameters = draw(st.sampled_from([(), (), ("-ngl", "40"), ("-ngl", "99"), ("-ts", "3,1,1")]))
    request = llama(
        "-c",
        str(draw(st.sampled_from([2_048, 32_768]))),
        *parameters,
        strategy=draw(st.sampled_from(list(Strategy))),
        cpu_offloading=draw(st.sampled_from([None, True, False, False])),
        devices_per_instance=draw(st.sampled_from([0, 0, 0, 3])),
    )
    return fleet(*nodes, facts=LLAMA_70B, backends=RPC, instances=instances), request


@settings(max_examples=150)
@given(cases())
def test_it_finds_what_the_reference_finds(case: tuple[Snapshot, Request]) -> None:
    """
    B9.6: the same places as the slow selector's, claim by claim, with the same scores.
    """
    there, request = case
    expected = Reference(there, request).places()
    verdict = _plan(there, [request], Columns.of(there), 10_000, rows=True).verdicts[request.name]

    assert expected == {as_place(candidate.placement): candidate.score for candidate in verdict.candidates}


@pytest.mark.promise("P2")
@settings(max_examples=50)
@given(cases(), st.integers(2, 4))
def test_no_device_is_oversold(case: tuple[Snapshot, Request], count: int) -> None:
    """
    B9.6, A7: with several of a plan, each device and each node's memory holds all that is claimed of it.
    """
    there, request = case
    requests = [replace(request, name=f"instances/chat-{number}") for number in range(count)]
    plan = schedule(there, requests)
    placements = [*plan.placements.values(), *(each.placement for each in there.instances.values() if each.placement)]
    for node in there.nodes.values():
        claims = [member.claim for each in placements for member in each.members if member.node == node.name]
        assert sum(claim.memory_bytes for claim in claims) <= (node.host.memory_bytes or 0)
        for card in node.devices:
            held_here = [
                part.memory_bytes for claim in claims for part in claim.devices if part.device_id == card.device_id
            ]
            assert sum(held_here) <= (card.memory_bytes or 0)
