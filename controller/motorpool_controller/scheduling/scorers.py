"""Which feasible placement is best: binpack or spread, 0 to 100 (rule A19)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from motorpool_controller.domain.fleet import Node
from motorpool_controller.domain.placement import Candidate, Claim, Placement
from motorpool_controller.domain.workload import Strategy
from motorpool_controller.scheduling.allocatable import Ledger
from motorpool_controller.scheduling.snapshot import Request

MOST = 100.0


def ranked(
    placements: Sequence[Placement], request: Request, nodes: Mapping[str, Node], ledger: Ledger
) -> tuple[Candidate, ...]:
    """Return the placements with their scores, best first; among equals the first by name of node, then of device."""
    if request.spec.strategy is Strategy.BINPACK:
        scores = [_binpack(placement, nodes, ledger) for placement in placements]
    else:
        scores = _spread(placements, request, ledger)
    name = request.spec.strategy.value
    candidates = [_candidate(placement, name, score) for placement, score in zip(placements, scores, strict=True)]
    return tuple(sorted(candidates, key=_order))


def _candidate(placement: Placement, scorer: str, score: float) -> Candidate:
    rounded = round(min(max(score, 0.0), MOST), 3)
    return Candidate(placement=replace(placement, score=rounded), score=rounded, scores={scorer: rounded})


def _order(candidate: Candidate) -> tuple[float, str, tuple[str, ...]]:
    leader = candidate.placement.members[0]
    return -candidate.score, leader.node, tuple(claim.device_id for claim in leader.claim.devices)


def _binpack(placement: Placement, nodes: Mapping[str, Node], ledger: Ledger) -> float:
    """Return the mean of the nodes' scores: the share of what is free there that the claim fills."""
    scores = [_filled(nodes[member.node], member.claim, ledger) for member in placement.members]
    return sum(scores) / len(scores)


def _filled(node: Node, claim: Claim, ledger: Ledger) -> float:
    host = _share(claim.memory_bytes, ledger.host(node).available)
    if not claim.devices:
        return host
    devices = {device.device_id: device for device in node.devices}
    return max(
        (host + 2 * _share(part.memory_bytes, ledger.device(node, devices[part.device_id]).available)) / 3
        for part in claim.devices
    )


def _share(claimed: int, free: int | None) -> float:
    return MOST * claimed / free if free else 0.0


def _spread(placements: Sequence[Placement], request: Request, ledger: Ledger) -> list[float]:
    leaders = [placement.members[0].node for placement in placements]
    own = {node: ledger.instances_of(request.deployment, node) for node in leaders}
    others = {node: ledger.instances(node) - own[node] for node in leaders}
    fresh = any(count == 0 for count in own.values())

    def of_node(node: str) -> float:
        fewer_own, fewer_others = _inverse(own[node], own), _inverse(others[node], others)
        if not fresh:
            return 0.50 + 0.25 * fewer_own + 0.15 * fewer_others
        if own[node] == 0:
            return 0.85 + 0.15 * fewer_others
        return 0.45 + 0.35 * fewer_own + 0.20 * fewer_others

    def of_placement(placement: Placement) -> float:
        leader = placement.members[0]
        of_devices = [
            _quiet(request.deployment, leader.node, claim.device_id, ledger) for claim in leader.claim.devices
        ]
        score = of_node(leader.node)
        return MOST * (0.85 * score + 0.15 * sum(of_devices) / len(of_devices) if of_devices else score)

    return [of_placement(placement) for placement in placements]


def _quiet(deployment: str, node: str, device_id: str, ledger: Ledger) -> float:
    own = ledger.instances_of(deployment, node, device_id)
    others = ledger.instances(node, device_id) - own
    return 1 / (1 + own + 0.2 * others)


def _inverse(count: int, counts: Mapping[str, int]) -> float:
    least, most = min(counts.values()), max(counts.values())
    return 1.0 if most <= least else 1 - (count - least) / (most - least)
