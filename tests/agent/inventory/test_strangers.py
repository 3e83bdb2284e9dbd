"""Whose a process is."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

from motorpool_agent.inventory.strangers import Stranger, stranger


def test_own_process() -> None:
    """
    A process is told by its program, its user's name and its control group.
    """
    found = stranger(os.getpid())

    assert Path("/proc/self/comm").read_text().strip() == found.program
    assert pwd.getpwuid(os.getuid()).pw_name == found.user
    assert found.control_group in Path("/proc/self/cgroup").read_text()
    assert f"process {os.getpid()} ({found.program}, user {found.user}, /" in found.words


def test_none_of_that_number(tmp_path: Path) -> None:
    """
    A process that is not there, or in another namespace, is a number.
    """
    assert Stranger(pid=7) == stranger(7, tmp_path)
    assert "process 7 (not seen from here)" == stranger(7, tmp_path).words
