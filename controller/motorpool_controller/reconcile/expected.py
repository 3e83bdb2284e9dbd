"""Instances that their nodes were told to run and have not begun: found when they are due, without looking at each."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from heapq import heappop, heappush

from motorpool_controller.domain.workload import Instance, InstanceState


class Expected:
    """Names of scheduled instances by when they were placed."""

    def __init__(self) -> None:
        self._since: dict[str, datetime] = {}
        self._order: list[tuple[datetime, str]] = []
        """A heap of these, and of some that are others by now."""

    def take(self, name: str, instance: Instance | None) -> None:
        """Take an instance as it now is; None if it is gone."""
        if instance is None or instance.state is not InstanceState.SCHEDULED:
            self._since.pop(name, None)
        elif self._since.get(name) != instance.state_time:
            self._since[name] = instance.state_time
            heappush(self._order, (instance.state_time, name))

    def first(self) -> datetime | None:
        """Return when the first of them was placed."""
        self._drop_others()
        return self._order[0][0] if self._order else None

    def until(self, time: datetime) -> set[str]:
        """Return those that were placed at this time or before; they stay until they are others."""
        found = list(self._taken(time))
        for since, name in found:
            heappush(self._order, (since, name))
        return {name for _, name in found}

    def _taken(self, time: datetime) -> Iterator[tuple[datetime, str]]:
        while (first := self.first()) is not None and first <= time:
            yield heappop(self._order)

    def _drop_others(self) -> None:
        while self._order and self._since.get(self._order[0][1]) != self._order[0][0]:
            heappop(self._order)
