"""Members of an instance over several nodes, with real processes: reserve, then run, and fail once."""

# ruff: noqa: ASYNC240  # small files on a local disk
from __future__ import annotations

import os
import signal
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from motorpool_agent.reconcile.assignment import Assignment, Gang, GangDevice, GangMember
from motorpool_agent.reconcile.observation import ObservedInstance, State
from motorpool_agent.runtime import procfs
from motorpool_agent.runtime.errors import LaunchError
from motorpool_agent.runtime.membership import interface_of
from motorpool_agent.runtime.supervisor import Supervisor
from motorpool_sdk.backend import InferenceProbe, Launch, LaunchRequest, Profile
from motorpool_sdk.gang import DistributedStyle, PortRange
from tests.agent.runtime.fakes import (
    QUICK,
    ServerBackends,
    assignment,
    desired,
    free_ports,
    tombstone,
    until,
    until_gone,
    until_state,
)

MP = DistributedStyle(
    style="mp", alike=("python", "toolkit"), leader_ports=(PortRange("master"), PortRange("queue", 3))
)


class GangBackends(ServerBackends):
    """The backend ``server`` over several nodes: the leader serves, and is asked to compute."""

    def profile(self, backend: str) -> Profile | None:
        profile = super().profile(backend)
        if profile is None:
            return None
        parts = {"python": "3.11.7", "of no concern": "1"}
        versions = tuple(replace(version, parts=parts) for version in profile.versions)
        return replace(profile, versions=versions, distributed_styles=(MP,))

    async def launch(self, backend: str, request: LaunchRequest) -> Launch:
        launch = await super().launch(backend, request)
        assert request.gang is not None
        if request.gang.leads:
            return replace(launch, inference=InferenceProbe(path="/infer", body="{}", timeout_seconds=5))
        return replace(launch, readiness=None, serves=False)


@pytest.fixture(name="backends")
def _backends() -> GangBackends:
    return GangBackends()


def member(
    tmp_path: Path,
    *,
    rank: int = 0,
    ports: Mapping[str, int] | None = None,
    generation: int = 1,
    style: str = "mp",
    address: str = "127.0.0.1",
    **options: Any,
) -> Assignment:
    """What one of two members is told; with its ``ports``, to run."""
    members = tuple(
        GangMember(
            rank=number,
            node=f"nodes/{node}",
            address=address,
            devices=(GangDevice(device_id=f"card-{number}", index=number, address=f"10.9.0.{number}"),),
            ports=(ports or {}) if number == rank else {"http": 1, "master": 2} if ports else {},
        )
        for number, node in enumerate("ab")
    )
    gang = Gang(style=style, rank=rank, members=members, run=ports is not None)
    wish = assignment(tmp_path, generation=generation, **options)
    return replace(wish, gang=gang, parallelism={"tp": 2}, local_only=False)


async def reserved(supervisor: Supervisor, generation: int = 1) -> ObservedInstance:
    """Wait until a member has reserved, and return what is seen of it."""

    def seen() -> bool:
        found = supervisor.observed()["a1"]
        return bool(found.ports) and found.generation == generation

    await until(seen, f"not reserved: {supervisor.observed()}")
    return supervisor.observed()["a1"]


async def running(supervisor: Supervisor, tmp_path: Path, *, rank: int = 0, **options: Any) -> ObservedInstance:
    """Have a member reserve and run, as the controller does, and return what is seen of it."""
    supervisor.apply(desired(member(tmp_path, rank=rank, **options)))
    ports = (await reserved(supervisor)).ports
    supervisor.apply(desired(member(tmp_path, rank=rank, ports=ports, **options)))
    return await until_state(supervisor, State.RUNNING)


async def test_a_member_reserves_and_starts_nothing(
    supervisor: Supervisor, tmp_path: Path, backends: GangBackends, data_dir: Path
) -> None:
    """
    Until all have reserved there are ports, and neither a process nor a handle; no launch was asked for.
    """
    supervisor.apply(desired(member(tmp_path)))
    seen = await reserved(supervisor)

    assert (State.STARTING, 0) == (seen.state, seen.pid)
    assert ["http", "master", "queue"] == list(seen.ports)
    # Of what has to be alike, as much as its version tells.
    assert {"python": "3.11.7"} == seen.parts
    assert [] == backends.requests
    assert not list(data_dir.glob("instances/*/handle.json"))


async def test_a_tombstone_ends_the_waiting(supervisor: Supervisor, tmp_path: Path) -> None:
    """
    What only reserved is gone at once, and so are its ports.
    """
    supervisor.apply(desired(member(tmp_path)))
    await reserved(supervisor)
    supervisor.apply(desired(tombstones=[tombstone()]))
    await until_gone(supervisor)

    assert () == supervisor._context.ports.held("a1")  # what nobody else is given


async def test_members_hear_of_each_other(supervisor: Supervisor, tmp_path: Path, backends: GangBackends) -> None:
    """
    The plugin is told every member with its ports and devices, this node's interface, and the sizes that were decided.
    """
    seen = await running(supervisor, tmp_path)
    [request] = backends.requests

    assert request.gang is not None
    assert (0, "mp", "lo") == (request.gang.rank, request.gang.style, request.gang.interface)
    assert (seen.ports, {"http": 1, "master": 2}) == tuple(each.ports for each in request.gang.members)
    assert [(0, "10.9.0.0"), (1, "10.9.0.1")] == [
        (each.devices[0].index, each.devices[0].address) for each in request.gang.members
    ]
    assert (seen.ports["http"], 2) == (request.port, request.parallelism.tensor)


async def test_a_follower_runs_as_soon_as_it_lives(supervisor: Supervisor, tmp_path: Path) -> None:
    """
    What serves nobody is asked nothing: an engine that never answers is ready.
    """
    seen = await running(supervisor, tmp_path, rank=1, never_ready="")

    assert procfs.read(seen.pid) is not None
    assert ["http"] == list(seen.ports)


async def test_a_dead_member_is_not_started_alone(
    supervisor: Supervisor, tmp_path: Path, backends: GangBackends
) -> None:
    """
    Its end is reported; what becomes of all of them the controller says.
    """
    seen = await running(supervisor, tmp_path)
    os.kill(seen.pid, signal.SIGKILL)
    failed = await until_state(supervisor, State.ERROR)

    assert failed.last_failure is not None
    assert (signal.SIGKILL, 0) == (failed.last_failure.signal, failed.restart_count)
    assert "trying again" not in failed.message
    assert 1 == len(backends.requests)


async def test_the_next_generation_kills_and_reserves_anew(
    supervisor: Supervisor, tmp_path: Path, backends: GangBackends
) -> None:
    """
    A member that would outlive TERM is killed at once; the next one waits to be told again.
    """
    seen = await running(supervisor, tmp_path, ignore_term="", grace="3600")
    supervisor.apply(desired(member(tmp_path, generation=2)))
    again = await reserved(supervisor, generation=2)

    assert procfs.read(seen.pid) is None
    assert (State.STARTING, 0) == (again.state, again.pid)
    assert 1 == len(backends.requests)


async def test_a_tombstone_ends_a_follower_that_outlives_term(supervisor: Supervisor, tmp_path: Path) -> None:
    """
    A follower has nothing to finish: it gets no time to.
    """
    seen = await running(supervisor, tmp_path, rank=1, ignore_term="", grace="3600")
    supervisor.apply(desired(tombstones=[tombstone()]))
    await until_gone(supervisor)

    assert procfs.read(seen.pid) is None


async def test_an_engine_that_does_not_compute_fails(make: Callable[..., Supervisor], tmp_path: Path) -> None:
    """
    Its process lives and its health is well; the inference that fails again and again ends it, and says why.
    """
    supervisor = make(timings=replace(QUICK, inference_period_seconds=0.05))
    await supervisor.adopt()
    broken = tmp_path / "broken"
    seen = await running(supervisor, tmp_path, broken=str(broken))
    broken.touch()
    failed = await until_state(supervisor, State.ERROR)

    assert failed.last_failure is not None
    assert "INFERENCE_FAILED" == failed.last_failure.reason
    assert "status 500" in failed.last_failure.message
    assert procfs.read(seen.pid) is None


async def test_an_engine_that_never_computes_is_not_ready(supervisor: Supervisor, tmp_path: Path) -> None:
    """
    Health alone does not make a leader run; the failure says what its inference came to.
    """
    broken = tmp_path / "broken"
    broken.touch()
    options: dict[str, Any] = {"broken": str(broken), "start_timeout": "1"}
    supervisor.apply(desired(member(tmp_path, **options)))
    ports = (await reserved(supervisor)).ports
    supervisor.apply(desired(member(tmp_path, ports=ports, **options)))
    failed = await until_state(supervisor, State.ERROR)

    assert failed.last_failure is not None
    assert "START_TIMEOUT" == failed.last_failure.reason
    assert "/infer" in failed.last_failure.message


@pytest_asyncio.fixture(name="successor")
async def _successor(make: Callable[..., Supervisor], tmp_path: Path) -> AsyncIterator[tuple[Supervisor, int]]:
    """A member runs, its agent is gone, and there is another one."""
    first = make()
    await first.adopt()
    seen = await running(first, tmp_path)
    await first.close()
    second = make()
    await second.adopt()
    yield second, seen.pid


@pytest.mark.promise("P1")
async def test_a_running_member_is_adopted(successor: tuple[Supervisor, int], tmp_path: Path) -> None:
    """
    The same process goes on, and none of its ports is given to somebody else.
    """
    supervisor, pid = successor
    seen = await until_state(supervisor, State.RUNNING)
    supervisor.apply(desired(member(tmp_path, ports=seen.launch.ports if seen.launch else {})))

    assert (pid, True) == (seen.pid, seen.adopted)
    assert seen.launch is not None
    held = supervisor._context.ports.held("a1")  # what nobody else is given
    queue = seen.launch.ports["queue"]
    assert {seen.launch.ports["http"], seen.launch.ports["master"], queue, queue + 1, queue + 2} == set(held)


@pytest.mark.promise("P1")
async def test_a_member_that_no_record_names_tells_what_it_was_told_and_goes_on_when_named(
    supervisor: Supervisor, tmp_path: Path
) -> None:
    """
    Not named any more, as after an older store was put back, it goes on and tells its rank, the others and their ports;
    told all of that again, as by an adoption, it is the same process, which runs.
    """
    before = await running(supervisor, tmp_path)
    supervisor.apply(desired())
    stray = supervisor.observed()["a1"]
    assert stray.assignment is not None
    supervisor.apply(desired(stray.assignment))
    after = await until_state(supervisor, State.RUNNING)

    assert (State.QUARANTINED, before.pid) == (stray.state, stray.pid)
    assert member(tmp_path, ports=before.ports) == stray.assignment
    assert (before.pid, before.pid_start_ticks, 0) == (after.pid, after.pid_start_ticks, after.restart_count)


async def test_told_ports_are_taken_or_nothing(supervisor: Supervisor, tmp_path: Path) -> None:
    """
    An agent that forgot what it reserved takes the ports that the others know; if one is gone it says which.
    """
    ports = free_ports(8)
    told = {"http": ports[0], "master": ports[1], "queue": ports[2]}
    with socket.create_server(("127.0.0.1", ports[3])):
        supervisor.apply(desired(member(tmp_path, ports=told)))
        failed = await until_state(supervisor, State.ERROR)
    assert failed.last_failure is not None
    assert ("PORT_TAKEN", True) == (failed.last_failure.reason, f"port {ports[3]} " in failed.message)

    supervisor.apply(desired(member(tmp_path, ports=told, generation=2)))
    await until(lambda: supervisor.observed()["a1"].generation == 2)
    seen = await until_state(supervisor, State.RUNNING)
    assert seen.launch is not None
    assert told == seen.launch.ports


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"style": "ray"}, "STYLE_UNKNOWN"),
        ({"address": "192.0.2.1"}, "INTERFACE_MISSING"),
        ({"refuse": ""}, "REFUSED"),
    ],
)
async def test_a_member_that_cannot_run_says_so_before_anything_is_started(
    supervisor: Supervisor, tmp_path: Path, backends: GangBackends, changes: dict[str, Any], reason: str
) -> None:
    """
    What is missing here is told while all members reserve: none was started, and none is.
    """
    supervisor.apply(desired(member(tmp_path, **changes)))
    failed = await until_state(supervisor, State.ERROR)

    assert failed.last_failure is not None
    assert (reason, 0) == (failed.last_failure.reason, failed.pid)
    assert [] == backends.requests


def test_an_address_that_is_not_here_is_told_with_those_that_are() -> None:
    """
    The interface is the one that has the address; without one the remedy names what there is.
    """
    assert "lo" == interface_of("127.0.0.1")
    with pytest.raises(LaunchError, match=r"192\.0\.2\.1.*--node-ip.*127\.0\.0\.1"):
        interface_of("192.0.2.1")
