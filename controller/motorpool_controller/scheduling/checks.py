"""Three questions about one plan, answered from its own rows: does the backend run here, with this model, and where."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from motorpool_controller.domain.placement import Refusal
from motorpool_controller.scheduling.scheduler import Verdict


class CheckKind(StrEnum):
    """Backend against the fleet's machines, model against the backend, everything against rules and memory."""

    BACKEND = "backend"
    MODEL = "model"
    PLACE = "place"


class Outcome(StrEnum):
    """What came of a check. A failed one has at least one row (P4)."""

    PASSED = "passed"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One verdict, and the rows of the plan that belong to it."""

    kind: CheckKind
    outcome: Outcome
    message: str
    refusals: tuple[Refusal, ...] = ()


BACKEND_STAGES = frozenset({"backend", "framework", "parameters", "executor"})
BROKEN_REASONS = frozenset({"MODEL_FORMAT_UNKNOWN", "MODEL_CORRUPT", "MODEL_INCOMPLETE"})
MODEL_REASONS = BROKEN_REASONS | {"FORMAT_UNSUPPORTED", "ARCHITECTURE_UNSUPPORTED", "CATEGORY_UNSUPPORTED"}
EARLY_STAGES = frozenset({"nodes", "spec", "labels", "state", "cordon"})
EARLY_REASONS = frozenset({"NOT_PINNED", "DEVICE_UNKNOWN"})
"""A node that was refused for these was not asked for its backends, one refused for others was."""

UNREAD_REASONS = frozenset({"MODEL_NOT_READ_YET", "MODEL_NOT_FOUND", "MODEL_UNREADABLE"})


def checks(verdicts: Sequence[Verdict], *, unchecked: str = "", chosen: bool = True) -> tuple[Check, ...]:
    """Return the three checks of one deployment's verdicts, those of its instances in the order of placing.

    ``unchecked`` says why nobody here knows which models the backend runs, if that is so.
    ``chosen`` says that it is known which backend it is to be: as long as a model is not read, it may not be.
    """
    rows = tuple(dict.fromkeys(row for verdict in verdicts if verdict.placement is None for row in verdict.refusals))
    placed = sum(verdict.placement is not None for verdict in verdicts)
    kinds = {kind: tuple(row for row in rows if _kind_of(row) is kind) for kind in CheckKind}
    reached = bool(placed) or any(not _is_early(row) and _kind_of(row) is CheckKind.PLACE for row in rows)
    return (
        _backend(kinds[CheckKind.BACKEND], reached=reached or bool(kinds[CheckKind.MODEL]), chosen=chosen),
        _model(kinds, rows, reached=bool(placed) or _weighed(rows), unchecked=unchecked),
        _place(kinds[CheckKind.PLACE], placed, len(verdicts)),
    )


def _backend(rows: tuple[Refusal, ...], *, reached: bool, chosen: bool) -> Check:
    kind = CheckKind.BACKEND
    if not chosen:
        message = "Not checked: the model decides on the backend, and it was not read; name one to have it checked."
        return Check(kind=kind, outcome=Outcome.SKIPPED, message=message)
    if reached:
        return Check(kind=kind, outcome=Outcome.PASSED, message="At least one node runs the backend.")
    if rows:
        message = "No node that the rules admit runs the backend."
        return Check(kind=kind, outcome=Outcome.FAILED, message=message, refusals=rows)
    message = "Not checked: no node was left to look at; see the third check."
    return Check(kind=kind, outcome=Outcome.SKIPPED, message=message)


def _model(
    kinds: dict[CheckKind, tuple[Refusal, ...]], rows: tuple[Refusal, ...], *, reached: bool, unchecked: str
) -> Check:
    kind = CheckKind.MODEL
    if unchecked and not kinds[kind]:
        return Check(kind=kind, outcome=Outcome.SKIPPED, message=f"Not checked: {unchecked}.")
    if reached:
        return Check(kind=kind, outcome=Outcome.PASSED, message="The backend runs models of this kind.")
    if kinds[kind]:
        broken = all(row.reason in BROKEN_REASONS for row in kinds[kind])
        message = "What lies there cannot be read as a model." if broken else "No node's backend runs this model."
        return Check(kind=kind, outcome=Outcome.FAILED, message=message, refusals=kinds[kind])
    unread = next((row for row in rows if row.reason in UNREAD_REASONS), None)
    why = "no node was left to look at" if unread is None else "the model was not read"
    return Check(kind=kind, outcome=Outcome.SKIPPED, message=f"Not checked: {why}; see the other checks.")


def _place(rows: tuple[Refusal, ...], placed: int, wished: int) -> Check:
    kind = CheckKind.PLACE
    if placed == wished:
        message = f"{wished} of {wished} instances {'has' if wished == 1 else 'have'} a place."
        return Check(kind=kind, outcome=Outcome.PASSED, message=message)
    if not rows:
        message = "Not checked: no node passed the checks before."
        return Check(kind=kind, outcome=Outcome.SKIPPED, message=message)
    message = f"{placed} of {wished} instances {'has' if wished == 1 else 'have'} a place."
    return Check(kind=kind, outcome=Outcome.FAILED, message=message, refusals=rows)


def _kind_of(row: Refusal) -> CheckKind:
    if row.stage in BACKEND_STAGES:
        return CheckKind.BACKEND
    return CheckKind.MODEL if row.reason in MODEL_REASONS else CheckKind.PLACE


def _is_early(row: Refusal) -> bool:
    return row.stage in EARLY_STAGES or row.reason in EARLY_REASONS


def _weighed(rows: Iterable[Refusal]) -> bool:
    """Return whether memory or devices decided on any node: the model had passed there."""
    return any(
        _kind_of(row) is CheckKind.PLACE and not _is_early(row) and row.stage not in {"facts", "path"} for row in rows
    )
