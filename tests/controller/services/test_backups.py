from __future__ import annotations

import asyncio
import gzip
import io
import sqlite3
import stat
import tarfile
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc
import msgspec
import pytest

from motorpool import v1
from motorpool_controller.config import Settings
from motorpool_controller.domain.errors import ForbiddenError, OutOfRangeError
from motorpool_controller.security.authority import AgentIdentity
from motorpool_controller.services.authentication import _forgotten, check_not_banned
from motorpool_controller.services.backups import Backup, back_up, restore
from motorpool_controller.services.initialization import initialise_data_dir
from motorpool_controller.store.errors import NotInitialisedError, StoreError
from motorpool_controller.store.lock import DataDirLock
from motorpool_controller.store.restoration import Restoration
from motorpool_controller.store.store import Store
from tests.controller.agent_client import Agent
from tests.controller.clusters import reason, running, settings
from tests.controller.fleets import deployment

THEN = datetime(2026, 11, 20, 3, 0, tzinfo=UTC)
NOW = datetime(2026, 11, 21, 9, 0, tzinfo=UTC)


@pytest.fixture(name="here")
def _here(tmp_path: Path) -> Settings:
    made = settings(tmp_path / "here")
    initialise_data_dir(made)
    return made


@pytest.fixture(name="there")
def _there(tmp_path: Path) -> Settings:
    return settings(tmp_path / "there")


@pytest.fixture(name="file")
def _file(here: Settings, tmp_path: Path) -> Path:
    back_up(here, tmp_path / "cluster.backup", THEN)
    return tmp_path / "cluster.backup"


@pytest.mark.promise("P8")
async def test_a_backup_beside_a_running_controller_has_what_was_committed(
    here: Settings, there: Settings, tmp_path: Path
) -> None:
    """
    What was acknowledged before the backup is in it, what came after is not; the controller goes on.
    """
    file = tmp_path / "cluster.backup"
    async with await Store.open(here.database) as store:
        await store.commit(lambda tx: tx.deployments.put(deployment("before")))
        made = await asyncio.to_thread(back_up, here, file, THEN)
        await store.commit(lambda tx: tx.deployments.put(deployment("after")))
        handed_out = store.view.revision
        epoch = store.view.controller_epoch

    restored = restore(there, file, NOW)

    async with await Store.open(there.database) as store:
        assert list(store.view.deployments) == ["deployments/before"]
        assert store.view.restoration == Restoration(THEN, NOW)
        assert store.view.controller_epoch > epoch + 1_000_000
        assert store.view.revision > handed_out
        with pytest.raises(OutOfRangeError, match="list again"):
            store.subscribe(handed_out)
    assert made.counts == restored.counts == {"nodes": 0, "deployments": 1, "instances": 0}
    assert (restored.cluster_id, restored.time, restored.replaced) == (made.cluster_id, THEN, None)
    for name in ("ca-key.pem", "ca.pem", "client.toml"):
        assert (there.data_dir / name).read_bytes() == (here.data_dir / name).read_bytes()


def test_only_its_owner_reads_a_backup(file: Path, there: Settings) -> None:
    """
    It holds the authority's key: no one else may read it, nor what was restored.
    """
    restore(there, file, NOW)

    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert {stat.S_IMODE(path.stat().st_mode) for path in there.data_dir.iterdir()} == {0o600}


def test_a_second_restoration_goes_beyond_the_first(file: Path, there: Settings) -> None:
    """
    The same backup may be restored again: its epoch is higher than any that the first restoration gave away.
    """
    restore(there, file, NOW)
    first = _meta(there)
    again = restore(there, file, NOW + timedelta(hours=1), replace=True)
    second = _meta(there)

    assert second > first
    assert again.replaced is not None
    assert sorted(path.name for path in again.replaced.iterdir()) == [
        *("ca-key.pem", "ca.pem", "client.toml", "controller.db")
    ]


def test_nothing_is_overwritten(here: Settings, file: Path) -> None:
    """
    Neither a file that is there nor a cluster that is there, unless one asks for it; nor one that runs.
    """
    before = file.read_bytes()
    with pytest.raises(StoreError, match="exists already and is not overwritten"):
        back_up(here, file, NOW)
    with pytest.raises(StoreError, match="--replace"):
        restore(here, file, NOW)
    with DataDirLock(here.data_dir), pytest.raises(StoreError, match="in use by another motorpool-controller"):
        restore(here, file, NOW, replace=True)

    assert file.read_bytes() == before
    assert sorted(path.name for path in here.data_dir.iterdir()) == [
        *("ca-key.pem", "ca.lock", "ca.pem", "client.toml", "controller.db", "controller.lock")
    ]


def test_a_stream_is_a_backup(here: Settings, there: Settings, tmp_path: Path) -> None:
    """
    What goes to standard output may be kept by another program, and restored.
    """
    stream = io.BytesIO()
    back_up(here, None, THEN, stream=stream)
    (tmp_path / "kept").write_bytes(stream.getvalue())

    assert isinstance(restore(there, tmp_path / "kept", NOW), Backup)


def test_there_has_to_be_a_cluster(there: Settings, tmp_path: Path) -> None:
    """
    Where none was made, nothing is backed up, and no file is left.
    """
    with pytest.raises(NotInitialisedError):
        back_up(there, tmp_path / "file", NOW)

    assert list(tmp_path.iterdir()) == []


Parts = dict[str, bytes]


def _parts(file: Path) -> Parts:
    with tarfile.open(file) as archive:
        return {each.name: found.read() for each in archive if (found := archive.extractfile(each)) is not None}


def _without_key(parts: Parts) -> Parts:
    return {name: content for name, content in parts.items() if name != "ca-key.pem"}


def _manifest(**changes: object) -> Callable[[Parts], Parts]:
    def changed(parts: Parts) -> Parts:
        manifest = msgspec.json.decode(parts["backup.json"])
        return {**parts, "backup.json": msgspec.json.encode({**manifest, **changes})}

    return changed


@pytest.mark.promise("P9")
@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_without_key, "has no ca-key.pem"),
        (lambda parts: {**parts, "ca.pem": parts["ca.pem"][:-1] + b"!"}, "ca.pem is damaged"),
        (lambda parts: {**parts, "controller.db": parts["controller.db"] + b"more"}, "controller.db is damaged"),
        (lambda parts: {**parts, "../../etc/cron.d/x": b"* * * * *"}, r'has "../../etc/cron.d/x", which no backup has'),
        (lambda parts: dict(reversed(parts.items())), "is no backup of motorpool-controller"),
        (_manifest(format=2, version="9.9"), "written by motorpool-controller “9.9” in a form"),
        (_manifest(files="none"), "backup.json makes no sense"),
        (_manifest(cluster_id="another"), "of another cluster than it says"),
    ],
)
def test_what_is_no_whole_backup_changes_nothing(
    file: Path, there: Settings, change: Callable[[Parts], Parts], words: str
) -> None:
    """
    Parts that are missing, changed, of another name or of another cluster are told, and the folder stays empty.
    """
    parts = _parts(file)
    with tarfile.open(file, "w:gz") as archive:
        for name, content in change(parts).items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))

    with pytest.raises(StoreError, match=words):
        restore(there, file, NOW)

    assert {path.name for path in there.data_dir.iterdir()} <= {"controller.lock"}


@pytest.mark.promise("P9")
@pytest.mark.parametrize("kept", [0, 1, 40, 1000, 3000])
def test_a_part_of_a_backup_changes_nothing(file: Path, there: Settings, kept: int) -> None:
    """
    A file that was cut off anywhere, or is none of ours, is told and named.
    """
    file.write_bytes(file.read_bytes()[:kept])

    with pytest.raises(StoreError, match=r"cluster\.backup"):
        restore(there, file, NOW)

    assert {path.name for path in there.data_dir.iterdir()} <= {"controller.lock"}


@pytest.mark.promise("P9")
def test_a_link_is_not_followed(file: Path, there: Settings, tmp_path: Path) -> None:
    """
    An archive whose database is a link to another file restores nothing.
    """
    parts = _parts(file)
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as archive:
        for name, content in parts.items():
            info = tarfile.TarInfo(name)
            if name == "controller.db":
                info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
                archive.addfile(info)
            else:
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
    file.write_bytes(gzip.compress(raw.getvalue()))

    with pytest.raises(StoreError, match=r"controller\.db is damaged"):
        restore(there, file, NOW)


@pytest.mark.parametrize(
    ("issued", "accepted"),
    [
        (THEN - timedelta(hours=1), False),
        (THEN, True),
        (NOW - timedelta(hours=1), True),
        (NOW + timedelta(seconds=1), False),
    ],
)
def test_certificates_of_the_time_that_is_forgotten_are_good(issued: datetime, accepted: bool) -> None:
    """
    An agent renewed its certificate after the backup: a serial given between backup and restoration may be unknown.
    """
    identity = AgentIdentity(cluster_id="c", node_uid="n", serial="1", issue_time=issued)

    assert _forgotten(identity, Restoration(THEN, NOW)) is accepted
    assert not _forgotten(identity, None)


def _meta(of: Settings) -> tuple[int, int]:
    connection = sqlite3.connect(of.database_file)
    epoch, revision = connection.execute("SELECT controller_epoch, revision FROM meta").fetchone()
    connection.close()
    return epoch, revision


async def test_a_ban_outlives_the_process_and_the_machine(here: Settings, there: Settings, tmp_path: Path) -> None:
    """
    A banned node is banned after a restart, and after its controller was restored elsewhere from a backup.
    """
    async with running(here, reconcile=False) as cluster:
        await Agent(cluster).enrol()
        await cluster.nodes.BanNode(v1.BanNodeRequest(name="nodes/a", reason="stolen"), metadata=cluster.admin)
    back_up(here, tmp_path / "cluster.backup", THEN)
    restore(there, tmp_path / "cluster.backup", NOW)

    for where in (here, there):
        async with running(where, reconcile=False) as cluster:
            assert (
                "stolen"
                == (await cluster.nodes.GetNode(v1.GetNodeRequest(name="nodes/a"), metadata=cluster.admin)).ban.reason
            )
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await Agent(cluster).enrol()
            assert reason(caught.value) in {"NODE_BANNED", "NODE_NAME_TAKEN"}
            held = cluster.store.view.nodes["nodes/a"]
            with pytest.raises(ForbiddenError, match=r"banned by tokens/.*: stolen; `motorpool unban`"):
                check_not_banned(held)
