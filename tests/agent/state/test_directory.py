"""The data directory's lock."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from motorpool_agent.state.directory import DataDirectoryLock, holder
from motorpool_agent.state.errors import DataDirectoryError


def test_one_at_a_time(tmp_path: Path) -> None:
    """
    While one agent has the directory another one is refused, told who has it, and admitted afterwards.
    """
    with (
        DataDirectoryLock(tmp_path / "data"),
        pytest.raises(DataDirectoryError, match=f"in use by another agent .pid {os.getpid()}.*--data-dir"),
    ):
        DataDirectoryLock(tmp_path / "data")

    DataDirectoryLock(tmp_path / "data").release()


def test_what_a_killed_agent_had_just_forked_is_waited_for(tmp_path: Path) -> None:
    """
    A child between fork and exec still holds a dead agent's lock; the successor waits for it instead of giving up.
    """
    script = (
        "import os, sys, time; from pathlib import Path\n"
        "from motorpool_agent.state.directory import DataDirectoryLock\n"
        "DataDirectoryLock(Path(sys.argv[1]))\n"
        "if os.fork() == 0: sys.stdin.read()\n"
        "os._exit(0)\n"
    )
    with subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], stdin=subprocess.PIPE) as agent:
        agent.wait()
        assert agent.stdin is not None
        threading.Timer(0.2, agent.stdin.close).start()

        DataDirectoryLock(tmp_path).release()


def test_directory_that_cannot_be_made(tmp_path: Path) -> None:
    """
    A path that cannot be a directory is an error that names it and the setting.
    """
    (tmp_path / "file").touch()

    with pytest.raises(DataDirectoryError, match=f"{tmp_path}/file/data cannot be used.*--data-dir"):
        DataDirectoryLock(tmp_path / "file" / "data")


def test_who_holds_it_is_told_without_taking_it(tmp_path: Path) -> None:
    """
    The holder's pid while it holds, and nobody before and after.
    """
    before = holder(tmp_path)
    with DataDirectoryLock(tmp_path):
        during = holder(tmp_path)

    assert (None, os.getpid(), None) == (before, during, holder(tmp_path))
