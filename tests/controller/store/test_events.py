import pytest

from motorpool_controller.domain.event import Severity
from motorpool_controller.store import view
from motorpool_controller.store.database import Where
from motorpool_controller.store.store import Store
from motorpool_controller.store.transaction import Transaction
from tests.controller.rows import telling


def told(store: Store) -> list[tuple[str, str, int]]:
    return [(event.subject, event.message, event.count) for event in store.view.events.values()]


async def test_equal_events_in_a_row_are_counted(store: Store) -> None:
    """
    The same event about the same subject is one row with a count; another one between begins a new row.
    """

    def change(tx: Transaction) -> None:
        for message in ("lost", "lost", "back", "lost"):
            tx.event(Severity.INFO, "X", "nodes/a", message)

    await store.commit(change)
    await store.commit(lambda tx: tx.event(Severity.INFO, "X", "nodes/a", "lost"))

    assert [("nodes/a", "lost", 2), ("nodes/a", "back", 1), ("nodes/a", "lost", 2)] == told(store)


async def test_other_subjects_do_not_interrupt_a_row(store: Store) -> None:
    """
    Two nodes that fail in turn make two rows, not one for every turn; the last one that happened is last.
    """
    for subject in ("nodes/a", "nodes/b", "nodes/a"):
        await store.commit(telling(subject, "lost"))

    assert [("nodes/b", "lost", 1), ("nodes/a", "lost", 2)] == told(store)


async def test_folding_goes_on_after_a_restart(database: Where) -> None:
    """
    An event equal to the last one before the restart is counted with it, and keeps its first time.
    """
    async with await Store.open(database) as store:
        first = await store.commit(lambda tx: tx.event(Severity.INFO, "X", "nodes/a", "lost"))
    async with await Store.open(database) as store:
        again = await store.commit(lambda tx: tx.event(Severity.INFO, "X", "nodes/a", "lost"))

    assert (first.name, first.first_time, 2) == (again.name, again.first_time, again.count)


async def test_old_events_go(database: Where, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Only so many events are kept, in memory as on disk, and they are the latest ones.
    """
    monkeypatch.setattr(view, "EVENTS_KEPT", 20)
    monkeypatch.setattr(view, "SLACK", 5)
    async with await Store.open(database) as store:
        for number in range(60):
            await store.commit(telling(f"nodes/{number}", "hello"))
        kept = told(store)
        subjects = set(store.view.latest_events)
    async with await Store.open(database) as store:
        reopened = told(store)

    assert 20 <= len(kept) < 25
    assert kept[-1] == ("nodes/59", "hello", 1)
    assert kept == reopened
    assert {subject for subject, _, _ in kept} == subjects
