"""Whoever watches over a controller from outside: metrics and health over HTTP, where an address of it is set."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from motorpool_controller.config import Settings
from motorpool_controller.services.exposition import Exposition, exposed
from motorpool_controller.services.health import WHOLE, WRITES, Health
from motorpool_controller.services.pulse import Pulse
from motorpool_controller.store.live import Live
from motorpool_controller.store.store import Store

if TYPE_CHECKING:
    from motorpool_controller.services.gauges import Figures

log = logging.getLogger("motorpool_controller")


class Observed:
    """What is shown of a controller; without an address nothing, to nobody."""

    def __init__(self, exposition: Exposition | None = None, figures: Figures | None = None) -> None:
        self.exposition = exposition
        self._figures = figures

    @asynccontextmanager
    async def leading(self, store: Store, live: Live) -> AsyncIterator[None]:
        """Show the fleet's figures, too, while the block lasts."""
        if self._figures is None:
            yield
            return
        from motorpool_controller.services.gauges import look_at  # noqa: PLC0415  # as below

        self._figures.look = lambda: look_at(store, live)
        try:
            yield
        finally:
            self._figures.look = None


@asynccontextmanager
async def observed(settings: Settings, health: Health) -> AsyncIterator[Observed]:
    """Expose a controller while the block lasts, also one that stands by; raise a ListenError where that fails."""
    if settings.metrics_listen is None:
        yield Observed()
        return
    # What only this needs: Prometheus's client.
    from motorpool_controller.services.gauges import Figures, registry_of  # noqa: PLC0415

    figures, pulse = Figures(asyncio.get_running_loop(), lambda: not health.faults()[WRITES]), Pulse()

    def ready() -> str:
        faults = health.faults()
        return pulse.stalled() or "; ".join(dict.fromkeys(filter(None, (faults[WHOLE], faults[WRITES]))))

    exposition = Exposition(
        settings.metrics_listen,
        registry_of(figures),
        # One that stands by, or is told to stop, is alive.
        alive=lambda: pulse.stalled() or health.undecided(),
        ready=ready,
    )
    async with exposed(exposition):
        beating = asyncio.create_task(pulse.run(), name="pulse")
        log.info("metrics served", extra={"metrics_listen": exposition.address})
        try:
            yield Observed(exposition, figures)
        finally:
            beating.cancel()
            await asyncio.wait([beating])
