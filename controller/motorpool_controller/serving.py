"""A serving controller: its store, both listeners and the loop, until it is told to stop."""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
import sys
from collections.abc import Sequence

from motorpool_controller.catalog.cache import FactsCache
from motorpool_controller.catalog.catalog import Catalog
from motorpool_controller.catalog.hubs import HUBS
from motorpool_controller.config import Settings
from motorpool_controller.loops.reconciler import Reconciler
from motorpool_controller.observing import observed
from motorpool_controller.security.authorities import Authorities
from motorpool_controller.security.authority import ca_file
from motorpool_controller.services.agents import AgentService
from motorpool_controller.services.backends import BackendService
from motorpool_controller.services.cluster import ClusterService
from motorpool_controller.services.deployments import DeploymentService
from motorpool_controller.services.enrollment import EnrollmentService
from motorpool_controller.services.events import EventService
from motorpool_controller.services.files import FileService
from motorpool_controller.services.instances import InstanceService
from motorpool_controller.services.logformat import log_to_stderr
from motorpool_controller.services.models import ModelService
from motorpool_controller.services.nodes import NodeService
from motorpool_controller.services.notify import notify
from motorpool_controller.services.server import Server
from motorpool_controller.services.tokens import TokenService
from motorpool_controller.services.watch import WatchService
from motorpool_controller.services.watchdog import watch
from motorpool_controller.store.errors import NotInitialisedError, StoreError
from motorpool_controller.store.live import Live
from motorpool_controller.store.lock import DataDirLock
from motorpool_controller.store.store import Store

STORE_RETRY_SECONDS = 5.0
GARBAGE_THRESHOLDS = 10_000, 20, 50
"""Containers more than before until the young are looked through, and how often that until older ones are."""
SWITCH_SECONDS = 0.0005
"""How long a thread has to wait for the interpreter: with Python's 5 ms gRPC shakes hands 200 times a second at most,
as it asks for the certificate each time, and the database's thread waits twice for every statement."""

log = logging.getLogger("motorpool_controller")


def public_services(
    settings: Settings, store: Store, live: Live, authorities: Authorities, catalog: Catalog, endpoints: Sequence[str]
) -> list[object]:
    """Return what people, programs and joining machines may call; ``endpoints`` are those of the agents' listener."""
    return [
        BackendService(store),
        ClusterService(store, authorities, endpoints),
        DeploymentService(store, live, catalog),
        EnrollmentService(store, authorities, endpoints, per_second=settings.enrolments_per_second),
        EventService(store),
        FileService(store, live),
        InstanceService(store, live),
        ModelService(store, live, catalog),
        NodeService(store, live),
        TokenService(store, authorities),
        WatchService(store, live),
    ]


def serve(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT; raise a StoreError, an AuthorityError or a ListenError where that cannot be."""
    if not ca_file(settings.data_dir).exists():
        # Before a lock file is made in a folder that is not ours.
        raise NotInitialisedError(
            f"there is no cluster in {settings.data_dir} yet; make one with `motorpool-controller init`, or name "
            "another folder with --data-dir"
        )
    log_to_stderr(settings.log_level, settings.log_format)
    sys.setswitchinterval(SWITCH_SECONDS)
    with DataDirLock(settings.data_dir):
        asyncio.run(_serve(settings))


async def _serve(settings: Settings) -> None:
    stop = asyncio.Event()
    _on_signals(stop)
    async with await Store.open(settings.database) as store:
        spare_collector()
        authorities = Authorities.settled(settings.data_dir, store.view.cluster_id)
        live = Live()
        catalog = Catalog(
            HUBS,
            FactsCache(settings.catalog),
            seconds=settings.hub_seconds,
            at_once=settings.hub_look_ups_at_once,
        )
        server = Server(settings, store, authorities)
        await server.start(
            public=public_services(settings, store, live, authorities, catalog, server.agent_endpoints),
            agents=[AgentService(store, live, authorities, settings)],
        )
        try:
            async with observed(settings, server.health, store, live), asyncio.TaskGroup() as tasks:
                reconciler = Reconciler(store, live, catalog, settings)
                server.health.undecided = reconciler.stalled
                deciding = tasks.create_task(_decide(reconciler), name="reconciler")
                watching = tasks.create_task(watch(reconciler.stalled), name="watchdog")
                fenced = tasks.create_task(store.wait_fenced(), name="fence")
                stopping = tasks.create_task(stop.wait(), name="signals")
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
                await asyncio.wait((fenced, stopping), return_when=asyncio.FIRST_COMPLETED)
                for task in (deciding, watching, fenced, stopping):
                    task.cancel()
        finally:
            notify("STOPPING=1")
            await server.stop()
            await catalog.close()
    if fenced.done() and not fenced.cancelled():
        raise fenced.result()
    log.info("controller stopped")


def spare_collector() -> None:
    """Have the garbage collector leave alone what was loaded, and look through what is long-lived seldom.

    A fleet is millions of objects without cycles, which die by their counts: a full collection stopped everything for
    half a second at 5,000 nodes and 20,000 instances, and was one in every few thousand placements.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GARBAGE_THRESHOLDS)


async def _decide(reconciler: Reconciler) -> None:
    """Keep the loop going while the store cannot be written; what it watches is not lost, it reads everything anew."""
    while True:
        try:
            await reconciler.run()
        except StoreError as error:
            log.error("nothing decided", extra={"error": error, "retry_seconds": STORE_RETRY_SECONDS})  # noqa: TRY400  # the message says it all
            await asyncio.sleep(STORE_RETRY_SECONDS)


def _on_signals(stop: asyncio.Event) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        if sys.platform == "win32":
            signal.signal(number, lambda *_: loop.call_soon_threadsafe(stop.set))
        else:
            loop.add_signal_handler(number, stop.set)
