"""A controller on PostgreSQL: it, and its database, may be killed at any time."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import grpc
import pytest

from motorpool import v1
from tests.conftest import need
from tests.controller.running import reason
from tests.controller.store.sql import sql
from tests.e2e.chat import Questioner
from tests.e2e.fleet import Fleet, wait_for
from tests.postgresql import PostgresServer

pytestmark = [pytest.mark.e2e, pytest.mark.slow]


@pytest.mark.promise("P1")
@pytest.mark.promise("P8")
@pytest.mark.timeout(300)
def test_answers_go_on_while_controller_and_database_are_killed(
    tmp_path: Path, engines: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    A model answers while the controller is killed and started, and the database loses power and comes back beneath it:
    the controller goes on by itself, everything that was accepted is there, and the model is the same process.
    """
    need(["pg_ctlcluster"])
    with closing(PostgresServer()) as server:
        where = server.new()
        monkeypatch.setenv("MOTORPOOL_CONTROLLER_DATABASE", where.url)
        fleet = Fleet(tmp_path, engines)
        with closing(fleet):
            fleet.start_controller()
            fleet.start_agent()
            fleet.deploy("first", tiny_model)
            before = fleet.wait_state("first", v1.INSTANCE_STATE_RUNNING)
            with Questioner(fleet.credentials("first")) as questioner:
                assert fleet.controller is not None
                fleet.controller.kill()
                questioner.wait_for_more(5, "without a controller")
                controller = fleet.start_controller()
                fleet.wait_ready()
                fleet.deploy("second", tiny_model)

                server.stop("immediate")
                with pytest.raises(grpc.RpcError) as caught:
                    fleet.deploy("while-away", tiny_model)
                questioner.wait_for_more(5, "without a database")
                server.start()
                wait_for("a deployment to be accepted", lambda: _accepted(fleet, tiny_model))
                fleet.wait_state("second", v1.INSTANCE_STATE_RUNNING)
                fleet.wait_state("third", v1.INSTANCE_STATE_RUNNING)
                questioner.wait_for_more(5, "after the database came back")
            after = fleet.wait_state("first", v1.INSTANCE_STATE_RUNNING)

            assert (grpc.StatusCode.UNAVAILABLE, "STORE_UNAVAILABLE") == reason(caught.value)
            assert [] == questioner.failures
            assert (before.pid, before.pid_start_ticks) == (after.pid, after.pid_start_ticks)
            assert controller.running()
            assert [(2,)] == sql(where, "SELECT controller_epoch FROM meta")
            assert {"deployments/first", "deployments/second", "deployments/third"} == {
                name for (name,) in sql(where, "SELECT name FROM deployments")
            }
            assert not (tmp_path / "controller" / "controller.db").exists()
            for name in ("first", "second", "third"):
                fleet.delete(name)


def _accepted(fleet: Fleet, model: Path) -> bool:
    try:
        fleet.deploy("third", model)
    except grpc.RpcError as error:
        return error.code() == grpc.StatusCode.ALREADY_EXISTS
    return True
