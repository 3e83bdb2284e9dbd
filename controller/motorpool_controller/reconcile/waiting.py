"""Instances that wait for a place, in the order in which they get one, without sorting them for each decision."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from datetime import datetime

from motorpool_controller.domain.workload import Instance


class Waiting:
    """Names of instances without a place, the oldest first, then by name."""

    def __init__(self) -> None:
        self._since: dict[str, tuple[datetime, str]] = {}
        """When each was created, and its deployment."""
        self._order: list[tuple[datetime, str]] = []
        self._of = Counter[str]()

    def __iter__(self) -> Iterator[str]:
        return (name for _, name in self._order)

    @property
    def deployments(self) -> AbstractSet[str]:
        """Full names of the deployments that have any of them."""
        return self._of.keys()

    def take(self, name: str, instance: Instance | None) -> None:
        """Take an instance as it now is; None if it is gone."""
        before = self._since.get(name)
        now = (
            None if instance is None or instance.placement is not None else (instance.create_time, instance.deployment)
        )
        if before == now:
            return
        if before is not None:
            del self._since[name]
            del self._order[bisect_left(self._order, (before[0], name))]
            self._of[before[1]] -= 1
            if not self._of[before[1]]:
                del self._of[before[1]]
        if now is not None:
            self._since[name] = now
            insort(self._order, (now[0], name))
            self._of[now[1]] += 1
