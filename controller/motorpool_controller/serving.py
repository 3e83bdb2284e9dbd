"""A serving controller, from its start to its stop: both listeners, behind which it leads or stands by."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

from motorpool_controller.config import Settings
from motorpool_controller.domain.controllers import Controller
from motorpool_controller.leading import lead
from motorpool_controller.observing import Observed, observed
from motorpool_controller.security.authorities import Authorities
from motorpool_controller.security.authority import ca_file
from motorpool_controller.services.server import Server
from motorpool_controller.standing_by import stand_by
from motorpool_controller.store.database import cluster_there, engine_of
from motorpool_controller.store.errors import DatabaseInUseError, DatabaseLostError, NotInitialisedError, StoreError
from motorpool_controller.store.lock import DataDirLock
from motorpool_controller.store.seat import Seat
from motorpool_controller.store.store import Store, utc_now
from motorpool_telemetry import tracing
from motorpool_telemetry.logformat import log_to_stderr
from motorpool_telemetry.systemd import notify

SWITCH_SECONDS = 0.0005
"""How long a thread has to wait for the interpreter: with Python's 5 ms gRPC shakes hands 200 times a second at most,
as it asks for the certificate each time, and the database's thread waits twice for every statement."""

log = logging.getLogger("motorpool_controller")


def serve(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT; raise what ``options.faults`` tells where that cannot be."""
    if not ca_file(settings.data_dir).exists():
        # Before a lock file is made in a folder that is not ours.
        raise NotInitialisedError(
            f"there is no cluster in {settings.data_dir} yet; make one with `motorpool-controller init`, or name "
            "another folder with --data-dir"
        )
    # It tells of every migration it looks at.
    log_to_stderr(settings.log_level, settings.log_format, talkative=("alembic",))
    sys.setswitchinterval(SWITCH_SECONDS)
    with DataDirLock(settings.data_dir), tracing.on(settings.tracing_endpoint, service="motorpool-controller"):
        asyncio.run(_serve(settings))


async def _serve(settings: Settings) -> None:
    stop = asyncio.Event()
    _on_signals(stop)
    cluster_id = await asyncio.to_thread(cluster_there, settings.database)
    authorities = Authorities.settled(settings.data_dir, cluster_id)
    server = Server(settings, authorities)
    me = Controller(
        name=server.public_endpoints[0],
        public_endpoints=server.public_endpoints,
        agent_endpoints=server.agent_endpoints,
        start_time=utc_now(),
        version=version("motorpool-controller"),
        authorities=authorities.present().known_by,
    )
    try:
        async with observed(settings, server.health) as seen:
            while not stop.is_set():
                fenced = await _take_turn(settings, server, authorities, me, stop, seen)
                if fenced is None:
                    continue
                if isinstance(settings.database, Path):
                    raise fenced
                log.warning("leads no more", extra={"error": str(fenced)})
    finally:
        notify("STOPPING=1")
        await server.stop()
    log.info("controller stopped")


async def _take_turn(
    settings: Settings,
    server: Server,
    authorities: Authorities,
    me: Controller,
    stop: asyncio.Event,
    seen: Observed,
) -> StoreError | None:
    """Stand by until the seat is free, then lead; return how it was lost, None where ``stop`` came before."""
    where, me = settings.database, replace(me, authorities=authorities.present().known_by)
    if isinstance(where, Path):
        seat = Seat(engine_of(where))
    else:
        found = await stand_by(settings, where, server, authorities, me, stop)
        if found is None:
            return None
        seat = found
    try:
        store = await Store.on(seat, me=me, lease_seconds=settings.leader_lease_seconds)
    except (DatabaseInUseError, DatabaseLostError) as error:
        if not server.started:
            raise
        return error
    async with store:
        return await lead(settings, store, server, authorities, me, stop, seen)


def _on_signals(stop: asyncio.Event) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        if sys.platform == "win32":
            signal.signal(number, lambda *_: loop.call_soon_threadsafe(stop.set))
        else:
            loop.add_signal_handler(number, stop.set)
