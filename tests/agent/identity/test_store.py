"""The identity on disk."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from motorpool_agent.identity.errors import CorruptStateError
from motorpool_agent.identity.store import Document, Identity, IdentityStore

TIME = datetime(2026, 1, 1, tzinfo=UTC)


def identity(number: int) -> Identity:
    return Identity(
        document=Document(
            cluster_id="c",
            node="nodes/a",
            node_uid="u",
            agent_endpoints=("h:1",),
            renew_time=TIME,
            expire_time=TIME,
            enrollment_id="e",
        ),
        key_pem=f"key {number}",
        certificate_pem=f"certificate {number}",
        ca_pem="ca",
    )


def test_nothing_is_there_at_first(tmp_path: Path) -> None:
    """
    A machine that never enrolled has no identity, and asking makes no folder.
    """
    assert IdentityStore(tmp_path).load() is None
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("moved", [0, 1, 2, 3, 4])
def test_a_crash_while_files_move_leaves_the_new_identity(tmp_path: Path, moved: int) -> None:
    """
    Whatever number of files had moved into place, key and certificate are of one identity; who only looks moves none.
    """
    store = IdentityStore(tmp_path)
    store.save(identity(1))
    other = IdentityStore(tmp_path / "other")
    other.save(identity(2))
    coming = store.directory / "next"
    coming.mkdir()
    for index, name in enumerate(("key.pem", "certificate.pem", "ca.pem", "identity.json")):
        target = store.directory if index < moved else coming
        (target / name).write_text((other.directory / name).read_text())

    assert store.peek() == identity(2)
    assert coming.exists()
    assert store.load() == identity(2)
    assert not coming.exists()


def test_a_crash_before_it_counts_leaves_the_old_identity(tmp_path: Path) -> None:
    """
    A draft that was not finished is not looked at, and the next save replaces it.
    """
    store = IdentityStore(tmp_path)
    store.save(identity(1))
    (store.directory / "next.draft").mkdir()
    (store.directory / "next.draft" / "key.pem").write_text("half a k")

    assert store.load() == identity(1)
    store.save(identity(2))
    assert store.load() == identity(2)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"cluster_id": 7}', "\xff\xfe"])
def test_a_spoilt_document_is_an_error_that_says_what_to_do(tmp_path: Path, content: str) -> None:
    """
    An identity that cannot be understood is never taken for none.
    """
    store = IdentityStore(tmp_path)
    store.save(identity(1))
    (store.directory / "identity.json").write_text(content, encoding="latin-1")

    with pytest.raises(CorruptStateError, match="enrol again"):
        store.load()


def test_a_missing_key_is_an_error(tmp_path: Path) -> None:
    """
    Half an identity is not none.
    """
    store = IdentityStore(tmp_path)
    store.save(identity(1))
    (store.directory / "key.pem").unlink()

    with pytest.raises(CorruptStateError, match=r"key\.pem"):
        store.load()


def test_the_enrollment_id_is_made_once(tmp_path: Path) -> None:
    """
    The id outlives the process that made it.
    """
    assert IdentityStore(tmp_path).enrollment_id() == IdentityStore(tmp_path).enrollment_id()


def test_secrets_are_not_shown() -> None:
    """
    An identity that is printed by accident shows no key.
    """
    assert "key 1" not in repr(identity(1))
