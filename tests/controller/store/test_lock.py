import os
import subprocess
import sys
from pathlib import Path

import pytest

from motorpool_controller.store.errors import DataDirInUseError
from motorpool_controller.store.lock import DataDirLock

HOLDER = """
import sys
from pathlib import Path
from motorpool_controller.store.lock import DataDirLock
with DataDirLock(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_second_holder_is_refused(tmp_path: Path) -> None:
    """
    While one controller holds a data directory another one is told which directory, and what to do.
    """
    with DataDirLock(tmp_path), pytest.raises(DataDirInUseError, match=f"{tmp_path} is in use.*--data-dir"):
        DataDirLock(tmp_path).__enter__()
    with DataDirLock(tmp_path):
        pass


@pytest.mark.skipif(os.name != "posix", reason="kills a process")
def test_killed_holder_lets_go(tmp_path: Path) -> None:
    """
    The lock of a killed controller is gone with it.
    """
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(DataDirInUseError):
            DataDirLock(tmp_path).__enter__()
        holder.kill()
        holder.wait()
        with DataDirLock(tmp_path):
            pass
