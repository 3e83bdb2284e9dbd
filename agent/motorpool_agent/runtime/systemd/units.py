"""The agent's units as systemd tells of them, and what it is asked to do with them."""

from __future__ import annotations

import asyncio
import re
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from motorpool_agent.reconcile.handle import LaunchRecord, Unit
from motorpool_agent.runtime import cgroup as cgroups
from motorpool_agent.runtime.executor import Exit
from motorpool_agent.runtime.systemd import creation
from motorpool_agent.runtime.systemd.commands import CALL_SECONDS, Said, call
from motorpool_agent.runtime.systemd.errors import UnreachableError

_PROPERTIES = (
    *("Id", "LoadState", "ActiveState", "SubState", "MainPID", "ControlGroup", "InvocationID", "Result"),
    *("ExecMainCode", "ExecMainStatus", "ExecMainStartTimestampMonotonic"),
)
_ENDS_AFTER_SECONDS = 90.0
_EXITED, _KILLED, _DUMPED = "1", "2", "3"
"""CLD_EXITED, CLD_KILLED and CLD_DUMPED of waitid(2), as ``ExecMainCode`` has them."""

SET_UP = range(200, 244)
"""Exit statuses by which systemd says what it could not do for a unit before executing it: systemd.exec(5)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A unit as it is now."""

    name: str
    active: str
    sub: str
    pid: int
    control_group: str
    invocation_id: str
    result: str
    code: str
    status: int
    executed: bool

    @property
    def running(self) -> bool:
        """Whether its first process runs, or it is about to, or systemd is ending what is left of it."""
        return self.active in {"activating", "deactivating", "reloading"} or (
            self.active == "active" and self.sub != "exited"
        )

    @property
    def exit(self) -> Exit:
        """How its first process ended."""
        out_of_memory = self.result == "oom-kill"
        if self.code in {_KILLED, _DUMPED}:
            return Exit(signal=self.status, out_of_memory=out_of_memory)
        return Exit(exit_code=self.status if self.code == _EXITED else None, out_of_memory=out_of_memory)


class Units:
    """The units of one agent, named after its data directory, which is one agent's alone."""

    def __init__(self, data_dir: Path, *, user: bool) -> None:
        self.user = user
        self._scope = ("--user",) if user else ()
        self._memory = None if user else cgroups.memory_hierarchy()
        short = sha256(str(data_dir.absolute()).encode("utf-8", "surrogateescape")).hexdigest()[:8]
        self._prefix = f"motorpool-{short}-"

    def name(self, assignment_id: str, run: int) -> str:
        """Return a run's unit's name: one run has one unit, whatever happens in between."""
        return f"{self._prefix}{assignment_id}-{run}.service"

    def assignment_of(self, name: str) -> str:
        """Return the assignment that a unit of this agent was made for; empty if its name makes no sense."""
        match = re.fullmatch(re.escape(self._prefix) + r"(.+)-\d+\.service", name)
        return "" if match is None else match[1]

    @property
    def whose(self) -> str:
        """Say whose units they are, where not the machine's."""
        return ", the user's own" if self.user else ""

    async def version(self) -> str:
        """Return which systemd answers."""
        said = await self._ask("show", "--property=Version", "--value")
        return said.out.strip()

    async def all(self) -> list[Found]:
        """Return every unit of this agent that systemd knows."""
        return found_in(await self.show())

    async def of(self, assignment_id: str) -> list[Found]:
        """Return every unit of an assignment that systemd knows."""
        found = found_in(await self.show(assignment_id=assignment_id))
        return [unit for unit in found if self.assignment_of(unit.name) == assignment_id]

    async def find(self, name: str) -> Found | None:
        """Return a unit, None if there is none of this name."""
        return next(iter(found_in(await self.show(name=name))), None)

    async def show(self, *, name: str = "", assignment_id: str = "") -> Said:
        """Return what systemd shows of a unit, of an assignment's, or of all of this agent."""
        pattern = name or (f"{self._prefix}{assignment_id}-*" if assignment_id else f"{self._prefix}*")
        return await self._ask("show", f"--property={','.join(_PROPERTIES)}", "--", pattern)

    async def start(self, name: str, record: LaunchRecord, directory: Path) -> Said:
        """Start a launch's unit in its instance's directory, its variables told by a file that is gone afterwards."""
        environment = directory / creation.ENVIRONMENT_NAME
        try:
            await asyncio.to_thread(creation.write_environment, record.environment, environment)
            properties = creation.properties(
                record.unit or Unit(title=""),
                environment=environment,
                working_directory=record.working_directory,
                oom_counter=self.oom_counter(name),
                oom_file=self.oom_file(name, directory),
            )
            return await self.run(name, tuple(properties), record.argv)
        finally:
            environment.unlink(missing_ok=True)

    def oom_counter(self, name: str) -> str:
        """Return where a unit's kills for memory are counted, empty where systemd itself tells of them."""
        return "" if self._memory is None else str(self._memory / creation.SLICE / name / "memory.oom_control")

    def oom_file(self, name: str, directory: Path) -> Path:  # a launcher's are named after units
        """Return where that count is kept when a unit has ended."""
        return directory / creation.OOM_NAME

    async def run(self, name: str, properties: Sequence[str], argv: Sequence[str]) -> Said:
        """Start a transient unit, and return once its program is executed, or could not be."""
        return await call(
            "systemd-run",
            *self._scope,
            "--quiet",
            "--no-ask-password",
            f"--unit={name}",
            *(f"--property={each}" for each in properties),
            "--",
            # What stands in a unit's command is a reference to its environment.
            *(part.replace("$", "$$") for part in argv),
        )

    async def signal(self, name: str, number: signal.Signals, *, whole: bool) -> None:
        """Signal a unit's first process, or all that is in its control group."""
        whom = "all" if whole else "main"
        await self._ask("kill", f"--kill-who={whom}", f"--signal={number.name}", name)

    async def stop(self, name: str) -> Said:
        """Have systemd end a unit, whole, and return when it has."""
        return await self._ask("stop", name, seconds=_ENDS_AFTER_SECONDS)

    async def forget(self, name: str) -> None:
        """Have systemd forget how a unit ended; one that runs is left as it is."""
        await self._ask("reset-failed", name)

    async def _ask(self, verb: str, *words: str, seconds: float = CALL_SECONDS) -> Said:
        return await call("systemctl", *self._scope, "--no-ask-password", verb, *words, seconds=seconds)


def found_in(said: Said) -> list[Found]:
    """Return the units that an answer shows; raise ``UnreachableError`` where it is none."""
    if said.status:
        raise UnreachableError("systemctl show", said.errors or f"status {said.status}")
    blocks = (dict(line.partition("=")[::2] for line in block.splitlines()) for block in said.out.split("\n\n"))
    return [_found(block) for block in blocks if block.get("LoadState") not in {None, "not-found"}]


def _found(block: Mapping[str, str]) -> Found:
    return Found(
        name=block["Id"],
        active=block.get("ActiveState", ""),
        sub=block.get("SubState", ""),
        pid=_number(block.get("MainPID", "")),
        control_group=block.get("ControlGroup", ""),
        invocation_id=block.get("InvocationID", ""),
        result=block.get("Result", ""),
        code=block.get("ExecMainCode", ""),
        status=_number(block.get("ExecMainStatus", "")),
        executed=_number(block.get("ExecMainStartTimestampMonotonic", "")) > 0,
    )


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() else 0
