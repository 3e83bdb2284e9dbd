"""Control groups that engines of a test leave behind."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path

from motorpool_agent.runtime.cgroup import Cgroups

DEADLINE_SECONDS = 30.0


def remove_groups(data_dir: Path) -> None:
    """Remove the groups of an agent's instances, once the kernel let go of the processes that were killed in them."""
    example = Cgroups(data_dir).path("x")
    if not example:
        return
    deadline = time.monotonic() + DEADLINE_SECONDS
    while left := list(Path(example).parent.glob(f"{Path(example).name.removesuffix('x')}*")):
        assert time.monotonic() < deadline, f"still in use: {left}"
        for path in left:
            with contextlib.suppress(OSError):
                path.rmdir()
        time.sleep(0.01)
