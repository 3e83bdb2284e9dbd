"""What a machine may run short of, as the kernel tells it: made-up kernels' files, and this machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from motorpool_agent.inventory.pressure import Resource
from motorpool_agent.inventory.resources import Bounds, measure

GIB = 1 << 30


@pytest.fixture(name="proc")
def make_proc(tmp_path: Path) -> Path:
    """
    A kernel's files, of a machine with room for everything.
    """
    proc = tmp_path / "proc"
    for path, text in {
        "pressure/memory": "some avg10=0.00 avg60=3.00 total=1\nfull avg10=9.00 avg60=2.40 avg300=0.00 total=1\n",
        "sys/fs/file-nr": "1000\t0\t10000\n",
        "loadavg": "0.00 0.01 0.05 3/250 4711\n",
        "sys/kernel/threads-max": "1000\n",
        "sys/kernel/pid_max": "32768\n",
        "self/cgroup": "0::/system.slice/agent\n",
    }.items():
        (proc / path).parent.mkdir(parents=True, exist_ok=True)
        (proc / path).write_text(text)
    (proc / "self" / "fd").mkdir()
    return proc


def look(tmp_path: Path, proc: Path) -> dict[str, Resource]:
    bounds = Bounds(data_dir=tmp_path / "not" / "made", cache_dir=tmp_path)
    return {each.name: each for each in measure(bounds, proc, tmp_path / "groups")}


def test_all_that_is_there_is_measured(tmp_path: Path, proc: Path) -> None:
    """
    Each resource with what is left; folders of one disk, or not made yet, are one disk.
    """
    found = look(tmp_path, proc)

    assert ["data_disk", "memory", "memory_stall", "files", "agent_files", "processes"] == list(found)
    assert (98, 80, 90) == (found["memory_stall"].available, found["memory_stall"].low, found["memory_stall"].enough)
    assert (9000, 10000, 1000, 2000) == (
        found["files"].available,
        found["files"].total,
        found["files"].low,
        found["files"].enough,
    )
    assert (750, 1000) == (found["processes"].available, found["processes"].total)
    assert (found["data_disk"].available or 0) > 0
    assert found["data_disk"].low <= GIB


@pytest.mark.parametrize(
    ("groups", "file"), [("0::/system.slice/agent", "system.slice/agent"), ("4:pids,cpu:/agent\n0::/x", "pids/agent")]
)
def test_a_control_group_that_is_nearly_full_counts(tmp_path: Path, proc: Path, groups: str, file: str) -> None:
    """
    Of all limits to processes the nearest counts, by control groups of version 1 and 2.
    """
    (proc / "self" / "cgroup").write_text(f"{groups}\n")
    group = tmp_path / "groups" / file
    group.mkdir(parents=True)
    (group / "pids.current").write_text("95\n")
    (group / "pids.max").write_text("100\n")
    (group.parent / "pids.max").write_text("max\n")
    found = look(tmp_path, proc)["processes"]

    assert (5, 100, 10) == (found.available, found.total, found.low)
    assert "95 of 100 processes and threads" in found.shortage


def test_a_kernel_that_tells_little_leaves_things_out(tmp_path: Path) -> None:
    """
    Without /proc's files, or with no limit in them, nothing is made up.
    """
    proc = tmp_path / "empty"
    (proc / "sys" / "fs").mkdir(parents=True)
    (proc / "sys" / "fs" / "file-nr").write_text("1000\t0\t9223372036854775807\n")

    assert ["data_disk", "memory"] == list(look(tmp_path, proc))


def test_this_machine(tmp_path: Path) -> None:
    """
    Here there is something left of everything.
    """
    found = measure(Bounds(data_dir=tmp_path, cache_dir=tmp_path))

    assert all((each.available or 0) > 0 for each in found)
    assert {"data_disk", "memory", "agent_files"} <= {each.name for each in found}
