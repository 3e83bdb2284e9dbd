"""Metrics and health over HTTP for as long as the agent runs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Protocol

from motorpool_agent import metrics
from motorpool_agent.session.seams import Instances, Plugins
from motorpool_sdk.accelerator import Sample
from motorpool_telemetry.exposition import Exposition, exposed


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
    """Expose an agent while the block lasts, where an address is set; raise a TelemetryError where that fails."""
    if address is None:
        yield None
        return
    # What only this needs: Prometheus's client.
    from motorpool_agent.observing.gauges import Figures, Look  # noqa: PLC0415
    from motorpool_telemetry.figures import registry_of  # noqa: PLC0415

    def look() -> Look:
        return Look(
            instances=tuple(instances.observed().values()),
            executors=tuple(instances.executors().values()),
            plugins=plugins.statuses(),
            devices=dict(plugins.devices()),
            usage=dict(plugins.usage()),
            in_session=session.is_open,
        )

    async with exposed(
        address,
        registry_of(Figures(asyncio.get_running_loop(), look)),
        lag=metrics.LOOP_LAG,
        alive=session.stalled,
        ready=lambda: "" if session.is_open else "the node is not in session",
    ) as exposition:
        yield exposition
