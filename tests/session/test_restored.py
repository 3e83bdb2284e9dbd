"""What becomes of instances that a restored store does not know of. All in virtual time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from motorpool_controller.domain.workload import Instance, InstanceState
from tests.session import invariants
from tests.session.test_sessions import build, deploy
from tests.session.world import World


@pytest.fixture(name="world")
def _world(folder: Path) -> Iterator[World]:
    world = build(folder)
    world.pass_time(invariants.SETTLED_SECONDS)
    yield world
    world.close()


def instances(world: World) -> dict[str, Instance]:
    assert world.controller is not None
    return dict(world.controller.store.view.instances)


def restored(world: World) -> dict[str, Instance]:
    """
    Put a store back in which a deployment has an instance less than its nodes run; return what it does not know.
    """
    deploy(world, replicas=1)
    saved = world.back_up()
    deploy(world, "y", replicas=1)
    world.pass_time(60.0)
    new = {name: each for name, each in instances(world).items() if each.deployment == "deployments/y"}
    world.restore(saved)
    world.pass_time(60.0)
    return new


@pytest.mark.promise("P1")
def test_what_is_adopted_is_never_started_again(world: World) -> None:
    """
    Of a deployment that is made again a stray is adopted in place of an instance that waits; nothing is ended, and its
    process is the one of before, over restarts of its agent, too.
    """
    [(name, before)] = restored(world).items()
    [stray] = world.strays()
    for node in world.sites:
        world.cordon(node)
    world.rest()
    deploy(world, "y", replicas=1)
    waiting = [each for each in instances(world).values() if each.placement is None]
    world.adopt(stray)
    world.pass_time(60.0)
    after = instances(world)[name]
    for site in world.all_sites():
        world.kill_agent(site)
        world.start_agent(site)
    world.pass_time(60.0)
    again = instances(world)[name]

    assert 1 == len(waiting)
    assert waiting[0].name not in instances(world)
    assert [] == world.strays()
    for each in (after, again):
        assert (before.uid, before.pid, InstanceState.RUNNING, 0) == (
            each.uid,
            each.pid,
            each.state,
            each.restart_count,
        )
        assert before.placement is not None
        assert each.placement is not None
        assert before.placement.members == each.placement.members
    assert [] == [stop for site in world.all_sites() for stop in site.machine.stopped]
    assert before.endpoint == after.endpoint
