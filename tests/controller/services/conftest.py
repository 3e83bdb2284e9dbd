from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.controller.agent_client import Agent
from tests.controller.clusters import Cluster, running, settings


@pytest.fixture(name="cluster")
async def _cluster(tmp_path: Path) -> AsyncIterator[Cluster]:
    async with running(settings(tmp_path / "data")) as cluster:
        yield cluster


@pytest.fixture(name="agent")
def _agent(cluster: Cluster) -> Agent:
    return Agent(cluster)
