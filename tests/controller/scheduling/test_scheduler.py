from __future__ import annotations

from dataclasses import replace

import pytest

from motorpool_controller.domain.fleet import Cordon, Health, MemoryKind, Reserved
from motorpool_controller.domain.maintenance import cordoned
from motorpool_controller.domain.sizes import GIB, MIB
from motorpool_controller.domain.workload import Strategy
from motorpool_controller.scheduling.kinds import FOLD_ABOVE
from motorpool_controller.scheduling.refusals import unchanged
from motorpool_controller.scheduling.scheduler import Plan, explain, schedule
from motorpool_controller.scheduling.snapshot import without
from tests.controller.fleets import NOW, SMOLLM2, device, node, placed, request, snapshot, usage

CHAT = "instances/chat-1"


def where(plan: Plan, name: str = CHAT) -> tuple[str, tuple[str, ...]]:
    member = plan.placements[name].members[0]
    return member.node, tuple(claim.device_id for claim in member.claim.devices)


def test_a_model_on_a_node_without_devices_goes_to_host_memory() -> None:
    """
    The claim is the estimate's upper bound, no layer is offloaded, and the launch's values are stated.
    """
    placement = schedule(snapshot(node()), [request()]).placements[CHAT]

    assert (placement.framework, placement.offloaded_layers) == ("cpu", 0)
    assert (placement.context_length, placement.parallel) == (8192, 1)
    assert placement.members[0].claim.memory_bytes == 557_753_600
    assert explain(snapshot(node()), request()).refusals == ()


def test_the_estimate_of_a_refusal_is_of_what_was_refused() -> None:
    """
    Where no device is in question, what host memory would have to hold is told: the very figure of the row.
    """
    refused = explain(snapshot(node(memory=100 * MIB)), request())
    on_devices = explain(snapshot(node(memory=100 * MIB, devices=[device(memory=200 * MIB)])), request())

    assert refused.estimate is not None
    assert refused.estimate.upper == refused.refusals[0].needed
    assert on_devices.estimate is not None
    assert on_devices.estimate.upper is not None
    assert on_devices.estimate.upper > (refused.estimate.upper or 0)


def test_a_device_is_preferred_to_host_memory() -> None:
    """
    One device that holds the whole model comes before any processor (B9.3), with all layers and the output's.
    """
    plan = schedule(snapshot(node("a", memory=64 * GIB), node("b", devices=[device()])), [request()])

    assert where(plan) == ("nodes/b", ("GPU-0",))
    assert plan.placements[CHAT].offloaded_layers == 31
    assert plan.placements[CHAT].framework == "cuda"


def test_a_device_too_small_leaves_host_memory_and_its_row() -> None:
    """
    The model runs on the processors, and the explanation still names the device that was short.
    """
    verdict = explain(snapshot(node(devices=[device(memory=500 * MIB)])), request())

    assert verdict.placement is not None
    assert verdict.placement.framework == "cpu"
    assert verdict.refusals[0].subject == "nodes/a/devices/GPU-0"


def test_asking_for_no_layers_on_devices_means_host_memory() -> None:
    """
    -ngl 0 leaves the device alone.
    """
    assert where(schedule(snapshot(node(devices=[device()])), [request(parameters=("-ngl", "0"))])) == ("nodes/a", ())


@pytest.mark.promise("P4")
def test_a_model_larger_than_the_machine_is_refused_with_its_figures() -> None:
    """
    The row has needed, available and holders, and the message says what to do.
    """
    plan = schedule(
        snapshot(node(memory=600 * MIB, reserved=Reserved(memory_bytes=100 * MIB))),
        [request(), request("chat-2")],
    )
    (row,) = plan.refusals[CHAT]

    assert (row.stage, row.reason, row.resource) == ("memory", "MEMORY_SHORT", "host memory")
    assert (row.needed, row.available) == (557_753_600, 500 * MIB)
    assert row.holders == ("reserved",)
    assert "--ctx-size" in row.message
    assert "quantisation" in row.message
    assert plan.verdicts[CHAT].sentence.startswith("It fits nowhere")


def test_a_claim_by_hand_that_is_too_large_is_told_to_claim_less() -> None:
    """
    Where the user named the figure, the row does not advise about a context that would change nothing.
    """
    (row,) = schedule(snapshot(node()), [request(claim_memory_bytes=GIB << 10)]).refusals[CHAT]

    assert "claiming less by hand" in row.message
    assert "--ctx-size" not in row.message


def test_holders_are_named_largest_first() -> None:
    """
    Instances, what is reserved, and other programs stand in order of what they hold.
    """
    a = node(memory=4 * GIB, reserved=Reserved(memory_bytes=512 * MIB))
    fleet = snapshot(
        a,
        instances={"instances/x": placed("x", memory=GIB, deployment="deployments/x")},
        usage={"nodes/a": usage(a, foreign=2 * GIB, own=GIB)},
    )
    (row,) = schedule(fleet, [request(parameters=("-c", "65536"))]).refusals[CHAT]

    assert row.holders == ("other programs", "instances/x", "reserved")
    assert row.available == GIB


def test_other_programs_memory_is_not_given_away() -> None:
    """
    What strangers use is not free, though no claim says so (A21).
    """
    a = node(memory=2 * GIB)
    fleet = snapshot(a, usage={"nodes/a": usage(a, foreign=int(1.8 * GIB))})

    assert schedule(fleet, [request()]).placements == {}


def test_a_claim_not_in_use_yet_is_not_given_away_either() -> None:
    """
    Beside strangers, an instance that is placed and has not loaded yet keeps its claim.
    """
    a = node(memory=4 * GIB)
    fleet = snapshot(
        a,
        instances={"instances/x": placed("x", memory=int(1.8 * GIB), deployment="deployments/x")},
        usage={"nodes/a": usage(a, foreign=2 * GIB, own=0)},
    )

    assert schedule(fleet, [request()]).placements == {}


def test_without_figures_of_whose_memory_it_is_all_use_counts() -> None:
    """
    Where nobody tells which bytes are ours, the larger of claims and use is held.
    """
    a = node(memory=2 * GIB)
    measured = replace(usage(a, foreign=GIB), memory_own_bytes=None)
    roomy = schedule(snapshot(a, usage={"nodes/a": measured}), [request()])
    tight = schedule(snapshot(a, usage={"nodes/a": replace(measured, memory_used_bytes=int(1.7 * GIB))}), [request()])

    assert roomy.placements
    assert not tight.placements


def test_unknown_memory_refuses_that_memory_and_nothing_else() -> None:
    """
    A device without a size, and a node without a measurement, are refused as unknown; others are used (A1).
    """
    cards = [device("GPU-0", memory=None), device("GPU-1", index=1)]
    fleet = snapshot(node(devices=cards))
    plan = schedule(fleet, [request()])
    blind = schedule(snapshot(node("a"), node("b", memory=None), usage={}), [request()])

    assert where(plan) == ("nodes/a", ("GPU-1",))
    assert explain(fleet, request()).refusals[0].reason == "MEMORY_UNKNOWN"
    assert [row.reason for row in blind.refusals[CHAT]] == ["MEMORY_UNKNOWN", "MEMORY_UNKNOWN"]
    assert all(row.available is None for row in blind.refusals[CHAT])


@pytest.mark.parametrize(
    ("card", "reason"),
    [
        (device(cordoned=True), "DEVICE_CORDONED"),
        (device(health=Health.UNHEALTHY, health_reasons=("ECC",)), "DEVICE_UNHEALTHY"),
        (device(framework="cann"), "FRAMEWORK_UNSUPPORTED"),
    ],
)
def test_a_device_that_may_not_be_used_is_a_row(card: object, reason: str) -> None:
    """
    Cordoned, unhealthy and unsupported devices are passed over by name.
    """
    fleet = snapshot(node(devices=[card]))  # type: ignore[list-item]  # parametrised

    assert where(schedule(fleet, [request()])) == ("nodes/a", ())
    assert explain(fleet, request()).refusals[0].reason == reason


def test_a_part_of_a_cordoned_device_is_cordoned() -> None:
    """
    Of a divided device that is cordoned no partition is used, and the row names the whole, who shut it and why.
    """
    cards = [device("GPU-0"), device("MIG-1", partition_of="GPU-0")]
    shut = cordoned(node(devices=cards), "GPU-0", Cordon(time=NOW, actor="ops", reason="ECC"))
    fleet = snapshot(shut)

    rows = [row for row in explain(fleet, request()).refusals if row.reason == "DEVICE_CORDONED"]

    assert where(schedule(fleet, [request()])) == ("nodes/a", ())
    assert (
        "nodes/a/devices/GPU-0, of which nodes/a/devices/MIG-1 is a part, is cordoned by ops: ECC; uncordon it to have "
        "it take work again."
    ) in [row.message for row in rows]


def test_a_pinned_device_is_used_and_no_processor() -> None:
    """
    Pins hold by id and by vendor and index; where the device is full, the model does not go to host memory.
    """
    cards = [device("GPU-0"), device("GPU-1", index=1)]
    pinned = request(devices=("nodes/a/devices/nvidia:1",))
    full = schedule(
        snapshot(node(devices=cards), instances={"instances/x": placed("x", memory=24 * GIB, device_id="GPU-1")}),
        [pinned],
    )

    assert where(schedule(snapshot(node(devices=cards)), [pinned])) == ("nodes/a", ("GPU-1",))
    assert full.placements == {}
    assert full.refusals[CHAT][0].subject == "nodes/a/devices/GPU-1"


def test_overcommit_is_for_pinned_devices_that_ask_for_it_and_recorded() -> None:
    """
    A full device is used beyond its memory only where the deployment says so (A16).
    """
    fleet = snapshot(
        node(devices=[device()]), instances={"instances/x": placed("x", memory=24 * GIB, device_id="GPU-0")}
    )
    plan = schedule(fleet, [request(devices=("nodes/a/devices/GPU-0",), allow_overcommit=True)])

    assert plan.placements[CHAT].overcommitted


def test_unified_memory_is_one_pool() -> None:
    """
    What a device that shares the host's memory claims is gone from the host's (A11).
    """
    shared = device("APU", memory=4 * GIB, memory_kind=MemoryKind.UNIFIED, index=3)
    a = node(memory=4 * GIB, devices=[shared])
    standing = {"instances/x": placed("x", memory=3 * GIB, device_id="APU", deployment="deployments/x")}
    plan = schedule(snapshot(a, instances=standing), [request(), request("chat-2"), request("chat-3")])

    assert where(plan) == ("nodes/a", ())
    assert list(plan.placements) == [CHAT]


@pytest.mark.promise("P2")
def test_requests_of_one_plan_account_for_one_another() -> None:
    """
    Three instances do not fit where two do, and the third's row names the two.
    """
    names = ["chat-1", "chat-2", "chat-3"]
    plan = schedule(snapshot(node(memory=1300 * MIB)), [request(name) for name in names])

    assert list(plan.placements) == ["instances/chat-1", "instances/chat-2"]
    assert plan.refusals["instances/chat-3"][0].holders == ("instances/chat-1", "instances/chat-2")


def test_a_placed_request_does_not_compete_with_itself() -> None:
    """
    Explaining an instance that stands leaves its own claim out (A8).
    """
    a = node(memory=GIB)
    verdict = explain(snapshot(a, instances={CHAT: placed(memory=600 * MIB)}), request())

    assert verdict.placement is not None
    assert "nodes/a" in verdict.sentence


def test_spread_goes_where_the_deployment_is_not() -> None:
    """
    A second instance goes to the other node, though it holds others (B13.1).
    """
    fleet = snapshot(
        node("a"),
        node("b"),
        instances={
            "instances/chat-0": placed("chat-0", on="a", memory=MIB),
            "instances/x": placed("x", on="b", memory=MIB, deployment="deployments/x"),
        },
    )

    assert where(schedule(fleet, [request()]))[0] == "nodes/b"


def test_binpack_fills_the_fuller_device() -> None:
    """
    The device with the least left that still fits is taken.
    """
    cards = [device("GPU-0"), device("GPU-1", index=1, memory=8 * GIB)]
    plan = schedule(snapshot(node(devices=cards)), [request(strategy=Strategy.BINPACK)])

    assert where(plan) == ("nodes/a", ("GPU-1",))
    assert [candidate.placement.members[0].claim.devices[0].device_id for candidate in plan.candidates[CHAT]] == [
        "GPU-1",
        "GPU-0",
    ]


def test_without_a_stopped_instance_its_memory_is_free() -> None:
    """
    What-if takes an instance's claim and its use out of the fleet.
    """
    a = node(memory=1200 * MIB)
    standing = placed("old", memory=700 * MIB)
    fleet = snapshot(a, instances={standing.name: standing}, usage={a.name: usage(a, own=650 * MIB)})

    assert not schedule(fleet, [request()]).placements
    assert schedule(without(fleet, standing), [request()]).placements


@pytest.mark.promise("P4")
def test_many_rows_of_a_kind_become_one_with_their_count() -> None:
    """
    Folding keeps the first subject, how many there were, and the most that was available.
    """
    nodes = [node(f"n{number}", memory=(300 + number) * MIB) for number in range(FOLD_ABOVE + 2)]
    (row,) = schedule(snapshot(*nodes), [request()]).refusals[CHAT]

    assert (row.subject, row.count, row.available) == ("nodes/n0", FOLD_ABOVE + 2, 305 * MIB)


@pytest.mark.promise("P7")
def test_rows_are_the_same_while_their_figures_only_breathe() -> None:
    """
    A few MiB more or less are no news; half the memory is.
    """
    a = node(memory=GIB)

    def rows(foreign: int) -> tuple[object, ...]:
        fleet = snapshot(a, usage={a.name: usage(a, foreign=foreign)})
        return schedule(fleet, [request(parameters=("-c", "65536"))]).refusals[CHAT]

    assert unchanged(rows(100 * MIB), rows(110 * MIB))  # type: ignore[arg-type]  # rows of refusals
    assert not unchanged(rows(100 * MIB), rows(600 * MIB))  # type: ignore[arg-type]  # as above


def test_the_estimate_and_facts_of_the_choice_are_told() -> None:
    """
    What was computed for the decision comes with it, for the record and the launch.
    """
    verdict = schedule(snapshot(node()), [request(parameters=("-c", "4096"))]).verdicts[CHAT]

    assert verdict.facts is SMOLLM2
    assert verdict.estimate is not None
    assert verdict.estimate.kv == 90 * MIB
    assert verdict.api_key
