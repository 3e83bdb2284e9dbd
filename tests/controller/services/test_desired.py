import pytest

from motorpool import v1
from motorpool_controller.services.desired import Acknowledged, Told


def thing(name: str, digest: str = "1") -> v1.DesiredObject:
    return v1.DesiredObject(id=name, digest=digest)


def test_nothing_new_is_not_said() -> None:
    """
    The same objects make no change, and everything keeps its version.
    """
    told = Told(3)
    first = told.everything([thing("assignment/a")])

    assert None is told.change([thing("assignment/a")])
    assert first == told.everything([thing("assignment/a")])
    assert v1.DesiredVersion(controller_epoch=3, version=1) == first.results_in


def test_a_change_says_what_it_changes() -> None:
    """
    A delta holds new and changed objects and the ids of those done with, and follows from the version before.
    """
    told = Told(1)
    told.everything([thing("query/q"), thing("assignment/a"), thing("assignment/b")])

    change = told.change([thing("assignment/a", "2"), thing("assignment/b"), thing("logs/l")])

    assert change is not None
    assert (1, 2) == (change.applies_to.version, change.results_in.version)
    assert ["assignment/a", "logs/l"] == [item.id for item in change.objects]
    assert ["query/q"] == list(change.removed)


@pytest.mark.promise("P3")
def test_a_tombstone_takes_its_assignments_place() -> None:
    """
    An assignment is never named as removed: its tombstone says so.
    """
    told = Told(1)
    told.everything([thing("assignment/a")])

    change = told.change([thing("tombstone/a")])

    assert change is not None
    assert [] == list(change.removed)
    assert ["tombstone/a"] == [item.id for item in change.objects]


@pytest.mark.promise("P3")
def test_an_assignment_without_tombstone_is_left_out_of_everything() -> None:
    """
    An assignment that goes without a tombstone makes a full state, in which the agent misses and quarantines it.
    """
    told = Told(1)
    told.everything([thing("assignment/a")])

    change = told.change([])

    assert change is not None
    assert not change.HasField("applies_to")
    assert (2, []) == (change.results_in.version, list(change.removed))


def ordered() -> tuple[Told, Acknowledged]:
    told = Told(1)
    told.everything([thing("assignment/a")])
    told.change([thing("tombstone/a")])
    return told, Acknowledged()


@pytest.mark.promise("P3")
def test_gone_needs_the_word_of_the_agent() -> None:
    """
    Before the tombstone was taken, and until all was shown after that, nothing is gone.
    """
    told, acknowledged = ordered()
    acknowledged.show()
    assert not acknowledged.gone(told, set())

    acknowledged.accept(2)
    assert not acknowledged.gone(told, set())
    assert acknowledged.unsure(told, set())

    acknowledged.show()
    assert not acknowledged.gone(told, {"a"})
    assert {"a"} == acknowledged.gone(told, set())
    assert not acknowledged.unsure(told, set())


def test_named_as_removed_is_gone() -> None:
    """
    What the agent names as removed is gone, once it took the tombstone.
    """
    told, acknowledged = ordered()
    acknowledged.remove(["a"])
    assert not acknowledged.gone(told, set())

    acknowledged.accept(2)

    assert {"a"} == acknowledged.gone(told, set())


def test_an_older_acknowledgement_does_not_count() -> None:
    """
    Taking a version before the tombstone's says nothing about it.
    """
    told, acknowledged = ordered()
    acknowledged.accept(1)
    acknowledged.show()

    assert not acknowledged.gone(told, set())
