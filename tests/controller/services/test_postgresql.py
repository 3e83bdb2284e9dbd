"""Making, backing up and restoring a cluster whose database is PostgreSQL; how it moves from and to SQLite."""

from __future__ import annotations

import asyncio
import shutil
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from motorpool_controller.config import Settings
from motorpool_controller.services import initialization
from motorpool_controller.services.backups import back_up, restore
from motorpool_controller.services.initialization import initialise_data_dir
from motorpool_controller.store.errors import DatabaseInUseError, StoreError
from motorpool_controller.store.store import Store
from tests.controller.clusters import settings
from tests.controller.fleets import deployment
from tests.controller.store.sql import sql
from tests.postgresql import PostgresServer

THEN = datetime(2026, 11, 20, 3, 0, tzinfo=UTC)
NOW = datetime(2026, 11, 21, 9, 0, tzinfo=UTC)


@pytest.fixture(name="here")
def _here(tmp_path: Path, postgres: PostgresServer) -> Settings:
    return settings(tmp_path / "here", database_url=postgres.new())


@pytest.fixture(name="there")
def _there(tmp_path: Path, postgres: PostgresServer) -> Settings:
    return settings(tmp_path / "there", database_url=postgres.new())


def names(of: Settings) -> set[str]:
    return {path.name for path in of.data_dir.iterdir()}


async def deploy(of: Settings, *names: str) -> None:
    async with await Store.open(of.database) as store:
        for name in names:
            await store.commit(lambda tx, name=name: tx.deployments.put(deployment(name)))  # type: ignore[misc]


async def deployments(of: Settings) -> list[str]:
    async with await Store.open(of.database) as store:
        return sorted(store.view.deployments)


async def test_a_cluster_is_made(here: Settings) -> None:
    """
    The authority and the first token's file lie in the data directory, the rows in the database, and only there.
    """
    made = initialise_data_dir(here)

    assert {"ca-key.pem", "ca.pem", "client.toml"} == names(here)
    async with await Store.open(here.database) as store:
        assert made.cluster_id == store.view.cluster_id
        assert ["admin"] == [token.role for token in store.tokens.list()]


def test_a_cluster_that_is_there_is_left_alone(here: Settings, there: Settings) -> None:
    """
    A database that holds a cluster gets no other one, from whatever data directory; nothing is made there.
    """
    made = initialise_data_dir(here)
    other = replace(there, database_url=here.database_url)

    with pytest.raises(StoreError, match=f"holds cluster {made.cluster_id} already"):
        initialise_data_dir(other)
    with pytest.raises(StoreError, match=r"holds ca-key\.pem"):
        initialise_data_dir(here)
    assert set() == names(other)


def test_an_unreachable_server_makes_nothing(tmp_path: Path, postgres: PostgresServer) -> None:
    """
    Where nobody answers, `init` says which server and leaves no file that would be taken for a cluster.
    """
    made = settings(tmp_path / "here", database_url=postgres.url("x", port=1))
    with pytest.raises(StoreError, match=r"127\.0\.0\.1:1/x cannot be reached"):
        initialise_data_dir(made)

    assert set() == names(made)


def test_making_that_was_cut_short_is_gone_on_with(here: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Cut off before or after its rows were written, the next `init` makes good the same cluster.
    """

    def cut(*_: object) -> None:
        raise KeyboardInterrupt

    for place in ("replace_rows", "sync_folder"):
        with monkeypatch.context() as patch:
            patch.setattr(initialization, place, cut)
            with pytest.raises(KeyboardInterrupt):
                initialise_data_dir(here)
        if place == "sync_folder":
            # Its rows and files were all there: as if the last steps had been lost.
            complete = here.data_dir / ".init-complete"
            complete.mkdir()
    made = initialise_data_dir(here)

    assert [(made.cluster_id,)] == sql(here.database, "SELECT cluster_id FROM meta")
    assert {"ca-key.pem", "ca.pem", "client.toml"} == names(here)


@pytest.mark.promise("P8")
async def test_a_backup_beside_a_running_controller_has_what_was_committed(
    here: Settings, there: Settings, tmp_path: Path
) -> None:
    """
    What was acknowledged before the backup is in it, what came after is not; the controller goes on.
    """
    await asyncio.to_thread(initialise_data_dir, here)
    file = tmp_path / "cluster.backup"
    async with await Store.open(here.database) as store:
        await store.commit(lambda tx: tx.deployments.put(deployment("before")))
        made = await asyncio.to_thread(back_up, here, file, THEN)
        await store.commit(lambda tx: tx.deployments.put(deployment("after")))
        epoch = store.view.controller_epoch
    restored = await asyncio.to_thread(restore, there, file, NOW)

    async with await Store.open(there.database) as store:
        assert ["deployments/before"] == list(store.view.deployments)
        assert store.view.controller_epoch > epoch + 1_000_000
    assert made.counts == restored.counts == {"nodes": 0, "deployments": 1, "instances": 0}
    assert names(here) - {"ca.lock"} == names(there) - {"controller.lock"}


async def test_a_cluster_moves_between_the_databases(here: Settings, tmp_path: Path, postgres: PostgresServer) -> None:
    """
    A backup of SQLite is restored into PostgreSQL, and one of that into SQLite; every row comes along.
    """
    file = settings(tmp_path / "file")
    await asyncio.to_thread(initialise_data_dir, file)
    await deploy(file, "a", "b")
    back_up(file, tmp_path / "1.backup", THEN)
    restore(here, tmp_path / "1.backup", NOW)
    await deploy(here, "c")
    back_up(here, tmp_path / "2.backup", THEN)
    again = settings(tmp_path / "again")
    restore(again, tmp_path / "2.backup", NOW)

    assert ["deployments/a", "deployments/b", "deployments/c"] == await deployments(again)
    assert {"ca-key.pem", "ca.pem", "client.toml", "controller.lock", "ca.lock"} == names(here)
    async with await Store.open(again.database) as store:
        assert ["admin"] == [token.role for token in store.tokens.list()]


async def test_what_is_replaced_is_kept_beside(here: Settings, tmp_path: Path) -> None:
    """
    A cluster that is there is not overwritten unless one asks for it; then its rows lie in a file of their own.
    """
    await asyncio.to_thread(initialise_data_dir, here)
    await deploy(here, "old")
    back_up(here, tmp_path / "cluster.backup", THEN)
    await deploy(here, "new")
    with pytest.raises(StoreError, match="--replace"):
        restore(here, tmp_path / "cluster.backup", NOW)
    fresh = replace(here, data_dir=tmp_path / "fresh")
    with pytest.raises(StoreError, match="holds cluster"):
        restore(fresh, tmp_path / "cluster.backup", NOW)
    assert ["deployments/new", "deployments/old"] == await deployments(here)
    restored = restore(here, tmp_path / "cluster.backup", NOW, replace=True)

    assert ["deployments/old"] == await deployments(here)
    assert restored.replaced is not None
    aside = settings(restored.replaced)
    assert ["deployments/new", "deployments/old"] == await deployments(aside)


async def test_a_running_controllers_database_is_not_replaced(here: Settings, tmp_path: Path) -> None:
    """
    From whatever machine: the database's own lock holds, not only the data directory's.
    """
    await asyncio.to_thread(initialise_data_dir, here)
    back_up(here, tmp_path / "cluster.backup", THEN)
    elsewhere = replace(here, data_dir=tmp_path / "elsewhere")
    shutil.copytree(here.data_dir, elsewhere.data_dir)
    async with await Store.open(here.database) as store:
        with pytest.raises(DatabaseInUseError, match="in use by another controller"):
            await asyncio.to_thread(restore, elsewhere, tmp_path / "cluster.backup", NOW, replace=True)
        await store.commit(lambda tx: tx.deployments.put(deployment("a")))

    assert names(here) == names(elsewhere) - {"controller.lock"}
