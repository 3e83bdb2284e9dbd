"""The process executor keeps the contract."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from pathlib import Path

import pytest

from motorpool_agent.state.handles import Handles
from tests.agent.runtime.conformance import ExecutorContract
from tests.agent.runtime.fakes import assignment, desired, free_ports, tombstone
from tests.agent.runtime.killed_agent import KilledAgent, engines
from tests.agent.runtime.memory_group import memory_group


@pytest.mark.e2e
class TestProcess(ExecutorContract):
    """A process is known by pid and start ticks."""

    executor = "process"

    def engines(self, data_dir: Path, assignment_id: str = "a1") -> Mapping[str, int]:
        """Return processes that carry the instance's mark and run the engine."""
        return {f"{pid} {ticks}": pid for pid, ticks in engines(data_dir, assignment_id).items()}


@pytest.mark.e2e
def test_out_of_memory(data_dir: Path, tmp_path: Path) -> None:
    """
    An engine that the kernel kills for lack of memory failed for that reason, and is told apart from any other KILL.
    """
    with memory_group(256 << 20) as group, KilledAgent(data_dir, free_ports(8).start, group) as agent:
        first = assignment(tmp_path, "a1", restart=False, eat="1024")
        agent.apply(desired(first))
        agent.until("error", "a1")
        agent.apply(desired(first, assignment(tmp_path, "a2")))
        _, pid, _ = agent.until("running", "a2")
        os.kill(pid, signal.SIGKILL)
        agent.until("error", "a2")
        agent.until("running", "a2")
        starved, killed = (Handles(data_dir).read(name).last_failure for name in ("a1", "a2"))
        agent.apply(desired(tombstones=[tombstone("a1"), tombstone("a2")]))
        agent.until_gone("a1", "a2")

    assert starved is not None
    assert ("OUT_OF_MEMORY", True, signal.SIGKILL) == (starved.reason, starved.out_of_memory, starved.signal)
    assert "for lack of host memory" in starved.message
    assert killed is not None
    assert ("EXITED", False, signal.SIGKILL) == (killed.reason, killed.out_of_memory, killed.signal)
