"""What becomes of a store whose PostgreSQL server, or the way there, goes and comes back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from motorpool_controller.config import PostgresUrl
from motorpool_controller.store import tenure
from motorpool_controller.store.database import initialise, make_database
from motorpool_controller.store.errors import (
    DatabaseInUseError,
    DatabaseLostError,
    FencedError,
    OutcomeUnknownError,
    StoreError,
)
from motorpool_controller.store.store import Store
from tests.controller.clusters import until
from tests.controller.rows import node, putting
from tests.controller.store.sql import sql
from tests.controller.store.wire import Cut, Wire, wire_to
from tests.postgresql import PostgresServer


@pytest.fixture(name="where")
def _where(postgres: PostgresServer) -> PostgresUrl:
    where = postgres.new()
    engine = make_database(where)
    initialise(engine, "cluster-1")
    engine.dispose()
    return where


@pytest.fixture(name="wired")
async def _wired(where: PostgresUrl) -> AsyncIterator[tuple[Wire, Store]]:
    async with wire_to(where) as (wire, here), await Store.open(here) as store:
        yield wire, store


async def until_stored(store: Store, name: str) -> None:
    """
    Put a node as a client would: again and again while the database is said to be away.
    """
    async with asyncio.timeout(30):
        while True:
            try:
                await store.commit(putting(node(name)))
            except DatabaseLostError:
                await asyncio.sleep(0.02)
            else:
                return


def revisions(where: PostgresUrl, store: Store) -> list[int]:
    return [store.view.revision, sql(where, "SELECT revision FROM meta")[0][0]]


@pytest.mark.promise("P8")
@pytest.mark.parametrize("cut", list(Cut))
async def test_commit_whose_outcome_is_unknown_is_looked_up(
    wired: tuple[Wire, Store], where: PostgresUrl, cut: Cut
) -> None:
    """
    Cut off while it committed, the caller is told so; then the store finds out what became of it before it writes
    anything else: what was written is in the view and told to those who watch, what was not is in neither.
    """
    wire, store = wired
    await store.commit(putting(node("before")))
    with store.subscribe() as told:
        wire.next_commit = cut
        with pytest.raises(OutcomeUnknownError, match="same request_id"):
            await store.commit(putting(node("a")))
        await until_stored(store, "b")
        changes = [change.name for change in told.take()]
    written = cut is not Cut.BEFORE_COMMIT
    names = ["nodes/a", "nodes/b"] if written else ["nodes/b"]

    assert ["nodes/before", *names] == list(store.view.nodes)
    assert names == changes
    assert [(f"{name}",) for name in ["nodes/before", *names]] == sql(where, "SELECT name FROM nodes ORDER BY revision")
    assert [3 if written else 2] * 2 == revisions(where, store)


async def test_connection_that_was_cut_is_made_again(wired: tuple[Wire, Store], where: PostgresUrl) -> None:
    """
    What was in flight fails and was not written; the store goes on by itself, with its lock, under the same epoch.
    """
    wire, store = wired
    await store.commit(putting(node("a")))
    wire.refusing = True
    wire.cut()
    with pytest.raises(DatabaseLostError, match="nothing was changed"):
        await store.commit(putting(node("b")))
    with pytest.raises(DatabaseLostError):
        await store.commit(lambda tx: len(tx.nodes))
    tried = wire.connections
    await until(lambda: wire.connections > tried + 2)
    wire.refusing = False
    await until_stored(store, "c")

    assert ["nodes/a", "nodes/c"] == list(store.view.nodes)
    assert [(1,)] == sql(where, "SELECT controller_epoch FROM meta")
    with pytest.raises(DatabaseInUseError):
        await Store.open(where)


@pytest.mark.slow
@pytest.mark.promise("P8")
async def test_server_that_lost_power_loses_nothing_acknowledged() -> None:
    """
    While many commit, the server is ended as if without power, and started: every acknowledged change is there, those
    of unknown outcome are in the view exactly if they are in the database, and the store goes on.
    """
    server = PostgresServer()
    try:
        where = server.new()
        engine = make_database(where)
        initialise(engine, "cluster-1")
        engine.dispose()
        async with await Store.open(where) as store:
            acknowledged: set[str] = set()

            async def commit(worker: int) -> None:
                number = 0
                while True:
                    name = f"n{worker}-{number}"
                    try:
                        await store.commit(putting(node(name)))
                    except StoreError:
                        return
                    acknowledged.add(f"nodes/{name}")
                    number += 1

            async def lose_power() -> None:
                await until(lambda: len(acknowledged) > 50)
                await asyncio.to_thread(server.stop, "immediate")

            await asyncio.gather(lose_power(), *(commit(worker) for worker in range(8)))
            await asyncio.to_thread(server.start)
            await until_stored(store, "after")
            stored = {name for (name,) in sql(where, "SELECT name FROM nodes")}

            assert acknowledged <= stored == set(store.view.nodes)
            assert [(1,)] == sql(where, "SELECT controller_epoch FROM meta")
    finally:
        server.close()


async def test_second_controller_is_told_who_serves(where: PostgresUrl) -> None:
    """
    While one store has the database another one is refused with the first one's process, machine and time; it changes
    nothing. Once the first one closed, it is let in.
    """
    first = await Store.open(where)
    with pytest.raises(
        DatabaseInUseError, match=r"in use by .*motorpool-controller \d+ on .+ \(127\.0\.0\.1\) since 20"
    ):
        await Store.open(where)
    await first.commit(putting(node("a")))
    await first.close()

    async with await Store.open(where) as second:
        assert ["nodes/a"] == list(second.view.nodes)
        assert second.view.controller_epoch == 2


async def test_controller_that_was_away_while_another_took_over_writes_nothing(
    wired: tuple[Wire, Store], where: PostgresUrl
) -> None:
    """
    A store that lost its connection, while another one opened the database, is fenced: it commits nothing, and tells.
    """
    wire, first = wired
    wire.refusing = True
    wire.cut()
    async with await Store.open(where) as second:
        wire.refusing = False
        with pytest.raises(StoreError):
            await first.commit(putting(node("late")))
        fenced = await asyncio.wait_for(first.wait_fenced(), timeout=30)
        with pytest.raises(FencedError):
            await first.commit(putting(node("later")))
        await second.commit(putting(node("a")))

        assert "in use by another controller" in str(fenced)
        assert [("nodes/a",)] == sql(where, "SELECT name FROM nodes")


async def test_idle_store_notices_that_it_was_taken_over(
    wired: tuple[Wire, Store], where: PostgresUrl, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    A store that has nothing to write finds out all the same that another one serves.
    """
    wire, first = wired
    monkeypatch.setattr(tenure, "LONGEST_LOOK_SECONDS", 0.05)
    await first.commit(putting(node("a")))
    wire.refusing = True
    wire.cut()
    async with await Store.open(where):
        wire.refusing = False
        fenced = await asyncio.wait_for(first.wait_fenced(), timeout=30)

        assert "in use by another controller" in str(fenced)


async def test_database_that_was_put_back_is_not_gone_on_with(wired: tuple[Wire, Store], where: PostgresUrl) -> None:
    """
    Where the database came back as it was before, the store ends instead of writing beside what it knows.
    """
    wire, store = wired
    await store.commit(putting(node("a")))
    wire.cut()
    sql(where, "UPDATE meta SET revision = 0")
    with pytest.raises(StoreError):
        await store.commit(putting(node("b")))

    assert "was put back" in str(await asyncio.wait_for(store.wait_fenced(), timeout=30))
    assert [("nodes/a",)] == sql(where, "SELECT name FROM nodes")
