from typing import Any

import grpc
import pytest
from google.protobuf.field_mask_pb2 import FieldMask

from motorpool import v1
from motorpool_controller.store.transaction import Transaction
from tests.controller.agent_client import FACTS, Agent, running_instance
from tests.controller.clusters import Cluster, reason
from tests.controller.fleets import device, node


def update(cluster: Cluster, *paths: str, **node: Any) -> Any:
    return cluster.nodes.UpdateNode(
        v1.UpdateNodeRequest(node=v1.Node(**{"name": "nodes/a", **node}), update_mask=FieldMask(paths=paths)),
        metadata=cluster.admin,
    )


async def test_operators_labels_lie_over_the_agents(cluster: Cluster, agent: Agent) -> None:
    """
    A label set here wins over the agent's of the same key; setting others takes it back.
    """
    await agent.enrol()
    await agent.session().open(labels={"room": "1", "rack": "7"})

    changed = await update(cluster, "labels", labels={"room": "2", "owner": "x"})
    again = await update(cluster, "labels", labels={})

    assert {"room": "2", "rack": "7", "owner": "x"} == dict(changed.labels)
    assert {"room": "1", "rack": "7"} == dict(again.labels)


async def test_cordon(cluster: Cluster, agent: Agent) -> None:
    """
    A cordoned node gets nothing new, and the pending instance says so; uncordoned, it does.
    """
    session = await agent.joined()
    await update(cluster, "cordoned", cordoned=True)
    await cluster.deploy()
    await cluster.until(
        lambda: [
            row
            for each in cluster.store.view.instances.values()
            for row in each.refusals
            if row.stage == "cordon" or "CORDON" in row.reason
        ]
    )

    await update(cluster, "cordoned", cordoned=False)
    await session.answer(FACTS)

    assert (await session.assignment()).assignment_id


@pytest.mark.parametrize("paths", [(), ("address",), ("labels", "uid")])
async def test_what_cannot_be_changed(cluster: Cluster, agent: Agent, paths: tuple[str, ...]) -> None:
    """
    A mask must name labels or cordoned, and nothing else.
    """
    await agent.enrol()

    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await update(cluster, *paths)

    assert "FIELD_INVALID" == reason(failed.value)


async def test_etag_of_a_node(cluster: Cluster, agent: Agent) -> None:
    """
    Who read an older state of a node hears ETAG_MISMATCH.
    """
    await agent.enrol()
    before = await cluster.nodes.GetNode(v1.GetNodeRequest(name="nodes/a"), metadata=cluster.admin)
    await update(cluster, "cordoned", cordoned=True, etag=before.etag)

    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await update(cluster, "cordoned", cordoned=False, etag=before.etag)

    assert "ETAG_MISMATCH" == reason(failed.value)


async def test_node_with_instances_is_not_deleted(cluster: Cluster, agent: Agent) -> None:
    """
    A node with instances is NODE_NOT_EMPTY; with force its instances are forgotten, and wished for elsewhere.
    """
    session = await agent.joined()
    await cluster.deploy()
    await session.answer(FACTS)
    assignment = await session.assignment()
    await session.change(running_instance(assignment))
    node = await cluster.nodes.GetNode(v1.GetNodeRequest(name="nodes/a"), metadata=cluster.admin)
    assert assignment.claim.memory_bytes == node.claimed_memory_bytes > 0

    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await cluster.nodes.DeleteNode(v1.DeleteNodeRequest(name="nodes/a"), metadata=cluster.admin)
    assert "NODE_NOT_EMPTY" == reason(failed.value)
    await cluster.nodes.DeleteNode(v1.DeleteNodeRequest(name="nodes/a", force=True), metadata=cluster.admin)

    view = cluster.store.view
    assert not view.nodes
    await cluster.until(
        lambda: [each for each in view.instances.values() if each.uid != assignment.assignment_id and each.refusals]
    )
    assert assignment.instance not in view.instances


async def test_dry_run_of_a_deletion(cluster: Cluster, agent: Agent) -> None:
    """
    A checked deletion leaves the node and its session alone.
    """
    session = await agent.joined()

    await cluster.nodes.DeleteNode(v1.DeleteNodeRequest(name="nodes/a", validate_only=True), metadata=cluster.admin)

    await session.barrier()
    assert "nodes/a" in cluster.store.view.nodes


async def test_devices_of_one_node_and_of_all(cluster: Cluster, agent: Agent) -> None:
    """
    Devices are listed by node or for all nodes, by name, page after page.
    """
    for each in (agent, Agent(cluster, "b")):
        each.show(
            *(v1.Device(device_id=f"GPU-{n}", vendor="v", framework="f", health=v1.HEALTH_HEALTHY) for n in range(2))
        )
        await each.joined()
    await cluster.until(lambda: all(node.devices for node in cluster.store.view.nodes.values()))

    one = await cluster.nodes.ListDevices(v1.ListDevicesRequest(parent="nodes/b"), metadata=cluster.admin)
    first = await cluster.nodes.ListDevices(
        v1.ListDevicesRequest(parent="nodes/-", page_size=3), metadata=cluster.admin
    )
    rest = await cluster.nodes.ListDevices(
        v1.ListDevicesRequest(parent="nodes/-", page_size=3, page_token=first.next_page_token), metadata=cluster.admin
    )

    assert ["nodes/b/devices/GPU-0", "nodes/b/devices/GPU-1"] == [status.device.name for status in one.devices]
    assert ["nodes/a/devices/GPU-0", "nodes/a/devices/GPU-1", "nodes/b/devices/GPU-0"] == [
        status.device.name for status in first.devices
    ]
    assert ["nodes/b/devices/GPU-1"] == [status.device.name for status in rest.devices]
    assert "" == rest.next_page_token


async def test_devices_of_nodes_whose_names_begin_alike(cluster: Cluster) -> None:
    """
    Devices are in the order of their names, which is not that of their nodes' names, and each is on one page.
    """
    names = ["a", "a-b", "a.b", "ab", "b"]

    def add(tx: Transaction) -> None:
        for name in names:
            tx.nodes.put(node(name, devices=[device("GPU-0"), device("GPU-1")]))

    await cluster.store.commit(add)
    request, found = v1.ListDevicesRequest(parent="nodes/-", page_size=3), list[str]()
    while not found or request.page_token:
        page = await cluster.nodes.ListDevices(request, metadata=cluster.admin)
        found += [status.device.name for status in page.devices]
        request.page_token = page.next_page_token

    assert sorted(f"nodes/{name}/devices/GPU-{index}" for name in names for index in range(2)) == found


@pytest.mark.parametrize(("name", "expected"), [("nodes/none", "NOT_FOUND"), ("none", "FIELD_INVALID")])
async def test_what_is_no_node(cluster: Cluster, name: str, expected: str) -> None:
    """
    Calls on a node that there is not are NOT_FOUND, and on what is no name FIELD_INVALID.
    """
    for call in (
        cluster.nodes.GetNode(v1.GetNodeRequest(name=name), metadata=cluster.admin),
        cluster.nodes.DeleteNode(v1.DeleteNodeRequest(name=name), metadata=cluster.admin),
        cluster.nodes.ListDevices(v1.ListDevicesRequest(parent=name), metadata=cluster.admin),
        update(cluster, "cordoned", name=name),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await call
        assert expected == reason(failed.value)


async def test_backends(cluster: Cluster, agent: Agent) -> None:
    """
    Backends are found by name and alias, with the nodes that offer them.
    """
    await agent.joined()
    await cluster.until(lambda: cluster.store.view.nodes[agent.name].profiles)

    found = await cluster.backends.GetBackend(v1.GetBackendRequest(name="backends/llama-box"), metadata=cluster.admin)
    listed = await cluster.backends.ListBackends(v1.ListBackendsRequest(), metadata=cluster.admin)

    assert ("backends/llama_cpp", ["nodes/a"]) == (found.name, list(found.nodes))
    assert [found] == list(listed.backends)
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await cluster.backends.GetBackend(v1.GetBackendRequest(name="backends/vllm"), metadata=cluster.admin)
    assert "NOT_FOUND" == reason(failed.value)


async def test_events_of_a_deployment(cluster: Cluster, agent: Agent) -> None:
    """
    The events of a deployment are its own and its instances', the latest first, and no other's.
    """
    session = await agent.joined()
    await cluster.deploy("chat")
    await cluster.deploy("chat-2")
    await session.answer(FACTS)
    await cluster.until(lambda: cluster.event_reasons().count("INSTANCE_PLACED") == 2 or None)

    listed = await cluster.events.ListEvents(v1.ListEventsRequest(subject="deployments/chat"), metadata=cluster.admin)
    everything = await cluster.events.ListEvents(v1.ListEventsRequest(), metadata=cluster.admin)

    (instance,) = [name for name, each in cluster.store.view.instances.items() if each.deployment == "deployments/chat"]
    assert {event.subject for event in listed.events} == {"deployments/chat", instance}
    assert "DEPLOYMENT_CREATED" == listed.events[-1].reason
    assert len(everything.events) > len(listed.events)
    times = [event.time.ToNanoseconds() for event in everything.events]
    assert sorted(times, reverse=True) == times


async def test_events_of_a_node(cluster: Cluster, agent: Agent) -> None:
    """
    The events of a node are its own and those of what is placed there, and no deployment's.
    """
    session = await agent.joined()
    await cluster.deploy("chat")
    await session.answer(FACTS)
    await cluster.until(lambda: "INSTANCE_PLACED" in cluster.event_reasons() or None)

    async def of(node: str, subject: str = "") -> set[str]:
        request = v1.ListEventsRequest(node=node, subject=subject)
        return {each.subject for each in (await cluster.events.ListEvents(request, metadata=cluster.admin)).events}

    (instance,) = cluster.store.view.instances
    assert {"nodes/a", instance} == await of("nodes/a")
    assert {instance} == await of("nodes/a", "deployments/chat")
    assert set() == await of("nodes/b")
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await of("rack1")
    assert "FIELD_INVALID" == reason(failed.value)
