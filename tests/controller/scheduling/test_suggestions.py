from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from motorpool_controller.domain.parameters import replaced
from motorpool_controller.domain.placement import Remedy, Suggestion
from motorpool_controller.domain.sizes import GIB
from motorpool_controller.domain.workload import Instance
from motorpool_controller.scheduling.scheduler import schedule
from motorpool_controller.scheduling.snapshot import Request, Snapshot
from motorpool_controller.scheduling.suggestions import MOST_DECISIONS, MOST_INSTANCES, advised
from motorpool_controller.scheduling.whatif import with_more
from tests.controller.fleets import OPTIONS, device, node, placed, request, snapshot
from tests.controller.scheduling.accelerators import LLAMA_70B, cards, fleet, machine, wish


def holding(on: str, device_id: str, gib: float) -> Instance:
    return placed(f"held-{on}-{device_id.lower()}", on=on, device_id=device_id, memory=int(gib * GIB), deployment="d/x")


def held(*claims: tuple[str, str, float]) -> list[Instance]:
    return [holding(*claim) for claim in claims]


def of(suggestions: Sequence[Suggestion], remedy: Remedy) -> Suggestion | None:
    return next((each for each in suggestions if each.remedy is remedy), None)


def applied(snapshot: Snapshot, requests: Sequence[Request], suggestion: Suggestion) -> bool:
    """Do what a suggestion says, and tell whether all fit."""
    if suggestion.option:
        spec = requests[0].spec
        parameters = replaced(spec.parameters, OPTIONS, suggestion.option, suggestion.value)
        changed = replace(spec, parameters=parameters)
        requests = [replace(each, spec=changed) for each in requests]
    else:
        like = snapshot.nodes[suggestion.like]
        alike = [
            each
            for each in like.devices
            if each.framework == suggestion.framework and suggestion.device_memory_bytes in {None, each.memory_bytes}
        ]
        names = [f"nodes/more-{number}" for number in range(suggestion.nodes)]
        like = replace(like, devices=tuple(alike[: suggestion.devices]))
        snapshot = with_more(snapshot, like, names)
    return len(schedule(snapshot, requests).placements) == len(requests)


def test_the_largest_fraction_is_what_is_left_of_a_device() -> None:
    """
    A26: of two 80 GiB devices 30 and 50 are held; 0.9 fits on neither, 50/80 = 0.625 on the first, and 20 GiB fit in.
    """
    there = fleet(machine("a", cards(2)), instances=held(("a", "GPU-0", 30), ("a", "GPU-1", 50)))
    found = of(advised(there, [wish(20)]).suggestions, Remedy.FRACTION)

    assert found is not None
    assert (found.option, found.value) == ("--gpu-memory-utilization", "0.625")
    assert found.message.startswith("It fits with --gpu-memory-utilization 0.625")


def test_a_larger_fraction_helps_a_model_that_needs_more_than_its_share() -> None:
    """
    74 GiB are more than 0.9 of 80, and less than 0.95; more than that is never told.
    """
    found = of(advised(fleet(machine("a", cards(1))), [wish(74)]).suggestions, Remedy.FRACTION)

    assert found is not None
    assert found.value == "0.95"


def test_two_instances_share_a_device_at_half_of_what_is_left() -> None:
    """
    One device of which 64 of 80 GiB are left takes two instances at 0.4.
    """
    there = fleet(machine("a", cards(1)), instances=held(("a", "GPU-0", 16)))
    found = of(advised(there, [wish(20), wish(20, name="chat-2")]).suggestions, Remedy.FRACTION)

    assert found is not None
    assert found.value == "0.4"
    assert found.message.startswith("All 2 instances fit")


def test_several_nodes_set_the_fraction_of_the_last_one_needed() -> None:
    """
    140 GiB over nodes of one device each, of which 70, 60 and 50 of 80 GiB are left: three at 0.625 give 150.
    """
    there = fleet(
        *(machine(name, cards(1)) for name in "abc"),
        instances=held(("a", "GPU-0", 10), ("b", "GPU-0", 20), ("c", "GPU-0", 30)),
    )
    found = of(advised(there, [wish(140)]).suggestions, Remedy.FRACTION)

    assert found is not None
    assert found.value == "0.625"


def test_the_option_takes_the_place_of_what_was_given() -> None:
    """
    A fraction that the user gave, by any of its spellings, is not there a second time.
    """
    given = ("--dtype auto --gpu_memory_utilization 0.8", "--max-num-seqs", "4")

    assert replaced(given, (), "--gpu-memory-utilization", "0.5") == (
        *("--dtype auto", "--max-num-seqs", "4"),
        *("--gpu-memory-utilization", "0.5"),
    )
    assert replaced(("-c", "4096", "-np", "2"), OPTIONS, "--ctx-size", "1024") == ("-np", "2", "--ctx-size", "1024")


def test_the_largest_context_that_fits() -> None:
    """
    SmolLM2 keeps 22.5 KiB a token: in 1 GiB of host memory there is room for less than the 32,768 asked for.
    """
    there = snapshot(node(memory=GIB))
    wished = request(parameters=("-c", "65536"))
    found = of(advised(there, [wished]).suggestions, Remedy.CONTEXT)

    assert found is not None
    assert found.option == "--ctx-size"
    largest = int(found.value)
    assert 1_024 <= largest < 65_536
    assert schedule(there, [request(parameters=("-c", str(largest)))]).placements
    assert not schedule(there, [request(parameters=("-c", str(largest + 256)))]).placements


def test_free_devices_of_a_kind_that_would_do() -> None:
    """
    100 GiB need two devices of 64 or of 80 GiB on one node; of the eight of each node one is free.
    """
    there = fleet(
        machine("a", cards(8)),
        machine("b", cards(8, 64, "cann", prefix="NPU")),
        instances=held(
            *(("a", f"GPU-{number}", 70) for number in range(1, 8)),
            *(("b", f"NPU-{number}", 60) for number in range(1, 8)),
        ),
    )
    found = [
        each for each in advised(there, [wish(100, distributed=False)]).suggestions if each.remedy is Remedy.DEVICES
    ]

    assert [(each.framework, each.device_memory_bytes, each.devices, each.present) for each in found] == [
        ("cuda", 80 * GIB, 2, 1),
        ("cann", 64 * GIB, 2, 1),
    ]
    assert {each.nodes for each in found} == {1}
    assert "with 2 cuda devices of 80.00 GiB on one node that nothing else uses" in found[0].message

    (beside, _) = [each for each in advised(there, [wish(100)]).suggestions if each.remedy is Remedy.DEVICES]
    assert (beside.devices, beside.nodes) == (1, 1)
    assert "together with what others have left" in beside.message


def test_nodes_that_would_do() -> None:
    """
    1,000 GiB are two nodes of eight devices at 0.9 of 80 GiB; one is there already.
    """
    found = of(advised(fleet(machine("a", cards(8))), [wish(1_000)]).suggestions, Remedy.DEVICES)

    assert found is not None
    assert (found.nodes, found.devices, found.like) == (1, 8, "nodes/a")


def test_replicas_want_as_many_nodes_more() -> None:
    """
    Five instances of one device each on one node of two: two more like it are the fewest that hold the other three.
    """
    requests = [wish(40, name=f"chat-{number}") for number in range(5)]
    found = of(advised(fleet(machine("a", cards(2))), requests).suggestions, Remedy.DEVICES)

    assert found is not None
    assert (found.nodes, found.message[:20]) == (2, "All 5 instances fit ")


def test_a_model_that_lives_in_host_memory_wants_another_machine() -> None:
    """
    Where no device is wanted, what helps is a node like the largest.
    """
    there = snapshot(node(memory=GIB), instances={"instances/x": placed("x", memory=GIB - 1, deployment="d/x")})
    found = of(advised(there, [request()]).suggestions, Remedy.DEVICES)

    assert found is not None
    assert (found.framework, found.nodes, found.devices, found.like) == ("cpu", 1, 0, "nodes/a")


@pytest.mark.parametrize(
    ("there", "requests"),
    [
        (fleet(machine("a", cards(1))), [wish(40)]),
        (fleet(machine("a", cards(1), cordoned=True)), [wish(40)]),
        (fleet(), [wish(40)]),
        (fleet(machine("a", cards(1))), []),
        (fleet(machine("a", cards(1))), [wish(79, name=f"chat-{n}") for n in range(MOST_INSTANCES + 1)]),
        (fleet(machine("a", cards(1))), [wish(40, "--tensor-parallel-size", "-1")]),
    ],
    ids=["it fits", "no node is admitted", "no node", "nothing is wished", "too many", "a fault of the parameters"],
)
def test_nothing_is_suggested_where_nothing_is_known_to_help(there: Snapshot, requests: list[Request]) -> None:
    """
    What fits needs no help, and what is refused for anything else than room gets none.
    """
    assert advised(there, requests).suggestions == ()


def test_pinned_devices_are_not_helped_by_others() -> None:
    """
    More nodes are none that the user pinned; a smaller fraction helps.
    """
    there = fleet(machine("a", cards(1)), instances=held(("a", "GPU-0", 40)))
    found = advised(there, [wish(20, devices=("nodes/a/devices/GPU-0",))]).suggestions

    assert [each.remedy for each in found] == [Remedy.FRACTION]


@st.composite
def tight(draw: st.DrawFn) -> tuple[Snapshot, list[Request]]:
    """Fleets of which much is held, and wishes that are often too large for them."""
    makes = [("cuda", 80), ("cuda", 24), ("cann", 64)]
    nodes, claims = [], []
    for name in "abc"[: draw(st.integers(1, 3))]:
        framework, gib = draw(st.sampled_from(makes))
        count = draw(st.sampled_from([1, 2, 4]))
        nodes.append(machine(name, cards(count, gib, framework, network_address="10.0.0.1"), memory=128 * GIB))
        claims += [(name, f"GPU-{number}", gib * draw(st.integers(0, 19)) / 20) for number in range(count)]
    backend = draw(st.sampled_from(["vllm", "sglang", "mindie", "generic_fraction", "fixed"]))
    gib = draw(st.sampled_from([0, 5, 20, 60, 100, 300]))
    replicas = draw(st.integers(1, 3))
    parameters = draw(st.sampled_from([(), ("--tensor-parallel-size", "2")]))
    parameters = parameters if backend in {"vllm", "sglang", "mindie"} else ()
    requests = [wish(gib, *parameters, backend=backend, name=f"chat-{number}") for number in range(replicas)]
    return fleet(*nodes, instances=held(*claims)), [replace(each, spec=requests[0].spec) for each in requests]


@settings(max_examples=60)
@given(tight())
def test_what_is_suggested_is_true(case: tuple[Snapshot, list[Request]]) -> None:
    """
    Do what a suggestion says, and everything fits; and the number of decisions that it took has a bound.
    """
    there, requests = case
    advice = advised(there, requests)

    assert advice.decisions <= MOST_DECISIONS
    for suggestion in advice.suggestions:
        assert applied(there, requests, suggestion), suggestion


@settings(max_examples=40)
@given(tight())
def test_no_larger_fraction_would_do(case: tuple[Snapshot, list[Request]]) -> None:
    """
    For one instance on a fraction, none of the hundredths above the suggested fraction fits, up to the most told.
    """
    there, requests = case
    found = of(advised(there, requests[:1]).suggestions, Remedy.FRACTION)
    if found is None:
        return

    for hundredths in range(int(float(found.value) * 100) + 1, 96):
        larger = replace(found, value=f"{hundredths / 100}")
        assert not applied(there, requests[:1], larger), larger


@settings(max_examples=25)
@given(st.integers(1, 40), st.sampled_from([4_096, 32_768, 131_072]), st.integers(0, 24))
def test_contexts_and_layers_are_true_too(gib: int, context: int, free: int) -> None:
    """
    A GGUF model of 40 GiB with contexts that do not fit: what is suggested does.
    """
    there = fleet(
        machine("a", [device(memory=24 * GIB)], memory=gib * GIB),
        facts=LLAMA_70B,
        instances=held(("a", "GPU-0", 24 - free)) if free < 24 else (),
    )
    requests = [wish(0, "-c", str(context), backend="gguf")]
    advice = advised(there, requests)

    assert advice.decisions <= MOST_DECISIONS
    for suggestion in advice.suggestions:
        assert applied(there, requests, suggestion), suggestion
