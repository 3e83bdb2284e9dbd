from __future__ import annotations

from pathlib import Path
from typing import Any

from motorpool_controller.catalog.budget import Budget
from motorpool_controller.catalog.cache import FactsCache
from motorpool_controller.catalog.catalog import Catalog, Known
from motorpool_controller.catalog.hub import Hub
from motorpool_controller.domain.workload import ModelSource, SourceKind
from tests.hub.clients import hubs_of
from tests.hub.server import LocalHub


class Asker:
    """Looks models up on a local hub. Pauses are noted, and not waited for."""

    def __init__(self, hub: LocalHub, directory: Path | None) -> None:
        self.hub = hub
        self.directory = directory
        self.paused: list[float] = []
        self._hubs: list[Hub] = []

    def close(self) -> None:
        """Let all connections go."""
        for hub in self._hubs:
            hub.close()

    def _made(self, hub: Hub) -> Hub:
        self._hubs.append(hub)
        return hub

    def catalog(self, *, token: str = "", **more: Any) -> Catalog:
        """Return a catalog as a controller's new start would have it."""
        return Catalog(hubs_of(self.hub, token=token, made=self._made), FactsCache(self.directory), **more)

    def read(
        self,
        repository: str = "o/n",
        *,
        file: str = "",
        revision: str = "",
        token: str = "",
        seconds: float = 60.0,
        most_bytes: int = 64 << 20,
        kind: SourceKind = SourceKind.HUGGING_FACE,
    ) -> Known:
        """Return what a new controller learns of a model."""
        budget = Budget(seconds, most_bytes=most_bytes, sleep=self.paused.append)
        source = ModelSource(kind=kind, repository=repository, file=file, revision=revision)
        return self.catalog(token=token).read(source, budget)
