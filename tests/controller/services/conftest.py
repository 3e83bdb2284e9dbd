from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from motorpool_controller.store.store import Store
from motorpool_controller.store.transaction import Transaction
from tests.controller.agent_client import Agent
from tests.controller.clusters import Cluster, running, settings
from tests.controller.services.unwaiting import unwaiting


@pytest.fixture(autouse=True)
def _changes_wait_for_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Every change of every service is held to it: nothing is read, sent or slept inside a transaction.
    """
    commit = Store.commit

    async def held(self: Store, change: Callable[[Transaction], object], **named: bool) -> object:
        return await commit(self, unwaiting(change), **named)

    monkeypatch.setattr(Store, "commit", held)


@pytest.fixture(name="cluster")
async def _cluster(tmp_path: Path) -> AsyncIterator[Cluster]:
    async with running(settings(tmp_path / "data")) as cluster:
        yield cluster


@pytest.fixture(name="agent")
def _agent(cluster: Cluster) -> Agent:
    return Agent(cluster)
