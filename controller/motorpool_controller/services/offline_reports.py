"""A plan made of files, in lines for people or as JSON for programs."""

from __future__ import annotations

import json
from dataclasses import dataclass

from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message

from motorpool_controller.domain.names import id_of
from motorpool_controller.domain.placement import Member, Suggestion
from motorpool_controller.domain.sizes import in_words
from motorpool_controller.scheduling.scheduler import Verdict
from motorpool_controller.services.convert.placement import (
    estimate_message,
    placement_message,
    refusal_message,
    suggestion_message,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class OfflinePlan:
    """What would become of each instance, the first with all its places, and what would make all fit."""

    deployment: str
    verdicts: tuple[Verdict, ...]
    suggestions: tuple[Suggestion, ...] = ()


def plan_text(planned: OfflinePlan, skip: int = 0) -> str:
    """Return a plan as people read it: each instance's place, the places of the first, and why not elsewhere."""
    verdicts = planned.verdicts
    lines = [f"{id_of(verdict.request.name)}: {verdict.sentence}" for verdict in verdicts]
    first = verdicts[0]
    told = first.candidates[skip:]
    if told:
        lines.append(f"\nPlaces, best first ({skip + 1} to {skip + len(told)} of {first.places}):")
    for number, candidate in enumerate(told, skip + 1):
        parts = "; ".join(_member_text(member) for member in candidate.placement.members)
        made_of = ", ".join(f"{name} {score:.3f}" for name, score in sorted(candidate.scores.items()))
        rank = {1: "chosen", 2: "runner-up"}.get(number, str(number))
        lines.append(f"  {rank:>9}  {candidate.score:7.3f}  {parts}" + (f"  ({made_of})" if made_of else ""))
    refused = next((verdict for verdict in verdicts if verdict.placement is None), first)
    if refused.refusals:
        lines.append("\nWhy not elsewhere:" if refused.placement is not None else "\nWhy not:")
    lines += [f"  {row.stage}: {row.message}" for row in refused.refusals]
    if planned.suggestions:
        lines.append("\nWhat would make it fit:")
    lines += [f"  {suggestion.message}" for suggestion in planned.suggestions]
    return "\n".join(lines)


def plan_json(planned: OfflinePlan, skip: int = 0, *, in_a_line: bool = False) -> str:
    """Return a plan for programs: by instance its placement, its places with their scores, and its refusals."""
    document = {
        "deployment": planned.deployment,
        "instances": [
            _instance_json(verdict, 0 if number else skip) for number, verdict in enumerate(planned.verdicts)
        ],
        "suggestions": [_json(suggestion_message(each)) for each in planned.suggestions],
    }
    return json.dumps(document, indent=None if in_a_line else 2)


def fault_json(reason: str, message: str) -> str:
    """Return what is wrong with a deployment for programs, in a line."""
    return json.dumps({"error": {"reason": reason, "message": message}})


def _instance_json(verdict: Verdict, skip: int) -> dict[str, object]:
    candidates = [
        {
            "score": each.score,
            "scores": dict(each.scores),
            "placement": _json(placement_message(each.placement)),
        }
        for each in verdict.candidates
    ]
    return {
        "instance": verdict.request.name,
        "verdict": verdict.sentence,
        "placement": None if verdict.placement is None else _json(placement_message(verdict.placement)),
        "estimate": None if verdict.estimate is None else _json(estimate_message(verdict.estimate)),
        "runner_up": candidates[1] if len(candidates) > 1 else None,
        "places": verdict.places,
        "candidates": candidates[skip:],
        "refusals": [_json(refusal_message(row)) for row in verdict.refusals],
    }


def _json(message: Message) -> dict[str, object]:
    return dict(MessageToDict(message, preserving_proto_field_name=True))


def _member_text(member: Member) -> str:
    devices = ", ".join(f"{claim.device_id} {in_words(claim.memory_bytes)}" for claim in member.claim.devices)
    host = f"host memory {in_words(member.claim.memory_bytes)}" if member.claim.memory_bytes else ""
    return f"{id_of(member.node)}: {', '.join(part for part in (devices, host) if part) or 'nothing'}"
