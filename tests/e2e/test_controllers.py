"""Several controllers on one database: any of them may die, stand still, or lose the database beneath it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from motorpool import v1
from tests.conftest import need
from tests.e2e.chat import Questioner
from tests.e2e.controllers import Controllers, Load
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
    """
    Two controllers, the first of which leads, and a node.
    """
    with closing(Controllers(tmp_path, engines, server, ("leader_lease_seconds", "4"))) as fleet:
        fleet.run_controller("a")
        fleet.join_controller("b")
        fleet.run_controller("b")
        fleet.launch_agent()
        wait_for("the node to be ready", lambda: fleet.nodes_ready() == 1)
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
    with fleet.following() as client:
        wish = v1.DeploymentSpec(model=v1.ModelSource(local_path=str(tiny_model)))
        client.deployments.CreateDeployment(
            v1.CreateDeploymentRequest(deployment_id="first", deployment=v1.Deployment(spec=wish)), timeout=20
        )
        before = fleet.wait_state("first", v1.INSTANCE_STATE_RUNNING)
        credentials = client.deployments.GetDeploymentCredentials(
            v1.GetDeploymentCredentialsRequest(name="deployments/first"), timeout=20
        )
    with Questioner(credentials) as questioner, Load(fleet) as load:
        load.wait_for_more(10)
        fleet.running["a"].kill()
        load.wait_for_more(10)
        wait_for("the node to be back", lambda: fleet.nodes_ready() == 1)
        questioner.wait_for_more(3, "with another leader")
    after = fleet.wait_state("first", v1.INSTANCE_STATE_RUNNING)

    assert fleet.leads("b")
    check_kept(fleet, load)
    assert [] == questioner.failures
    assert (before.pid, before.pid_start_ticks, 0) == (after.pid, after.pid_start_ticks, after.restart_count)
    fleet.run_controller("a")
    assert not fleet.leads("a")
