import asyncio

import pytest

from motorpool_controller.domain.errors import InvalidError, OutOfRangeError
from motorpool_controller.store import subscription as subscription_module
from motorpool_controller.store import view
from motorpool_controller.store.database import Where
from motorpool_controller.store.pending import Change
from motorpool_controller.store.store import Store
from tests.controller.rows import node, putting


async def add(store: Store, *names: str) -> None:
    await store.commit(lambda tx: [tx.nodes.put(node(name)) for name in names])


async def test_subscriber_hears_of_changes_in_their_order(store: Store) -> None:
    """
    Every committed change comes, a deletion as one.
    """
    with store.subscribe() as changes:
        await add(store, "a")
        await add(store, "b")
        await store.commit(lambda tx: tx.nodes.delete("nodes/a"))

        assert Change(2, "nodes", "nodes/b") == await anext(changes)
        assert Change(3, "nodes", "nodes/a", deleted=True) == await anext(changes)


async def test_waiting_subscriber_wakes(store: Store) -> None:
    """
    A subscriber that waits gets the change as soon as it is committed.
    """
    with store.subscribe() as changes:
        waiting = asyncio.ensure_future(anext(changes))
        await asyncio.sleep(0)
        await add(store, "a")

        assert Change(1, "nodes", "nodes/a") == await asyncio.wait_for(waiting, timeout=10)


async def test_slow_subscriber_gets_the_last_change_of_each_object(store: Store) -> None:
    """
    Unread changes of one object are folded into the last; memory is bounded by objects, not by changes.
    """
    await add(store, "a", "b")
    with store.subscribe() as changes:
        for number in range(50):
            await store.commit(putting(node("a", address=str(number))))

        assert [Change(51, "nodes", "nodes/a")] == changes.take()


async def test_resuming_misses_nothing(database: Where) -> None:
    """
    After a restart, a subscriber goes on from the revision it had read.
    """
    async with await Store.open(database) as store:
        with store.subscribe() as changes:
            await add(store, "a")
            await add(store, "b")
            await anext(changes)
            revision = changes.resume_revision
    async with await Store.open(database) as store, asyncio.timeout(10):
        with store.subscribe(revision) as changes:
            await add(store, "c")

            assert ["nodes/b", "nodes/c"] == [change.name for change in changes.take()]


async def test_resuming_within_a_revision_reads_it_again(store: Store) -> None:
    """
    When a part of a revision was read, resuming gives the whole revision again rather than lose the rest.
    """
    with store.subscribe() as changes:
        await add(store, "a")
        await add(store, "b", "c")
        await anext(changes)
        await anext(changes)

        assert changes.resume_revision == 1
        await anext(changes)
        assert changes.resume_revision == 2


async def test_revision_that_is_no_longer_kept_is_refused(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Resuming from before the kept changes says so; resuming from the oldest kept revision works.
    """
    monkeypatch.setattr(view, "CHANGES_KEPT", 10)
    monkeypatch.setattr(view, "SLACK", 5)
    for number in range(40):
        await add(store, f"n{number}")
    oldest = store.view.changes_since

    assert 25 <= oldest <= 30
    assert 40 - oldest == len(store.subscribe(oldest).take())
    with pytest.raises(OutOfRangeError) as caught:
        store.subscribe(oldest - 1)
    assert caught.value.reason == "HISTORY_COMPACTED"


async def test_revision_of_the_future_is_refused(store: Store) -> None:
    """
    A resume token of another cluster, ahead of this one, is refused instead of waiting for its day.
    """
    with pytest.raises(InvalidError) as caught:
        store.subscribe(7)
    assert caught.value.reason == "PAGE_TOKEN_INVALID"


async def test_reader_that_does_not_read_is_told(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A subscriber too many objects behind loses its place and is told to list again.
    """
    monkeypatch.setattr(subscription_module, "PENDING_LIMIT", 5)
    with store.subscribe() as changes:
        for number in range(10):
            await add(store, f"n{number}")

        with pytest.raises(OutOfRangeError):
            await anext(changes)


async def test_closing_the_store_ends_its_subscribers(database: Where) -> None:
    """
    A reader that waits when the store closes comes to the end of its iteration.
    """
    store = await Store.open(database)
    changes = store.subscribe()

    async def read() -> list[Change]:
        return [change async for change in changes]

    reading = asyncio.ensure_future(read())
    await asyncio.sleep(0)
    await store.close()

    assert [] == await asyncio.wait_for(reading, timeout=10)
