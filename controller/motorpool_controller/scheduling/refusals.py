"""Rows of why not: how they are written and compared."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from motorpool_controller.domain.placement import Refusal
from motorpool_controller.domain.sizes import MIB, in_words
from motorpool_controller.scheduling.allocatable import OTHER_PROGRAMS, Room
from motorpool_controller.scheduling.selectors.supply import Supply

SAME_WITHIN_BYTES = 256 * MIB
SAME_WITHIN_SHARE = 0.05

HOST_MEMORY = "host memory"
DEVICE_MEMORY = "device memory"
DEVICES = "devices"
NODES = "nodes"


def memory_unknown(subject: str, resource: str, needed: int | None, room: Room) -> Refusal:
    """Return the row for a memory nobody knows the state of."""
    return Refusal(
        stage="memory",
        reason="MEMORY_UNKNOWN",
        subject=subject,
        resource=resource,
        needed=needed,
        message=(
            f"The {resource} of {subject} is unknown: {room.unknown}. It is placed on as soon as its agent reports it;"
            " `motorpool describe` shows what the agent says."
        ),
    )


def memory_short(subject: str, resource: str, needed: int, room: Room, hint: str) -> Refusal:
    """Return the row for a memory that is too small, or held by others."""
    available = room.available or 0
    total = room.total or 0
    if needed > total:
        state = f"and it has {in_words(total)} in all"
    else:
        holders = ", ".join(f"{name} ({in_words(size)})" for name, size in room.holders)
        state = (
            f"and {in_words(available)} of {in_words(total)} is left; the rest is held by {holders or 'nobody known'}"
        )
    return Refusal(
        stage="memory",
        reason="MEMORY_SHORT",
        subject=subject,
        resource=resource,
        needed=needed,
        available=available,
        holders=tuple(name for name, _ in room.holders),
        message=f"{in_words(needed)} of {resource} is needed on {subject}, {state}. {hint}",
    )


def estimate_unknown(subject: str, provenance: str) -> Refusal:
    """Return the row for a model whose needs could not be estimated (A14)."""
    return Refusal(
        stage="facts",
        reason="ESTIMATE_UNKNOWN",
        subject=subject,
        message=(
            f"What the instance needs on {subject} is {provenance}. Give the claim by hand (claim.memory_bytes,"
            " claim.device_memory_bytes), or use a model whose headers say it."
        ),
    )


def fraction_short(subject: str, supply: Supply, takes: int, room: Room) -> Refusal:
    """Return the row for a device of which less is left than the backend takes; with what would fit (A25, A26)."""
    available, total = room.available or 0, room.total or 0
    demand = supply.demand
    option = demand.fraction or "the backend's share"
    holders = ", ".join(f"{name} ({in_words(size)})" for name, size in room.holders) or "nobody known"
    largest = math.floor(available / total * 1000) / 1000 if total else 0.0
    reserved = (
        f" {in_words(room.reserved)} of it is reserved, so that no larger one ever fits." if room.reserved else ""
    )
    fits = (demand.need or 0) <= int(total * largest)
    model = f"the model needs about {in_words(demand.need or 0)}, which {'fits' if fits else 'does not fit'} in that"
    return Refusal(
        stage="memory",
        reason="FRACTION_SHORT",
        subject=subject,
        resource=DEVICE_MEMORY,
        needed=takes,
        available=available,
        holders=tuple(name for name, _ in room.holders),
        message=(
            f"{option} of {supply.fraction:g} takes {in_words(takes)} of {subject}, and {in_words(available)} of"
            f" {in_words(total)} is left; the rest is held by {holders}.{reserved} The largest that fits is"
            f" {largest:g}; {model}."
        ),
    )


def device_row(subject: str, reason: str, message: str, *, stage: str = "devices") -> Refusal:
    """Return the row for a device or node that is no place for it, whatever is left there."""
    return Refusal(stage=stage, reason=reason, subject=subject, message=message)


def request_row(stage: str, reason: str, subject: str, message: str) -> Refusal:
    """Return the row for what is wrong with the wish itself."""
    return Refusal(stage=stage, reason=reason, subject=subject, message=message)


def unchanged(old: Sequence[Refusal], new: Sequence[Refusal]) -> bool:
    """Return whether the rows say the same, but for figures that move all the time on a fleet at rest."""
    return len(old) == len(new) and all(_same(*pair) for pair in zip(old, new, strict=True))


def _same(old: Refusal, new: Refusal) -> bool:
    steady = replace(new, available=old.available, message=old.message, holders=old.holders)
    if steady != old or (old.available is None) != (new.available is None):
        return False
    if old.available is None or new.available is None:
        return old.message == new.message
    drift = abs(new.available - old.available)
    # Which of many nodes has the most left changes with their measurements, and its holders with it.
    return (new.count > 1 or _own(old) == _own(new)) and drift <= max(
        SAME_WITHIN_BYTES, SAME_WITHIN_SHARE * old.available
    )


def _own(row: Refusal) -> set[str]:
    return set(row.holders) - {OTHER_PROGRAMS}
