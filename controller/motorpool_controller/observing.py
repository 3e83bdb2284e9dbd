"""Whoever watches over a controller from outside: metrics and health over HTTP, where an address of it is set."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from motorpool_controller import metrics
from motorpool_controller.config import Settings
from motorpool_controller.services.health import WHOLE, WRITES, Health
from motorpool_controller.store.live import Live
from motorpool_controller.store.store import Store
from motorpool_telemetry.exposition import Exposition, exposed

if TYPE_CHECKING:
    from motorpool_controller.services.gauges import Figures


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
    """Expose a controller while the block lasts, also one that stands by; raise a TelemetryError where that fails."""
    if settings.metrics_listen is None:
        yield Observed()
        return
    # What only this needs: Prometheus's client.
    from motorpool_controller.services.gauges import Figures  # noqa: PLC0415
    from motorpool_telemetry.figures import registry_of  # noqa: PLC0415

    figures = Figures(asyncio.get_running_loop(), lambda: not health.faults()[WRITES])

    def alive() -> str:
        # One that stands by, or is told to stop, is alive.
        return health.undecided()

    def ready() -> str:
        faults = health.faults()
        return "; ".join(dict.fromkeys(filter(None, (faults[WHOLE], faults[WRITES]))))

    async with exposed(
        str(settings.metrics_listen),
        registry_of(figures),
        lag=metrics.LOOP_LAG,
        alive=alive,
        ready=ready,
    ) as exposition:
        yield Observed(exposition, figures)
