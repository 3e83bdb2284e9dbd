"""The process executor keeps the contract."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.agent.runtime.conformance import ExecutorContract
from tests.agent.runtime.killed_agent import engines


@pytest.mark.e2e
class TestProcess(ExecutorContract):
    """A process is known by pid and start ticks."""

    executor = "process"

    def engines(self, data_dir: Path, assignment_id: str = "a1") -> Mapping[str, int]:
        """Return processes that carry the instance's mark and run the engine."""
        return {f"{pid} {ticks}": pid for pid, ticks in engines(data_dir, assignment_id).items()}
