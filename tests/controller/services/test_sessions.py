import asyncio
import contextlib
import dataclasses
import gc
from pathlib import Path

import grpc
import pytest

from motorpool import v1
from motorpool_controller.domain.fleet import NodeState
from motorpool_controller.domain.workload import InstanceState
from motorpool_controller.services.admission import LINE_SECONDS
from tests.controller.agent_client import FACTS, PROFILE, Agent, Session, observed, running_instance
from tests.controller.clusters import WAIT_SECONDS, Cluster, reason, running, settings


async def refused(session: Session, **changes: object) -> str:
    # The call may be refused before anything was written.
    with contextlib.suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
        await session.call.write(v1.SessionRequest(hello=session.agent.hello(**changes)))
    error = await session.error()
    if error.details() == "Internal error from Core":
        # A write that met the end of its call: gRPC's client forgets how the call ended. Agents dial again, too.
        return await refused(session.agent.session(), **changes)
    return reason(error)


async def test_welcome_tells_epoch_and_pulse(cluster: Cluster, agent: Agent) -> None:
    """
    A Hello is answered with the node's next epoch, a heartbeat period, and a lease of four of them.
    """
    await agent.enrol()
    session = agent.session()

    welcome = await session.open()

    assert (1, 1) == (welcome.session_epoch, welcome.protocol)
    assert 4 * welcome.heartbeat_period.ToMilliseconds() == welcome.lease.ToMilliseconds()
    assert 5 == welcome.return_spread.ToMilliseconds()  # one of two hundred a second
    assert 1 == cluster.store.view.nodes[agent.name].session_epoch


async def test_first_desired_state_is_everything(cluster: Cluster, agent: Agent) -> None:
    """
    After Welcome comes the whole desired state, also when it is empty.
    """
    session = await agent.joined()

    await session.read_until(lambda: session.states)

    assert not session.states[0].HasField("applies_to")
    assert cluster.store.view.controller_epoch == session.version.controller_epoch


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"cluster_id": "another"}, "WRONG_CLUSTER"),
        ({"node_uid": "another"}, "FIELD_INVALID"),
        ({"protocol_min": 2, "protocol_max": 3}, "VERSION_UNSUPPORTED"),
        ({"agent_instance_id": ""}, "FIELD_INVALID"),
        ({"host": v1.Host(memory_bytes=-1)}, "FIELD_INVALID"),
    ],
)
async def test_wrong_hello(agent: Agent, changes: dict[str, object], expected: str) -> None:
    """
    A Hello for another cluster or node, of another protocol, or with bad fields opens no session.
    """
    await agent.enrol()

    assert expected == await refused(agent.session(), **changes)


async def test_session_begins_with_hello(agent: Agent) -> None:
    """
    Anything else as the first message is refused.
    """
    await agent.enrol()
    session = agent.session()

    await session.send(heartbeat=v1.Heartbeat())

    assert "FIELD_INVALID" == reason(await session.error())


async def test_session_at_rest_keeps_no_message(cluster: Cluster, agent: Agent) -> None:
    """
    A session that waits holds neither the last message it took nor the last one it sent: a fleet's would be many.
    """

    def messages() -> list[object]:
        return [each for each in gc.get_objects() if type(each) in {v1.SessionRequest, v1.SessionResponse}]

    others = messages()
    session = await agent.joined()
    await session.read_until(lambda: session.states)
    await session.heartbeat()
    await cluster.until(lambda: cluster.live.usage(agent.name))

    await cluster.until(lambda: all(any(each is other for other in others) for each in messages()))


async def test_reconnect_replaces_at_once(cluster: Cluster, agent: Agent) -> None:
    """
    The same agent's next session fences the one before, which hears STALE_EPOCH.
    """
    first = await agent.joined()
    second = await agent.opened()

    assert "STALE_EPOCH" == reason(await first.error())
    assert (1, 2) == (first.epoch, second.epoch)
    assert cluster.live.is_connected(agent.name)


async def test_second_agent_is_refused_while_the_first_lives(cluster: Cluster, agent: Agent) -> None:
    """
    Another agent of the same node hears DUPLICATE_NODE, and the first one's session goes on.
    """
    first = await agent.joined()
    pinged = asyncio.create_task(first.read_until(lambda: False))
    twin = agent.session()

    assert "DUPLICATE_NODE" == await refused(twin, agent_instance_id="twin")

    pinged.cancel()
    assert 1 == cluster.store.view.nodes[agent.name].session_epoch
    assert "DUPLICATE_NODE" in cluster.event_reasons()


async def test_second_agent_replaces_a_silent_one(agent: Agent) -> None:
    """
    A session that does not answer a ping is fenced, and the new agent is admitted.
    """
    first = await agent.joined()
    second = agent.session()

    welcome = await second.open(agent_instance_id="reborn")

    assert 2 == welcome.session_epoch
    assert "STALE_EPOCH" == reason(await first.error())


async def test_message_of_another_epoch(agent: Agent) -> None:
    """
    A message that carries another session's epoch ends the session.
    """
    session = await agent.joined()

    await session.send(epoch=session.epoch - 1, heartbeat=v1.Heartbeat())

    assert "STALE_EPOCH" == reason(await session.error())


async def test_digest_mismatch_asks_for_everything(cluster: Cluster, agent: Agent) -> None:
    """
    A heartbeat whose digest differs is answered with a wish for the full observed state, which repairs it.
    """
    session = await agent.joined()
    await session.heartbeat(digest="of something else")
    await session.read_until(lambda: session.resends)

    await session.barrier()

    assert {"llama_cpp"} == set(cluster.store.view.nodes[agent.name].profiles)


async def test_changes_before_everything_are_asked_again(cluster: Cluster, agent: Agent) -> None:
    """
    Changes that come before the first full state are not taken; the full state is asked for.
    """
    await agent.enrol()
    session = agent.session()
    await session.open()

    await session.change(PROFILE)
    await session.read_until(lambda: session.resends)

    await cluster.until(lambda: cluster.store.view.nodes[agent.name].profiles)


async def test_delta_mismatch_gets_everything(cluster: Cluster, agent: Agent) -> None:
    """
    An agent that holds another version than a delta applies to is sent the whole desired state.
    """
    session = await agent.joined()
    await session.read_until(lambda: session.states)
    session.version = v1.DesiredVersion(controller_epoch=9, version=9)
    await cluster.deploy()

    await session.read_until(lambda: len(session.states) > 2)

    assert not session.states[-1].HasField("applies_to")
    assert session.of("query")
    assert "DESIRED_REFUSED" not in cluster.event_reasons()


async def test_refused_desired_state_is_shown_until_one_is_taken(cluster: Cluster, agent: Agent) -> None:
    """
    An agent that refuses its desired state is heard: event, node and refusals tell why, until it takes one.
    """
    view = cluster.store.view
    session = await agent.joined()
    await session.read_until(lambda: session.states)
    await session.barrier()

    await session.send(desired_ack=v1.DesiredAck(error_reason="DESIRED_STALE", error_message="older"))
    await cluster.until(lambda: "DESIRED_REFUSED" in cluster.event_reasons())
    shown = await cluster.nodes.GetNode(v1.GetNodeRequest(name=agent.name), metadata=cluster.admin)
    await cluster.deploy()
    (pending,) = await cluster.until(lambda: list(view.instances.values()))

    assert "DESIRED_STALE: older" in shown.state_message
    assert ["DESIRED_REFUSED"] == [row.reason for row in pending.refusals]
    assert "DESIRED_STALE: older" in pending.refusals[0].message
    await session.send(desired_ack=v1.DesiredAck(version=session.version))
    await cluster.until(lambda: not view.nodes[agent.name].refused)
    await session.answer(FACTS)
    await session.assignment()


async def test_restart_of_the_controller(tmp_path: Path) -> None:
    """
    After a restart the session has a higher epoch, and the desired state a higher controller's epoch and the same work.
    """
    made = settings(tmp_path / "data")
    async with running(made) as cluster:
        agent = Agent(cluster)
        session = await agent.joined()
        await cluster.deploy()
        await session.answer(FACTS)
        before = await session.assignment()
        await session.change(running_instance(before))
        await cluster.until(lambda: [each for each in cluster.store.view.instances.values() if each.endpoint])
        epoch = session.version.controller_epoch
    async with running(made) as cluster:
        agent.cluster = cluster
        again = await agent.opened()

        after = await again.assignment()

        assert before == after
        assert not again.states[0].HasField("applies_to")
        assert [before.assignment_id] == [item.assignment.assignment_id for item in again.of("assignment")]
        assert 2 == again.epoch
        assert epoch + 1 == again.version.controller_epoch
        (instance,) = cluster.store.view.instances.values()
        assert InstanceState.RUNNING is instance.state


@pytest.mark.promise("P9")
async def test_broken_objects_cost_themselves(cluster: Cluster, agent: Agent) -> None:
    """
    Objects that cannot be read are passed over with an event; the others, and the session, go on.
    """
    await agent.enrol()
    garbage = [
        v1.ObservedObject(id="device/x", digest="1"),
        v1.ObservedObject(id="device/y", digest="1", device=v1.Device(device_id="z", vendor="v", framework="f")),
        v1.ObservedObject(id="", digest="1", device=v1.Device(device_id="", vendor="v", framework="f")),
        v1.ObservedObject(id="device/a/b", digest="1", device=v1.Device(device_id="a/b", vendor="v", framework="f")),
        v1.ObservedObject(
            id="device/m",
            digest="1",
            device=v1.Device(
                device_id="m",
                vendor="v",
                framework="f",
                memory=v1.DeviceMemory(total_bytes=-1),
                health=v1.HEALTH_HEALTHY,
            ),
        ),
        v1.ObservedObject(id="profile/p", digest="1", profile=v1.BackendProfile(backend="p")),
        v1.ObservedObject(id="instance/i", digest="1", instance=v1.ObservedInstance(assignment_id="i")),
        v1.ObservedObject(id="answer/q", digest="1", answer=v1.QueryAnswer(query_id="q")),
    ]
    for item in garbage:
        agent.objects[item.id] = item
    agent.show(PROFILE, v1.Device(device_id="good", vendor="v", framework="f", health=v1.HEALTH_HEALTHY))

    session = await agent.opened()

    await cluster.until(lambda: "OBSERVED_INVALID" in cluster.event_reasons())
    node = cluster.store.view.nodes[agent.name]
    assert ["good"] == [device.device_id for device in node.devices]
    assert {"llama_cpp"} == set(node.profiles)
    await session.heartbeat()
    await session.barrier()
    assert 1 == session.resends


async def test_what_nobody_assigned_is_told(cluster: Cluster, agent: Agent) -> None:
    """
    Something of an assignment that is not placed on the node becomes an event, and nothing is ordered. What it does
    after that, starting again and again say, is written nowhere.
    """
    session = await agent.joined()
    stray = v1.ObservedInstance(assignment_id="unheard", state=v1.INSTANCE_STATE_QUARANTINED, instance="instances/x")

    await session.change(stray)

    await cluster.until(lambda: "ASSIGNMENT_UNKNOWN" in cluster.event_reasons())
    assert not session.of("tombstone")
    revision = cluster.store.view.revision
    for count in range(1, 4):
        stray.restart_count = count
        await session.change(stray)
    await session.barrier()
    assert revision == cluster.store.view.revision


@pytest.mark.promise("P3")
async def test_absence_removes_nothing(cluster: Cluster, agent: Agent) -> None:
    """
    An instance that its agent does not show stays: only a tombstone that was carried out ends it.
    """
    session = await agent.joined()
    await cluster.deploy()
    await session.answer(FACTS)
    assignment = await session.assignment()
    await session.change(running_instance(assignment))
    await cluster.until(lambda: [each for each in cluster.store.view.instances.values() if each.endpoint])

    await session.change(removed=[f"instance/{assignment.assignment_id}"])
    await session.heartbeat()
    await session.barrier()

    assert [assignment.assignment_id] == [each.uid for each in cluster.store.view.instances.values()]
    assert not session.of("tombstone")


@pytest.mark.promise("P3")
async def test_tombstone_of_something_never_seen(cluster: Cluster, agent: Agent) -> None:
    """
    A tombstone for what the agent never showed is done with once the agent showed all that it has.
    """
    session = await agent.joined()
    await cluster.deploy()
    await session.answer(FACTS)
    await session.assignment()
    await cluster.deployments.DeleteDeployment(
        v1.DeleteDeploymentRequest(name="deployments/chat"), metadata=cluster.admin
    )
    assert 0 == session.resends

    await session.tombstone()
    await session.read_until(lambda: session.resends)

    await cluster.until(lambda: not cluster.store.view.instances)


async def test_facts_of_the_machine(cluster: Cluster, agent: Agent) -> None:
    """
    What Hello and the observed state say stands on the node, and the node is ready.
    """
    agent.show(
        v1.PluginStatus(plugin_id="llama-cpp", kind="backend", provides="llama_cpp", state=v1.PLUGIN_STATE_READY),
        v1.Device(device_id="GPU-1", vendor="nvidia", framework="cuda", health=v1.HEALTH_HEALTHY),
    )
    await agent.joined()

    await cluster.until(lambda: cluster.store.view.nodes[agent.name].state is NodeState.READY or None)
    await cluster.until(lambda: cluster.store.view.nodes[agent.name].devices)
    node = await cluster.nodes.GetNode(v1.GetNodeRequest(name=agent.name), metadata=cluster.admin)

    assert ("host", "127.0.0.1", "0.1.0") == (node.host.hostname, node.address, node.agent_version)
    assert ["nodes/a/devices/GPU-1"] == [device.name for device in node.devices]
    assert ["llama-cpp"] == [plugin.plugin_id for plugin in node.plugins]
    assert agent.memory_bytes == node.usage.memory_available_bytes
    assert node.HasField("heartbeat_time")


@pytest.mark.promise("P7")
async def test_idle_node_writes_nothing(cluster: Cluster, agent: Agent) -> None:
    """
    Heartbeats, equal observed states and the reconciler's own passes over them change nothing in the store.
    """
    session = await agent.joined()
    await cluster.deploy()
    await session.answer(FACTS)
    assignment = await session.assignment()
    await session.change(running_instance(assignment))
    await cluster.deploy("large", claim=v1.ClaimOverride(memory_bytes=1 << 50))
    await cluster.until(
        lambda: [each for each in cluster.store.view.instances.values() if each.deployment == "deployments/large"]
    )
    await cluster.until(lambda: [each for each in cluster.store.view.instances.values() if each.endpoint])
    await session.barrier()
    await session.barrier()
    before = cluster.store.view.revision

    for number in range(50):
        await session.heartbeat(available_bytes=agent.memory_bytes - number * 1_000_000)
        cluster.live.changed.set()
        await session.send_full()
    await session.barrier()
    cluster.pass_time(30)
    await session.heartbeat()
    await session.barrier()

    assert before == cluster.store.view.revision


@pytest.mark.promise("P7")
async def test_what_an_instance_holds_is_learnt(cluster: Cluster, agent: Agent) -> None:
    """
    A measured peak is kept when it is new or much higher, and told with the deployment's estimate and a plan's; the
    same again writes nothing.
    """
    session = await agent.joined()
    await cluster.deploy()
    await session.answer(FACTS)
    await session.change(running_instance(await session.assignment()))
    (instance,) = await cluster.until(lambda: [each for each in cluster.store.view.instances.values() if each.endpoint])
    held = v1.InstanceUsage(instance=instance.name, memory_bytes=800 << 20)

    await session.heartbeat(instances=[held])
    (peak,) = await cluster.until(lambda: list(cluster.store.view.peaks.values()))
    revision = cluster.store.view.revision
    for _ in range(3):
        await session.heartbeat(instances=[held])
    await session.barrier()
    told = await cluster.deployments.ExplainDeployment(
        v1.ExplainDeploymentRequest(name="deployments/chat"), metadata=cluster.admin
    )

    assert (800 << 20, "cpu") == (peak.memory_bytes, peak.kind.framework)
    assert revision == cluster.store.view.revision
    await cluster.deploy("again")
    await cluster.until(lambda: cluster.store.view.deployments["deployments/again"].estimate)
    again = await cluster.deployments.ExplainDeployment(
        v1.ExplainDeploymentRequest(name="deployments/again"), metadata=cluster.admin
    )
    planned = await cluster.deployments.PlanDeployment(
        v1.PlanDeploymentRequest(
            deployment=v1.Deployment(spec=v1.DeploymentSpec(model=v1.ModelSource(local_path="/models/m.gguf")))
        ),
        metadata=cluster.admin,
    )
    assert not told.estimate.HasField("measured_bytes")
    assert [800 << 20] * 2 == [again.estimate.measured_bytes, planned.estimate.measured_bytes]


async def test_renewed_certificate_opens_a_session(cluster: Cluster, agent: Agent) -> None:
    """
    Renew gives a certificate whose sessions are admitted; the one before still is, too.
    """
    await agent.joined()
    old = agent.certificate
    channel = agent.channel()
    answer = await v1.AgentServiceStub(channel).Renew(v1.RenewRequest(csr_pem=agent.csr()))
    await channel.close()

    agent.certificate = answer.certificate_pem
    assert 2 == (await agent.opened()).epoch
    agent.certificate = old
    assert 3 == (await agent.opened()).epoch
    assert 2 == len(cluster.store.view.nodes[agent.name].certificate_serials)


async def test_bad_certificate_request(agent: Agent) -> None:
    """
    Renew refuses what is no certificate signing request, and says so.
    """
    await agent.joined()
    channel = agent.channel()

    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await v1.AgentServiceStub(channel).Renew(v1.RenewRequest(csr_pem="hello"))

    assert "FIELD_INVALID" == reason(failed.value)
    await channel.close()


async def test_old_certificate_is_for_renewal_only(cluster: Cluster, agent: Agent) -> None:
    """
    A certificate past its day opens no session, and is renewed.
    """
    await agent.enrol()
    cluster.pass_time(25 * 3600)

    assert "CERTIFICATE_EXPIRED" == await refused(agent.session())
    channel = agent.channel()
    answer = await v1.AgentServiceStub(channel).Renew(v1.RenewRequest(csr_pem=agent.csr()))
    assert answer.certificate_pem
    await channel.close()


async def test_deleted_node_loses_its_session(cluster: Cluster, agent: Agent) -> None:
    """
    Deleting a node ends its session and refuses the next one.
    """
    session = await agent.joined()
    await cluster.nodes.DeleteNode(v1.DeleteNodeRequest(name=agent.name), metadata=cluster.admin)

    assert "CERTIFICATE_REVOKED" == reason(await session.error())
    assert "CERTIFICATE_REVOKED" == await refused(agent.session())


async def test_hellos_stand_in_line(tmp_path: Path) -> None:
    """
    While as many agents as allowed are being admitted, so many others stand in line as are taken to be admitted in a
    few seconds, and get in; another one hears BUSY, with a time to come again.
    """
    async with running(dataclasses.replace(settings(tmp_path / "data"), hellos_at_once=1)) as cluster:
        agent, other = Agent(cluster, "a"), Agent(cluster, "b")
        silent = await agent.joined()
        await other.enrol()
        # Its twins are being asked for two seconds each whether it is alive; one after the other they are admitted.
        silent.answer_pings = False
        twins = [agent.session() for _ in range(2 + round(LINE_SECONDS))]
        for number, twin in enumerate(twins):
            await twin.call.write(v1.SessionRequest(hello=agent.hello(agent_instance_id=f"twin-{number}")))
        await asyncio.wait_for(_pinged(silent), 10)

        assert "BUSY" == await refused(other.session())
        for twin in twins:
            await twin.channel.close()
        await other.opened()


async def _pinged(session: Session) -> None:
    while (await session.read()).WhichOneof("message") != "ping":
        pass


async def test_a_stale_report_of_the_past_changes_nothing(cluster: Cluster, agent: Agent) -> None:
    """
    A report of a lower generation than the assignment's is not taken.
    """
    session = await agent.joined()
    await cluster.deploy()
    await session.answer(FACTS)
    assignment = await session.assignment()

    await session.change(running_instance(assignment, generation=assignment.generation + 7))
    await session.barrier()

    (instance,) = cluster.store.view.instances.values()
    assert InstanceState.SCHEDULED is instance.state
    assert observed(running_instance(assignment)).id == f"instance/{instance.uid}"


async def test_aged_session_makes_way_kindly(tmp_path: Path) -> None:
    """
    A session that has lasted for its time asks for the next one; when that is opened, it ends without an error.
    """
    async with running(settings(tmp_path / "data", session_max_age_seconds=0.2)) as cluster:
        agent = Agent(cluster)
        first = await agent.joined()
        async with asyncio.timeout(WAIT_SECONDS):
            while (await first.read()).WhichOneof("message") != "hand_over":
                pass

        second = await agent.opened()

        async with asyncio.timeout(WAIT_SECONDS):
            while (message := await first.call.read()) is not grpc.aio.EOF:
                assert isinstance(message, v1.SessionResponse)
        assert grpc.StatusCode.OK is await first.call.code()
        assert first.epoch + 1 == second.epoch
        assert cluster.live.is_connected(agent.name)
