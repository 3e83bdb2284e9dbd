"""An agent that is stopped at one step, until it is killed there or let go on."""

from __future__ import annotations

import os
import time
from pathlib import Path

from motorpool_agent.failpoints import VARIABLE, Step
from tests.agent.runtime.fakes import DEADLINE_SECONDS
from tests.agent.runtime.killed_agent import KilledAgent


class Stop:
    """A step to stop at, and how often it was reached."""

    def __init__(self, step: Step, folder: Path) -> None:
        folder.mkdir()
        self.step = step
        self._folder = folder
        os.mkfifo(folder / "go")

    @property
    def environment(self) -> dict[str, str]:
        """What tells the agent."""
        return {VARIABLE: f"{self.step}:{self._folder}"}

    @property
    def hits(self) -> int:
        """How often it was reached."""
        try:
            return (self._folder / "hits").read_text(encoding="ascii").splitlines().count(self.step)
        except FileNotFoundError:
            return 0

    def until_reached(self, agent: KilledAgent) -> None:
        """Wait until the agent stands there."""
        deadline = time.monotonic() + DEADLINE_SECONDS
        while not self.hits:
            assert agent.lives, f"the agent ended before {self.step}"
            assert time.monotonic() < deadline, f"{self.step} was never reached: {agent.lines[-3:]}"
            time.sleep(0.002)

    def let_go(self) -> None:
        """Let it go on."""
        with (self._folder / "go").open("wb"):
            pass
