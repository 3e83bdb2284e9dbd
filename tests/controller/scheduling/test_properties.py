from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from random import Random
from typing import TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from motorpool_controller.domain.fleet import Device, DeviceUsage, MemoryKind, Node, NodeState, NodeUsage, Reserved
from motorpool_controller.domain.sizes import MIB
from motorpool_controller.domain.workload import Instance, Strategy
from motorpool_controller.scheduling.scheduler import schedule
from motorpool_controller.scheduling.snapshot import Request, Snapshot
from tests.controller.fleets import NOW, device, node, placed, request, snapshot

_Thing = TypeVar("_Thing")

_MEMORY = st.sampled_from([6_000, 3_000, 12_000, 1_500, 700, 0, None]).map(lambda size: size and size * MIB)
_RESERVED = st.sampled_from([0, 0, 300, 2_000]).map(lambda size: size * MIB)
_SHARE = st.integers(0, 8).map(lambda eighths: eighths / 8)
_RARELY = st.integers(0, 7).map(lambda number: number == 7)


@st.composite
def _devices(draw: st.DrawFn) -> list[Device]:
    return [
        device(
            f"GPU-{index}",
            memory=draw(_MEMORY),
            index=index,
            framework="cann" if draw(_RARELY) else "cuda",
            memory_kind=MemoryKind.UNIFIED if draw(_RARELY) else MemoryKind.DEDICATED,
            cordoned=draw(_RARELY),
        )
        for index in range(draw(st.integers(0, 2)))
    ]


@st.composite
def _nodes(draw: st.DrawFn) -> list[Node]:
    return [
        node(
            f"n{number}",
            memory=draw(_MEMORY),
            devices=draw(_devices()),
            reserved=Reserved(memory_bytes=draw(_RESERVED), device_memory_bytes=draw(_RESERVED)),
            cordoned=draw(_RARELY),
            state=NodeState.UNREACHABLE if draw(_RARELY) else NodeState.READY,
        )
        for number in range(draw(st.integers(1, 3)))
    ]


@st.composite
def _usage(draw: st.DrawFn, of: Node) -> NodeUsage:
    total = of.host.memory_bytes or 0
    used, own = draw(_used(total))
    return NodeUsage(
        measure_time=NOW,
        memory_used_bytes=used,
        memory_available_bytes=None if draw(_RARELY) else total - used,
        memory_own_bytes=own,
        devices=tuple(
            DeviceUsage(device_id=each.device_id, used_bytes=taken, own_bytes=ours)
            for each in of.devices
            for taken, ours in [draw(_used(each.memory_bytes or 0))]
        ),
    )


@st.composite
def _used(draw: st.DrawFn, total: int) -> tuple[int, int | None]:
    used = int(total * draw(_SHARE))
    return used, None if draw(_RARELY) else int(used * draw(_SHARE))


@st.composite
def fleets(draw: st.DrawFn) -> Snapshot:
    """Fleets of all kinds whose claims so far fit."""
    nodes = draw(_nodes())
    usage = {each.name: draw(_usage(each)) for each in nodes if not draw(_RARELY)}
    instances: dict[str, Instance] = {}
    for each in nodes:
        room = (each.host.memory_bytes or 0) - each.reserved.memory_bytes
        if room > 0:
            name = f"standing-{each.name[6:]}"
            standing = placed(name, on=each.name[6:], memory=int(room * draw(_SHARE)))
            instances[standing.name] = replace(standing, deployment=draw(st.sampled_from(["deployments/chat", "x"])))
    return snapshot(*nodes, usage=usage, instances=instances)


@st.composite
def wishes(draw: st.DrawFn) -> list[Request]:
    context = draw(st.sampled_from([256, 4096, 8192, 32768]))
    layers = draw(st.sampled_from([(), ("-ngl", "0"), ("-ngl", "99")]))
    strategy = draw(st.sampled_from(list(Strategy)))
    return [
        request(f"chat-{number}", parameters=("-c", str(context), *layers), strategy=strategy)
        for number in range(draw(st.integers(1, 6)))
    ]


@pytest.mark.promise("P2")
@given(fleets(), wishes())
def test_claims_never_exceed_what_is_there(fleet: Snapshot, requests: list[Request]) -> None:
    """
    Whatever the fleet, its use and the wishes: claims stay within each memory less what is reserved, and there is room
    for all of them, used or not yet, beside what strangers use.
    """
    plan = schedule(fleet, requests)
    standing = {name: each.placement for name, each in fleet.instances.items()}
    new = plan.placements
    for each in fleet.nodes.values():
        unified = {card.device_id for card in each.devices if card.memory_kind is MemoryKind.UNIFIED}
        limits = {"": (each.host.memory_bytes, each.reserved.memory_bytes)} | {
            card.device_id: (card.memory_bytes, each.reserved.device_memory_bytes) for card in each.devices
        }
        held: dict[str, int] = dict.fromkeys(limits, 0)
        added: dict[str, int] = dict.fromkeys(limits, 0)
        for placements, sums in ((standing, held), (new, added)):
            for placement in placements.values():
                for member in placement.members if placement else ():
                    if member.node == each.name:
                        sums[""] += member.claim.memory_bytes
                        for part in member.claim.devices:
                            sums[part.device_id] += part.memory_bytes
                            sums[""] += part.memory_bytes if part.device_id in unified else 0
        measured = fleet.usage.get(each.name)
        for key, (total, reserved) in limits.items():
            if not added[key]:
                continue
            assert total is not None
            assert held[key] + added[key] <= total - reserved
            assert measured is not None
            cards = {card.device_id: card for card in measured.devices}
            used = measured.memory_used_bytes if key == "" else cards[key].used_bytes
            own = measured.memory_own_bytes if key == "" else cards[key].own_bytes
            assert used is not None
            strangers = used - own if own is not None else 0
            assert strangers + max(held[key], own or 0) + added[key] <= total
            assert used + added[key] <= total


@pytest.mark.promise("P11")
@given(fleets(), wishes(), st.randoms(use_true_random=False))
def test_the_order_of_nodes_does_not_matter(fleet: Snapshot, requests: list[Request], chance: Random) -> None:
    """
    Shuffle nodes, devices, usage and instances: the plan is the same to the last row and score.
    """

    def shuffled(things: Iterable[_Thing]) -> list[_Thing]:
        return chance.sample(list(things), len(list(things)))

    mixed = replace(
        fleet,
        nodes={
            each.name: replace(each, devices=tuple(shuffled(each.devices))) for each in shuffled(fleet.nodes.values())
        },
        instances=dict(shuffled(fleet.instances.items())),
    )

    assert schedule(mixed, requests) == schedule(fleet, requests)


@pytest.mark.promise("P4")
@given(fleets(), wishes())
def test_a_failed_verdict_has_its_rows(fleet: Snapshot, requests: list[Request]) -> None:
    """
    Every request is placed, or has at least one row that says why not; and each row says what it is about.
    """
    plan = schedule(fleet, requests)

    for wish in requests:
        rows = plan.refusals[wish.name]
        assert wish.name in plan.placements or rows
        assert all(row.stage and row.reason and row.subject and row.message.endswith(".") for row in rows)
        assert all(0 <= candidate.score <= 100 for candidate in plan.candidates[wish.name])
