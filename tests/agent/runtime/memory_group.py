"""A control group with little memory, where this machine lets a test make one."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.agent.runtime.fakes import DEADLINE_SECONDS

_V1, _V2 = Path("/sys/fs/cgroup/memory"), Path("/sys/fs/cgroup")


@contextlib.contextmanager
def memory_group(limit_bytes: int) -> Iterator[Path]:
    """Make a group below this process's own; skip the test where that is not allowed."""
    groups = {line.split(":")[1]: line.split(":", 2)[2] for line in Path("/proc/self/cgroup").read_text().splitlines()}
    parent, limit = (_V1 / groups["memory"].lstrip("/"), "memory.limit_in_bytes") if "memory" in groups else (None, "")
    if parent is None and "" in groups:
        parent, limit = _V2 / groups[""].lstrip("/"), "memory.max"
    try:
        assert parent is not None
        group = parent / f"motorpool-test-{os.getpid()}"
        group.mkdir()
    except (AssertionError, OSError) as error:
        pytest.skip(f"no control group for memory can be made here: {error}")
    try:
        if not (group / limit).exists():
            pytest.skip(f"{group} has no {limit}")
        (group / limit).write_text(str(limit_bytes))
        yield group
    finally:
        deadline = time.monotonic() + DEADLINE_SECONDS
        while group.exists():
            assert time.monotonic() < deadline, f"{group} is still in use"
            with contextlib.suppress(OSError):
                group.rmdir()
            time.sleep(0.01)
