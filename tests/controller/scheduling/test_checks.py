"""The three checks, from rows alone."""

from __future__ import annotations

import pytest

from motorpool_controller.domain.placement import Claim, Member, Placement, Refusal
from motorpool_controller.domain.workload import DeploymentSpec, ModelSource, SourceKind
from motorpool_controller.scheduling.checks import CheckKind, Outcome, checks
from motorpool_controller.scheduling.scheduler import Verdict
from motorpool_controller.scheduling.snapshot import Request

SPEC = DeploymentSpec(model=ModelSource(kind=SourceKind.LOCAL_PATH, path="/m.gguf"))
REQUEST = Request(name="instances/a-1", deployment="deployments/a", spec=SPEC)
PLACEMENT = Placement(
    members=(Member(node="nodes/a", claim=Claim()),), framework="cpu", backend="llama_cpp", backend_version="1"
)
P, F, S = Outcome.PASSED, Outcome.FAILED, Outcome.SKIPPED


def row(stage: str, reason: str) -> Refusal:
    return Refusal(stage=stage, reason=reason, subject="nodes/a", message=f"because of {reason}")


def refused(*rows: Refusal) -> Verdict:
    return Verdict(request=REQUEST, refusals=rows)


LABELS = row("labels", "LABELS_DIFFER")
MISSING = row("backend", "BACKEND_MISSING")
FORMAT = row("facts", "FORMAT_UNSUPPORTED")
UNREAD = row("facts", "MODEL_NOT_READ_YET")
MEMORY = row("memory", "MEMORY_SHORT")


@pytest.mark.parametrize(
    ("rows", "outcomes"),
    [
        ((LABELS,), (S, S, F)),
        ((LABELS, MISSING), (F, S, F)),
        ((MISSING, FORMAT), (P, F, S)),
        ((FORMAT, UNREAD), (P, F, F)),
        ((MISSING, UNREAD), (P, S, F)),
        ((FORMAT, MEMORY), (P, P, F)),
        ((row("devices", "NOT_PINNED"),), (S, S, F)),
        ((row("executor", "EXECUTOR_MISSING"),), (F, S, S)),
        ((row("parameters", "PARAMETER_INVALID"),), (F, S, S)),
    ],
)
def test_each_check_is_as_far_as_nodes_came(rows: tuple[Refusal, ...], outcomes: tuple[Outcome, ...]) -> None:
    """
    A check passed if a node came beyond it, failed if all that came to it ended there, and else says what is missing.
    """
    found = checks([refused(*rows)])

    assert tuple(check.outcome for check in found) == outcomes
    assert tuple(check.kind for check in found) == (CheckKind.BACKEND, CheckKind.MODEL, CheckKind.PLACE)


def test_a_backend_that_is_not_chosen_yet_is_not_checked() -> None:
    """
    Where the model decides on the backend and cannot be read, nothing is said of one, and the model is at fault.
    """
    broken = row("path", "MODEL_FORMAT_UNKNOWN")

    backend, model, place = checks([refused(broken)], chosen=False)

    assert (backend.outcome, model.outcome, place.outcome) == (S, F, S)
    assert "name one" in backend.message
    assert model.message == "What lies there cannot be read as a model."
    assert model.refusals == (broken,)


@pytest.mark.promise("P4")
def test_what_failed_has_its_own_rows() -> None:
    """
    A failed check carries the rows of the plan that belong to it, and no others; where it does not fit, one fails.
    """
    backend, model, place = checks([refused(MISSING, LABELS)])

    assert (backend.refusals, model.refusals, place.refusals) == ((MISSING,), (), (LABELS,))
    for rows in ((MISSING,), (FORMAT,), (MEMORY,), (UNREAD,)):
        found = checks([refused(*rows)])
        assert [check.refusals for check in found if check.outcome is F] == [rows]


def test_some_instances_have_a_place() -> None:
    """
    Where two of three fit, backend and model are fine, and the third check says why the last does not fit.
    """
    placed = Verdict(request=REQUEST, placement=PLACEMENT, refusals=(LABELS,))

    backend, model, place = checks([placed, placed, refused(LABELS, MEMORY)])

    assert (backend.outcome, model.outcome, place.outcome) == (P, P, F)
    assert place.message == "2 of 3 instances have a place."
    assert place.refusals == (LABELS, MEMORY)
    assert checks([placed])[2].message == "1 of 1 instances has a place."


def test_models_of_declared_backends_are_not_checked() -> None:
    """
    Which models a declared backend runs nobody here knows, and the check says so; what it is known not to read fails.
    """
    unknown = "only its author knows"

    found = checks([Verdict(request=REQUEST, placement=PLACEMENT)], unchecked=unknown)[1]
    failed = checks([refused(FORMAT)], unchecked=unknown)[1]

    assert (found.outcome, found.message) == (S, "Not checked: only its author knows.")
    assert (failed.outcome, failed.refusals) == (F, (FORMAT,))
