"""What an operator asked for and was told is done: the store has to know it, whatever was killed since."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from motorpool_controller.domain.workload import Deployment
from motorpool_controller.store.view import View


@dataclass(slots=True)
class Expected:
    """Acknowledged wishes; those in ``unsure`` were asked for, and a kill came before the answer."""

    replicas: dict[str, int] = field(default_factory=dict)
    cordoned: dict[str, bool] = field(default_factory=dict)
    deleted_nodes: set[str] = field(default_factory=set)
    unsure: list[Effect] = field(default_factory=list)

    def copy(self, calls: Iterable[tuple[asyncio.Task[Any], Effect]]) -> Expected:
        return Expected(
            dict(self.replicas),
            dict(self.cordoned),
            set(self.deleted_nodes),
            [*self.unsure, *(effect for _, effect in calls)],
        )

    def missing(self, view: View) -> list[str]:
        """Return what was acknowledged and is not there."""
        wrong = []
        for name, replicas in self.replicas.items():
            row = view.deployments.get(name)
            have = None if row is None or row.delete_time is not None else row.spec.replicas
            if have != replicas:
                wrong.append(f"{name} has {have} replicas, and {replicas} were acknowledged")
        wrong += [
            f"{_shown(row)} is there, and its deletion or nothing was acknowledged"
            for name, row in view.deployments.items()
            if row.delete_time is None and name not in self.replicas
        ]
        for name, cordoned in self.cordoned.items():
            node = view.nodes.get(name)
            if name not in self.deleted_nodes and (node is None or node.cordoned is not cordoned):
                wrong.append(f"{name} is not as its cordon was acknowledged: {cordoned}")
        wrong += [f"{name} is there, and was deleted" for name in self.deleted_nodes if name in view.nodes]
        return wrong

    def settle(self, view: View) -> list[str]:
        """Return what is missing however the unanswered calls went; what they did is acknowledged from now on."""
        candidates = [self]
        for effect in self.unsure:
            more = []
            for each in candidates:
                other = each.copy([])
                effect(other)
                more.append(other)
            candidates += more
        best = min(candidates, key=lambda each: len(each.missing(view)))
        self.replicas, self.cordoned, self.deleted_nodes = best.replicas, best.cordoned, best.deleted_nodes
        self.unsure = []
        return self.missing(view)


Effect = Callable[[Expected], None]


def _shown(row: Deployment) -> str:
    return f"{row.name} ({row.spec.replicas} replicas)"
