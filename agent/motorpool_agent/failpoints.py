"""Named places on an instance's way, at which a test stops the agent, kills what it likes, and lets it go on.

They are off, and cost a comparison each, unless the agent's own environment has ``MOTORPOOL_FAILPOINT=STEP:FOLDER``.
Then every step that is reached is noted in ``FOLDER/hits``, and the first time that it is ``STEP``, that thread waits
there until somebody has opened and closed the pipe ``FOLDER/go``. ``tests/agent/runtime/kill_matrix`` is made of them.
"""

from __future__ import annotations

import os
from typing import Literal, get_args

VARIABLE = "MOTORPOOL_FAILPOINT"

Step = Literal[
    # Accepted and recorded.
    "desired.received",
    "desired.recorded",
    # Prepared, and on disk before anything is executed.
    "ports.reserved",
    "directory.made",
    "handle.drafted",
    "handle.written",
    # Launched: below its shim, as a container, as a unit.
    "group.made",
    "shim.spawned",
    "shim.released",
    "container.marked",
    "container.created",
    "container.started",
    "unit.marked",
    "unit.started",
    "engine.executed",
    "launch.recorded",
    # Ready.
    "engine.ready",
    "ready.recorded",
    # Stopped.
    "stop.ordered",
    "group.termed",
    "group.killed",
    "container.stopped",
    "container.removed",
    "unit.termed",
    "unit.killed",
    "unit.stopped",
    "stop.proven",
    # Removed.
    "directory.trashed",
    "directory.removed",
]
"""Every place there is, in the order of an instance's life."""


def reach(step: Step) -> None:
    """Say that a step is reached."""
    if _armed is not None:
        _armed.reach(step)


class Armed:
    """One step at which to wait, and where all that are reached are noted."""

    def __init__(self, setting: str) -> None:
        self._step, _, self._folder = setting.partition(":")
        if self._step not in get_args(Step) or not self._folder:
            raise ValueError(
                f"{VARIABLE}={setting!r} names no step of failpoints.py and a folder, as in "
                "handle.written:/folder; it is for tests, unset it otherwise"
            )
        self._waited = False

    def reach(self, step: Step) -> None:
        """Note a step, and wait there if it is the one."""
        waits = step == self._step and not self._waited
        self._waited = self._waited or waits
        hits = os.open(f"{self._folder}/hits", os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        os.write(hits, f"{step}\n".encode())
        os.close(hits)
        if waits:
            with open(f"{self._folder}/go", "rb") as pipe:  # noqa: PTH123
                pipe.read()


_armed = Armed(os.environ[VARIABLE]) if VARIABLE in os.environ else None
