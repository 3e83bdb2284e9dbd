from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from random import Random
from typing import TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from motorpool_controller.domain.fleet import (
    BackendVersion,
    Device,
    DeviceUsage,
    Executor,
    Health,
    MemoryKind,
    Node,
    NodeState,
    NodeUsage,
    Reserved,
)
from motorpool_controller.domain.placement import Claim, Member, Placement
from motorpool_controller.domain.sizes import GIB
from motorpool_controller.domain.workload import ExtendedKvCache, Instance, InstanceState, Strategy
from motorpool_controller.scheduling.columns import Columns
from motorpool_controller.scheduling.scheduler import _plan, explain, schedule
from motorpool_controller.scheduling.snapshot import Reading, Request, Snapshot
from tests.controller.fleets import NOW, PATH, device, placed
from tests.controller.scheduling.accelerators import (
    BACKENDS,
    LLAMA_70B,
    QWEN3_32B,
    VENDORS,
    backend,
    fleet,
    machine,
    wish,
)
from tests.controller.scheduling.reference import Reference, as_place

# They take seconds; but what fails is made small first, for up to five minutes, and a time-out would hide what it was.
pytestmark = pytest.mark.timeout(420)

_Thing = TypeVar("_Thing")

SIZES = st.sampled_from([80, 80, 80, 40, 24, 64]).map(lambda gib: gib * GIB)
ODD_SIZES = st.sampled_from([None, 0, -1, (1 << 63) - 1, 1])
RARELY = st.integers(0, 9).map(lambda number: number == 9)
SHARE = st.integers(0, 8).map(lambda eighths: eighths / 8)
# Of an agent that does not tell, of one with a container engine, and of those without, each in words of its own.
PROCESS = Executor(executor="process", works=True)
EXECUTORS = st.sampled_from(
    [(), (PROCESS, Executor(executor="docker", works=True))]
    + [(PROCESS, Executor(executor="docker", works=False, message=words)) for words in ("it is off", "it hangs")]
)
ON_PROCESSORS = backend(
    "vllm",
    cpu=True,
    versions=(BackendVersion(version="1.0", frameworks=("cpu", *VENDORS)),),
    distributed_styles=("mp",),
)
MODELS = st.sampled_from([("vllm", 0.9), ("sglang", 0.8), ("mindie", 0.8), ("generic_fraction", 0.9), ("fixed", 0.0)])


@st.composite
def devices(draw: st.DrawFn, *, tidy: bool) -> list[Device]:
    """Devices of one node: alike, or of two sizes, or sometimes odd in every way."""
    sizes, framework = [draw(SIZES)], draw(st.sampled_from(["cuda", "cuda", "cuda", "rocm", "cann"]))
    if not tidy and draw(st.booleans()):
        sizes.append(draw(SIZES))
    found: list[Device] = []
    cut = draw(RARELY)
    for index in range(draw(st.sampled_from([0, 1, 2, 2, 4, 4, 8]))):
        odd = not tidy and draw(RARELY)
        kind = draw(st.sampled_from(sorted(VENDORS))) if odd else framework
        found.append(
            device(
                f"GPU-{index}",
                memory=draw(st.one_of(SIZES, ODD_SIZES) if odd else st.sampled_from(sizes)),
                index=index,
                framework=kind,
                vendor=VENDORS[kind],
                memory_kind=MemoryKind.UNIFIED if odd and draw(RARELY) else MemoryKind.DEDICATED,
                cordoned=odd and draw(RARELY),
                health=Health.UNHEALTHY if odd and draw(RARELY) else Health.HEALTHY,
                partition_of=_parent(draw, index, cut=cut, odd=odd),
                network_address="" if odd and draw(st.booleans()) else f"10.0.0.{index}",
            )
        )
    return found


def _parent(draw: st.DrawFn, index: int, *, cut: bool, odd: bool) -> str:
    """Of a node whose cards are cut, two or three of four devices are partitions; else a rare one is."""
    if cut:
        return f"GPU-{index // 4 * 4}" if index % 4 else draw(st.sampled_from(["", "GPU-X"]))
    return "GPU-0" if odd and index and draw(RARELY) else ""


@st.composite
def nodes(draw: st.DrawFn) -> list[Node]:
    """A few nodes."""
    tidy = draw(st.booleans())
    return [
        machine(
            f"n{number}",
            draw(devices(tidy=tidy)),
            memory=512 * GIB if tidy else draw(st.sampled_from([512 * GIB, 512 * GIB, 64 * GIB, 0, None])),
            reserved=Reserved(
                memory_bytes=draw(st.sampled_from([0, 0, 4 * GIB])),
                device_memory_bytes=draw(st.sampled_from([0, 0, 0, 2 * GIB])),
            ),
            cordoned=not tidy and draw(RARELY),
            executors=draw(EXECUTORS),
            state=NodeState.UNREACHABLE if not tidy and draw(RARELY) else NodeState.READY,
        )
        for number in range(draw(st.integers(2, 5) if tidy else st.integers(0, 5)))
    ]


def _of_card(draw: st.DrawFn, card: Device) -> DeviceUsage:
    used = int(max(card.memory_bytes or 0, 0) * (draw(SHARE) / 8)) if draw(RARELY) else 0
    return DeviceUsage(device_id=card.device_id, used_bytes=None if draw(RARELY) else used, own_bytes=0)


@st.composite
def fleets(draw: st.DrawFn) -> Snapshot:
    """Fleets with claims on some of their devices."""
    every = draw(nodes())
    measured = {
        each.name: NodeUsage(
            measure_time=NOW,
            memory_used_bytes=0,
            memory_available_bytes=each.host.memory_bytes,
            memory_own_bytes=0,
            devices=tuple(_of_card(draw, card) for card in each.devices),
        )
        for each in every
        if not draw(RARELY)
    }
    instances: list[Instance] = []
    some = draw(st.booleans())
    for each in every:
        for card in each.devices:
            room = max((card.memory_bytes or 0) - each.reserved.device_memory_bytes, 0)
            if some and draw(st.booleans()) and room < 1 << 50:
                instances.append(
                    replace(
                        placed(
                            f"{each.name[6:]}-{card.device_id.lower()}",
                            on=each.name[6:],
                            memory=int(room * draw(SHARE)),
                            device_id=card.device_id,
                        ),
                        deployment=draw(st.sampled_from(["deployments/chat", "deployments/x"])),
                        state=draw(st.sampled_from([InstanceState.RUNNING, InstanceState.SCHEDULED])),
                    )
                )
    if len(every) > 1 and draw(RARELY):
        instances.append(_gang(every[:2], draw(st.sampled_from(["vllm", "sglang"]))))
    heads = draw(st.sampled_from([(64, 8), (64, 8), (40, 8), (14, 2), (32, 1)]))
    facts = replace(
        QWEN3_32B,
        heads=heads[0],
        kv_heads=heads[1],
        vocab_size=draw(st.sampled_from([151_936, 151_669])),
        vision_heads=draw(st.sampled_from([None, None, 16])),
        categories=draw(st.sampled_from([("llm",), ("llm",), ("llm",), ("embedding",), ("image",)])),
        architectures=("BertModel",),
    )
    backends = {**BACKENDS, "vllm": ON_PROCESSORS} if draw(st.booleans()) else BACKENDS
    return fleet(*every, facts=facts, instances=instances, measured=measured, backends=backends)


def _gang(of: list[Node], backend: str) -> Instance:
    members = tuple(Member(node=each.name, claim=Claim(devices=()), rank=rank) for rank, each in enumerate(of))
    standing = placed("gang", on="n0", memory=0)
    return replace(
        standing,
        deployment="deployments/big",
        placement=Placement(members=members, framework="cuda", backend=backend, backend_version="1.0"),
    )


@st.composite
def wishes(draw: st.DrawFn, fleet_of: Snapshot) -> Request:
    """One request of any kind."""
    backend, _ = draw(MODELS)
    parameters: list[str] = []
    if backend != "fixed":
        for option in ("--tensor-parallel-size", "--pipeline-parallel-size", "--data-parallel-size"):
            if draw(st.integers(0, 4)) == 4:
                parameters += [option, str(draw(st.sampled_from([1, 2, 2, 3, 4, 8])))]
    if backend == "vllm" and draw(st.integers(0, 3)) == 3:
        parameters += ["--nnodes", str(draw(st.sampled_from([1, 2, 2, 3])))]
    if backend == "vllm" and draw(RARELY):
        parameters += ["--gpu-memory-utilization", str(draw(st.sampled_from([0.3, 0.5, 1, 0])))]
    everything = [f"{node.name}/devices/{card.device_id}" for node in fleet_of.nodes.values() for card in node.devices]
    rarely: bool = draw(RARELY)
    pins = draw(
        st.lists(st.sampled_from(everything or ["none"]), unique=True, max_size=6 * (rarely and bool(everything)))
    )
    per_instance = draw(st.sampled_from([0, 0, 0, 0, 2, 4]))
    return wish(
        draw(st.sampled_from([10, 30, 60, 70, 100, 140, 300, 600, 1000])),
        *parameters,
        backend=backend,
        image="engine:1" if draw(RARELY) else "",
        strategy=draw(st.sampled_from(list(Strategy))),
        devices=tuple(pins),
        devices_per_instance=min(per_instance, len(pins)) if pins else per_instance,
        distributed=draw(st.sampled_from([None, None, False, True])),
        cpu_offloading=draw(st.sampled_from([None, True, False])),
        extended_kv_cache=draw(
            st.sampled_from(
                [None, None, ExtendedKvCache(enabled=True), ExtendedKvCache(enabled=True, memory_bytes=GIB)]
            )
        ),
    )


@st.composite
def cases(draw: st.DrawFn) -> tuple[Snapshot, Request]:
    """A fleet and a request."""
    made = draw(fleets())
    return made, draw(wishes(made))


@given(cases())
def test_every_strategy_finds_what_the_reference_finds(case: tuple[Snapshot, Request]) -> None:
    """
    The same places with the same scores, in every stage, whatever the inventory; the best by score, then by name.
    """
    snapshot, request = case
    expected = Reference(snapshot, request).places()
    verdict = _plan(snapshot, [request], Columns.of(snapshot), 10_000, rows=True).verdicts[request.name]
    actual = {as_place(candidate.placement): candidate.score for candidate in verdict.candidates}

    assert expected == actual
    assert len(expected) == verdict.places
    if expected:
        best = min(
            expected,
            key=lambda place: (-expected[place], place.parts[0][0], tuple(part[0] for part in place.parts[0][2])),
        )
        assert verdict.placement is not None
        assert as_place(verdict.placement).parts[0][0] == best.parts[0][0]


@settings(max_examples=50)
@given(fleets(), st.data())
def test_columns_follow_changes_as_if_made_anew(before: Snapshot, data: st.DataObject) -> None:
    """
    Columns that followed a fleet from one state to another decide as columns made of the latter.
    """
    after = data.draw(fleets())
    request = data.draw(wishes(after))
    columns = Columns.of(before)
    schedule(before, [request], columns)
    columns.follow(after)

    assert schedule(after, [request], columns) == schedule(after, [request])


@given(fleets(), st.data())
def test_a_search_that_goes_on_finds_what_one_made_anew_finds(made: Snapshot, data: st.DataObject) -> None:
    """
    A plan that keeps up what it found for the instance before says of each instance what one says that looks anew.
    """
    read = {key: reading for key, reading in made.readings.items() if data.draw(st.integers(0, 4))}
    having = frozenset(name for name in made.nodes if data.draw(st.booleans()))
    wished = [replace(data.draw(wishes(made)), deployment=f"deployments/{name}") for name in "ab"]
    files = {wished[0].spec.model: having} if data.draw(RARELY) else {}
    order = data.draw(st.lists(st.tuples(st.sampled_from([0, 0, 0, 0, 0, 1]), st.integers(1, 6)), max_size=4))
    wanted = [each for number, count in order for each in [wished[number]] * count]
    requests = [replace(each, name=f"instances/{number}") for number, each in enumerate(wanted)]
    snapshot = replace(made, readings=read, files=files)
    anew = schedule(snapshot, requests).verdicts
    going_on = schedule(snapshot, requests, frugal=True).verdicts

    assert {name: replace(each, candidates=each.candidates[:1]) for name, each in anew.items()} == going_on


@pytest.mark.promise("P2")
@settings(max_examples=50)
@given(cases(), st.integers(2, 6))
def test_many_requests_of_one_plan_never_oversell(case: tuple[Snapshot, Request], count: int) -> None:
    """
    Each placement of a plan fits beside all claims before it, on every node that it spans (A7).
    """
    snapshot, wished = case
    requests = [replace(wished, name=f"instances/chat-{number}") for number in range(count)]
    plan = schedule(snapshot, requests)
    standing = dict(snapshot.instances)
    for request in requests:
        placement = plan.placements.get(request.name)
        if placement is None:
            continue
        sums = Reference(replace(snapshot, instances=standing), replace(request, name="none"))
        for member in placement.members:
            node = snapshot.nodes[member.node]
            cards = {card.device_id: card for card in node.devices}
            shared = 0
            for claim in member.claim.devices:
                left = sums.left(node, cards[claim.device_id])
                assert left is not None
                assert claim.memory_bytes <= left
                shared += claim.memory_bytes if cards[claim.device_id].memory_kind is MemoryKind.UNIFIED else 0
            if member.claim.memory_bytes + shared:
                host = sums.left(node, None)
                assert host is not None
                assert member.claim.memory_bytes + shared <= host
            assert node.state is NodeState.READY
            assert not node.cordoned
            assert len({claim.device_id for claim in member.claim.devices}) == len(member.claim.devices)
        made = placed(request.name.rpartition("/")[2])
        standing[request.name] = replace(
            made, deployment=request.deployment, placement=placement, state=InstanceState.SCHEDULED
        )


@pytest.mark.promise("P11")
@given(cases(), st.randoms(use_true_random=False))
def test_the_order_of_everything_does_not_matter(case: tuple[Snapshot, Request], chance: Random) -> None:
    """
    Nodes, devices, measurements and instances may come in any order: plan, rows and scores are the same.
    """

    def shuffled(things: Iterable[_Thing]) -> list[_Thing]:
        return chance.sample(list(things), len(list(things)))

    snapshot, request = case
    mixed = replace(
        snapshot,
        nodes={
            each.name: replace(each, devices=tuple(shuffled(each.devices)))
            for each in shuffled(snapshot.nodes.values())
        },
        instances=dict(shuffled(snapshot.instances.items())),
        usage=dict(shuffled(snapshot.usage.items())),
    )

    assert explain(mixed, request) == explain(snapshot, request)


@settings(max_examples=50)
@given(cases(), nodes())
def test_more_nodes_never_make_a_fitting_request_unfit(case: tuple[Snapshot, Request], added: list[Node]) -> None:
    """
    What fits a fleet fits it with further nodes, whatever these are.
    """
    snapshot, request = case
    if not schedule(snapshot, [request]).placements:
        return
    more = {f"nodes/more-{each.name[6:]}": replace(each, name=f"nodes/more-{each.name[6:]}") for each in added}
    larger = fleet(*snapshot.nodes.values(), *more.values())
    facts = next(iter(snapshot.readings.values()))
    larger = replace(
        larger,
        profiles=snapshot.profiles,
        instances=snapshot.instances,
        usage={**larger.usage, **snapshot.usage},
        readings=dict.fromkeys(larger.readings, facts),
    )
    larger = replace(
        larger, usage={name: usage for name, usage in larger.usage.items() if name in snapshot.usage or name in more}
    )

    assert schedule(larger, [request]).placements


@settings(max_examples=50)
@given(cases(), SIZES)
def test_a_device_more_never_makes_a_fitting_request_unfit(case: tuple[Snapshot, Request], size: int) -> None:
    """
    What fits a fleet fits it when a node gets another device, however large.
    """
    snapshot, request = case
    if request.spec.devices or not schedule(snapshot, [request]).placements:
        return
    for name, node in sorted(snapshot.nodes.items())[:2]:
        if name not in snapshot.usage:
            continue
        framework = node.devices[0].framework if node.devices else "cuda"
        card = device("NEW", memory=size, index=99, framework=framework, vendor=VENDORS[framework])
        usage = snapshot.usage[name]
        more = replace(
            snapshot,
            nodes={**snapshot.nodes, name: replace(node, devices=(*node.devices, card))},
            usage={
                **snapshot.usage,
                name: replace(usage, devices=(*usage.devices, DeviceUsage(device_id="NEW", used_bytes=0, own_bytes=0))),
            },
        )

        assert schedule(more, [request]).placements


@pytest.mark.promise("P4")
@given(cases())
def test_rows_say_what_recomputing_says(case: tuple[Snapshot, Request]) -> None:
    """
    A failed verdict has rows; what a row says was needed and there is what the reference finds there.
    """
    snapshot, request = case
    verdict = explain(snapshot, request)
    sums = Reference(snapshot, request)

    assert verdict.placement is not None or verdict.refusals
    for row in verdict.refusals:
        assert row.stage
        assert row.reason
        assert row.subject
        assert row.message.endswith(".")
        node_name, _, device_id = row.subject.partition("/devices/")
        node = snapshot.nodes.get(node_name)
        if row.needed is not None and row.available is not None and row.reason != "NODES_SHORT":
            assert row.available < row.needed
        if node is None or row.count > 1 or row.resource not in {"device memory", "host memory"}:
            continue
        card = next((card for card in node.devices if card.device_id == device_id), None)
        if row.reason == "MEMORY_UNKNOWN":
            assert sums.left(node, card) is None
        elif row.reason in {"MEMORY_SHORT", "FRACTION_SHORT"}:
            assert sums.left(node, card) == row.available
        elif row.reason == "SHARE_SHORT":
            assert card is not None
            assert row.available is not None
            assert row.available <= (card.memory_bytes or 0)


@st.composite
def layered(draw: st.DrawFn) -> tuple[Snapshot, Request]:
    """A fleet and a GGUF model of 40 GiB that its devices may hold in whole, in part or not at all."""
    tidy = draw(st.booleans())
    shrink = draw(st.sampled_from([1, 4, 8]))
    every = [
        machine(
            f"n{number}",
            [
                replace(card, memory_bytes=card.memory_bytes and (card.memory_bytes // shrink or card.memory_bytes))
                for card in draw(devices(tidy=tidy))
            ],
            memory=draw(st.sampled_from([512 * GIB, 512 * GIB, 20 * GIB, 8 * GIB])),
        )
        for number in range(draw(st.integers(1, 4)))
    ]
    instances = [
        replace(
            placed(
                f"{each.name[6:]}-{card.device_id.lower()}",
                on=each.name[6:],
                memory=int((card.memory_bytes or 0) * draw(SHARE)),
                device_id=card.device_id,
            ),
            deployment=draw(st.sampled_from(["deployments/chat", "deployments/x"])),
        )
        for each in every
        for card in each.devices
        if 0 < (card.memory_bytes or 0) < 1 << 50 and draw(RARELY)
    ]
    parameters = draw(
        st.sampled_from([(), (), (), ("-ngl", "20"), ("-ngl", "all"), ("-ts", "3,1"), ("-c", "65536"), ("-ngl", "0")])
    )
    everything = [f"{node.name}/devices/{card.device_id}" for node in every for card in node.devices if card.device_id]
    pins = tuple(everything[:3]) if draw(RARELY) else ()
    request = wish(
        0,
        *parameters,
        backend="gguf",
        strategy=draw(st.sampled_from(list(Strategy))),
        cpu_offloading=draw(st.sampled_from([None, True, False])),
        devices=pins,
        devices_per_instance=draw(st.sampled_from([0, 0, 0, 2])) if len(pins) > 1 or not pins else 0,
    )
    return fleet(*every, facts=LLAMA_70B, instances=instances), request


@given(layered())
def test_layers_lie_where_the_reference_puts_them(case: tuple[Snapshot, Request]) -> None:
    """
    All layers on one device, on the fewest of a node, the most that fit anywhere, or host memory: the same places and
    scores as the slow selector finds (B9.3 to B9.8).
    """
    snapshot, request = case
    expected = Reference(snapshot, request).places()
    verdict = _plan(snapshot, [request], Columns.of(snapshot), 10_000, rows=True).verdicts[request.name]

    assert expected == {as_place(candidate.placement): candidate.score for candidate in verdict.candidates}
    assert verdict.placement is not None or verdict.refusals


def test_answers_about_a_path_are_kept_as_long_as_a_node_stands_by_one() -> None:
    """
    A path that no node has an answer about any more takes no room in the columns, however it went.
    """
    both = fleet(machine("a"), machine("b"))
    columns = Columns.of(both)
    asked = columns.answers(PATH)

    columns.follow(replace(both, nodes={"nodes/a": both.nodes["nodes/a"]}))
    one = columns.answers(PATH)
    columns.follow(replace(both, readings={}))

    assert ["nodes/a"] == list(asked) == list(one)
    assert {"nodes/a": Reading()} == columns.answers(PATH)
    assert not columns._answers
