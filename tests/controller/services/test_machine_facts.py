"""What an agent says of its machine reaches the node's row, and is kept there alone."""

from dataclasses import replace

import pytest

from motorpool import v1
from motorpool_controller.domain.fleet import Device, Executor, Node
from motorpool_controller.services.convert.backend import known_profile, profile_message
from motorpool_controller.services.machine_facts import MachineFacts, with_facts
from motorpool_controller.services.observed import Observed
from tests.controller.clusters import Cluster
from tests.controller.fleets import profile
from tests.controller.rows import node


def device(identifier: str, **more: object) -> Device:
    return replace(Device(device_id=identifier, vendor="nvidia", framework="cuda"), **more)  # type: ignore[arg-type]


def machine() -> Node:
    return replace(
        node("a"),
        devices=(device("gpu-0"), device("gpu-1", cordoned=True)),
        cordoned_devices=("gpu-1",),
        executors=(Executor(executor="docker", works=True),),
        profiles={"vllm": "d"},
    )


async def merged(cluster: Cluster, facts: MachineFacts) -> Node:
    return await cluster.store.commit(lambda tx: with_facts(tx, machine(), facts))


async def test_whole_state_is_all_there_is(cluster: Cluster) -> None:
    """
    What a whole state does not name is gone.
    """
    after = await merged(cluster, MachineFacts(whole=True, devices={"gpu-2": device("gpu-2")}))

    assert replace(machine(), devices=(device("gpu-2"),), executors=(), profiles={}) == after


async def test_change_leaves_the_rest(cluster: Cluster) -> None:
    """
    A change adds, replaces and takes away what it names; the rest is the same object as before.
    """
    facts = MachineFacts(devices={"gpu-2": device("gpu-2"), "gpu-0": None})
    before = machine()
    after = await cluster.store.commit(lambda tx: with_facts(tx, before, facts))

    assert replace(before, devices=(before.devices[1], device("gpu-2"))) == after
    assert after.devices[0] is before.devices[1]


async def test_cordoned_device_stays_cordoned(cluster: Cluster) -> None:
    """
    An agent does not know of cordons: a device that is reported anew keeps its own.
    """
    found = {each: device(each, product="A") for each in ("gpu-0", "gpu-1")}
    after = await merged(cluster, MachineFacts(whole=True, devices=dict(found)))

    assert [("gpu-0", False), ("gpu-1", True)] == [(each.device_id, each.cordoned) for each in after.devices]


async def test_profile_is_stored_by_its_digest(cluster: Cluster) -> None:
    """
    A profile that is new is stored, and the node refers to it; another one stays.
    """
    known = known_profile(profile_message(profile()))
    after = await merged(cluster, MachineFacts(profiles={"llama_cpp": known}))

    assert {"llama_cpp": known.digest, "vllm": "d"} == after.profiles
    assert {known.digest: known.profile} == cluster.store.view.profiles


@pytest.mark.parametrize("kind", ["device", "plugin", "profile", "executor", "condition"])
def test_broken_object_is_not_there(kind: str) -> None:
    """
    Something that cannot be read counts as gone, and people are told.
    """
    changed = Observed().take(v1.ObservedState(objects=[v1.ObservedObject(id=f"{kind}/x", digest="d")]))

    assert changed.facts.told
    assert [{"x": None}] == [each for each in kinds(changed.facts) if each]
    assert 1 == len(changed.faults)


def kinds(facts: MachineFacts) -> list[object]:
    return [facts.devices, facts.plugins, facts.profiles, facts.executors, facts.conditions]


def test_equal_profiles_of_two_agents_are_one() -> None:
    """
    Agents that report the same share an object.
    """
    message = profile_message(profile())

    assert known_profile(v1.BackendProfile.FromString(message.SerializeToString())) is known_profile(message)
