"""A controller that leads: its services and its loop, until it is told to stop or another one leads."""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import suppress

from motorpool_controller.catalog.cache import FactsCache
from motorpool_controller.catalog.catalog import Catalog
from motorpool_controller.catalog.hubs import HUBS
from motorpool_controller.config import Settings
from motorpool_controller.domain.controllers import Controller
from motorpool_controller.garbage import collect_young, spare
from motorpool_controller.loops.reconciler import Reconciler
from motorpool_controller.observing import Observed
from motorpool_controller.security.authorities import Authorities
from motorpool_controller.services.agents import AgentService
from motorpool_controller.services.backends import BackendService
from motorpool_controller.services.cluster import ClusterService
from motorpool_controller.services.deployments import DeploymentService
from motorpool_controller.services.duties import Duty, leading, uncertain
from motorpool_controller.services.enrollment import EnrollmentService
from motorpool_controller.services.events import EventService
from motorpool_controller.services.files import FileService
from motorpool_controller.services.instances import InstanceService
from motorpool_controller.services.models import ModelService
from motorpool_controller.services.nodes import NodeService
from motorpool_controller.services.server import Server
from motorpool_controller.services.tokens import TokenService
from motorpool_controller.services.watch import WatchService
from motorpool_controller.store.errors import FencedError, StoreError
from motorpool_controller.store.live import Live
from motorpool_controller.store.store import Store, utc_now
from motorpool_telemetry.systemd import notify, watch

STORE_RETRY_SECONDS = 5.0
TRUST_SECONDS = 1.0
"""How often it is looked whether a step of a rotation was taken, which others are to know before they take over."""
DOUBT_SECONDS = 1.0
"""How often a leader asks itself whether it may be none any more."""
LOOK_SECONDS = 0.05
"""How often one that is leaving looks who leads now, for as long as a stop may take."""

log = logging.getLogger("motorpool_controller")


def public_services(
    settings: Settings, store: Store, live: Live, authorities: Authorities, catalog: Catalog, me: Controller
) -> list[object]:
    """Return what people, programs and joining machines may call; ``me`` says where this controller is."""
    return [
        BackendService(store),
        ClusterService(store, authorities, me),
        DeploymentService(store, live, catalog),
        EnrollmentService(store, authorities, me, per_second=settings.enrolments_per_second),
        EventService(store),
        FileService(store, live),
        InstanceService(store, live),
        ModelService(store, live, catalog),
        NodeService(store, live),
        TokenService(store, authorities),
        WatchService(store, live),
    ]


async def lead(
    settings: Settings,
    store: Store,
    server: Server,
    authorities: Authorities,
    me: Controller,
    stop: asyncio.Event,
    seen: Observed,
) -> FencedError | None:
    """Lead until ``stop``, or until another controller does: then how that became known."""
    spare()
    live = Live()
    catalog = Catalog(
        HUBS, FactsCache(settings.catalog), seconds=settings.hub_seconds, at_once=settings.hub_look_ups_at_once
    )
    duty = leading(
        store,
        authorities,
        public=public_services(settings, store, live, authorities, catalog, me),
        agents=[AgentService(store, live, authorities, settings, me)],
        audit=server.audit,
        clock=utc_now,
    )
    await server.take(duty)
    try:
        async with seen.leading(store, live), asyncio.TaskGroup() as tasks:
            reconciler = Reconciler(store, live, catalog, settings)
            server.health.undecided = reconciler.stalled
            deciding = tasks.create_task(_decide(reconciler), name="reconciler")
            watching = tasks.create_task(watch(reconciler.stalled), name="watchdog")
            fenced = tasks.create_task(store.wait_fenced(), name="fence")
            stopping = tasks.create_task(stop.wait(), name="signals")
            doubting = tasks.create_task(_doubt(store, duty, settings.leader_lease_seconds), name="doubts")
            telling = tasks.create_task(_tell_trust(store, authorities, me), name="authorities")
            collecting = tasks.create_task(collect_young(), name="garbage")
            _tell(settings, store, server)
            await asyncio.wait((fenced, stopping), return_when=asyncio.FIRST_COMPLETED)
            for task in (deciding, watching, fenced, stopping, doubting, telling, collecting):
                task.cancel()
    finally:
        if stop.is_set():
            notify("STOPPING=1")
        if await _stood_by(store, settings.shutdown_grace_seconds) or not stop.is_set():
            await _hand_over(store, duty, settings.shutdown_grace_seconds)
        if stop.is_set():
            await server.stop()
        await catalog.close()
    return fenced.result() if fenced.done() and not fenced.cancelled() else None


async def _stood_by(store: Store, most_seconds: float) -> bool:
    """Tell whether another controller is there, one that came a moment ago as well."""
    with suppress(TimeoutError):
        async with asyncio.timeout(most_seconds):
            await store.look()
    return bool(store.others)


async def _hand_over(store: Store, duty: Duty, most_seconds: float) -> None:
    """Leave the seat to those that stand by, and send everybody to the one that took it."""
    leader = None
    try:
        await store.resign()
        async with asyncio.timeout(most_seconds):
            while store.others and (leader := await store.successor()) is None:  # noqa: ASYNC110  # the database knows
                await asyncio.sleep(LOOK_SECONDS)
        log.info("handed over", extra={"leader": leader.name if leader else "none"})
    except (StoreError, TimeoutError) as error:
        log.warning("nobody seen to lead now", extra={"error": str(error)})
    finally:
        duty.end(leader)


def _tell(settings: Settings, store: Store, server: Server) -> None:
    if store.view.restoration is not None:
        log.info(
            "restored from a backup",
            extra={
                "backup_time": store.view.restoration.backup_time,
                "restore_time": store.view.restoration.restore_time,
            },
        )
    log.info(
        "controller ready",
        extra={
            "listen": server.public_address,
            "agents_listen": server.agents_address,
            "cluster": store.view.cluster_id,
            "epoch": store.view.controller_epoch,
            "data_dir": settings.data_dir,
        },
    )
    notify(f"READY=1\nSTATUS=serving on {server.public_address}, agents on {server.agents_address}")


async def _doubt(store: Store, duty: Duty, lease_seconds: float) -> None:
    """Send streams away that lead to a controller which has not reached the database for long: another one may lead.

    A lease after it is not certain any more: a database that is merely started anew is to cost no agent its session.
    """
    since: float | None = None
    while True:
        await asyncio.sleep(DOUBT_SECONDS)
        if store.tenure.certain or not store.others:
            since = None
            continue
        since = time.monotonic() if since is None else since
        if time.monotonic() - since > lease_seconds:
            duty.cut(uncertain())


async def _tell_trust(store: Store, authorities: Authorities, me: Controller) -> None:
    """Have those that stand by know of a rotation, which takes place beside this process: they need what it makes."""
    told = me.authorities
    while True:
        await asyncio.sleep(TRUST_SECONDS)
        present = authorities.present().known_by
        if present != told:
            with suppress(StoreError):
                await store.tell_trust(present)
                told = present


async def _decide(reconciler: Reconciler) -> None:
    """Keep the loop going while the store cannot be written; what it watches is not lost, it reads everything anew."""
    while True:
        try:
            await reconciler.run()
        except StoreError as error:
            log.error("nothing decided", extra={"error": error, "retry_seconds": STORE_RETRY_SECONDS})  # noqa: TRY400  # the message says it all
            await asyncio.sleep(STORE_RETRY_SECONDS)
