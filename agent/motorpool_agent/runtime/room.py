"""Whether the devices of a launch have as much memory free as it claims: looked at just before it is executed.

The controller places by what it knows. What it does not know of, an instance of before a backup or a stranger's
process, would be killed, or kill, if both took the same memory. Where something is unknown nothing is refused.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from motorpool_agent.reconcile.assignment import Assignment
from motorpool_agent.reconcile.observation import State
from motorpool_agent.runtime.errors import LaunchError
from motorpool_agent.runtime.launching import Backends
from motorpool_agent.runtime.patience import Say
from motorpool_sdk.accelerator import Device, MemoryKind, Process, Sample

_TOLERANCE_BYTES = 256 << 20
_TOLERANCE_SHARE = 0.05
"""The controller decides by measurements that follow the last ones in such steps."""
_LOOK_SECONDS = 1.0
_SHOWN = 3
_MEBIBYTE = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Holding:
    """An instance that runs, and what it may take of each of its devices; ``pid`` is its engine's, 0 where unknown."""

    instance: str
    pid: int
    claims: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Witness:
    """Tells of processes: one and its ancestors, nearest first; and whose one is, in words."""

    lineage: Callable[[int], Iterable[int]] = lambda pid: (pid,)
    words: Callable[[int], str] = "process {}".format


@dataclass(frozen=True, slots=True)
class _Short:
    """A device that has not enough free; ``strangers`` are the processes on it that are no instance's."""

    device_id: str
    claimed: int
    free: int
    beside: tuple[Holding, ...]
    strangers: tuple[Process, ...]


class Room:
    """Which launches were let through and have not ended; ``running`` tells of the instances that run."""

    def __init__(
        self,
        backends: Backends,
        running: Callable[[], Mapping[str, Holding]],
        witness: Witness,
        settles_seconds: float,
    ) -> None:
        self._backends = backends
        self._running = running
        self._witness = witness
        self._settles_seconds = settles_seconds
        self._admitted: dict[str, Holding] = {}

    async def admit(self, assignment: Assignment, devices: Iterable[Device], say: Say) -> None:
        """Return when its devices have what it claims, or nobody knows; raise ``LaunchError`` if they do not come to.

        Drivers free memory seconds after a process, so that it is waited for a little.
        """
        own = Holding(
            instance=assignment.instance,
            pid=0,
            claims={claim.device_id: claim.memory_bytes for claim in assignment.devices},
        )
        if not own.claims or assignment.overcommitted:
            return
        known = {device.device_id: device for device in devices}
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._settles_seconds
        while True:
            samples = await self._backends.measured(own.claims.keys())
            others = {**self._admitted, **self._running()}
            others.pop(assignment.assignment_id, None)
            short = [*self._short(own, known, samples, tuple(others.values()))]
            if not short:
                self._admitted[assignment.assignment_id] = own
                return
            message = "; ".join(self._words(each) for each in short)
            if loop.time() >= deadline:
                raise LaunchError(
                    "DEVICE_MEMORY_IN_USE",
                    f"{message}; it is launched when there is enough: `motorpool describe` the node shows who holds "
                    "memory, `motorpool instances --strays` what runs there and is placed nowhere",
                )
            say(State.STARTING, f"waiting for memory: {message}")
            await asyncio.sleep(_LOOK_SECONDS)

    def leave(self, assignment_id: str) -> None:
        """Its launch has ended, whatever it came to."""
        self._admitted.pop(assignment_id, None)

    def _short(
        self, own: Holding, known: Mapping[str, Device], samples: Mapping[str, Sample], others: Iterable[Holding]
    ) -> Iterator[_Short]:
        for device_id, claimed in own.claims.items():
            device, sample = known.get(device_id), samples.get(device_id)
            beside = tuple(each for each in others if each.claims.get(device_id))
            if device is None or device.memory_bytes is None or device.memory_kind is MemoryKind.UNIFIED:
                continue
            if sample is None or sample.used_bytes is None:
                continue
            owners = {each.pid: self._owner(each.pid, beside) for each in sample.processes}
            free = device.memory_bytes - _taken(device_id, sample, sample.used_bytes, beside, owners)
            if claimed > free + max(_TOLERANCE_BYTES, int(_TOLERANCE_SHARE * device.memory_bytes)):
                strangers = [each for each in sample.processes if owners[each.pid] is None]
                strangers.sort(key=lambda each: (-(each.used_bytes or 0), each.pid))
                yield _Short(device_id, claimed, max(free, 0), beside, tuple(strangers))

    def _owner(self, pid: int, holdings: Iterable[Holding]) -> Holding | None:
        line = frozenset(self._witness.lineage(pid))
        return next((each for each in holdings if each.pid in line), None)

    def _words(self, short: _Short) -> str:
        held = [f"{each.instance} claims {_mebibytes(each.claims[short.device_id])}" for each in short.beside]
        for each in short.strangers[:_SHOWN]:
            size = "memory" if each.used_bytes is None else _mebibytes(each.used_bytes)
            held.append(f"{self._witness.words(each.pid)} holds {size}")
        why = f": {', '.join(held)}" if held else ", and its vendor does not name who holds the rest"
        return f"{_mebibytes(short.claimed)} of {short.device_id} are claimed, and {_mebibytes(short.free)} free{why}"


def _taken(
    device_id: str, sample: Sample, used: int, beside: Iterable[Holding], owners: Mapping[int, Holding | None]
) -> int:
    """Return what is used of a device, and what those beside have claimed and do not use yet."""
    claims = {each.instance: each.claims[device_id] for each in beside}
    if not sample.processes or any(each.used_bytes is None for each in sample.processes):
        return max(used, sum(claims.values()))  # nobody tells whose the used bytes are
    for process in sample.processes:
        owner = owners[process.pid]
        if owner is not None:
            claims[owner.instance] -= process.used_bytes or 0
    return used + sum(max(left, 0) for left in claims.values())


def _mebibytes(size_bytes: int) -> str:
    return f"{size_bytes / _MEBIBYTE:,.0f} MiB"
