"""Worked examples of GGUF models on devices, in whole and in part; what parts hold is asked of the estimate."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from motorpool_controller.domain.fleet import MemoryKind
from motorpool_controller.domain.placement import Placement
from motorpool_controller.domain.sizes import GIB
from motorpool_controller.estimation.needs import needs_of
from motorpool_controller.estimation.offload import Offload
from motorpool_controller.scheduling.scheduler import explain, schedule
from motorpool_controller.scheduling.snapshot import Snapshot
from tests.controller.fleets import device
from tests.controller.scheduling.accelerators import BACKENDS, LLAMA_70B, cards, fleet, machine, wish

CHAT = "instances/chat-1"


def offload() -> Offload:
    """What the estimate says of the model with the defaults."""
    found = needs_of(LLAMA_70B, BACKENDS["gguf"], (), wish(0).spec).offload
    assert found is not None
    return found


def placed(snapshot: Snapshot, *parameters: str, **changes: Any) -> Placement | None:
    return schedule(snapshot, [wish(0, *parameters, backend="gguf", **changes)]).placements.get(CHAT)


def claims(placement: Placement | None) -> dict[str, int]:
    assert placement is not None
    return {claim.device_id: claim.memory_bytes for claim in placement.members[0].claim.devices}


def test_all_layers_on_one_card_come_first() -> None:
    """
    B9.4: 80 layers and the output's on a card of 80 GiB; the claim is the estimate's, and the input stays in the host.
    """
    full = offload().full
    placement = placed(fleet(machine("a", cards(2)), facts=LLAMA_70B))

    assert claims(placement) == {"GPU-0": full.devices[0].total}
    assert placement is not None
    assert (placement.offloaded_layers, placement.tensor_split) == (81, ())
    assert placement.members[0].claim.memory_bytes == full.host.total


def test_two_cards_share_the_layers_as_the_launch_says() -> None:
    """
    B9.5, A22: two cards of 24 GiB left hold 41 and 40 of 81 layers; claims, layers and split come from one sum.
    """
    placement = placed(fleet(machine("a", cards(4, 24)), facts=LLAMA_70B))
    parts = offload().split(81, (41, 40)).devices

    assert placement is not None
    assert placement.tensor_split == (41.0, 40.0)
    assert placement.offloaded_layers == 81
    assert claims(placement) == {"GPU-0": parts[0].total, "GPU-1": parts[1].total}


def test_unlike_cards_share_by_what_is_left() -> None:
    """
    B9.5: 40 GiB and 16 GiB get layers as 40 to 16: 58 and 23 of 81.
    """
    unlike = [device("GPU-0", memory=40 * GIB), device("GPU-1", memory=16 * GIB, index=1)]
    placement = placed(fleet(machine("a", unlike), facts=LLAMA_70B))

    assert placement is not None
    assert placement.tensor_split == (58.0, 23.0)


def test_the_users_split_is_taken() -> None:
    """
    B9.2: --tensor-split 3,1 divides 61 and 20 layers, though a card holds all of them.
    """
    placement = placed(fleet(machine("a", cards(2)), facts=LLAMA_70B), "-ts", "3,1")

    assert placement is not None
    assert placement.tensor_split == (61.0, 20.0)


def test_as_many_layers_as_fit_where_all_do_not() -> None:
    """
    B9.7: on one card of 16 GiB as many layers as the estimate allows, and the next would be too many.
    """
    placement = placed(fleet(machine("a", cards(1, 16)), facts=LLAMA_70B))
    assert placement is not None
    layers = placement.offloaded_layers or 0

    assert 0 < layers < 81
    assert offload().split(layers).devices[0].total <= 16 * GIB < offload().split(layers + 1).devices[0].total
    assert placement.members[0].claim.memory_bytes == offload().split(layers).host.total


def test_more_layers_win_over_all_nodes() -> None:
    """
    B9.7: a node with two cards of 12 GiB takes more layers than one with a card of 16 GiB.
    """
    verdict = explain(
        fleet(machine("a", cards(1, 16)), machine("b", cards(2, 12)), facts=LLAMA_70B), wish(0, backend="gguf")
    )

    assert {candidate.placement.members[0].node for candidate in verdict.candidates} == {"nodes/b"}


def test_layers_asked_for_by_number() -> None:
    """
    B9.3, B9.7: -ngl 20 puts 20 layers on a card that could hold all; all means no part, and none means no card.
    """
    roomy = fleet(machine("a", cards(1)), facts=LLAMA_70B)
    small = fleet(machine("a", cards(1, 16)), facts=LLAMA_70B)

    twenty = placed(roomy, "-ngl", "20")
    assert twenty is not None
    assert twenty.offloaded_layers == 20
    assert claims(twenty) == {"GPU-0": offload().split(20).devices[0].total}
    assert placed(small, "-ngl", "all") is None
    nothing = placed(roomy, "-ngl", "0")
    assert nothing is not None
    assert nothing.framework == "cpu"


def test_without_host_memory_there_is_no_part() -> None:
    """
    B9.3: cpu_offloading off means all layers on devices, or a refusal; -ngl 20 with it is a contradiction, and said.
    """
    small = fleet(machine("a", cards(1, 16)), facts=LLAMA_70B)
    request = wish(0, "-ngl", "20", backend="gguf", cpu_offloading=False)

    assert placed(small, cpu_offloading=False) is None
    assert "PARTIAL_OFFLOAD_OFF" in {row.reason for row in explain(small, request).refusals}


def test_processors_come_last() -> None:
    """
    B9.8: where no card holds a layer, the model runs in host memory.
    """
    placement = placed(fleet(machine("a", cards(1, 1)), facts=LLAMA_70B))

    assert placement is not None
    assert (placement.framework, placement.offloaded_layers) == ("cpu", 0)


def test_memory_that_is_the_hosts_holds_both_parts() -> None:
    """
    A11: a device of any index whose memory is the host's 64 GiB: what it claims and what the host claims come out of
    one pool, so that a second instance has no room.
    """
    shared = device("APU", memory=64 * GIB, index=7, memory_kind=MemoryKind.UNIFIED)
    snapshot = fleet(machine("a", [shared], memory=64 * GIB), facts=LLAMA_70B)
    requests = [wish(0, backend="gguf", name=f"chat-{number}", cpu_offloading=False) for number in (1, 2)]
    plan = schedule(snapshot, requests)

    assert list(plan.placements) == [CHAT]
    assert claims(plan.placements[CHAT]) == {"APU": offload().full.devices[0].total}


def test_pinned_cards_hold_the_layers_together() -> None:
    """
    B9.3: two pinned cards of a node hold what one does not; a number for each instance is kept.
    """
    snapshot = fleet(machine("a", cards(4, 24)), facts=LLAMA_70B)
    pins = ("nodes/a/devices/GPU-2", "nodes/a/devices/GPU-3")
    plan = schedule(snapshot, [wish(0, backend="gguf", devices=pins)])
    one = schedule(snapshot, [wish(0, backend="gguf", devices=pins, devices_per_instance=1, cpu_offloading=False)])

    assert list(claims(plan.placements[CHAT])) == ["GPU-2", "GPU-3"]
    assert one.placements == {}


def test_a_claim_by_hand_is_one_card() -> None:
    """
    A14: with a figure given by hand nothing is known of parts; it is one card, or host memory.
    """
    snapshot = fleet(machine("a", cards(2, 24)), facts=LLAMA_70B)
    request = replace(wish(20, backend="gguf"), name=CHAT)

    assert claims(schedule(snapshot, [request]).placements[CHAT]) == {"GPU-0": 20 * GIB}


def test_layers_are_not_divided_among_partitions() -> None:
    """
    A2: two partitions of 24 GiB are not the two cards of 24 GiB that hold all layers: one of them takes what it holds,
    and without host memory there is no place, and a row that says why.
    """
    parts = [replace(each, index=None, partition_of="CARD") for each in cards(2, 24)]
    snapshot = fleet(machine("a", parts), facts=LLAMA_70B)

    partial = placed(snapshot)

    assert partial is not None
    assert (1, ()) == (len(claims(partial)), partial.tensor_split)
    assert placed(snapshot, cpu_offloading=False) is None
    rows = explain(snapshot, wish(0, backend="gguf", cpu_offloading=False)).refusals
    assert ["nodes/a"] == [row.subject for row in rows if row.reason == "PARTITIONS_ALONE"]
