"""What a controller answers that stands by: who leads, to those whom it knows."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import grpc
import pytest
from google.rpc.error_details_pb2 import ErrorInfo
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_status import rpc_status

from motorpool import v1
from motorpool_controller.security.authorities import Authorities
from motorpool_controller.services.duties import standing_by
from motorpool_controller.services.server import Server
from motorpool_controller.store.standby import Standby
from motorpool_controller.store.store import utc_now
from tests.controller.clusters import Cluster, running, settings
from tests.controller.running import controller, reason
from tests.postgresql import PostgresServer

NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


@pytest.fixture(name="leader")
async def _leader(tmp_path: Path, postgres: PostgresServer) -> AsyncIterator[Cluster]:
    async with running(settings(tmp_path / "leader", database_url=postgres.new())) as cluster:
        yield cluster


@pytest.fixture(name="standby")
async def _standby(leader: Cluster, tmp_path: Path) -> AsyncIterator[tuple[Server, Standby]]:
    """
    Listeners of another controller, which stands by.
    """
    made = replace(leader.settings, data_dir=leader.settings.data_dir)
    server = Server(made, Authorities(made.data_dir, leader.store.view.cluster_id))
    assert made.database_url is not None
    async with Standby(made.database_url, controller(server)) as standby:
        assert not await standby.ask()
        cluster_id = leader.store.view.cluster_id
        duty = standing_by(standby, cluster_id, lambda: standby.leader, audit=None, clock=utc_now)
        await server.take(duty)
        yield server, standby
        await server.stop()


@pytest.fixture(name="channel")
async def _channel(leader: Cluster, standby: tuple[Server, Standby]) -> AsyncIterator[grpc.aio.Channel]:
    credentials = grpc.ssl_channel_credentials(leader.authority.pem.encode())
    async with grpc.aio.secure_channel(str(standby[0].public_address), credentials) as channel:
        yield channel


@pytest.mark.promise("P6")
async def test_strangers_are_told_nothing(channel: grpc.aio.Channel) -> None:
    """
    Without a token, or with a wrong one, nobody is told who leads, nor how we are.
    """
    answers = []
    for metadata in ((), (("authorization", "Bearer mpt_admin_wrong"),)):
        for call in (
            v1.NodeServiceStub(channel).ListNodes(v1.ListNodesRequest(), metadata=metadata),
            health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), metadata=metadata),
        ):
            with pytest.raises(grpc.RpcError) as caught:
                await call
            answers.append(reason(caught.value))

    assert {
        (grpc.StatusCode.UNAUTHENTICATED, "CREDENTIALS_MISSING"),
        (grpc.StatusCode.UNAUTHENTICATED, "TOKEN_INVALID"),
    } == set(answers)


async def test_whoever_may_call_is_told_who_leads(leader: Cluster, channel: grpc.aio.Channel) -> None:
    """
    Each kind of call is answered with where the leader is; the token is the database's, and good at each controller.
    """
    admin = leader.admin
    with pytest.raises(grpc.aio.AioRpcError) as one:
        await v1.NodeServiceStub(channel).ListNodes(v1.ListNodesRequest(), metadata=admin)
    with pytest.raises(grpc.RpcError) as many:
        await v1.WatchServiceStub(channel).Watch(v1.WatchRequest(), metadata=admin).read()
    with pytest.raises(grpc.RpcError) as change:
        await v1.NodeServiceStub(channel).DeleteNode(v1.DeleteNodeRequest(name="nodes/a"), metadata=admin)

    expected = (grpc.StatusCode.UNAVAILABLE, "NOT_LEADER")
    assert [expected] * 3 == [reason(each.value) for each in (one, many, change)]
    status, info = rpc_status.from_call(one.value), ErrorInfo()
    assert status is not None
    assert status.details[0].Unpack(info)
    assert {"public_endpoints", "agent_endpoints"} == set(info.metadata)


async def test_every_part_is_not_served(leader: Cluster, channel: grpc.aio.Channel) -> None:
    """
    A balancer that asks for our health sends nobody here.
    """
    stub = health_pb2_grpc.HealthStub(channel)
    parts = ["", "motorpool.v1.Writes", "motorpool.v1.Decisions", "motorpool.v1.NodeService"]
    answers = [await stub.Check(health_pb2.HealthCheckRequest(service=part), metadata=leader.admin) for part in parts]

    assert [NOT_SERVING] * 4 == [each.status for each in answers]
