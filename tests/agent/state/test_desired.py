"""The last accepted desired state, over restarts."""

from __future__ import annotations

from pathlib import Path

import pytest

from motorpool_agent.reconcile.assignment import DesiredVersion
from motorpool_agent.state.desired import DesiredRecord
from motorpool_agent.state.errors import DesiredRefusedError


def test_newer_is_accepted_and_kept(tmp_path: Path) -> None:
    """
    A newer version is accepted, also of a newer epoch with a lower number, and is known after a restart.
    """
    record = DesiredRecord(tmp_path)
    assert record.last_version is None
    record.accept("c1", DesiredVersion(1, 7))
    record.accept("c1", DesiredVersion(2, 1))

    assert DesiredRecord(tmp_path).last_version == DesiredVersion(2, 1)


@pytest.mark.promise("P3")
@pytest.mark.parametrize(
    ("cluster", "version", "reason"),
    [
        ("c1", DesiredVersion(2, 4), "DESIRED_STALE"),
        ("c1", DesiredVersion(1, 99), "DESIRED_STALE"),
        ("c2", DesiredVersion(9, 9), "WRONG_CLUSTER"),
    ],
)
def test_older_or_strange_is_refused(tmp_path: Path, cluster: str, version: DesiredVersion, reason: str) -> None:
    """
    An older version or another cluster's is refused, also after a restart, and what was accepted stays.
    """
    DesiredRecord(tmp_path).accept("c1", DesiredVersion(2, 5))
    record = DesiredRecord(tmp_path)

    with pytest.raises(DesiredRefusedError) as caught:
        record.accept(cluster, version)
    assert reason == caught.value.reason
    assert DesiredRecord(tmp_path).last_version == DesiredVersion(2, 5)


def test_same_again_is_accepted(tmp_path: Path) -> None:
    """
    The version that was accepted last is accepted again, and written no second time.
    """
    record = DesiredRecord(tmp_path)
    record.accept("c1", DesiredVersion(2, 5))
    written = (tmp_path / "desired.json").stat().st_mtime_ns
    record.accept("c1", DesiredVersion(2, 5))

    assert written == (tmp_path / "desired.json").stat().st_mtime_ns


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff", b'{"cluster_id": 1}'])
def test_corrupt_file_says_what_to_do(tmp_path: Path, content: bytes) -> None:
    """
    A file that makes no sense is an error that names it, and is not taken for "nothing accepted yet".
    """
    (tmp_path / "desired.json").write_bytes(content)

    with pytest.raises(DesiredRefusedError, match=r"desired\.json cannot be read .*remove it"):
        DesiredRecord(tmp_path)
