"""A second controller gets what it needs of the first, and nothing else does."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from motorpool_controller.config import Settings
from motorpool_controller.security import authorities
from motorpool_controller.security.errors import AuthorityError
from motorpool_controller.services import rotation
from motorpool_controller.services.initialization import initialise_data_dir
from motorpool_controller.services.joining import export_authority, import_authority, join
from motorpool_controller.store.errors import DataDirInUseError, NotInitialisedError, StoreError
from motorpool_controller.store.lock import DataDirLock
from motorpool_controller.store.store import utc_now
from tests.controller.clusters import settings
from tests.postgresql import PostgresServer


@pytest.fixture(name="first")
def _first(tmp_path: Path, postgres: PostgresServer) -> Settings:
    made = settings(tmp_path / "first", database_url=postgres.new())
    initialise_data_dir(made)
    return made


@pytest.fixture(name="second")
def _second(tmp_path: Path, first: Settings) -> Settings:
    return settings(tmp_path / "second", database_url=first.database_url)


def known_by(of: Settings, cluster: str) -> tuple[str, ...]:
    return authorities.load(of.data_dir, cluster).known_by


def test_a_second_controller_has_the_same_authority(tmp_path: Path, first: Settings, second: Settings) -> None:
    """
    The file is its owner's alone, and so are the keys that come of it.
    """
    carried = tmp_path / "carried"
    exported = export_authority(first, carried)
    joined = join(second, carried)

    assert exported.known_by == joined.known_by == known_by(second, joined.signing.cluster_id)
    assert [0o600] * 2 == [stat.S_IMODE(path.stat().st_mode) for path in (carried, second.data_dir / "ca-key.pem")]
    with pytest.raises(AuthorityError, match=r"holds ca-key\.pem, ca\.pem already"):
        join(second, carried)


def test_a_rotation_is_carried_step_by_step(tmp_path: Path, first: Settings, second: Settings) -> None:
    """
    What a rotation changed comes along, while it is under way and when it is finished; not beneath a controller that
    runs.
    """
    join(second, _exported(first, tmp_path / "before"))
    rotation.begin(first, utc_now())
    overlap = import_authority(second, _exported(first, tmp_path / "overlap"))
    assert len(overlap.trusted) == 2
    rotation.switch(first, utc_now())
    rotation.finish(first)
    finished = _exported(first, tmp_path / "finished")
    with DataDirLock(second.data_dir), pytest.raises(DataDirInUseError):
        import_authority(second, finished)
    after = import_authority(second, finished)

    assert [overlap.signing.fingerprint] == list(after.known_by)
    assert not (second.data_dir / "ca-rotation.json").exists()


def test_another_clusters_authority_is_refused(tmp_path: Path, first: Settings, postgres: PostgresServer) -> None:
    """
    Neither another cluster's file nor a database without a cluster, nor a file of one's own: nothing is made.
    """
    carried = _exported(first, tmp_path / "carried")
    other = settings(tmp_path / "other", database_url=postgres.new())
    initialise_data_dir(other)
    empty = settings(tmp_path / "empty", database_url=postgres.new())
    file = settings(tmp_path / "file")

    with pytest.raises(AuthorityError, match="and the database holds cluster"):
        join(settings(tmp_path / "x", database_url=other.database_url), carried)
    with pytest.raises(NotInitialisedError, match="without --authority"):
        join(empty, carried)
    with pytest.raises(StoreError, match="MOTORPOOL_CONTROLLER_DATABASE"):
        join(file, carried)
    assert [False] * 3 == [(tmp_path / name).exists() for name in ("x", "empty", "file")]


@pytest.mark.parametrize("text", ["", "{}", '{"format": "x", "cluster_id": "c", "files": {}}', "\x00"])
def test_what_is_no_authority_is_told(tmp_path: Path, second: Settings, text: str) -> None:
    """
    Whatever is in the file, it is said where it comes from; nothing of it is repeated.
    """
    wrong = tmp_path / "wrong"
    wrong.write_text(text)
    with pytest.raises(AuthorityError, match="export"):
        join(second, wrong)


def test_a_key_of_another_certificate_is_refused(tmp_path: Path, first: Settings, second: Settings) -> None:
    """
    Both have to be of one authority: nothing is written where they are not.
    """
    carried = _exported(first, tmp_path / "carried")
    told = json.loads(carried.read_text())
    rotation.begin(first, utc_now())
    rotation.switch(first, utc_now(), force=True)
    rotation.finish(first, force=True)
    told["files"]["ca-key.pem"] = (first.data_dir / "ca-key.pem").read_text()
    carried.write_text(json.dumps(told))
    with pytest.raises(AuthorityError, match="key of another certificate"):
        join(second, carried)

    assert not (second.data_dir / "ca-key.pem").exists()


def _exported(of: Settings, file: Path) -> Path:
    export_authority(of, file)
    return file
