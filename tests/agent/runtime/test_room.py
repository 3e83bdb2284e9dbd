"""Launches wait for the memory that they claim, and are refused in words where it does not come free."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from motorpool_agent.reconcile.assignment import Assignment, DeviceClaim
from motorpool_agent.reconcile.observation import State
from motorpool_agent.runtime.errors import LaunchError
from motorpool_agent.runtime.room import Holding, Room, Witness
from motorpool_agent.runtime.supervisor import Supervisor
from motorpool_sdk.accelerator import MemoryKind, Process, Sample
from tests.agent.runtime.fakes import ServerBackends, assignment, desired, until, until_state

GIB = 1 << 30
CARD = "card-0"


def claiming(tmp_path: Path, gib: int, assignment_id: str = "a1") -> Assignment:
    return replace(assignment(tmp_path, assignment_id), devices=(DeviceClaim(CARD, gib * GIB),))


def used(gib: float | None, *processes: Process) -> dict[str, Sample]:
    size = None if gib is None else int(gib * GIB)
    return {CARD: Sample(device_id=CARD, used_bytes=size, processes=processes)}


@pytest.fixture(autouse=True)
def _cards(backends: ServerBackends) -> None:
    """
    Each card has 24 GiB, and nothing uses it.
    """
    backends.memory_bytes = 24 * GIB
    backends.samples = used(0)


async def refused(
    backends: ServerBackends, tmp_path: Path, gib: int, beside: Mapping[str, Holding] | None = None
) -> str:
    """
    Return why a launch of so many GiB is not let through; "" where it is.
    """
    witness = Witness(lambda pid: (pid, pid // 10), lambda pid: f"process {pid} (python, user bob)")
    room = Room(backends, lambda: beside or {}, witness, 0.0)
    try:
        await room.admit(claiming(tmp_path, gib), backends.devices().values(), lambda *_: None)
    except LaunchError as error:
        return f"{error.reason}: {error.message}"
    return ""


@pytest.mark.promise("P2")
async def test_a_launch_waits_until_a_stranger_lets_go(
    make: Callable[..., Supervisor], backends: ServerBackends, tmp_path: Path
) -> None:
    """
    While a stranger holds the memory nothing is executed, and who holds how much is told; later it runs.
    """
    backends.samples = used(20, Process(pid=77, used_bytes=20 * GIB))
    supervisor = make(witness=Witness(words=lambda pid: f"process {pid} (python, user bob)"))
    await supervisor.adopt()
    supervisor.apply(desired(claiming(tmp_path, 8)))
    failed = await until_state(supervisor, State.ERROR)
    assert failed.last_failure is not None
    assert "DEVICE_MEMORY_IN_USE" == failed.last_failure.reason
    assert "8,192 MiB of card-0 are claimed, and 4,096 MiB free" in failed.message
    assert "process 77 (python, user bob) holds 20,480 MiB" in failed.message
    assert "trying again" in failed.message
    assert not list((tmp_path / "data" / "instances").glob("*/process.json"))

    backends.samples = used(1)
    running = await until_state(supervisor, State.RUNNING)
    assert running.restart_count > 0


@pytest.mark.promise("P2")
async def test_two_launches_at_once_do_not_take_the_same_memory(
    make: Callable[..., Supervisor], backends: ServerBackends, tmp_path: Path
) -> None:
    """
    What a launch was let through with counts before its engine uses any of it; removed, it makes room for the other.
    """
    supervisor = make()
    await supervisor.adopt()
    wishes = [claiming(tmp_path, 16, name) for name in ("a1", "a2")]
    supervisor.apply(desired(*wishes))
    await until(lambda: {State.RUNNING, State.ERROR} == {each.state for each in supervisor.observed().values()})
    [runs] = [name for name, each in supervisor.observed().items() if each.state is State.RUNNING]
    [waits] = {"a1", "a2"} - {runs}
    assert f"instances/{runs} claims 16,384 MiB" in supervisor.observed()[waits].message

    supervisor.apply(desired(replace(claiming(tmp_path, 4, runs), generation=2), claiming(tmp_path, 16, waits)))
    await until_state(supervisor, State.RUNNING, waits)


@pytest.mark.parametrize(
    ("samples", "memory_bytes"),
    [({}, 24 * GIB), (used(None), 24 * GIB), (used(23), None)],
    ids=["not measured", "no figure", "size unknown"],
)
async def test_what_is_unknown_refuses_nothing(
    backends: ServerBackends, tmp_path: Path, samples: dict[str, Sample], memory_bytes: int | None
) -> None:
    """
    Without a measurement, a figure in it or the device's size a launch goes on.
    """
    backends.samples, backends.memory_bytes = samples, memory_bytes

    assert "" == await refused(backends, tmp_path, 8)


async def test_memory_that_the_host_has_too_is_not_looked_at(backends: ServerBackends, tmp_path: Path) -> None:
    """
    Of unified memory what a device reports as used may be caches that give way.
    """
    backends.samples, backends.memory_kind = used(23), MemoryKind.UNIFIED

    assert "" == await refused(backends, tmp_path, 8)


@pytest.mark.parametrize(
    ("taken", "processes", "gib", "admitted"),
    [
        # Its engine has all that it claimed: that counts once.
        (16, [Process(pid=50, used_bytes=16 * GIB)], 8, True),
        # A worker of it has a part; the rest is about to be taken.
        (6, [Process(pid=51, used_bytes=6 * GIB)], 8, True),
        (6, [Process(pid=51, used_bytes=6 * GIB)], 10, False),
        # It has more than it claimed.
        (20, [Process(pid=50, used_bytes=20 * GIB)], 8, False),
        # A stranger beside it.
        (6, [Process(pid=51, used_bytes=2 * GIB), Process(pid=990, used_bytes=4 * GIB)], 8, False),
        # The vendor tells no bytes by process: the more of what is used and what is claimed.
        (6, [Process(pid=50), Process(pid=990)], 8, True),
        (19, [], 8, False),
        # What the controller cannot have seen yet.
        (17, [Process(pid=50, used_bytes=17 * GIB)], 8, True),
    ],
)
async def test_what_others_hold_counts_once(
    backends: ServerBackends, tmp_path: Path, taken: float, processes: list[Process], gib: int, *, admitted: bool
) -> None:
    """
    Beside an instance that claims 16 GiB of 24, with what its processes and strangers use.
    """
    backends.samples = used(taken, *processes)
    beside = {"a2": Holding(instance="instances/a2", pid=5, claims={CARD: 16 * GIB})}

    assert admitted is not bool(await refused(backends, tmp_path, gib, beside))


async def test_what_is_placed_beyond_what_is_free_is_launched(backends: ServerBackends, tmp_path: Path) -> None:
    """
    A deployment that may overcommit does.
    """
    backends.samples = used(24)
    room = Room(backends, dict, Witness(), 0.0)

    await room.admit(replace(claiming(tmp_path, 8), overcommitted=True), backends.devices().values(), lambda *_: None)


async def test_memory_that_is_coming_free_is_waited_for(backends: ServerBackends, tmp_path: Path) -> None:
    """
    What a process of before leaves is seen to go, and is no failure.
    """
    backends.samples = used(24)
    said: list[str] = []

    def say(_state: State, message: str, *_: int | None) -> None:
        said.append(message)
        backends.samples = used(0)

    await Room(backends, dict, Witness(), 30.0).admit(claiming(tmp_path, 8), backends.devices().values(), say)

    assert [message for message in said if "waiting for memory" in message]
