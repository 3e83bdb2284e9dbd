"""Callers beyond the bound are told when to come again, over the API."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

import grpc
import pytest
from sqlalchemy import event

from motorpool import v1
from motorpool_controller.store import store as store_module
from tests.controller.clusters import Cluster, running, settings, until
from tests.controller.running import reason


async def create(cluster: Cluster, number: int) -> tuple[grpc.StatusCode, str] | str:
    """
    Create a deployment under a request id of its own; return its name, or why there is none.
    """
    spec = v1.DeploymentSpec(model=v1.ModelSource(local_path="/models/m.gguf"))
    request = v1.CreateDeploymentRequest(
        deployment_id=f"d{number}", deployment=v1.Deployment(spec=spec), request_id=f"request-{number}"
    )
    try:
        return (await cluster.deployments.CreateDeployment(request, metadata=cluster.admin)).name
    except grpc.aio.AioRpcError as error:
        return reason(error)


async def test_calls_over_the_bound_are_told_to_come_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    While the database takes no writes so many calls wait and the others get STORE_BUSY at once; reads are answered, and
    the same calls made again are carried out once.
    """
    monkeypatch.setattr(store_module, "CALLERS_WAITING", 3)
    async with running(settings(tmp_path / "data"), reconcile=False) as cluster:
        with closing(sqlite3.connect(cluster.settings.database_file, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            statements: list[str] = []
            event.listen(cluster.store._engine, "before_cursor_execute", lambda *said: statements.append(said[2]))
            calls = [asyncio.create_task(create(cluster, 0))]
            await until(lambda: "BEGIN IMMEDIATE" in statements)
            calls += [asyncio.create_task(create(cluster, number)) for number in range(1, 9)]
            await until(lambda: sum(call.done() for call in calls) == 5)
            read = await cluster.deployments.ListDeployments(v1.ListDeploymentsRequest(), metadata=cluster.admin)
            other.execute("ROLLBACK")
        answers = await asyncio.gather(*calls)
        again = await asyncio.gather(*(create(cluster, number) for number in range(3)))
        names = set(cluster.store.view.deployments)

        assert 5 == answers.count((grpc.StatusCode.RESOURCE_EXHAUSTED, "STORE_BUSY"))
        assert 4 == sum(isinstance(answer, str) for answer in answers)
        assert [] == list(read.deployments)
        assert {answer for answer in [*answers, *again] if isinstance(answer, str)} == names
