import asyncio
from datetime import timedelta
from functools import partial

import pytest

from motorpool_controller.domain.errors import InvalidError
from motorpool_controller.store import requests
from motorpool_controller.store.database import Where
from motorpool_controller.store.requests import once
from motorpool_controller.store.store import Store
from motorpool_controller.store.transaction import Transaction
from tests.controller.rows import NOW, node
from tests.controller.store.sql import sql


def create(tx: Transaction, request_id: str, name: str) -> bytes:
    def change(tx: Transaction) -> bytes:
        return str(tx.nodes.put(node(f"{name}-{len(tx.nodes)}")).name).encode()

    return once(tx, request_id=request_id, method="Create", request=name.encode(), change=change)


async def test_repeated_request_gets_the_first_answer(store: Store) -> None:
    """
    The same request id and request are carried out once, also when both are in flight together.
    """
    answers = await asyncio.gather(*(store.commit(lambda tx: create(tx, "id-1", "a")) for _ in range(3)))
    later = await store.commit(lambda tx: create(tx, "id-1", "a"))

    assert [b"nodes/a-0"] * 4 == [*answers, later]
    assert ["nodes/a-0"] == list(store.view.nodes)


async def test_request_without_an_id_is_carried_out(store: Store) -> None:
    """
    Without a request id every call counts.
    """
    await store.commit(lambda tx: create(tx, "", "a"))
    await store.commit(lambda tx: create(tx, "", "a"))

    assert ["nodes/a-0", "nodes/a-1"] == list(store.view.nodes)


async def test_id_of_another_request_is_refused(store: Store) -> None:
    """
    A request id that comes again with another request is a mistake of the caller, who is told which field.
    """
    await store.commit(lambda tx: create(tx, "id-1", "a"))

    with pytest.raises(InvalidError, match="was used for another request") as caught:
        await store.commit(lambda tx: create(tx, "id-1", "b"))
    assert ("REQUEST_ID_REUSED", {"field": "request_id"}) == (caught.value.reason, caught.value.metadata)


async def test_endless_id_is_refused(store: Store) -> None:
    """
    A request id longer than any UUID is refused.
    """
    with pytest.raises(InvalidError, match="129 characters"):
        await store.commit(lambda tx: create(tx, "x" * 129, "a"))


@pytest.mark.parametrize("request_id", ["a\0b", "a\nb"])
async def test_id_that_no_database_keeps_is_refused(store: Store, request_id: str) -> None:
    """
    A request id with a NUL would fail the whole batch on PostgreSQL: such ones are refused everywhere.
    """
    with pytest.raises(InvalidError, match="cannot be printed"):
        await store.commit(lambda tx: create(tx, request_id, "a"))


@pytest.mark.promise("P8")
async def test_answers_outlive_a_restart_and_an_hour_ends_them(database: Where) -> None:
    """
    A repetition after a restart gets the stored answer; one after an hour is a new request.
    """
    now = NOW
    async with await Store.open(database, clock=lambda: now) as store:
        await store.commit(lambda tx: create(tx, "id-1", "a"))
    async with await Store.open(database, clock=lambda: now) as store:
        repeated = await store.commit(lambda tx: create(tx, "id-1", "a"))
        now = NOW + timedelta(hours=1, seconds=1)
        later = await store.commit(lambda tx: create(tx, "id-1", "a"))

    assert (b"nodes/a-0", b"nodes/a-1") == (repeated, later)


async def test_answers_older_than_an_hour_are_not_kept(database: Where) -> None:
    """
    The next request that is answered takes those away that no repetition may have any more, and so does a start.
    """
    now = NOW

    def kept() -> list[str]:
        return [request_id for (request_id,) in sql(database, "SELECT request_id FROM requests ORDER BY 1")]

    async with await Store.open(database, clock=lambda: now) as store:
        for number in range(3):
            await store.commit(partial(create, request_id=f"id-{number}", name="a"))
        now = NOW + timedelta(hours=1, seconds=1)
        await store.commit(partial(create, request_id="id-3", name="a"))
        assert ["id-3"] == kept() == list(store.view.answers)
    now += timedelta(hours=1, seconds=1)
    async with await Store.open(database, clock=lambda: now) as store:
        assert [] == kept() == list(store.view.answers)


async def test_failed_request_is_not_remembered(store: Store) -> None:
    """
    A request that failed may come again under its id.
    """

    def fail(tx: Transaction) -> bytes:
        raise InvalidError("FIELD_INVALID", "no")

    with pytest.raises(InvalidError, match="no"):
        await store.commit(lambda tx: once(tx, request_id="id-1", method="Create", request=b"a", change=fail))

    assert await store.commit(lambda tx: create(tx, "id-1", "a")) == b"nodes/a-0"


async def test_answers_kept_are_bounded(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Only so many answers are kept; the oldest go first.
    """
    monkeypatch.setattr(requests, "ANSWERS_KEPT", 5)
    for number in range(8):
        await store.commit(partial(create, request_id=f"id-{number}", name="a"))

    assert [f"id-{i}" for i in range(3, 8)] == list(store.view.answers)
