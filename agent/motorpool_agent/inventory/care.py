"""The machine's care: measured with every heartbeat, and told of as it changes."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

from motorpool_agent.inventory.pressure import Condition, Pressure, Resource
from motorpool_agent.inventory.resources import Bounds, measure

log = logging.getLogger(__name__)

_MEASURE_SECONDS = 5.0


class HostCare:
    """What the machine has left, and what it runs short of; ``notify`` is called when that changes."""

    def __init__(self, bounds: Bounds, notify: Callable[[], None]) -> None:
        self._bounds = bounds
        self._notify = notify
        self._pressure = Pressure()
        self.resources: tuple[Resource, ...] = ()

    @property
    def conditions(self) -> Mapping[str, Condition]:
        """What it runs short of or not, by name."""
        return self._pressure.conditions

    async def look(self) -> None:
        """Measure; a disk that does not answer leaves what was known."""
        try:
            async with asyncio.timeout(_MEASURE_SECONDS):
                self.resources = await asyncio.to_thread(measure, self._bounds)
        except TimeoutError:
            log.warning("machine not measured in time", extra={"seconds": _MEASURE_SECONDS})
            return
        before = dict(self.conditions)
        if self._pressure.look(self.resources, datetime.now(UTC), time.monotonic()):
            self._tell(before)
            self._notify()

    def _tell(self, before: Mapping[str, Condition]) -> None:
        for name, condition in self.conditions.items():
            was = name in before and before[name].pressed
            if condition.pressed and not was:
                log.warning("machine runs short", extra={"condition": name, "detail": condition.message})
            elif was and not condition.pressed:
                log.info("machine has enough again", extra={"condition": name})
