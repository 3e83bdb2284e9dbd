"""Another authority in the place of the cluster's, where it has several controllers: who has it not does not lead."""

from __future__ import annotations

import contextlib
import tomllib
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from motorpool import v1
from motorpool_cli import failures
from motorpool_controller.store.seat import LOCK
from tests.conftest import need
from tests.controller.store.sql import sql
from tests.e2e.controllers import Controllers, model_answering, two_controllers
from tests.e2e.fleet import wait_for
from tests.postgresql import PostgresServer

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(400), pytest.mark.promise("P3")]
SEAT = f"SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND granted AND objid = {LOCK & 0xFFFFFFFF}"


@pytest.fixture(name="fleet")
def _fleet(tmp_path: Path, engines: Path) -> Iterator[Controllers]:
    need(["pg_ctlcluster"])
    with contextlib.closing(PostgresServer()) as server, two_controllers(tmp_path, engines, server) as fleet:
        yield fleet


def test_authority_is_rotated_and_the_other_one_leads(
    fleet: Controllers, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    One that was not given the new authority leaves the lead alone, even where nobody has it, and says so. Given each
    step, it leads when the other one dies: agents and clients go along under the new authority, and nothing restarts.
    """
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home"))
    admin = tomllib.loads(fleet.client_file.read_text())["token"]
    both = ",".join(fleet.address(name) for name in fleet.ports)
    fleet.command(
        *("motorpool", "login", both, "--name", "lab", "--ca-file", str(fleet.controller_dir / "ca.pem")),
        MOTORPOOL_TOKEN=admin,
        MOTORPOOL_CONFIG="",
    )
    with model_answering(fleet, tiny_model):
        ca(fleet, "a", "rotate")
        wait_for("nodes/a to trust both", lambda: trusted_by(fleet) == 2)
        fleet.running["a"].kill()
        wait_for("b to know that nobody leads", lambda: told_by(fleet, "b") == [])
        assert "cannot lead" in fleet.running["b"].tail()
        assert f"the cluster's authority was rotated at {fleet.address('a')}" in fleet.running["b"].tail()
        assert [] == sql(fleet.where, SEAT)
        carry(fleet, "a", "b")
        fleet.wait_leads("b")
        wait_for("the node to be back", lambda: fleet.nodes_ready() == 1)
        assert "trusts those from now on" in fleet.command("motorpool", "cluster", MOTORPOOL_CONFIG="").stderr
        fleet.run_controller("a")

        wait_for("b to know of nodes/a", lambda: "connections are shown" in ca(fleet, "b", "switch", check=False))
        carry(fleet, "b", "a")
        wait_for("the old one to be gone", lambda: "is trusted no more" in ca(fleet, "b", "finish", check=False))
        wait_for("nodes/a to trust the new one alone", lambda: trusted_by(fleet) == 1)
        wait_for("a to say that it cannot lead", lambda: "cannot lead" in fleet.running["a"].tail())
        assert "trusts those from now on" in fleet.command("motorpool", "cluster", MOTORPOOL_CONFIG="").stderr
        carry(fleet, "b", "a")

        fleet.running["b"].kill()
        fleet.wait_leads("a")
        wait_for("the node to be back", lambda: fleet.nodes_ready() == 1)
        assert "Your role" in fleet.command("motorpool", "cluster", MOTORPOOL_CONFIG="").stdout


def ca(fleet: Controllers, name: str, *words: str, check: bool = True) -> str:
    """
    Take a step at a controller; return what was said.
    """
    where = ("--data-dir", str(fleet.folder_of(name)))
    done = fleet.command("motorpool-controller", "ca", *words, *where, check=check)
    return done.stdout + done.stderr


def carry(fleet: Controllers, giver: str, taker: str) -> None:
    """
    Give a controller what another one has, as the document says: while it is stopped.
    """
    carried = fleet.folder / "authority.json"
    ca(fleet, giver, "export", str(carried))
    assert 0 == fleet.running[taker].terminate()
    ca(fleet, taker, "import", str(carried))
    carried.unlink()
    fleet.run_controller(taker)


def told_by(fleet: Controllers, name: str) -> list[str] | None:
    """
    Return where a controller that stands by says that the leader is; None where it does not say.
    """
    with fleet.channel_to(name) as channel:
        try:
            v1.ClusterServiceStub(channel).GetCluster(v1.GetClusterRequest(), timeout=5)
        except grpc.RpcError as error:
            return failures.leaders(error)
    return None


def trusted_by(fleet: Controllers) -> int:
    """
    Return how many authorities the node's files say to trust.
    """
    return (fleet.folder / "a" / "identity" / "ca.pem").read_text().count("BEGIN CERTIFICATE")
