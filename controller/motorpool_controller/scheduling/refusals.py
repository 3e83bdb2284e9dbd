"""Rows of why not: how they are made, folded and compared."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from motorpool_controller.domain.placement import Refusal
from motorpool_controller.domain.sizes import MIB, in_words
from motorpool_controller.scheduling.allocatable import OTHER_PROGRAMS, Room

FOLD_ABOVE = 4
"""So many rows of a kind stand one by one; more are one row with a count."""

SAME_WITHIN_BYTES = 256 * MIB
SAME_WITHIN_SHARE = 0.05

HOST_MEMORY = "host memory"
DEVICE_MEMORY = "device memory"


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


def folded(rows: Iterable[Refusal]) -> tuple[Refusal, ...]:
    """Return the rows, those of one kind made one where they are many: first subject, count, the most available."""
    kinds: dict[tuple[str, str, str], list[Refusal]] = {}
    for row in rows:
        kinds.setdefault((row.stage, row.reason, row.resource), []).append(row)
    result: list[Refusal] = []
    for kind in kinds.values():
        kind.sort(key=lambda row: row.subject)
        result.extend(kind if len(kind) <= FOLD_ABOVE else [_fold(kind)])
    return tuple(result)


def unchanged(old: Sequence[Refusal], new: Sequence[Refusal]) -> bool:
    """Return whether the rows say the same, but for figures that move all the time on a fleet at rest."""
    return len(old) == len(new) and all(_same(*pair) for pair in zip(old, new, strict=True))


def _fold(kind: Sequence[Refusal]) -> Refusal:
    first = kind[0]
    best = max(kind, key=lambda row: -1 if row.available is None else row.available)
    needs = [row.needed for row in kind if row.needed is not None]
    return replace(
        best,
        subject=first.subject,
        count=len(kind),
        needed=min(needs) if needs else None,
        message=f"{len(kind)} times the like of: {best.message}",
    )


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
