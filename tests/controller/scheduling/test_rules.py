"""Rules that concern filters, parameters and the order of things; and that every rule has a test that names it."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from motorpool_controller.domain.fleet import Host, NodeState
from motorpool_controller.domain.placement import Refusal
from motorpool_controller.domain.sizes import GIB
from motorpool_controller.domain.workload import InstanceState
from motorpool_controller.reconcile.draft import Draft
from motorpool_controller.reconcile.ranking import worth
from motorpool_controller.scheduling.scheduler import explain, schedule
from motorpool_controller.scheduling.snapshot import Request, Snapshot
from tests.controller.fleets import NOW, node, placed, world
from tests.controller.scheduling.accelerators import LLAMA_70B, QWEN3_32B, backend, cards, fleet, machine, wish

CHAT = "instances/chat-1"
TESTS = Path(__file__).resolve().parents[2]

OURS = tuple(f"A{number}" for number in range(1, 30))
KEPT = (
    *("B4.1", "B4.2", "B4.3", "B4.4", "B5.1", "B5.2", "B5.3", "B5.4", "B5.5", "B5.6"),
    *("B6.1", "B6.2", "B6.3", "B6.4", "B6.5", "B6.6", "B6.7", "B6.8", "B7.1", "B7.2"),
    *("B8.1", "B8.2", "B8.3", "B8.4", "B8.5", "B9.1", "B9.2", "B9.3", "B9.4", "B9.5", "B9.6", "B9.7", "B9.8", "B9.9"),
    *("B10", "B13.1", "B13.2", "B13.3"),
)
OWED: dict[str, str] = {}
"""Rules of the published selectors without a test, and why."""


def reasons(snapshot: Snapshot, request: Request) -> dict[str, Refusal]:
    """Rows of an explanation, the last of each reason."""
    return {row.reason: row for row in explain(snapshot, request).refusals}


def test_every_rule_has_a_test_that_names_it() -> None:
    """
    All rows of ours, and each section of the published rules that is kept, stand in the sentence of some test.
    """
    pattern = re.compile(r"\b([AB]\d+(?:\.\d+)?)\b")
    named = {
        rule
        for path in TESTS.rglob("test_*.py")
        if path != Path(__file__)
        for rule in pattern.findall(path.read_text())
    }
    named |= set(pattern.findall(Path(__file__).read_text().partition("def test_filters_come")[2]))

    assert [rule for rule in (*OURS, *KEPT) if rule not in named] == []
    assert [rule for rule in OWED if rule in named] == []


def test_filters_come_in_their_order_and_the_first_names_the_reason() -> None:
    """
    B4.1: pins, labels, state, backend: a node that fails several is told of the first.
    """
    lost = machine("a", cards(1), state=NodeState.UNREACHABLE, profiles={})
    pinned = wish(10, devices=("nodes/b/devices/GPU-0",), match_labels={"zone": "x"})
    snapshot = fleet(lost, machine("b", cards(1)))

    assert {row.subject: row.reason for row in explain(snapshot, pinned).refusals} == {
        "nodes/a": "NOT_PINNED",
        "nodes/b": "LABELS_DIFFER",
    }
    rows = explain(snapshot, wish(10, match_labels={"zone": "x"})).refusals
    assert [row.reason for row in rows] == ["LABELS_DIFFER", "LABELS_DIFFER"]
    assert reasons(snapshot, wish(10)).keys() == {"NODE_UNREACHABLE"}


def test_a_version_serves_the_frameworks_it_says() -> None:
    """
    B4.2: of a backend's versions one that runs on the node's cards is enough; the first that does is taken.
    """
    old = replace(backend("vllm").versions[0], version="0.9", frameworks=("rocm",))
    new = replace(backend("vllm").versions[0], version="1.0", frameworks=("cuda",))
    backends = {"vllm": backend("vllm", versions=(old, new))}
    placement = schedule(fleet(machine("a", cards(1)), backends=backends), [wish(10)]).placements[CHAT]

    assert placement.backend_version == "1.0"
    npus = fleet(machine("a", cards(1, framework="cann")), backends=backends)
    assert "FRAMEWORK_UNSUPPORTED" in reasons(npus, wish(10))


def test_processors_are_those_of_the_version() -> None:
    """
    A29: no label stands for arm64 or amd64: a version that names both runs on both, one that names amd64 does not.
    """
    arm = machine("a", cards(1), host=Host(os="linux", architecture="arm64", memory_bytes=512 * GIB))
    both = replace(backend("vllm").versions[0], operating_systems=("linux",), architectures=("amd64", "arm64"))
    alone = replace(both, architectures=("amd64",))

    assert schedule(fleet(arm, backends={"vllm": backend("vllm", versions=(both,))}), [wish(10)]).placements
    assert "PLATFORM_UNSUPPORTED" in reasons(
        fleet(arm, backends={"vllm": backend("vllm", versions=(alone,))}), wish(10)
    )


def test_a_vllm_for_processors_runs_in_host_memory() -> None:
    """
    Where a node's vLLM was built for processors, an instance takes the estimate and the least cache of host memory; a
    claim by hand as it is; and who asks for device memory, or forbids processors, gets none.
    """
    here = replace(backend("vllm").versions[0], frameworks=("cpu",))
    snapshot = fleet(machine("a"), backends={"vllm": backend("vllm", versions=(here,), cpu=True)})
    estimate = QWEN3_32B.weight_bytes * 120 // 100 + 2 * GIB

    def taken(request: Request) -> list[int]:
        return [
            placement.members[0].claim.memory_bytes for placement in schedule(snapshot, [request]).placements.values()
        ]

    assert taken(wish(0)) == [estimate + GIB]
    assert taken(wish(0, claim_memory_bytes=90 * GIB)) == [90 * GIB]
    assert taken(wish(70)) == taken(wish(0, cpu_offloading=False)) == []
    assert reasons(snapshot, wish(70)).keys() == {"NO_DEVICE"}


def test_the_highest_score_wins_and_the_runner_up_is_kept() -> None:
    """
    B4.4, A20: of three nodes the quiet ones come first, and among them the first by name.
    """
    held = [placed("x", on="a", memory=GIB, device_id="GPU-1", deployment="deployments/x")]
    verdict = schedule(fleet(*(machine(name, cards(2)) for name in "abc"), instances=held), [wish(60)]).verdicts[CHAT]

    assert [candidate.placement.members[0].node for candidate in verdict.candidates] == ["nodes/b", "nodes/b"]
    assert verdict.placement == verdict.candidates[0].placement
    assert verdict.places == 6


def test_a_claim_is_the_whole_share_or_the_need() -> None:
    """
    B5.3: with a fraction the share of the card, truncated to a byte; without one the need.
    """
    odd = fleet(machine("a", [replace(cards(1)[0], memory_bytes=80 * GIB + 7)]))
    share = schedule(odd, [wish(60)]).placements[CHAT].members[0].claim.devices[0].memory_bytes

    assert share == int((80 * GIB + 7) * 0.9)


def test_of_overcommitted_devices_those_with_most_left_are_taken() -> None:
    """
    B5.5: a single instance goes to the pinned card with the most left, and is marked; it is no place otherwise.
    """
    held = [
        placed("x", memory=70 * GIB, device_id="GPU-0", deployment="deployments/x"),
        placed("y", memory=50 * GIB, device_id="GPU-1", deployment="deployments/y"),
    ]
    pins = ("nodes/a/devices/GPU-0", "nodes/a/devices/GPU-1")
    request = wish(60, devices=pins, devices_per_instance=1, allow_overcommit=True)
    placement = schedule(fleet(machine("a", cards(2)), instances=held), [request]).placements[CHAT]

    assert placement.overcommitted
    assert [claim.device_id for claim in placement.members[0].claim.devices] == ["GPU-1"]


def test_sizes_that_cannot_be_are_told() -> None:
    """
    B6.1, B6.3, B6.8: a size of nothing, one that does not divide the heads, replicas that do not divide.
    """
    snapshot = fleet(machine("a", cards(8)), backends={"vllm": backend("vllm", distributed_styles=("mp",))})

    assert "--tensor-parallel-size is 0" in reasons(snapshot, wish(10, "-tp", "0"))["PARAMETER_INVALID"].message
    row = reasons(snapshot, wish(10, "-tp", "3"))["TENSOR_PARALLEL_INDIVISIBLE"]
    assert "64 attention heads" in row.message
    assert "DATA_PARALLEL_INDIVISIBLE" in reasons(snapshot, wish(10, "-dp", "3", "-dpl", "2"))


def test_strategies_come_in_their_order() -> None:
    """
    B6.4: one card, else several of a node, else several nodes; pinned devices are tried alone.
    """
    snapshot = fleet(machine("a", cards(1)), machine("b", cards(2, 40)), machine("c", cards(2, 40)))

    def taken(gib: float) -> list[int]:
        members = schedule(snapshot, [wish(gib)]).placements[CHAT].members
        return [len(member.claim.devices) for member in members]

    assert (taken(70), taken(72), taken(140)) == ([1], [1], [2, 2])
    pinned = wish(70, devices=("nodes/b/devices/GPU-0",))
    assert schedule(snapshot, [pinned]).placements == {}


def test_mindies_sizes_are_powers_of_two_and_divide() -> None:
    """
    B8.1, B8.3, B8.4: three is no size; six experts are not split four ways, nor 151,669 entries two; pinned NPUs are
    tried alone, at the same fraction.
    """
    npus = machine("a", cards(8, 64, framework="cann"))
    experts = replace(QWEN3_32B, experts=6)

    assert "PARAMETER_INVALID" in reasons(fleet(npus), wish(10, "-tp", "3", backend="mindie"))
    assert "EXPERT_PARALLEL_INDIVISIBLE" in reasons(
        fleet(npus, facts=experts), wish(10, "-moe-ep", "4", backend="mindie")
    )
    odd = fleet(npus, facts=replace(QWEN3_32B, vocab_size=151_669))
    assert "TENSOR_PARALLEL_INDIVISIBLE" in reasons(odd, wish(10, "-tp", "2", backend="mindie"))
    pinned = wish(10, backend="mindie", devices=("nodes/a/devices/GPU-5",))
    claim = schedule(fleet(npus), [pinned]).placements[CHAT].members[0].claim
    assert [(part.device_id, part.memory_bytes) for part in claim.devices] == [("GPU-5", int(64 * GIB * 0.9))]


@pytest.mark.parametrize("option", ["--cuda-graph-max-bs-decode", "--cuda-graph-max-bs"])
def test_sglangs_graphs_take_memory_by_either_name(option: str) -> None:
    """
    B7.1: each request more in CUDA graphs takes 2 MiB of what weights and cache may have, as old and new releases say.
    """
    snapshot = fleet(machine("a", cards(1)))

    def fraction(*parameters: str) -> float:
        placement = schedule(snapshot, [wish(10, *parameters, backend="sglang")]).placements[CHAT]
        assert placement.memory_fraction is not None
        return placement.memory_fraction

    assert fraction(option, "8192") < fraction(option, "256") == fraction()


def test_sglangs_options_that_exclude_one_another() -> None:
    """
    B7.1: pipelines go with neither speculation nor mixed chunks, nor these two together.
    """
    snapshot = fleet(machine("a", cards(8)))
    pipeline = ("--pp-size", "2")

    for parameters in (
        (*pipeline, "--speculative-algorithm", "EAGLE"),
        (*pipeline, "--enable-mixed-chunk"),
        ("--speculative-algorithm", "EAGLE", "--enable-mixed-chunk"),
        ("--dp-size", "2", "--nnodes", "2", "--tp", "2"),
    ):
        assert "PARAMETER_INVALID" in reasons(snapshot, wish(10, *parameters, backend="sglang"))


def test_a_gguf_that_fits_nowhere_says_what_it_needs_and_what_is_there() -> None:
    """
    B9.9: the card's row has the need of all layers and what is left; the node's that of host memory.
    """
    snapshot = fleet(machine("a", cards(1, 1), memory=GIB), facts=LLAMA_70B)
    rows = explain(snapshot, wish(0, backend="gguf")).refusals
    by_resource = {row.resource: row for row in rows if row.reason == "MEMORY_SHORT"}

    assert by_resource["device memory"].available == GIB
    assert (by_resource["device memory"].needed or 0) > LLAMA_70B.weight_bytes * 0.9
    assert (by_resource["host memory"].needed or 0) > LLAMA_70B.weight_bytes


def test_the_least_useful_instance_goes_first() -> None:
    """
    B13.3: one that failed before one that starts, that before one that runs; of equals the youngest.
    """
    states = (InstanceState.RUNNING, InstanceState.STARTING, InstanceState.ERROR)
    instances = [placed(state.value, state=state) for state in states]

    draft = Draft(world([node()], instances=instances), NOW)

    assert [each.name for each in sorted(instances, key=lambda each: worth(draft, each))] == [
        "instances/error",
        "instances/starting",
        "instances/running",
    ]
