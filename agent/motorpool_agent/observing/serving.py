"""Metrics and health over HTTP for as long as the agent runs."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Protocol

from motorpool_agent.observing.exposition import Exposition, exposed
from motorpool_agent.observing.pulse import Pulse
from motorpool_agent.session.seams import Instances, Plugins
from motorpool_sdk.accelerator import Sample

log = logging.getLogger(__name__)


class Lasting(Protocol):
    """The node's session, as it is looked at."""

    @property
    def is_open(self) -> bool:
        """Whether the node is in session."""
        ...

    def stalled(self) -> str:
        """Return what does not go on any more, empty where all does."""
        ...


class Measured(Plugins, Protocol):
    """Knows plugins and devices, and what was last measured of them."""

    def usage(self) -> Mapping[str, Sample]:
        """Return the last measurements by device id."""
        ...


@asynccontextmanager
async def observed(
    address: str | None, session: Lasting, instances: Instances, plugins: Measured
) -> AsyncIterator[Exposition | None]:
    """Expose an agent while the block lasts, where an address is set; raise a ConfigError where that cannot be."""
    if address is None:
        yield None
        return
    # What only this needs: Prometheus's client.
    from motorpool_agent.observing.gauges import Figures, Look, registry_of  # noqa: PLC0415

    pulse = Pulse()

    def look() -> Look:
        return Look(
            instances=tuple(instances.observed().values()),
            executors=tuple(instances.executors().values()),
            plugins=plugins.statuses(),
            devices=dict(plugins.devices()),
            usage=dict(plugins.usage()),
            in_session=session.is_open,
        )

    exposition = Exposition(
        address,
        registry_of(Figures(asyncio.get_running_loop(), look)),
        alive=lambda: pulse.stalled() or session.stalled(),
        ready=lambda: pulse.stalled() or ("" if session.is_open else "the node is not in session"),
    )
    async with exposed(exposition):
        beating = asyncio.create_task(pulse.run(), name="pulse")
        log.info("metrics served", extra={"metrics_listen": exposition.address})
        try:
            yield exposition
        finally:
            beating.cancel()
            await asyncio.wait([beating])
