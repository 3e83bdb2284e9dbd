"""A controller, a few machines with their agents, and the network between them: run round by round, never by itself."""

from __future__ import annotations

import asyncio
import math
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from google.protobuf.message import Message

from motorpool import v1
from motorpool_controller.services.backups import back_up, restore
from motorpool_controller.services.strays import Stray, strays
from tests.session import template
from tests.session.agent import AgentProcess
from tests.session.controller import ControllerProcess
from tests.session.ledger import Ledger
from tests.session.loops import Clock, ProcessLoop, end
from tests.session.machine import Machine
from tests.session.network import Network
from tests.session.operator import Expected

DEVICES = {"nodes/a": 1, "nodes/b": 2, "nodes/c": 1}
_MOST_ROUNDS = 3_000


@dataclass(slots=True)
class Saved:
    """A copy of the store, and what had been acknowledged when it was made."""

    path: Path
    expected: Expected


@dataclass(slots=True)
class Site:
    """A machine, and the agent that runs on it, if one does."""

    machine: Machine
    agent: AgentProcess | None = None
    starts: int = 0
    accepted: tuple[int, int] = (0, 0)
    """The last version that was seen on its disk."""


@dataclass(slots=True)
class _Graveyard:
    """Loops of processes that were killed: nobody runs them, and nobody collects them."""

    loops: list[ProcessLoop] = field(default_factory=list)


class World:
    """Everything there is, on a folder of its own."""

    def __init__(self, directory: Path, cluster: Path, **changes: Any) -> None:
        shutil.copytree(cluster, directory, dirs_exist_ok=True)
        self.directory = directory
        self.settings = template.settings(directory, **changes)
        self.database = self.settings.data_dir / "controller.db"
        self.model = str(directory / template.MODEL)
        self.clock = Clock()
        self.network = Network(self.clock)
        self.ledger = Ledger(self.clock)
        self.expected = Expected()
        self.backups: list[Saved] = []
        self.copies: list[Saved] = []
        self.calls: list[tuple[asyncio.Task[Any], Callable[[Expected], None]]] = []
        self.rounds = 0
        self.forgetful = False
        self.cloned: set[str] = set()
        """Nodes whose place a copy of theirs took for a while: what that was told to end, they may run yet."""
        """Whether the store may not know of something that a node was told to run: it was put back, or lost a node."""
        self._dead = _Graveyard()
        self._clones = self._saved = 0
        self.controller: ControllerProcess | None = None
        self.sites = {
            name: Site(Machine(name, template.disk_of(directory, name), range(first, first + 20), DEVICES[name]))
            for first, name in zip(range(23_000, 23_100, 20), DEVICES, strict=False)
        }
        self.clones: dict[str, Site] = {}
        self.start_controller()
        for site in self.all_sites():
            self.start_agent(site)

    def all_sites(self) -> list[Site]:
        return [*self.sites.values(), *self.clones.values()]

    # --- processes

    def start_controller(self) -> None:
        self.controller = ControllerProcess(self.settings, self.clock, self.network)
        self.ledger.controller_started(self.controller)

    def kill_controller(self) -> None:
        if self.controller is None:
            return
        self.ledger.look(self.controller)
        self.controller.kill()
        for _, effect in self.calls:
            self.expected.unsure.append(effect)
        self.calls.clear()
        self._dead.loops.append(self.controller.loop)
        self.controller = None

    def start_agent(self, site: Site) -> None:
        site.starts += 1
        name = f"{site.machine.disk.name}-{site.starts}"
        site.agent = AgentProcess(site.machine, self.clock, self.network, name)

    def kill_agent(self, site: Site, *, machine_too: bool = False) -> None:
        if site.agent is not None:
            site.agent.kill(machine_too=machine_too)
            self._dead.loops.append(site.agent.loop)
            site.agent = None
        if machine_too:
            site.machine.reboot()

    def clone(self, node: str) -> None:
        """Copy a node's disk to another machine, and start that."""
        disk = self.directory / "disks" / f"{node.removeprefix('nodes/')}-clone-{self._clones}"
        shutil.copytree(self.sites[node].machine.disk, disk)
        first = 23_100 + 20 * (self._clones % 40)
        self._clones += 1
        site = Site(Machine(node, disk, range(first, first + 20), DEVICES[node]))
        site.machine.boots = 77
        site.accepted = self.sites[node].accepted
        self.clones[disk.name] = site
        self.cloned.add(node)
        self.start_agent(site)

    def end_clones(self) -> None:
        """The operator stops all but the first machine of each node, for good."""
        for site in self.clones.values():
            self.kill_agent(site, machine_too=True)
        self.clones.clear()

    # --- the store's files

    def back_up(self) -> Saved:
        self._saved += 1
        path = self.directory / f"backup-{self._saved}.tar.gz"
        back_up(self.settings, path, self.clock.now())
        return Saved(path, self.expected.copy(self.calls))

    def restore(self, saved: Saved) -> None:
        """Put a backup in the store's place, as `motorpool-controller restore --replace` does, and start on it."""
        self.kill_controller()
        self.pass_time(1.0)  # a folder for what is replaced, once a second
        restore(self.settings, saved.path, self.clock.now(), replace=True)
        self.expected = saved.expected.copy([])
        self._forgets()
        self.start_controller()

    def copy_database(self) -> None:
        path = self.directory / f"copy-{len(self.copies)}.db"
        with closing(sqlite3.connect(self.database)) as origin, closing(sqlite3.connect(path)) as copy:
            origin.backup(copy)
        self.copies.append(Saved(path, self.expected.copy(self.calls)))

    def put_copy_back(self, saved: Saved) -> None:
        """Put an older file in the store's place by hand, of which nobody told the controller."""
        self.kill_controller()
        for suffix in ("", "-wal", "-shm"):
            Path(f"{self.database}{suffix}").unlink(missing_ok=True)
        shutil.copyfile(saved.path, self.database)
        self.expected = saved.expected.copy([])
        self._forgets()
        self.start_controller()

    def _forgets(self) -> None:
        self.forgetful = True
        self.ledger.restored()

    # --- what nodes have and no record places there

    def strays(self) -> list[Stray]:
        """Return what the controller is told of by agents in session."""
        return [] if self.controller is None else list(strays(self.controller.store, self.controller.live))

    def release(self, stray: Stray) -> None:
        """Have the operator order a node to end one."""
        request = v1.ReleaseStrayInstanceRequest(node=stray.node, assignment_id=stray.report.assignment_id)
        self._call("InstanceService/ReleaseStrayInstance", request, v1.StrayInstance.FromString)

    def adopt(self, stray: Stray) -> None:
        """Have the operator take one for an instance of its deployment, if it can be."""
        request = v1.AdoptStrayInstanceRequest(node=stray.node, assignment_id=stray.report.assignment_id)
        self._call("InstanceService/AdoptStrayInstance", request, v1.Instance.FromString)

    def cordon(self, node: str) -> None:
        """Have the operator cordon a node."""
        self._call("NodeService/CordonNode", v1.CordonNodeRequest(name=node), v1.Node.FromString)

    def _call(self, method: str, request: Message, answer: Callable[[bytes], Message]) -> None:
        assert self.controller is not None
        # Neither changes what is wished for.
        self.calls.append((self.controller.call(method, request, answer), lambda _: None))

    # --- time

    def round(self) -> None:
        """Let everybody do what is ready, once, and deliver what flows."""
        self.rounds += 1
        if self.controller is not None:
            self.controller.loop.step()
            self.ledger.look(self.controller)
        for loop in self._agents():
            loop.step()
        self.network.flow()
        self._settle_calls()

    def only(self, loop: ProcessLoop, rounds: int) -> None:
        """Let one process run ahead of the others."""
        for _ in range(rounds):
            loop.step()
            if self.controller is not None and loop is self.controller.loop:
                self.ledger.look(self.controller)
        self._settle_calls()

    def rest(self) -> None:
        """Run rounds until nothing happens but by the passing of time."""
        for _ in range(_MOST_ROUNDS):
            self.round()
            if self._idle() and not self.network.flow():
                return
        raise AssertionError("they do not come to rest")

    def pass_time(self, seconds: float) -> None:
        """Let time pass, with all that is due meanwhile."""
        until = self.clock.seconds + seconds
        while True:
            self.rest()
            due = min((time for time in self._times() if time is not None), default=until)
            if due >= until:
                break
            self.clock.seconds = max(self.clock.seconds, math.ceil(due * 1e6) / 1e6)
            self.network.give_up()
        self.clock.seconds = until
        self.network.give_up()

    @property
    def resting(self) -> bool:
        return self._idle() and not any(each.up or each.down for each in self.network.streams if each.flows_up)

    def close(self) -> None:
        """Have everything unwind."""
        self.network.controller_died()
        for site in self.all_sites():
            self.kill_agent(site)
        self.kill_controller()
        for loop in self._dead.loops:
            end(loop)

    def _agents(self) -> Iterator[ProcessLoop]:
        for site in self.all_sites():
            if site.agent is not None:
                yield site.agent.loop

    def _idle(self) -> bool:
        return (self.controller is None or self.controller.loop.idle) and all(loop.idle for loop in self._agents())

    def _times(self) -> Iterator[float | None]:
        yield None if self.controller is None else self.controller.loop.next_time
        for loop in self._agents():
            yield loop.next_time
        yield self.network.next_time()

    def _settle_calls(self) -> None:
        for call in [each for each in self.calls if each[0].done()]:
            self.calls.remove(call)
            task, effect = call
            if task.exception() is None:
                effect(self.expected)
