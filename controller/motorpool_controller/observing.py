"""Whoever watches over a controller from outside: metrics and health over HTTP, where an address of it is set."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from motorpool_controller.config import Settings
from motorpool_controller.services.exposition import Exposition, exposed
from motorpool_controller.services.health import DECISIONS, WHOLE, WRITES, Health
from motorpool_controller.services.pulse import Pulse
from motorpool_controller.store.live import Live
from motorpool_controller.store.store import Store

log = logging.getLogger("motorpool_controller")


@asynccontextmanager
async def observed(settings: Settings, health: Health, store: Store, live: Live) -> AsyncIterator[Exposition | None]:
    """Expose a controller that leads while the block lasts; raise a ListenError where that cannot be."""
    if settings.metrics_listen is None:
        yield None
        return
    # What only this needs: Prometheus's client.
    from motorpool_controller.services.gauges import Figures, look_at, registry_of  # noqa: PLC0415

    figures, pulse = Figures(asyncio.get_running_loop()), Pulse()
    figures.look = lambda: look_at(store, live)
    figures.writable = lambda: not health.faults()[WRITES]

    def ready() -> str:
        faults = health.faults()
        return pulse.stalled() or "; ".join(dict.fromkeys(filter(None, (faults[WHOLE], faults[WRITES]))))

    exposition = Exposition(
        settings.metrics_listen,
        registry_of(figures),
        alive=lambda: pulse.stalled() or health.faults()[DECISIONS],
        ready=ready,
    )
    async with exposed(exposition):
        beating = asyncio.create_task(pulse.run(), name="pulse")
        log.info("metrics served", extra={"metrics_listen": exposition.address})
        try:
            yield exposition
        finally:
            beating.cancel()
            await asyncio.wait([beating])
