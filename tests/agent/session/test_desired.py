"""The desired state as the agent holds it."""

from __future__ import annotations

import pytest

from motorpool import v1
from motorpool_agent.reconcile.assignment import DesiredVersion
from motorpool_agent.session.desired import DesiredBook, Proposal
from tests.agent.session.objects import assignment, change, everything, query, tombstone


def held(book: DesiredBook, message: v1.DesiredState) -> set[str]:
    proposal = book.consider(message)
    assert isinstance(proposal, Proposal), proposal
    book.adopt(proposal)
    return set(proposal.bodies)


def refused(book: DesiredBook, message: v1.DesiredState) -> v1.DesiredAck:
    ack = book.consider(message)
    assert isinstance(ack, v1.DesiredAck)
    return ack


def test_everything_replaces_and_a_change_changes() -> None:
    """
    A full state is all there is; a delta adds, replaces and removes.
    """
    book = DesiredBook(None)

    assert held(book, everything(1, assignment("a"), query("q", "/m"))) == {"assignment/a", "query/q"}
    assert held(book, change(2, assignment("b"), after=1, removed=("query/q",))) == {"assignment/a", "assignment/b"}
    assert held(book, everything(3, assignment("b"))) == {"assignment/b"}


def test_a_change_of_something_else_asks_for_everything() -> None:
    """
    A delta to a version that is not held is refused with a wish for everything, also right after a start.
    """
    book = DesiredBook(DesiredVersion(1, 4))
    assert refused(book, change(5, after=4)).resend
    held(book, everything(5))

    ack = refused(book, change(9, assignment(), after=8))

    assert (ack.resend, ack.error_reason, ack.version.version) == (True, "DESIRED_MISMATCH", 9)


@pytest.mark.parametrize(("epoch", "version"), [(1, 4), (0, 0), (-1, 5)])
def test_an_older_state_is_refused(epoch: int, version: int) -> None:
    """
    Nothing older than what was accepted, also by an earlier run, is taken.
    """
    book = DesiredBook(DesiredVersion(1, 5))

    ack = refused(book, everything(version, epoch=epoch))

    assert ack.error_reason in {"DESIRED_STALE", "FIELD_INVALID"}
    assert not ack.resend


def test_a_new_epoch_is_newer_whatever_its_version() -> None:
    """
    After its restart the controller counts from 1 again.
    """
    book = DesiredBook(DesiredVersion(1, 500))

    assert held(book, everything(1, assignment("a"), epoch=2)) == {"assignment/a"}


def test_the_same_state_twice_is_fine() -> None:
    """
    Applying a version again is no error.
    """
    book = DesiredBook(None)
    held(book, everything(1, assignment("a")))

    assert held(book, everything(1, assignment("a"))) == {"assignment/a"}


def test_a_tombstone_takes_its_assignments_place() -> None:
    """
    What is to be removed is no longer wanted; a later generation is.
    """
    book = DesiredBook(None)
    held(book, everything(1, assignment("a", generation=2)))

    assert held(book, change(2, tombstone("a", generation=1), after=1)) == {"assignment/a", "tombstone/a"}
    assert held(book, change(3, tombstone("a", generation=2), after=2)) == {"tombstone/a"}
    assert held(book, change(4, after=3, removed=("tombstone/a",))) == set()


@pytest.mark.promise("P3")
def test_an_assignment_is_not_removed_without_a_tombstone() -> None:
    """
    A change that just leaves an assignment out is refused as a whole, and the assignment stays wanted.
    """
    book = DesiredBook(None)
    held(book, everything(1, assignment("a"), assignment("b")))

    ack = refused(book, change(2, after=1, removed=("assignment/a",)))

    assert (ack.error_reason, "tombstone" in ack.error_message) == ("FIELD_INVALID", True)
    assert held(book, change(2, after=1)) == {"assignment/a", "assignment/b"}
    together = change(3, tombstone("a"), after=2, removed=("assignment/a",))
    assert held(book, together) == {"assignment/b", "tombstone/a"}


@pytest.mark.parametrize(
    "bad",
    [
        v1.DesiredObject(id="assignment/a"),
        v1.DesiredObject(id="assignment/b", assignment=assignment("a").assignment),
        v1.DesiredObject(id="tombstone/a", assignment=assignment("a").assignment),
        v1.DesiredObject(id="assignment/../x", assignment=v1.Assignment(assignment_id="../x", generation=1)),
        v1.DesiredObject(id="assignment/", assignment=v1.Assignment()),
        assignment("a", generation=0),
        assignment("a", tensor_split=[float("nan")]),
        assignment("a", memory_fraction=float("inf")),
        assignment("a", gang=[v1.GangMember()]),
        v1.DesiredObject(id="query/q", query=v1.Query(query_id="q")),
        tombstone("a", generation=0),
    ],
)
def test_one_object_that_makes_no_sense_refuses_the_version(bad: v1.DesiredObject) -> None:
    """
    A version is accepted whole or not at all, and the refusal names the object.
    """
    book = DesiredBook(None)

    ack = refused(book, everything(1, assignment("fine"), bad))

    assert ack.error_reason == "FIELD_INVALID"
    assert bad.id in ack.error_message
    assert book.accepted is None
