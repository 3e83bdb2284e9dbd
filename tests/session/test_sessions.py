"""Sessions over a long time, in a fleet that grows, and when everybody comes at once. All in virtual time."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration

from motorpool import v1
from motorpool_agent.identity.dial import failure_of
from motorpool_controller.config import Settings
from motorpool_controller.domain.fleet import NodeState
from motorpool_controller.store.taps import LogRequest
from motorpool_controller.store.transaction import Transaction
from tests.session import invariants, template
from tests.session.crowd import Crowd
from tests.session.machine import BACKEND, GIB
from tests.session.network import WINDOW, Stream
from tests.session.world import DEVICES, World

DAY = 86_400.0


def build(directory: Path, **changes: Any) -> World:
    template.make(directory / "cluster", sorted(DEVICES))
    (directory / "world").mkdir()
    return World(directory / "world", directory / "cluster", **changes)


@pytest.fixture(name="world")
def _world(folder: Path) -> Iterator[World]:
    world = build(folder, session_max_age_seconds=1_000.0)
    world.pass_time(invariants.SETTLED_SECONDS)
    yield world
    world.close()


def deploy(world: World, name: str = "x", replicas: int = 3) -> None:
    assert world.controller is not None
    spec = v1.DeploymentSpec(
        model=v1.ModelSource(local_path=world.model),
        backend=BACKEND,
        replicas=replicas,
        claim=v1.ClaimOverride(memory_bytes=GIB, device_memory_bytes=GIB),
        reschedule_after=Duration(seconds=0),
    )
    request = v1.CreateDeploymentRequest(deployment_id=name, deployment=v1.Deployment(spec=spec))
    call = world.controller.call("DeploymentService/CreateDeployment", request, v1.Deployment.FromString)
    world.rest()
    assert call.done()


def epochs(world: World) -> list[int]:
    assert world.controller is not None
    return [world.controller.store.view.nodes[name].session_epoch for name in sorted(DEVICES)]


def settings_of(world: World, settings: Settings) -> None:
    """Start the controller anew with other settings."""
    world.settings = settings
    world.kill_controller()
    world.start_controller()


def enrol_more(world: World, count: int) -> None:
    """Have so many more nodes in the store, which are not there."""
    assert world.controller is not None

    def add(tx: Transaction) -> None:
        for number in range(count):
            tx.nodes.put(replace(tx.nodes["nodes/a"], name=f"nodes/more-{number}", uid=f"more-{number}"))

    commit = world.controller.loop.create_task(world.controller.store.commit(add))
    world.rest()
    commit.result()


def periods(world: World) -> list[float]:
    """Return how long apart the heartbeats of a node now are."""
    (stream,) = world.network.of("nodes/a")
    times: list[float] = []
    for _ in range(90):
        before = beats(stream)
        world.pass_time(1.0)
        if beats(stream) > before:
            times.append(world.clock.seconds)
    return sorted({round(later - sooner) for sooner, later in pairwise(times)})


def beats(stream: Stream) -> int:
    return sum(v1.SessionRequest.FromString(each).HasField("heartbeat") for each in stream.said)


@pytest.mark.promise("P1")
@pytest.mark.promise("P7")
def test_session_is_handed_over_without_a_gap(world: World) -> None:
    """
    After its time each session is followed by the next one, opened before it ends: no event, one row a node, and
    nothing that runs is touched.
    """
    assert world.controller is not None
    deploy(world)
    world.pass_time(invariants.SETTLED_SECONDS)
    before, events = epochs(world), len(world.controller.store.view.events)
    running = {each.pid for site in world.all_sites() for each in site.machine.alive()}
    revision = world.controller.store.view.revision
    while any(now == then for now, then in zip(epochs(world), before, strict=True)):
        world.pass_time(0.5)
        assert frozenset(DEVICES) == world.controller.live.connected()
        assert world.clock.seconds < 1_100.0

    assert [epoch + 1 for epoch in before] == epochs(world)
    assert len(DEVICES) == world.controller.store.view.revision - revision
    assert events == len(world.controller.store.view.events)
    assert running == {each.pid for site in world.all_sites() for each in site.machine.alive()}
    assert len(DEVICES) == len(world.network.streams)


def test_fleet_does_not_move_in_step(world: World) -> None:
    """
    Sessions that began together are handed over at different times, in the last quarter of their age.
    """
    began, before = world.clock.seconds - invariants.SETTLED_SECONDS, epochs(world)
    moved: dict[int, float] = {}
    while len(moved) < len(before):
        world.pass_time(1.0)
        for number, epoch in enumerate(epochs(world)):
            if epoch > before[number]:
                moved.setdefault(number, world.clock.seconds - began)

    assert len(moved) == len({round(time) for time in moved.values()})
    assert all(749.0 <= time <= 1_001.0 for time in moved.values())


def test_agent_that_hands_nothing_over_is_told_to_come_again(world: World) -> None:
    """
    A session whose agent does not open the next one ends a minute later, and the agent comes back by itself.
    """
    assert world.controller is not None
    (stream,) = world.network.of("nodes/a")
    stream.flows_down = False  # it never hears that it is asked
    before = epochs(world)[0]
    while not stream.controller_done:
        world.pass_time(1.0)
        assert world.clock.seconds < 1_100.0
    stream.flows_down = True
    world.pass_time(30.0)

    assert stream.agent_error is not None
    assert "SESSION_AGED" == failure_of(stream.agent_error).reason
    assert before + 1 == epochs(world)[0]
    assert NodeState.READY is world.controller.store.view.nodes["nodes/a"].state


def test_session_goes_on_while_the_next_one_cannot_be_opened(world: World) -> None:
    """
    While a new stream cannot be dialled the present session lasts, and is handed over once it can.
    """
    assert world.controller is not None
    answer, world.network.answer = world.network.answer, None
    before = epochs(world)
    agent = world.sites["nodes/a"].agent
    assert agent is not None
    agent.renewed()
    world.pass_time(30.0)
    assert before == epochs(world)
    assert world.controller.live.is_connected("nodes/a")

    world.network.answer = answer
    world.pass_time(30.0)

    assert [before[0] + 1, *before[1:]] == epochs(world)


def test_who_is_let_in_together_is_heard_apart(world: World) -> None:
    """
    Agents whose sessions began at the same moment send their heartbeats at moments of their own, and each of them as
    often as it was told.
    """
    random.seed(1)
    opened = epochs(world)
    world.kill_controller()
    world.start_controller()
    while epochs(world) != [epoch + 1 for epoch in opened]:
        world.pass_time(0.1)
    world.pass_time(30.0)
    streams = [stream for name in sorted(DEVICES) for stream in world.network.of(name)]
    before, heard = [beats(stream) for stream in streams], dict[int, float]()
    while len(heard) < len(DEVICES):
        world.pass_time(0.1)
        for number, stream in enumerate(streams):
            if beats(stream) > before[number]:
                heard.setdefault(number, world.clock.seconds)

    moments = sorted(heard.values())
    assert all(later - sooner > 0.15 for sooner, later in pairwise(moments))
    assert moments[-1] - moments[0] <= 10.2


def test_pace_follows_the_fleet(world: World) -> None:
    """
    In a fleet that grows, each agent is told a longer period with its next heartbeat, and its lease is as long at once;
    in one that shrinks, a shorter one. Nobody is lost meanwhile.
    """
    assert world.controller is not None
    settings_of(world, replace(world.settings, heartbeats_per_second=1.0))
    world.pass_time(60.0)
    assert [10] == periods(world)

    enrol_more(world, 27)
    world.pass_time(60.0)
    assert [30] == periods(world)
    assert all(world.controller.store.view.nodes[name].state is NodeState.READY for name in DEVICES)
    (end,) = world.controller.live.lease_end(["nodes/a"], lease_seconds=0.0, now=world.clock.now()).values()
    assert 80 <= (end - world.clock.now()).total_seconds() <= 120

    def remove(tx: Transaction) -> None:
        for number in range(27):
            tx.nodes.delete(f"nodes/more-{number}")

    world.controller.loop.create_task(world.controller.store.commit(remove))
    world.pass_time(60.0)
    assert [10] == periods(world)
    assert all(world.controller.store.view.nodes[name].state is NodeState.READY for name in DEVICES)


def test_the_time_to_return_follows_the_fleet(world: World) -> None:
    """
    Agents know over how long their fleet comes back: as long as it takes to let all of it in, told with the pace.
    """
    assert world.controller is not None
    settings_of(world, replace(world.settings, sessions_per_second=1.0))
    world.pass_time(60.0)
    enrol_more(world, 27)
    world.pass_time(60.0)
    nodes = len(world.controller.store.view.nodes)

    assert {float(nodes)} == {site.agent.backoff.spread_seconds for site in world.sites.values() if site.agent}
    assert [10] == periods(world)


def test_agent_that_reads_nothing_costs_nothing(world: World) -> None:
    """
    What an agent does not read does not pile up: however often its wishes change, a stream holds a window of messages,
    and once it reads on it is told the latest in as many.
    """
    assert world.controller is not None
    (stream,) = world.network.of("nodes/a")
    stream.flows_down = False
    for number in range(3 * WINDOW):
        request = LogRequest(
            subscription_id=f"s{number}", assignment_id=f"a{number}", tail_lines=1, follow=True, timeout_seconds=60.0
        )
        tap = world.controller.live.tap("nodes/a", request)
        world.rest()
        world.controller.live.untap(tap)
        world.rest()
    assert stream.unread_down <= WINDOW + 1

    stream.flows_down = True
    world.pass_time(5.0)
    said = len(stream.said)
    world.pass_time(1.0)

    assert 0 == stream.unread_down
    assert len(stream.said) - said <= 2
    assert (world.controller.store.view.controller_epoch, 0) < invariants.accepted(world.sites["nodes/a"])


def test_everybody_comes_at_once_and_nobody_starves(world: World) -> None:
    """
    Of 200 agents that dial at once some are admitted, as many stand in line as are taken to be admitted in time, and
    the others are sent away with a turn each, one after the other; who comes back at its turn is admitted.
    """
    assert world.controller is not None
    settings_of(world, replace(world.settings, hellos_at_once=8, session_max_age_seconds=DAY))
    world.pass_time(30.0)
    crowd = Crowd(world, 200)
    crowd.dial()
    turns = sorted(crowd.waits.values())
    assert 120 > len(turns) >= 60
    assert turns[-1] - turns[0] > 5.0
    assert len(turns) == len({round(turn, 3) for turn in turns})

    for _ in range(120):
        if not crowd.waits:
            break
        crowd.pass_time(1.0)

    assert {} == crowd.waits
    assert 200 == crowd.welcomed
    assert max(crowd.tries.values()) <= 3
