"""What a deployment wants loaded beside its model, as each node has it: LoRA adapters and a draft model."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from motorpool_controller.domain.names import shown
from motorpool_controller.domain.placement import Refusal
from motorpool_controller.domain.workload import DeploymentSpec
from motorpool_controller.scheduling.passing import Passing
from motorpool_formats.facts import Companion, ModelFacts

ADAPTER, DRAFT = "adapter", "draft"


@dataclass(frozen=True, slots=True)
class Wanted:
    """One of them: what it is, its path on the nodes or place on a hub, and how it is called to people."""

    kind: str
    path: str
    title: str


def wanted_by(spec: DeploymentSpec) -> Iterator[Wanted]:
    """Yield what a spec wants beside its model."""
    for each in spec.lora_adapters:
        yield Wanted(ADAPTER, each.source.place, f"the adapter {shown(each.adapter)}")
    draft = None if spec.speculative is None else spec.speculative.draft_model
    if draft is not None:
        yield Wanted(DRAFT, draft.place, "the draft model")


def unread(passing: Passing) -> list[Wanted]:
    """Return what a node has not told of."""
    return [wanted for wanted in wanted_by(passing.spec) if passing.answer(wanted.path).facts is None]


def refused(passing: Passing) -> Refusal | None:
    """Return why a node lacks something of it, and have it asked about all that it has not told of."""
    missing = unread(passing)
    passing.asked += tuple(wanted.path for wanted in missing)
    for wanted in missing:
        reading, name = passing.answer(wanted.path), passing.node.name
        if reading.error_reason:
            return passing.row(
                "path",
                reading.error_reason,
                f"{name} cannot use {wanted.title} at {wanted.path}: {reading.error_message.rstrip('. ')}. It is asked "
                "again from time to time.",
            )
    if not missing:
        return _misfit(passing)
    first = missing[0]
    return passing.row(
        "facts",
        "MODEL_NOT_READ_YET",
        f"{passing.node.name} has the headers of {first.title} at {first.path} to read: answers come soon.",
    )


def _misfit(passing: Passing) -> Refusal | None:
    for wanted in wanted_by(passing.spec):
        facts = passing.answer(wanted.path).facts
        if facts is not None and (ADAPTER in facts.categories) != (wanted.kind == ADAPTER):
            is_, wants = ("an adapter", "a model") if ADAPTER in facts.categories else ("a model", "an adapter")
            message = f"{wanted.title} at {wanted.path} of {passing.node.name} is {is_}, and {wants} is wanted there."
            return passing.row("path", "MODEL_UNFIT", message)
    return None


def with_companions(facts: ModelFacts, passing: Passing) -> ModelFacts:
    """Return a model's facts with what is loaded beside it, as the node has it."""
    own = {ADAPTER} if passing.spec.lora_adapters else set()
    own |= {DRAFT} if passing.spec.speculative is not None else set()
    if not own:
        return facts
    beside = tuple(
        Companion(kind=wanted.kind, file=wanted.path, file_bytes=read.file_bytes, weight_bytes=read.weight_bytes)
        for wanted in wanted_by(passing.spec)
        if (read := passing.answer(wanted.path).facts) is not None
    )
    return replace(facts, companions=(*(each for each in facts.companions if each.kind not in own), *beside))
