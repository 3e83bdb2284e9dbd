"""A controller that stands by: it tells callers who leads, and asks for the seat, until it has it."""

from __future__ import annotations

import asyncio
import logging

from motorpool_controller.config import PostgresUrl, Settings
from motorpool_controller.domain.controllers import Controller
from motorpool_controller.security.authorities import Authorities
from motorpool_controller.services.duties import standing_by
from motorpool_controller.services.server import Server
from motorpool_controller.store.seat import Seat
from motorpool_controller.store.standby import Standby
from motorpool_controller.store.store import utc_now
from motorpool_telemetry.systemd import notify, watch

log = logging.getLogger("motorpool_controller")


async def stand_by(
    settings: Settings,
    where: PostgresUrl,
    server: Server,
    authorities: Authorities,
    me: Controller,
    stop: asyncio.Event,
) -> Seat | None:
    """Return the seat of a database once it is free, None where ``stop`` comes first.

    Raise a StoreError where the database cannot be asked at all when the process starts.
    """
    async with Standby(where, me, lease_seconds=settings.leader_lease_seconds) as standby:
        await standby.ask(take=False)
        fitness = _Fitness(authorities, me, standby)
        if not server.started and not fitness() and await standby.ask() and not fitness():
            return await standby.wait(fitness)
        cluster_id = authorities.cluster_id
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
            waiting = tasks.create_task(standby.wait(fitness), name="standing by")
            watching = tasks.create_task(watch(lambda: ""), name="watchdog")
            stopping = tasks.create_task(stop.wait(), name="signals")
            await asyncio.wait((waiting, stopping), return_when=asyncio.FIRST_COMPLETED)
            for task in (waiting, watching, stopping):
                task.cancel()
        return waiting.result() if waiting.done() and not waiting.cancelled() else None


class _Fitness:
    """Tells, and logs once, why a controller is not to take the lead: agents would not know it."""

    def __init__(self, authorities: Authorities, me: Controller, standby: Standby) -> None:
        self._authorities = authorities
        self._me = me
        self._standby = standby
        self._told = ""

    def __call__(self) -> str:
        last, own = self._standby.last_leader, self._authorities.present().known_by
        why = ""
        # What the leader's own machine has is what holds: a rotation may have gone on there while nobody led.
        if last is not None and last.name != self._me.name and last.authorities and last.authorities != own:
            why = (
                f"the cluster's authority was rotated at {last.name}, and what lies here is another one: say "
                "`motorpool-controller ca export FILE` there, stop this controller, and `ca import FILE` here"
            )
        if why and why != self._told:
            log.error("cannot lead", extra={"reason": why})
        self._told = why
        return why
