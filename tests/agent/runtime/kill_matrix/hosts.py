"""The executors of the matrix, and what each shows of what it runs. A new one is a class, and its row in COLUMNS."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import pytest

from motorpool_agent.failpoints import Step
from motorpool_agent.reconcile.assignment import Assignment
from motorpool_agent.runtime import procfs, shimfiles
from motorpool_agent.runtime.cgroup import Cgroups
from tests.agent.runtime import killed_agent
from tests.agent.runtime.docker.small_engine import SmallEngine, small_engine
from tests.agent.runtime.fakes import ENGINE, assignment
from tests.agent.runtime.systemd import units
from tests.docker_engine import DockerEngine

# Every executor's, in the order of an instance's life.
BEFORE: Sequence[Step] = (
    "desired.received",
    "desired.recorded",
    "ports.reserved",
    "directory.made",
    "handle.drafted",
    "handle.written",
)
AFTER: Sequence[Step] = ("engine.executed", "launch.recorded", "engine.ready", "ready.recorded")
ENDING: Sequence[Step] = ("stop.ordered", "stop.proven", "directory.trashed", "directory.removed")


@dataclass(frozen=True, slots=True)
class Column:
    """An executor's own steps on the way to its engine and to its end, and whom to kill beside the agent, and where."""

    launching: Sequence[Step]
    ending: Sequence[Step]
    victims: Mapping[str, Sequence[Step]]
    host: Callable[[], AbstractContextManager[Host]]


class Host(Protocol):
    """Where the engines of one executor run."""

    @property
    def environment(self) -> Mapping[str, str]:
        """What its agents are told."""
        ...

    def wish(self, tmp_path: Path, **options: str) -> Assignment:
        """Return an assignment that it executes."""
        ...

    def engines(self, data_dir: Path) -> Mapping[str, int]:
        """Return the living engines: what names one for certain, and its pid."""
        ...

    def kill(self, victim: str, data_dir: Path) -> None:
        """Kill one of ``victims``."""
        ...

    def mend(self, victim: str) -> None:
        """Start it again, where that is not the agent's to do."""
        ...

    def left(self, data_dir: Path) -> list[str]:
        """Return what is still there of instances that are gone."""
        ...


class ProcessHost:
    """Processes below shims."""

    environment: Mapping[str, str] = {}

    def wish(self, tmp_path: Path, **options: str) -> Assignment:
        return assignment(tmp_path, "a1", generation=1, restart=True, **options)

    def engines(self, data_dir: Path) -> Mapping[str, int]:
        return {f"{pid} {ticks}": pid for pid, ticks in killed_agent.engines(data_dir).items()}

    def kill(self, victim: str, data_dir: Path) -> None:
        shims = _shims(data_dir)
        # A child that is not executed yet looks like its parent.
        [shim] = [pid for pid, parent in shims.items() if parent not in shims]
        os.kill(shim, signal.SIGKILL)

    def mend(self, victim: str) -> None:
        """Have the agent do that."""

    def left(self, data_dir: Path) -> list[str]:
        group = Cgroups(data_dir).path("a1")
        found = [f"shim {pid}" for pid in _shims(data_dir)] + [f"engine {pid}" for pid in self.engines(data_dir)]
        if group and Path(group).exists():
            found.append(group)
        if shimfiles.lock_held(data_dir / "instances" / "a1"):
            found.append("the instance's lock")
        return found


class DockerHost:
    """Containers of a Docker Engine of our own, to be killed too."""

    def __init__(self, engine: SmallEngine) -> None:
        self._engine = engine
        self.environment = {"DOCKER_HOST": engine.address}
        self._shown = DockerEngine(engine.address)
        self._image = self._shown.python_image(ENGINE)

    def wish(self, tmp_path: Path, **options: str) -> Assignment:
        return assignment(tmp_path, "a1", generation=1, restart=True, image=self._image, **options)

    def engines(self, data_dir: Path) -> Mapping[str, int]:
        found = self._shown.containers(data_dir)
        return {one["Id"]: one["State"]["Pid"] for one in found if one["State"]["Running"]}

    def kill(self, victim: str, data_dir: Path) -> None:
        self._engine.kill()

    def mend(self, victim: str) -> None:
        self._engine.start()

    def left(self, data_dir: Path) -> list[str]:
        return [f"container {one['Id']}" for one in self._shown.containers(data_dir)]


class SystemdHost:
    """Units of the systemd that booted this machine."""

    environment: Mapping[str, str] = {}

    def wish(self, tmp_path: Path, **options: str) -> Assignment:
        return assignment(tmp_path, "a1", generation=1, restart=True, **options)

    def engines(self, data_dir: Path) -> Mapping[str, int]:
        found = units.units(data_dir)
        return {one["InvocationID"]: int(one["MainPID"]) for one in found if one["MainPID"] != "0"}

    def kill(self, victim: str, data_dir: Path) -> None:
        raise NotImplementedError

    def mend(self, victim: str) -> None:
        raise NotImplementedError

    def left(self, data_dir: Path) -> list[str]:
        return [
            *(unit["name"] for unit in units.units(data_dir)),
            *(f"engine {pid}" for pid in killed_agent.engines(data_dir)),
        ]


@contextlib.contextmanager
def process() -> Iterator[ProcessHost]:
    """Every machine."""
    yield ProcessHost()


@contextlib.contextmanager
def docker() -> Iterator[DockerHost]:
    """A Docker Engine that leaves containers alone when it ends, as nodes are to have it."""
    if os.geteuid() != 0 or shutil.which("dockerd") is None or shutil.which("ip") is None:
        pytest.skip("wants root, dockerd and ip: the Docker Engine that is killed is the test's own")
    with small_engine(400, "--live-restore") as engine:
        yield DockerHost(engine)


@contextlib.contextmanager
def systemd() -> Iterator[SystemdHost]:
    """A machine that systemd booted: see test_of_units."""
    yield SystemdHost()


_BELOW_SHIM: Sequence[Step] = ("group.made", "shim.spawned", "shim.released")
_IN_CONTAINER: Sequence[Step] = ("container.marked", "container.created", "container.started")
_CONTAINER_ENDS: Sequence[Step] = ("container.stopped", "container.removed")

COLUMNS: Mapping[str, Column] = {
    "process": Column(
        launching=_BELOW_SHIM,
        ending=("group.termed", "group.killed"),
        victims={"shim": ("shim.spawned", "shim.released", *AFTER, "stop.ordered", "group.termed")},
        host=process,
    ),
    "docker": Column(
        launching=_IN_CONTAINER,
        ending=_CONTAINER_ENDS,
        victims={
            "dockerd": (
                *("ports.reserved", "handle.written", *_IN_CONTAINER, *AFTER),
                *("stop.ordered", *_CONTAINER_ENDS, "stop.proven"),
            )
        },
        host=docker,
    ),
    "systemd": Column(
        launching=("unit.marked", "unit.started"),
        ending=("unit.termed", "unit.killed", "unit.stopped"),
        victims={},
        host=systemd,
    ),
}
"""By executor."""


def _shims(data_dir: Path) -> dict[int, int]:
    """Return shims, with their parents."""
    mark = str(data_dir / "instances").encode()
    found = {}
    for stat in procfs.all_processes():
        with contextlib.suppress(OSError):
            command = Path(f"/proc/{stat.pid}/cmdline").read_bytes()
            if stat.alive and b"/shim/__main__.py" in command and mark in command:
                found[stat.pid] = stat.parent_pid
    return found
