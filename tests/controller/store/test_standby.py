"""Waiting for the seat of a database where another controller leads."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from motorpool_controller.config import PostgresUrl
from motorpool_controller.store.database import engine_of, initialise, make_database
from motorpool_controller.store.errors import ResignedError
from motorpool_controller.store.seat import LOCK, Seat
from motorpool_controller.store.standby import Standby
from motorpool_controller.store.store import Store
from tests.controller.clusters import until
from tests.controller.rows import ME, node, putting
from tests.controller.store.sql import sql
from tests.postgresql import PostgresServer

OTHER = replace(ME, name="other:7400", public_endpoints=("other:7400",), agent_endpoints=("other:7401",))


@pytest.fixture(name="where")
def _where(postgres: PostgresServer) -> PostgresUrl:
    where = postgres.new()
    engine = make_database(where)
    initialise(engine, "cluster-1")
    engine.dispose()
    return where


async def led(where: PostgresUrl) -> Store:
    return await Store.on(Seat(engine_of(where), ME.name), me=ME, lease_seconds=3.0)


async def test_who_leads_is_known_and_who_waits(where: PostgresUrl) -> None:
    """
    Who stands by knows the leader and its addresses; the leader knows who stands by, for as long as that is there.
    """
    async with await led(where) as store:
        async with Standby(where, OTHER) as standby:
            assert not await standby.ask()
            assert standby.leader is not None
            assert (ME.name, ME.agent_endpoints) == (standby.leader.name, standby.leader.agent_endpoints)
            await until(lambda: [OTHER.name] == [each.controller.name for each in store.others])
        await until(lambda: not store.others)

        assert [ME.name, OTHER.name] == [each.controller.name for each in store.standings]


async def test_a_free_seat_is_taken(where: PostgresUrl) -> None:
    """
    While the leader lives it is asked in vain; once it left, the seat is the other one's, under the next epoch.
    """
    async with Standby(where, OTHER) as standby:
        async with await led(where):
            assert not await standby.ask()
        async with asyncio.timeout(30):
            seat = await standby.wait(lambda: "")
    async with await Store.on(seat, me=OTHER) as store:
        assert 2 == store.view.controller_epoch
        assert [OTHER.name] == [each.controller.name for each in store.standings if each.leads]


_HELD = f"SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND granted AND objid = {LOCK & 0xFFFFFFFF}"
_WAITERS = f"SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND NOT granted AND objid = {LOCK & 0xFFFFFFFF}"


async def test_a_free_seat_is_waited_for_at_the_server(where: PostgresUrl) -> None:
    """
    Who stands by waits for the lock itself, and has it as soon as the server ends its holder: it asks for nothing
    in between.
    """
    async with await led(where) as store, Standby(where, OTHER) as standby:
        waiting = asyncio.create_task(standby.wait(lambda: ""))
        await until(lambda: bool(sql(where, _WAITERS)))
        sql(where, f"SELECT pg_terminate_backend(pid) FROM ({_HELD}) AS held")
        async with asyncio.timeout(30):
            seat = await waiting
        async with await Store.on(seat, me=OTHER) as other:
            assert 2 == other.view.controller_epoch
            async with asyncio.timeout(30):
                await store.look()
                await store.wait_fenced()


async def test_waiting_leaves_no_trace(where: PostgresUrl, postgres: PostgresServer) -> None:
    """
    A wait that ends without the seat fails no statement in the server's log, and holds nothing back at the server
    between two of them, whatever limits the database sets.
    """
    async with await led(where), Standby(where, OTHER) as standby:
        sql(where, f"ALTER DATABASE {where.url.rpartition('/')[2]} SET statement_timeout = '300ms'")
        before = (postgres.folder / "log").stat().st_size
        for _ in range(3):
            assert not await standby.ask(wait_seconds=0.5)
        held = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND backend_xmin IS NOT NULL"

        assert [] == sql(where, f"{held} AND pid <> pg_backend_pid()")
    with (postgres.folder / "log").open() as log:
        log.seek(before)
        assert "ERROR" not in log.read()


async def test_a_seat_is_left_by_who_does_not_fit_any_more(where: PostgresUrl) -> None:
    """
    What the leader wrote down until its end is known to who takes its seat, and may be a reason to leave it.
    """
    async with Standby(where, OTHER) as standby:
        found: list[str] = []

        def unfit() -> str:
            last = standby.last_leader
            found.append("rotated" if last is not None and last.authorities == ("new",) else "")
            return found[-1]

        async with await led(where) as store:
            assert not await standby.ask()
            waiting = asyncio.create_task(standby.wait(unfit))
            await until(lambda: bool(sql(where, _WAITERS)))
            await store.tell_trust(("new",))
        await until(lambda: "rotated" in found)
        await until(lambda: not sql(where, _HELD))
        assert not waiting.done()
        waiting.cancel()
        await asyncio.wait([waiting])


async def test_who_resigns_sees_who_takes_over(where: PostgresUrl) -> None:
    """
    A leader that resigns writes what was handed in before, answers and writes nothing after that, and sees who leads.
    """
    async with await led(where) as store, Standby(where, OTHER) as standby:
        assert not await standby.ask()
        waiting = asyncio.create_task(standby.wait(lambda: ""))
        await store.look()
        assert [OTHER.name] == [each.controller.name for each in store.others]
        handed_in = asyncio.create_task(store.commit(putting(node("a"))))
        await asyncio.sleep(0)
        await store.resign()
        await handed_in
        with pytest.raises(ResignedError):
            await store.commit(putting(node("b")))
        with pytest.raises(ResignedError):
            await store.confirm()
        async with await Store.on(await waiting, me=OTHER) as other:
            assert ["nodes/a"] == list(other.view.nodes)
            leader = await store.successor()
            assert leader is not None
            assert OTHER.name == leader.name


async def test_one_that_does_not_fit_takes_nothing(where: PostgresUrl) -> None:
    """
    Who only looks takes no seat, even a free one.
    """
    async with Standby(where, OTHER) as standby:
        assert not await standby.ask(take=False)
        async with await led(where) as store:
            assert 1 == store.view.controller_epoch


@pytest.mark.promise("P7")
async def test_standing_by_writes_once(where: PostgresUrl) -> None:
    """
    However often the seat is asked for, the database is written when a controller starts, and never again.
    """
    async with await led(where), Standby(where, OTHER) as standby:
        assert not await standby.ask()
        before = sql(where, "SELECT xmin::text, name FROM controllers ORDER BY name")
        for _ in range(5):
            assert not await standby.ask()

        assert before == sql(where, "SELECT xmin::text, name FROM controllers ORDER BY name")
        assert 2 == len(before)


async def test_leader_stays_certain_by_looking(where: PostgresUrl) -> None:
    """
    A leader is certain from its first moment on, and remains so by looking while it has nothing to write.
    """
    async with await led(where) as store:
        assert store.tenure.certain
        first = store.tenure._until
        await until(lambda: store.tenure._until > first)
        await store.confirm()
