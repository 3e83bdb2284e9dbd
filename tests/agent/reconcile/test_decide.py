"""The pure decision, by example and by property."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from motorpool_agent.reconcile.assignment import Assignment, Desired, ModelSource, Tombstone
from motorpool_agent.reconcile.decide import Action, Known, decide, restart_delay_seconds

IDS = st.sampled_from(["a", "b", "c"])
GENERATIONS = st.integers(0, 4)


def _assignment(assignment_id: str, generation: int) -> Assignment:
    return Assignment(
        assignment_id=assignment_id,
        generation=generation,
        digest="",
        instance="",
        deployment="",
        backend="",
        backend_version="",
        framework="",
        model=ModelSource(kind="local_path"),
        served_model_name="",
    )


def _desired(assignments: dict[str, int], tombstones: dict[str, int]) -> Desired:
    return Desired(
        assignments={name: _assignment(name, generation) for name, generation in assignments.items()},
        tombstones={name: Tombstone(assignment_id=name, generation=at) for name, at in tombstones.items()},
    )


DESIRED = st.builds(_desired, st.dictionaries(IDS, GENERATIONS), st.dictionaries(IDS, GENERATIONS))
KNOWN = st.dictionaries(IDS, st.builds(Known, generation=GENERATIONS, proven=st.booleans()))


@pytest.mark.parametrize(
    ("wanted", "tombstone", "known", "action"),
    [
        (1, None, None, Action.START),
        (1, None, Known(generation=1), Action.KEEP),
        (2, None, Known(generation=1), Action.REPLACE),
        (1, None, Known(generation=2), Action.KEEP),
        (None, None, Known(generation=1), Action.QUARANTINE),
        (None, 1, Known(generation=1), Action.STOP),
        (None, 1, Known(generation=2), Action.QUARANTINE),
        (2, 1, Known(generation=1), Action.REPLACE),
        (1, 1, Known(generation=1), Action.STOP),
        (2, None, Known(generation=1, proven=False), Action.KEEP),
        (None, 1, Known(generation=0, proven=False), Action.STOP),
        (1, 1, None, None),
        (None, 1, None, None),
    ],
)
def test_one_assignment(wanted: int | None, tombstone: int | None, known: Known | None, action: Action | None) -> None:
    """
    What is done follows from the generations wanted, removed and there, and from nothing else.
    """
    desired = _desired({} if wanted is None else {"a": wanted}, {} if tombstone is None else {"a": tombstone})

    assert action == decide(desired, {} if known is None else {"a": known}).get("a")


@pytest.mark.promise("P3")
@given(desired=DESIRED, known=KNOWN)
def test_nothing_is_ended_without_an_order(desired: Desired, known: dict[str, Known]) -> None:
    """
    A process is ended only by a tombstone of its generation or a later one, or for a higher generation of its own.
    """
    for name, action in decide(desired, known).items():
        if action is Action.STOP:
            assert desired.tombstones[name].generation >= known[name].generation
        if action is Action.REPLACE:
            assert desired.assignments[name].generation > known[name].generation
            assert known[name].proven


@given(desired=DESIRED, known=KNOWN)
def test_every_known_one_is_decided_on(desired: Desired, known: dict[str, Known]) -> None:
    """
    Nothing that is there is passed over, and nothing is started that is not wanted.
    """
    actions = decide(desired, known)

    assert set(known) <= set(actions)
    assert {name for name in actions if name not in known} <= set(desired.assignments)


@given(desired=DESIRED, known=KNOWN)
def test_carried_out_it_is_settled(desired: Desired, known: dict[str, Known]) -> None:
    """
    After the actions were carried out, deciding again neither starts, nor replaces, nor stops anything.
    """
    after = dict(known)
    for name, action in decide(desired, known).items():
        if action is Action.STOP:
            del after[name]
        elif action in {Action.START, Action.REPLACE}:
            after[name] = Known(generation=desired.assignments[name].generation)
    again = set(decide(desired, after).values())

    assert not again & {Action.REPLACE, Action.STOP}
    assert all(name in desired.assignments for name, action in decide(desired, after).items() if action is Action.START)


def test_delays_between_restarts() -> None:
    """
    The first restart is at once, the next after 10 s, doubling, and none after more than 300 s.
    """
    assert [0, 10, 20, 40, 80, 160, 300, 300] == [restart_delay_seconds(count) for count in range(8)]
    assert restart_delay_seconds(10**9) == 300
