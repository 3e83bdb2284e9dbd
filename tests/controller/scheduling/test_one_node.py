"""Worked examples of one device and several devices of a node; the sums stand in the tests."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from motorpool_controller.domain.fleet import Link, Profile, Reserved
from motorpool_controller.domain.placement import Refusal
from motorpool_controller.domain.sizes import GIB
from motorpool_controller.domain.workload import ExtendedKvCache, Strategy
from motorpool_controller.scheduling.scheduler import Plan, explain, schedule
from motorpool_controller.scheduling.snapshot import Request, Snapshot
from tests.controller.fleets import device, placed
from tests.controller.scheduling.accelerators import QWEN3_32B, backend, cards, fleet, machine, wish

CHAT = "instances/chat-1"


def devices(plan: Plan, name: str = CHAT) -> list[tuple[str, dict[str, int]]]:
    """Node and bytes by device of each member."""
    return [
        (member.node, {claim.device_id: claim.memory_bytes for claim in member.claim.devices})
        for member in plan.placements[name].members
    ]


def reasons(snapshot: Snapshot, request: Request) -> dict[str, Refusal]:
    """Rows of an explanation, the last of each reason."""
    return {row.reason: row for row in explain(snapshot, request).refusals}


def test_a_model_takes_the_whole_share_of_one_card() -> None:
    """
    B6.5, A25: 60 GiB fit 0.9 of 80 GiB = 72 GiB; the claim is the share, 77,309,411,328 bytes, and the fraction is
    told to the launch.
    """
    plan = schedule(fleet(machine("a", cards(2))), [wish(60)])

    assert devices(plan) == [("nodes/a", {"GPU-0": 77_309_411_328})]
    assert plan.placements[CHAT].memory_fraction == 0.9


def test_every_fitting_card_is_a_candidate() -> None:
    """
    B6.5: eight free cards are eight places.
    """
    assert explain(fleet(machine("a", cards(8))), wish(60)).places == 8


def test_what_is_free_has_to_reach_the_share_itself() -> None:
    """
    A3: 72 GiB free of 80 are exactly 0.9 and do; one byte less does not, in this stage and in that of several devices.
    """
    held = [placed("x", memory=8 * GIB, device_id="GPU-0", deployment="deployments/x")]
    more = [placed("x", memory=8 * GIB + 1, device_id="GPU-0", deployment="deployments/x")]

    assert schedule(fleet(machine("a", cards(1)), instances=held), [wish(60)]).placements
    assert not schedule(fleet(machine("a", cards(1)), instances=more), [wish(60)]).placements
    assert schedule(fleet(machine("a", cards(2)), instances=held), [wish(140)]).placements
    assert not schedule(fleet(machine("a", cards(2)), instances=more), [wish(140)]).placements


def test_a_card_without_a_size_costs_itself_alone() -> None:
    """
    A1: the card whose size nobody knows is a row; the one beside it is used.
    """
    snapshot = fleet(machine("a", [device("GPU-0", memory=None), device("GPU-1", memory=80 * GIB, index=1)]))

    assert devices(schedule(snapshot, [wish(60)])) == [("nodes/a", {"GPU-1": 77_309_411_328})]
    assert "MEMORY_UNKNOWN" in reasons(snapshot, wish(60))


def test_both_kinds_of_card_of_a_node_are_offered() -> None:
    """
    A2: of two NVIDIA and two AMD cards each pair is a place of its own for a model that wants two.
    """
    amd = cards(2, framework="rocm", prefix="AMD")
    verdict = explain(fleet(machine("a", [*cards(2), *amd])), wish(140))

    assert [candidate.placement.framework for candidate in verdict.candidates] == ["rocm", "cuda"]
    assert verdict.places == 2


def test_two_cards_hold_what_one_does_not() -> None:
    """
    B6.6: 140 GiB need two shares of 72 GiB = 144 GiB.
    """
    assert devices(schedule(fleet(machine("a", cards(8))), [wish(140)])) == [
        ("nodes/a", {"GPU-0": 77_309_411_328, "GPU-1": 77_309_411_328})
    ]


def test_the_number_of_cards_divides_the_heads() -> None:
    """
    B6.6, B5.2, A4: 200 GiB need three shares (216 GiB); three do not divide 64 heads, so that it takes four.
    """
    assert len(devices(schedule(fleet(machine("a", cards(8))), [wish(200)]))[0][1]) == 4


def test_key_value_heads_divide_or_are_divided() -> None:
    """
    A4: 48 heads with 4 key/value heads cannot be split six ways, though 6 divides 48; eight ways they can.
    """
    facts = replace(QWEN3_32B, heads=48, kv_heads=4)

    assert len(devices(schedule(fleet(machine("a", cards(8)), facts=facts), [wish(400)]))[0][1]) == 8
    assert not schedule(fleet(machine("a", cards(6)), facts=facts), [wish(400)]).placements


def test_vision_heads_count_unless_the_tower_stays_out() -> None:
    """
    B5.2: 16 vision heads cannot be split among 12 cards though 12 divides 48 heads; --language-model-only lifts that.
    """
    facts = replace(QWEN3_32B, heads=48, kv_heads=12, vision_heads=16)
    snapshot = fleet(machine("a", cards(12)), facts=facts)

    assert not schedule(snapshot, [wish(800)]).placements
    assert len(devices(schedule(snapshot, [wish(800, "--language-model-only")]))[0][1]) == 12


def test_a_vocabulary_that_does_not_divide_is_padded() -> None:
    """
    A5: 151,669 entries do not keep vLLM off two cards; MindIE and a stranger's backend, which may not pad, they do.
    """
    facts = replace(QWEN3_32B, vocab_size=151_669)
    snapshot = fleet(machine("a", cards(2, framework="cann")), facts=facts)

    assert schedule(snapshot, [wish(120)]).placements
    assert schedule(snapshot, [wish(120, backend="sglang")]).placements
    assert not schedule(snapshot, [wish(120, backend="mindie")]).placements
    assert not schedule(snapshot, [wish(120, backend="generic_fraction")]).placements


def test_the_fewest_cards_win_over_all_nodes() -> None:
    """
    B6.6: two cards of 80 GiB on b come before four of 40 GiB on a.
    """
    verdict = explain(fleet(machine("a", cards(8, 40)), machine("b", cards(2))), wish(140))

    assert [candidate.placement.members[0].node for candidate in verdict.candidates] == ["nodes/b"]


def test_sglang_keeps_the_places_of_all_nodes() -> None:
    """
    B7.2: with SGLang the four smaller cards are a candidate too. The shares: 80 GiB leave 0.836, 40 GiB 0.833.
    """
    verdict = explain(fleet(machine("a", cards(8, 40)), machine("b", cards(2))), wish(130, backend="sglang"))
    fractions = {c.placement.members[0].node: c.placement.memory_fraction for c in verdict.candidates}

    assert fractions == {"nodes/a": 0.833, "nodes/b": 0.836}


def test_cards_of_two_sizes_are_taken_at_one_fraction() -> None:
    """
    B7.2, A1: beside a card of 40 GiB, two of 80 GiB are one candidate, at their own share; never another at 40 GiB's.
    """
    node = machine(
        "a", [*cards(1, 40), *(replace(card, device_id=f"GPU-{number}") for number, card in enumerate(cards(2), 1))]
    )
    verdict = explain(fleet(node), wish(70, backend="sglang"))

    assert [candidate.placement.memory_fraction for candidate in verdict.candidates] == [0.836]
    assert verdict.places == 1


def test_sglang_takes_like_cards_together() -> None:
    """
    B2.3, B7.2: 78 GiB and 68 GiB free are not within a tenth of one another: 0.836 of 80 GiB is left on both, and yet
    they do not work together; 78 and 71 do.
    """

    def held(gib: int) -> Snapshot:
        standing = [
            placed("x", memory=2 * GIB, device_id="GPU-0", deployment="deployments/x"),
            placed("y", memory=gib * GIB, device_id="GPU-1", deployment="deployments/y"),
        ]
        return fleet(machine("a", cards(2)), instances=standing)

    assert not schedule(held(12), [wish(100, backend="sglang")]).placements
    assert schedule(held(9), [wish(100, backend="sglang")]).placements


def test_a_wanted_world_is_met_exactly() -> None:
    """
    A4, B6.1: three pipeline stages take three cards, though three divides no heads; and never four.
    """
    plan = schedule(fleet(machine("a", cards(8))), [wish(100, "--pipeline-parallel-size", "3")])

    assert len(devices(plan)[0][1]) == 3


def test_parameters_known_by_other_names_and_dashes() -> None:
    """
    A24, A9: underscores are dashes, and tp and dp are known to SGLang; the first value wins.
    """
    snapshot = fleet(machine("a", cards(8)))

    assert len(devices(schedule(snapshot, [wish(10, "--tensor_parallel_size", "4", "-tp", "2")]))[0][1]) == 4
    assert len(devices(schedule(snapshot, [wish(10, "--tp", "2", "--dp", "2", backend="sglang")]))[0][1]) == 4
    share = wish(10, "--gpu_memory_utilization", "0.25")
    assert devices(schedule(snapshot, [share])) == [("nodes/a", {"GPU-0": 20 * GIB})]


def test_without_a_fraction_each_card_claims_its_part() -> None:
    """
    A6: an embedding model takes no fraction: 100 GiB on two cards are 50 GiB each, checked and claimed alike.
    """
    facts = replace(QWEN3_32B, categories=("embedding",), architectures=("BertModel",))
    held = [placed("x", memory=31 * GIB, device_id="GPU-1", deployment="deployments/x")]
    plan = schedule(fleet(machine("a", cards(2)), facts=facts), [wish(100)])

    assert devices(plan) == [("nodes/a", {"GPU-0": 50 * GIB, "GPU-1": 50 * GIB})]
    assert plan.placements[CHAT].memory_fraction is None
    assert not schedule(fleet(machine("a", cards(2)), facts=facts, instances=held), [wish(100)]).placements


def test_an_explicit_fraction_of_none_means_no_fraction() -> None:
    """
    B6.2: --gpu-memory-utilization 0 claims what the model needs.
    """
    plan = schedule(fleet(machine("a", cards(1))), [wish(10, "--gpu-memory-utilization", "0")])

    assert devices(plan) == [("nodes/a", {"GPU-0": 10 * GIB})]


def test_qwen3_embeddings_take_a_fraction() -> None:
    """
    B6.2: Qwen3ForCausalLM runs as a language model does, whatever it is for.
    """
    facts = replace(QWEN3_32B, categories=("embedding",))

    assert schedule(fleet(machine("a", cards(1)), facts=facts), [wish(10)]).placements[CHAT].memory_fraction == 0.9


def test_memory_held_back_is_named_and_the_fraction_that_fits() -> None:
    """
    A26: 2 GiB of 16 GiB held back leave 0.875; the row names the reservation, and that 0.875 would fit.
    """
    node = machine("a", cards(1, 16), reserved=Reserved(device_memory_bytes=2 * GIB))
    (row,) = explain(fleet(node), wish(10)).refusals[:1]

    assert (row.reason, row.needed, row.available) == ("FRACTION_SHORT", 15_461_882_266, 14 * GIB)
    assert row.holders == ("reserved",)
    assert "2.00 GiB of it is reserved" in row.message
    assert "The largest that fits is 0.875; the model needs about 10.00 GiB, which fits in that." in row.message


def test_the_extended_cache_claims_host_memory_and_it_is_checked() -> None:
    """
    A7, B3.4: by default 1.2 times the 72 GiB of the card; a node with 86 GiB of host memory is refused, one with 87 is
    not.
    """
    request = wish(60, extended_kv_cache=ExtendedKvCache(enabled=True))
    small = fleet(machine("a", cards(1), memory=86 * GIB))
    roomy = schedule(fleet(machine("a", cards(1), memory=87 * GIB)), [request])

    assert reasons(small, request)["MEMORY_SHORT"].resource == "host memory"
    assert roomy.placements[CHAT].members[0].claim.memory_bytes == int(1.2 * 77_309_411_328)


def test_links_tell_equal_cards_apart() -> None:
    """
    Of four equal cards the two that are linked are taken together (issue 5).
    """
    every = cards(4)
    every[1] = replace(every[1], links=(Link("GPU-3", "nvlink", 300_000_000_000),))
    plan = schedule(fleet(machine("a", every)), [wish(140)])

    assert list(devices(plan)[0][1]) == ["GPU-1", "GPU-3"]


def test_a_vllm_that_speaks_is_placed_as_fixed_rules_say() -> None:
    """
    B4.3, B10: text to speech runs on what it needs, with 2 GiB of host memory beside it.
    """
    facts = replace(QWEN3_32B, categories=("text_to_speech",))
    placement = schedule(fleet(machine("a", cards(1)), facts=facts), [wish(10)]).placements[CHAT]

    assert placement.members[0].claim.memory_bytes == 2 * GIB
    assert placement.members[0].claim.devices[0].memory_bytes == 10 * GIB


def test_fixed_claims_are_checked_card_by_card() -> None:
    """
    A18, A6, B10: 100 GiB on two of four cards are 50 GiB each; the full card is left out, and host memory is a tenth.
    """
    held = [placed("x", memory=79 * GIB, device_id="GPU-0", deployment="deployments/x")]
    snapshot = fleet(machine("a", cards(4)), instances=held)
    plan = schedule(snapshot, [wish(100, backend="fixed")])

    assert devices(plan) == [("nodes/a", {"GPU-1": 50 * GIB, "GPU-2": 50 * GIB})]
    assert plan.placements[CHAT].members[0].claim.memory_bytes == 10 * GIB


def test_fixed_goes_to_host_memory_only_where_it_may() -> None:
    """
    B10: a claim of device memory means a device, unless cpu_offloading allows host memory by name.
    """
    snapshot = fleet(machine("a", cards(1, 8)))

    assert not schedule(snapshot, [wish(10, backend="fixed")]).placements
    placement = schedule(snapshot, [wish(10, backend="fixed", cpu_offloading=True)]).placements[CHAT]
    assert (placement.framework, placement.members[0].claim.memory_bytes) == ("cpu", 10 * GIB)


def test_mindie_takes_its_fraction_from_parameter_then_environment_then_default() -> None:
    """
    A10, A28, B8.1: 0.8 by default, 0.9 before 2.1, the environment's over both, the parameter's over all; and 5 GiB of
    swap before 2.1, beside 512 MiB for the service.
    """
    npus = machine("a", cards(1, 64, framework="cann"))
    early = backend("mindie")
    early = replace(early, versions=(replace(early.versions[0], version="2.0.RC1"),))
    late = replace(early, versions=(replace(early.versions[0], version="2.3.0"),))

    def taken(profile: Profile, *parameters: str, **changes: Any) -> tuple[float | None, int]:
        snapshot = fleet(npus, backends={"mindie": profile})
        plan = schedule(snapshot, [wish(10, *parameters, backend="mindie", **changes)])
        placement = plan.placements[CHAT]
        return placement.memory_fraction, placement.members[0].claim.memory_bytes

    assert taken(early) == (0.9, 5 * GIB + GIB // 2)
    assert taken(late) == (0.8, GIB // 2)
    assert taken(late, env={"NPU_MEMORY_FRACTION": "0.7"}) == (0.7, GIB // 2)
    assert taken(late, "--npu-memory-fraction", "0.6", env={"NPU_MEMORY_FRACTION": "0.7"}) == (0.6, GIB // 2)
    assert taken(late, "--cpu-mem-size", "3") == (0.8, 3 * GIB + GIB // 2)


def test_mindie_beside_another_kind_of_card() -> None:
    """
    A10: a node with NVIDIA cards and NPUs runs MindIE on the NPUs.
    """
    mixed = machine("a", [*cards(1), *cards(1, 64, framework="cann", prefix="NPU")])
    only_npus = backend("mindie")
    only_npus = replace(only_npus, versions=(replace(only_npus.versions[0], frameworks=("cann",)),))
    plan = schedule(fleet(mixed, backends={"mindie": only_npus}), [wish(10, backend="mindie")])

    assert list(devices(plan)[0][1]) == ["NPU-0"]


@pytest.mark.parametrize(
    ("gib", "kind", "parameters", "fraction"),
    [
        (80, "cuda", (), 0.836),
        (24, "cuda", (), 0.847),
        (141, "cuda", ("--tp", "8"), 0.897),
        (16, "cuda", (), 0.772),
        (64, "cann", (), 0.795),
        (62, "cann", (), 0.214),
        (80, "cuda", ("--chunked-prefill-size", "4096"), 0.875),
        (80, "cuda", ("--speculative-algorithm", "EAGLE3"), 0.811),
        (80, "cuda", ("--mem-fraction-static", "0.5"), 0.5),
    ],
)
def test_sglangs_fraction_follows_from_the_cards_size(
    gib: int, kind: str, parameters: tuple[str, ...], fraction: float
) -> None:
    """
    B7.1. 80 GiB: (81920 - 512 - 8192 x 1.5 - 2 x 256 - 1024 / 8) / 81920 = 0.836. An NPU of 62 GiB has chunks of 32768
    and 64 requests: (63488 - 512 - 32768 x 1.5 - 2 x 64 - 128) / 63488 = 0.214; of 64 GiB, those of every card.
    """
    request = wish(1, *parameters, backend="sglang")
    plan = schedule(fleet(machine("a", cards(8, gib, framework=kind))), [request])

    assert plan.placements[CHAT].memory_fraction == fraction


def test_a_diffusion_model_counts_what_others_use() -> None:
    """
    A9, B7.2: SGLang's image models take no fraction; a card of which others hold 75 GiB has no room for 10 GiB, and in
    parallel every card holds the whole need.
    """
    facts = replace(QWEN3_32B, categories=("image",))
    held = [placed("x", memory=75 * GIB, device_id="GPU-0", deployment="deployments/x")]
    one = fleet(machine("a", cards(1)), facts=facts, instances=held)
    three = fleet(machine("a", cards(3)), facts=facts, instances=held)

    assert not schedule(one, [wish(10, backend="sglang")]).placements
    plan = schedule(three, [wish(10, "--tp", "2", backend="sglang")])
    assert devices(plan) == [("nodes/a", {"GPU-1": 10 * GIB, "GPU-2": 10 * GIB})]


def test_binpack_fills_the_fullest_card_that_holds_it() -> None:
    """
    B13.1, A19: 20 GiB of 40 GiB left fill more than 20 of 80; two thirds of 50 points, 33.3 of 100.
    """
    held = [placed("x", memory=40 * GIB, device_id="GPU-1", deployment="deployments/x")]
    request = wish(20, "--gpu-memory-utilization", "0.25", strategy=Strategy.BINPACK)
    placement = schedule(fleet(machine("a", cards(2)), instances=held), [request]).placements[CHAT]

    assert placement.members[0].claim.devices[0].device_id == "GPU-1"
    assert placement.score == 33.333


def test_spread_counts_an_instance_once_whatever_it_takes() -> None:
    """
    A19, B13.1: an instance on eight cards of a weighs no more than one on one card of b; the first by name wins.
    """
    eight = replace(
        placed("x", on="a", memory=GIB, device_id="GPU-0", deployment="deployments/x"),
        placement=schedule(
            fleet(machine("a", cards(8))), [wish(1, "--tp", "8", "--gpu-memory-utilization", "0.05")]
        ).placements[CHAT],
    )
    one = placed("y", on="b", memory=4 * GIB, device_id="GPU-0", deployment="deployments/y")
    snapshot = fleet(machine("a", cards(8)), machine("b", cards(8)), instances=[eight, one])
    verdict = explain(snapshot, wish(1, "--gpu-memory-utilization", "0.05"))
    best = {c.placement.members[0].node for c in verdict.candidates if c.score == verdict.candidates[0].score}

    # b's quiet cards are worth 100 points; each card of a has an instance: 85 + 15 / 1.2 = 97.5.
    assert best == {"nodes/b"}
    assert {c.score for c in verdict.candidates if c.placement.members[0].node == "nodes/a"} == {97.5}
    assert {c.score for c in verdict.candidates if c.placement.members[0].node == "nodes/b"} == {100.0, 97.5}


def test_files_that_are_there_are_worth_points() -> None:
    """
    B13.2: of two equal nodes that with the model's files is taken; scores stay within a hundred.
    """
    request = wish(60)
    snapshot = replace(
        fleet(machine("a", cards(1)), machine("b", cards(1))), files={request.spec.model: frozenset({"nodes/b"})}
    )
    candidates = explain(snapshot, request).candidates

    assert [candidate.placement.members[0].node for candidate in candidates] == ["nodes/b", "nodes/a"]
    assert candidates[0].score == 100.0
    assert candidates[0].scores == {"spread": 95.238, "locality": 4.762}


def test_refusals_carry_the_figures_of_the_published_messages() -> None:
    """
    B5.6, B6.6, A23: need, share, how many cards have it, what they give, and what does not divide.
    """
    facts = replace(QWEN3_32B, heads=40, kv_heads=8)
    held = [placed("x", memory=40 * GIB, device_id="GPU-0", deployment="deployments/x")]
    snapshot = fleet(machine("a", cards(4)), facts=facts, instances=held)
    rows = {row.reason: row for row in explain(snapshot, wish(200)).refusals}

    assert (rows["FRACTION_SHORT"].needed, rows["FRACTION_SHORT"].available) == (77_309_411_328, 40 * GIB)
    assert rows["SHARE_SHORT"].available == 77_309_411_328
    assert (rows["DEVICES_SHORT"].needed, rows["DEVICES_SHORT"].available) == (200 * GIB, 2 * 77_309_411_328)
    assert (
        "3 of the 4 devices of nodes/a have enough left for --gpu-memory-utilization=0.9"
        in rows["DEVICES_SHORT"].message
    )
    assert "40 attention heads cannot be divided among 3 devices" in rows["DEVICES_SHORT"].message
    assert rows["NODES_SHORT"].needed == 200 * GIB
