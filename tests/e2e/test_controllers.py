"""Several controllers on one database: any of them may die, stand still, or lose the database beneath it."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import grpc
import pytest

from motorpool import v1
from motorpool_cli import failures
from tests.conftest import need
from tests.controller.running import reason
from tests.controller.store.sql import sql
from tests.e2e.controllers import Controllers, Load, model_answering, two_controllers
from tests.e2e.fleet import wait_for
from tests.postgresql import PostgresServer

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(400)]


@pytest.fixture(name="server")
def _server() -> Iterator[PostgresServer]:
    need(["pg_ctlcluster"])
    with closing(PostgresServer()) as server:
        yield server


@pytest.fixture(name="fleet")
def _fleet(tmp_path: Path, engines: Path, server: PostgresServer) -> Iterator[Controllers]:
    with two_controllers(tmp_path, engines, server) as fleet:
        yield fleet


def check_kept(fleet: Controllers, load: Load) -> None:
    """
    Everything that was acknowledged is there as it was acknowledged; and nothing was made twice, which would have
    failed: a name is taken by the first.
    """
    assert [] == load.failures
    assert load.acknowledged
    with fleet.following() as client:
        found = client.deployments.ListDeployments(v1.ListDeploymentsRequest(page_size=1000), timeout=20).deployments
    kept = {each.name: (each.uid, each.spec.replicas) for each in found}
    assert load.acknowledged == {name: kept.get(name) for name in load.acknowledged}


@pytest.mark.promise("P1")
@pytest.mark.promise("P8")
def test_leader_is_killed(fleet: Controllers, tiny_model: Path) -> None:
    """
    The leader is killed while a client creates and changes deployments: another one leads, the client goes there,
    nothing that was acknowledged is lost or done twice, and the model answers as the same process all the while.
    """
    with model_answering(fleet, tiny_model), Load(fleet) as load:
        load.wait_for_more(10)
        fleet.running["a"].kill()
        load.wait_for_more(10)
        wait_for("the node to be back", lambda: fleet.nodes_ready() == 1)

    assert fleet.leads("b")
    check_kept(fleet, load)
    fleet.run_controller("a")
    assert not fleet.leads("a")


@pytest.mark.promise("P1")
@pytest.mark.promise("P8")
def test_leader_is_told_to_stop(fleet: Controllers, tiny_model: Path) -> None:
    """
    A leader that is told to stop, as for an upgrade, ends well once another one leads, and sends everybody there: calls
    that come to it meanwhile, streams, agents. Nothing that was acknowledged is lost or done twice.
    """
    agent = fleet.agents["a"]
    with model_answering(fleet, tiny_model), Load(fleet) as load:
        load.wait_for_more(10)
        leaving = fleet.running["a"]
        with fleet.channel_to("a") as channel:
            stream = v1.WatchServiceStub(channel).Watch(v1.WatchRequest(kinds=["nodes"]))
            next(stream)
            ending = agent.tail().count("session ended")
            leaving.terminate()
            with pytest.raises(grpc.RpcError) as caught:
                list(stream)
        load.wait_for_more(10)
        wait_for("the node to be back", lambda: fleet.nodes_ready() == 1)

    assert (grpc.StatusCode.UNAVAILABLE, "NOT_LEADER") == reason(caught.value)
    assert [fleet.address("b")] == failures.leaders(caught.value)
    assert f"handed over leader={fleet.address('b')}" in leaving.tail()
    # It went where it was told, at once: a session that ends otherwise says so, and waits.
    assert ending == agent.tail().count("session ended")
    assert fleet.leads("b")
    check_kept(fleet, load)


@pytest.mark.promise("P1")
@pytest.mark.promise("P8")
def test_leader_stands_still_and_wakes(fleet: Controllers, tiny_model: Path) -> None:
    """
    A leader that is stopped keeps its connections: another one takes its place all the same. Woken, it answers nothing
    as the leader, to calls that were sent while it stood still either, writes nothing, and stands by.
    """
    with model_answering(fleet, tiny_model), Load(fleet) as load:
        load.wait_for_more(5)
        frozen = fleet.running["a"]
        with fleet.channel_to("a") as channel:
            cluster = v1.ClusterServiceStub(channel)
            before = cluster.GetCluster(v1.GetClusterRequest(), timeout=20)
            os.kill(frozen.pid, signal.SIGSTOP)
            asked = [cluster.GetCluster.future(v1.GetClusterRequest()) for _ in range(5)]
            fleet.wait_leads("b")
            load.wait_for_more(5)
            os.kill(frozen.pid, signal.SIGCONT)
            answers = [reason(error) for each in asked if isinstance(error := each.exception(), grpc.RpcError)]
        wait_for("the woken one to stand by", lambda: "controller stands by" in frozen.tail())
        load.wait_for_more(5)
        wait_for("the node to be back", lambda: fleet.nodes_ready() == 1)

    assert len(asked) == len(answers)
    assert set(answers) <= {
        (grpc.StatusCode.UNAVAILABLE, "NOT_LEADER"),
        (grpc.StatusCode.UNAVAILABLE, "STORE_UNAVAILABLE"),
    }
    assert not fleet.leads("a")
    assert fleet.leads("b")
    assert frozen.running()
    check_kept(fleet, load)
    assert [(before.controller_epoch + 1,)] == sql(fleet.where, "SELECT controller_epoch FROM meta")
    late = "SELECT count(*) FROM changes WHERE controller_epoch = 1 AND revision > "
    first = "(SELECT min(revision) FROM changes WHERE controller_epoch = 2)"
    assert [(0,)] == sql(fleet.where, late + first)


@pytest.mark.promise("P8")
def test_database_loses_power_beneath_both(fleet: Controllers, server: PostgresServer, tiny_model: Path) -> None:
    """
    The database server dies and is started beneath a leader and one that stands by: one of them leads, and nothing that
    was acknowledged is lost or done twice.
    """
    with model_answering(fleet, tiny_model), Load(fleet) as load:
        load.wait_for_more(5)
        server.stop("immediate")
        server.start()
        load.wait_for_more(5)
        wait_for("the node to be ready", lambda: fleet.nodes_ready() == 1)

    assert [True, False] == sorted((fleet.leads("a"), fleet.leads("b")), reverse=True)
    check_kept(fleet, load)
