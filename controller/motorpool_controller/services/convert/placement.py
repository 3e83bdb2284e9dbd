"""Estimates, claims, placements, refusals, candidates: ours to the caller; back come only claims that nodes tell of."""

from __future__ import annotations

from motorpool import v1
from motorpool_controller.domain.placement import (
    Candidate,
    Claim,
    DeviceClaim,
    Estimate,
    Placement,
    Refusal,
    Suggestion,
)
from motorpool_controller.services.convert import fields


def claim_message(claim: Claim) -> v1.Claim:
    """Return a claim on one node as a message."""
    return v1.Claim(
        memory_bytes=claim.memory_bytes,
        devices=[
            v1.DeviceClaim(device_id=device.device_id, memory_bytes=device.memory_bytes) for device in claim.devices
        ],
    )


def claim_of(message: v1.Claim, field: str) -> Claim:
    """Return a claim that a node tells of."""
    return Claim(
        memory_bytes=fields.size(message.memory_bytes, f"{field}.memory_bytes"),
        devices=tuple(
            DeviceClaim(
                fields.name(device.device_id, f"{field}.devices"),
                fields.size(device.memory_bytes, f"{field}.devices"),
            )
            for device in message.devices
        ),
    )


def placement_message(placement: Placement) -> v1.Placement:
    """Return a placement as a message."""
    return v1.Placement(
        members=[
            v1.PlacementMember(node=member.node, claim=claim_message(member.claim), rank=member.rank)
            for member in placement.members
        ],
        framework=placement.framework,
        backend_version=placement.backend_version,
        offloaded_layers=placement.offloaded_layers,
        score=placement.score,
        overcommitted=placement.overcommitted,
        backend=placement.backend,
        context_length=placement.context_length,
        parallel=placement.parallel,
        memory_fraction=placement.memory_fraction,
        tensor_split=placement.tensor_split,
        style=placement.style,
        parallelism=placement.parallelism,
    )


def refusal_message(refusal: Refusal) -> v1.Refusal:
    """Return a row of why not as a message."""
    return v1.Refusal(
        stage=refusal.stage,
        reason=refusal.reason,
        subject=refusal.subject,
        count=refusal.count,
        resource=refusal.resource,
        needed=refusal.needed,
        available=refusal.available,
        holders=refusal.holders,
        message=refusal.message,
    )


def candidate_message(candidate: Candidate) -> v1.Candidate:
    """Return a feasible placement and its score as a message."""
    leader = candidate.placement.members[0]
    return v1.Candidate(
        node=leader.node,
        claim=claim_message(leader.claim),
        score=candidate.score,
        scores=candidate.scores,
        placement=placement_message(candidate.placement),
    )


def suggestion_message(suggestion: Suggestion) -> v1.Suggestion:
    """Return what would make something fit as a message."""
    return v1.Suggestion(
        remedy=fields.number(v1.Remedy, "REMEDY", suggestion.remedy),
        message=suggestion.message,
        option=suggestion.option,
        value=suggestion.value,
        framework=suggestion.framework,
        device_memory_bytes=suggestion.device_memory_bytes,
        devices=suggestion.devices,
        present=suggestion.present,
        nodes=suggestion.nodes,
        like=suggestion.like,
    )


def estimate_message(estimate: Estimate) -> v1.Estimate:
    """Return an estimate as a message."""
    return v1.Estimate(
        weights_bytes=estimate.weights,
        kv_bytes=estimate.kv,
        activations_bytes=estimate.activations,
        runtime_bytes=estimate.runtime,
        lower_bytes=estimate.lower,
        upper_bytes=estimate.upper,
        provenance=estimate.provenance,
        confidence=(
            v1.CONFIDENCE_UNSPECIFIED
            if estimate.confidence is None
            else fields.number(v1.Confidence, "CONFIDENCE", estimate.confidence)
        ),
        items=[v1.EstimateItem(name=item.name, size_bytes=item.size_bytes) for item in estimate.items],
        missing=estimate.missing,
        measured_bytes=estimate.measured,
        measured_difference_bytes=estimate.measured_difference,
    )
