"""Waiting for the seat of a database where another controller leads."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from motorpool_controller.config import PostgresUrl
from motorpool_controller.store.database import engine_of, initialise, make_database
from motorpool_controller.store.seat import Seat
from motorpool_controller.store.standby import Standby
from motorpool_controller.store.store import Store
from tests.controller.clusters import until
from tests.controller.rows import ME
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
