"""A controller that stands by: it tells callers who leads, and asks for the seat, until it has it."""

from __future__ import annotations

import asyncio
import logging

from motorpool_controller.config import PostgresUrl, Settings
from motorpool_controller.domain.controllers import Controller
from motorpool_controller.services.duties import standing_by
from motorpool_controller.services.notify import notify
from motorpool_controller.services.server import Server
from motorpool_controller.services.watchdog import watch
from motorpool_controller.store.seat import Seat
from motorpool_controller.store.standby import Standby
from motorpool_controller.store.store import utc_now

log = logging.getLogger("motorpool_controller")


async def stand_by(
    settings: Settings, where: PostgresUrl, server: Server, cluster_id: str, me: Controller, stop: asyncio.Event
) -> Seat | None:
    """Return the seat of a database once it is free, None where ``stop`` comes first.

    Raise a StoreError where the database cannot be asked at all when the process starts.
    """
    async with Standby(where, me, lease_seconds=settings.leader_lease_seconds) as standby:
        if not server.started and await standby.ask():
            return await standby.wait()
        await server.take(standing_by(standby, cluster_id, lambda: standby.leader, audit=server.audit, clock=utc_now))
        log.info(
            "controller stands by",
            extra={
                "listen": server.public_address,
                "agents_listen": server.agents_address,
                "cluster": cluster_id,
                "leader": standby.leader.name if standby.leader else "none",
                "data_dir": settings.data_dir,
            },
        )
        notify(f"READY=1\nSTATUS=standing by on {server.public_address}")
        async with asyncio.TaskGroup() as tasks:
            waiting = tasks.create_task(standby.wait(), name="standing by")
            watching = tasks.create_task(watch(lambda: ""), name="watchdog")
            stopping = tasks.create_task(stop.wait(), name="signals")
            await asyncio.wait((waiting, stopping), return_when=asyncio.FIRST_COMPLETED)
            for task in (waiting, watching, stopping):
                task.cancel()
        return waiting.result() if waiting.done() and not waiting.cancelled() else None
