"""What has to hold after every step, and what once everything is mended and time went by."""

from __future__ import annotations

import sqlite3
from collections import Counter
from contextlib import closing
from functools import partial

import msgspec

from motorpool import v1
from motorpool_controller.domain.fleet import Node, NodeState
from motorpool_controller.domain.workload import Instance, InstanceState
from tests.session.agent import failed
from tests.session.machine import DEVICE_BYTES
from tests.session.operator import Expected
from tests.session.world import Site, World

HEARTBEAT_SECONDS = 10.0
PATIENCE_SECONDS = 1_500.0
"""Longer than a restart's longest delay, a lease, a reschedule and an overdue stop after each other."""

SETTLED_SECONDS = 90.0
"""Longer than an engine runs until its restarts are forgotten."""


def hold(world: World) -> None:
    """Check what holds at any moment, also in the middle of things."""
    _nobody_fell(world)
    _nothing_was_ended_without_a_word(world)
    _claims_fit(world)
    _versions_only_grow(world)
    if world.controller is not None:
        assert [] == world.ledger.unreasonable, "P3: an order to stop that nothing asked for"
        missing = world.expected.settle(world.controller.store.view) if not world.calls else []
        assert [] == missing, "P8: acknowledged, and not there"
    if world.resting:
        _one_session_a_node(world)
        _pending_say_why(world)


def _nobody_fell(world: World) -> None:
    """No process ended by itself, and none of its tasks was lost."""
    if world.controller is not None:
        assert [] == world.controller.loop.faults
        assert not world.controller.reconciling.done()
    for site in world.all_sites():
        if site.agent is not None:
            assert [] == site.agent.loop.faults
            assert failed(site.agent) is None, failed(site.agent)


def _nothing_was_ended_without_a_word(world: World) -> None:
    """P1, P3: an agent ends a process that lives only by a tombstone of its generation, or for a later generation."""
    for site in world.all_sites():
        assert [] == site.machine.unwritten, "P1: an agent killed now would not find what runs"
        for stop in site.machine.stopped:
            ordered = world.ledger.tombstones.get(stop.assignment_id, -1) >= stop.generation
            replaced = world.ledger.superseded.get(stop.assignment_id, 0) > stop.generation
            assert ordered or replaced, f"P3: {stop} without a tombstone"
        alive = Counter(each.assignment_id for each in site.machine.alive())
        assert all(count == 1 for count in alive.values()), f"P1: started twice on {site.machine.disk.name}: {alive}"


def _claims_fit(world: World) -> None:
    """P2: what the store's rows claim fits each device, and so does what runs on it."""
    if world.controller is not None:
        claimed: Counter[str] = Counter()
        for instance in world.controller.store.view.instances.values():
            for member in () if instance.placement is None else instance.placement.members:
                for claim in member.claim.devices:
                    claimed[claim.device_id] += claim.memory_bytes
        assert not [each for each, size in claimed.items() if size > DEVICE_BYTES], f"P2: {claimed}"
    for site in world.all_sites():
        for device in site.machine.devices:
            alive = [each for each in site.machine.alive() if each.device_bytes.get(device, 0)]
            held = sum(each.device_bytes[device] for each in alive)
            assert held <= DEVICE_BYTES, f"P2: {held >> 30} GiB run on {device}"


def _versions_only_grow(world: World) -> None:
    """An agent never takes a desired state that is older than one that it took."""
    for site in world.all_sites():
        now = accepted(site)
        assert now >= site.accepted, f"{site.machine.node} went back from {site.accepted} to {now}"
        site.accepted = now


def _one_session_a_node(world: World) -> None:
    """No node has two sessions."""
    open_ones = Counter(
        each.node
        for each in world.network.streams
        if each.handler is not None and each.welcomed
        if not each.handler.done()
    )
    assert not [node for node, count in open_ones.items() if count > 1], open_ones


def _pending_say_why(world: World) -> None:
    """P4: each pending instance has refusals, as long as nobody was asked for something."""
    if world.controller is None:
        return
    silent = [each.name for each in world.controller.store.view.instances.values() if _unexplained(each)]
    assert [] == silent, "P4: pending without a reason"


def _unexplained(instance: Instance) -> bool:
    return instance.state is InstanceState.PENDING and not instance.refusals


def accepted(site: Site) -> tuple[int, int]:
    """Return the version that stands on a site's disk."""
    try:
        found = msgspec.json.decode((site.machine.disk / "desired.json").read_bytes())["version"]
    except FileNotFoundError:
        return (0, 0)
    return (found["controller_epoch"], found["version"])


def converge(world: World) -> None:
    """Mend everything, let time pass, and expect that what runs is what is wished."""
    mend(world)
    waited = 0.0
    while wrong := unlike(world):
        assert waited < PATIENCE_SECONDS, "\n".join(["they do not converge:", *wrong])
        outdated = any(node.refused.startswith("DESIRED_STALE") for node in _view_nodes(world))
        if outdated:  # a store that was put back by hand: its operator does as the refusal says
            world.restore(world.back_up())
        _release_in_the_way(world)
        world.pass_time(HEARTBEAT_SECONDS)
        waited += HEARTBEAT_SECONDS
        hold(world)


def mend(world: World) -> None:
    """Have the network whole, clones stopped, devices used by nobody else, everybody up, and no node cordoned."""
    world.network.heal()
    world.end_clones()
    if world.controller is None:
        world.start_controller()
    assert world.controller is not None
    for site in world.sites.values():
        site.machine.outside_bytes.clear()
        site.machine.broken = False
        if site.agent is None:
            world.start_agent(site)
    world.rest()
    for name, node in list(world.controller.store.view.nodes.items()):
        if node.cordoned:
            request = v1.UncordonNodeRequest(name=name)
            task = world.controller.call("NodeService/UncordonNode", request, v1.Node.FromString)
            world.calls.append((task, partial(_uncordoned, name)))
    world.rest()


def _release_in_the_way(world: World) -> None:
    """Have strays ended where a launch waits for their memory: nobody but an operator can."""
    assert world.controller is not None
    for instance in list(world.controller.store.view.instances.values()):
        failure, placement = instance.last_failure, instance.placement
        if instance.state is not InstanceState.ERROR or failure is None or placement is None:
            continue
        for stray in world.strays() if failure.reason == "DEVICE_MEMORY_IN_USE" else ():
            if stray.node == placement.members[0].node and stray.release is None:
                world.release(stray)


def _uncordoned(name: str, expected: Expected) -> None:
    expected.cordoned[name] = False


def unlike(world: World) -> list[str]:
    """Return where what runs is not what is wished."""
    assert world.controller is not None
    wrong = [f"a stream of {each.node} is broken unnoticed" for each in world.network.streams if each.broken]
    view = world.controller.store.view
    for name, node in view.nodes.items():
        if node.state is not NodeState.READY or not world.controller.live.is_connected(name):
            wrong.append(f"{name} is {node.state}, {node.state_message}")
        if node.refused:
            wrong.append(f"{name} refused: {node.refused}")
        wrong += _unlike_site(world, world.sites[name])
    for instance in view.instances.values():
        if instance.state not in {InstanceState.PENDING, InstanceState.RUNNING}:
            wrong.append(f"{instance.name} is {instance.state}: {instance.state_message}")
        elif instance.state is InstanceState.PENDING and (place := _place_for(world, instance)):
            wrong.append(f"{instance.name} is pending, and {place} has room: {instance.state_message}")
    for name, replicas in world.expected.replicas.items():
        count = sum(1 for each in view.instances.values() if each.deployment == name and each.stop_time is None)
        if count != replicas:
            wrong.append(f"{name} has {count} instances of {replicas}")
    return wrong


def _place_for(world: World, instance: Instance) -> str:
    """Return a device with room for what waits, by the claims and by what runs there; "" if there is none."""
    assert world.controller is not None
    view = world.controller.store.view
    wanted = view.deployments[instance.deployment].spec.claim_device_memory_bytes or 0
    for name, node in view.nodes.items():
        machine = world.sites[name].machine
        for device in () if node.cordoned else machine.devices:
            claimed = sum(
                claim.memory_bytes
                for each in view.groups.on_node(name).values()
                for member in (() if each.placement is None else each.placement.members)
                for claim in member.claim.devices
                if claim.device_id == device
            )
            if wanted <= DEVICE_BYTES - max(claimed, machine.used_bytes(device)):
                return device
    return ""


def _unlike_site(world: World, site: Site) -> list[str]:
    assert world.controller is not None
    assert site.agent is not None
    wished = {
        each.uid
        for each in world.controller.store.view.instances.values()
        if each.placement is not None
        and each.stop_time is None
        and any(member.node == site.machine.node for member in each.placement.members)
    }
    runs = {each.assignment_id for each in site.machine.alive()}
    supervisor = site.agent.supervisor
    kept = {} if supervisor is None else supervisor.observed()
    left = world.forgetful or world.expected.deleted_nodes
    # A clone that carried an order out told of its end, which the original never heard of.
    ended = world.ledger.tombstones.keys() if site.machine.node in world.cloned else frozenset()
    strays = [
        each
        for each in runs - wished
        if not (left or each in ended) or each not in kept or kept[each].state != "quarantined"
    ]
    wrong = [f"{each} is to run on {site.machine.node}, and does not" for each in sorted(wished - runs)]
    return wrong + [f"{each} runs on {site.machine.node} unasked" for each in sorted(strays)]


def quiet(world: World) -> None:
    """P7: where nothing happens but heartbeats, nothing is written; a session that is handed over is a row."""
    world.pass_time(SETTLED_SECONDS)
    assert world.controller is not None
    view = world.controller.store.view
    revision, epochs = view.revision, sum(node.session_epoch for node in view.nodes.values())
    with closing(sqlite3.connect(world.database)) as reader:
        (before,) = reader.execute("PRAGMA data_version").fetchone()
        world.pass_time(3 * HEARTBEAT_SECONDS)
        (after,) = reader.execute("PRAGMA data_version").fetchone()
    handed_over = sum(node.session_epoch for node in view.nodes.values()) - epochs
    assert revision + handed_over == view.revision, "P7: written at rest"
    assert handed_over or before == after, "P7: written at rest, and not by the store"


def _view_nodes(world: World) -> list[Node]:
    assert world.controller is not None
    return list(world.controller.store.view.nodes.values())
