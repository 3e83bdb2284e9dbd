import asyncio
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from motorpool import v1
from tests.controller.agent_client import FACTS, Agent, Session, running_instance
from tests.controller.clusters import WAIT_SECONDS, Cluster, reason

Lines = grpc.aio.UnaryStreamCall[v1.StreamInstanceLogsRequest, v1.StreamInstanceLogsResponse]


async def placed(cluster: Cluster, agent: Agent) -> tuple[Session, str]:
    session = await agent.joined()
    await cluster.deploy()
    await session.answer(FACTS)
    assignment = await session.assignment()
    await session.change(running_instance(assignment))
    return session, assignment.instance


def read(cluster: Cluster, name: str, **asked: Any) -> Lines:
    return cluster.instances.StreamInstanceLogs(
        v1.StreamInstanceLogsRequest(**{"name": name, **asked}), metadata=cluster.admin
    )


async def subscription(session: Session) -> v1.LogSubscription:
    await session.read_until(lambda: session.of("logs"))
    (item,) = session.of("logs")
    return item.logs


async def next_lines(lines: Lines) -> list[str]:
    async with asyncio.timeout(WAIT_SECONDS):
        answer = await lines.read()
    assert isinstance(answer, v1.StreamInstanceLogsResponse)
    return list(answer.lines)


async def failure(lines: Lines) -> str:
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        async with asyncio.timeout(WAIT_SECONDS):
            await lines.read()
    return reason(failed.value)


async def test_lines_reach_the_reader(cluster: Cluster, agent: Agent) -> None:
    """
    A reader's wish becomes a subscription of the node, whose agent dials; its lines come out, then the end.
    """
    session, name = await placed(cluster, agent)
    lines = read(cluster, name, tail_lines=7)
    asked = await subscription(session)
    assert (7, False) == (asked.tail_lines, asked.follow)

    async def send() -> None:
        call = v1.AgentServiceStub(session.channel).SendLogs()
        await call.write(v1.SendLogsRequest(subscription_id=asked.subscription_id, lines=["one", "two"]))
        await call.write(v1.SendLogsRequest(subscription_id=asked.subscription_id, lines=["three"], end=True))
        await call.done_writing()
        await call

    sending = asyncio.create_task(send())
    assert ["one", "two", "three"] == [*await next_lines(lines), *await next_lines(lines)]
    assert grpc.aio.EOF == await lines.read()
    await sending
    await session.read_until(lambda: not session.of("logs"))


async def test_reader_leaves(cluster: Cluster, agent: Agent) -> None:
    """
    When the reader leaves, the subscription is withdrawn, and whoever still sends hears NOT_FOUND.
    """
    session, name = await placed(cluster, agent)
    lines = read(cluster, name, follow=True)
    asked = await subscription(session)
    call = v1.AgentServiceStub(session.channel).SendLogs()
    await call.write(v1.SendLogsRequest(subscription_id=asked.subscription_id, lines=["one"]))
    assert ["one"] == await next_lines(lines)

    lines.cancel()

    await session.read_until(lambda: not session.of("logs"))
    late = v1.AgentServiceStub(session.channel).SendLogs()
    await late.write(v1.SendLogsRequest(subscription_id=asked.subscription_id, lines=["two"]))
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await late
    assert "NOT_FOUND" == reason(failed.value)


async def test_agent_leaves(cluster: Cluster, agent: Agent) -> None:
    """
    When the agent breaks off, the reader gets what was sent, then NODE_UNREACHABLE.
    """
    session, name = await placed(cluster, agent)
    lines = read(cluster, name, follow=True)
    asked = await subscription(session)
    call = v1.AgentServiceStub(session.channel).SendLogs()
    await call.write(v1.SendLogsRequest(subscription_id=asked.subscription_id, lines=["one"]))
    assert ["one"] == await next_lines(lines)

    await session.close()

    assert "NODE_UNREACHABLE" == await failure(lines)


async def test_agent_leaves_before_it_dials(cluster: Cluster, agent: Agent) -> None:
    """
    A reader whose agent left before it sent anything is told so.
    """
    session, name = await placed(cluster, agent)
    lines = read(cluster, name, follow=True)
    await subscription(session)

    await session.close()

    assert "NODE_UNREACHABLE" == await failure(lines)


async def test_agent_cannot_read_the_log(cluster: Cluster, agent: Agent) -> None:
    """
    An agent's reason why there are no lines reaches the reader.
    """
    session, name = await placed(cluster, agent)
    lines = read(cluster, name)
    asked = await subscription(session)
    call = v1.AgentServiceStub(session.channel).SendLogs()
    await call.write(v1.SendLogsRequest(subscription_id=asked.subscription_id, end=True, error_message="no such file"))

    with pytest.raises(grpc.aio.AioRpcError, match="no such file"):
        await lines.read()


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({}, (0, False)),
        ({"previous": True}, (-1, True)),
        ({"attempt": -1}, (-1, True)),
        ({"attempt": 3}, (3, False)),
        ({"attempt": 0}, (0, False)),
    ],
)
async def test_which_attempt_is_told(
    cluster: Cluster, agent: Agent, asked: dict[str, Any], told: tuple[int, bool]
) -> None:
    """
    The node is told the attempt; an agent of before understands at least the one before the present.
    """
    session, name = await placed(cluster, agent)
    lines = read(cluster, name, **asked, timestamps=True, since_age=Duration(seconds=60), position="1/x/9")
    seen = await subscription(session)
    lines.cancel()

    assert (*told, True, 60, "1/x/9") == (
        seen.attempt,
        seen.previous,
        seen.timestamps,
        seen.since_age.seconds,
        seen.position,
    )


@pytest.mark.parametrize(
    "asked",
    [
        {"attempt": 1, "previous": True},
        {"since_age": Duration(seconds=1), "since_time": Timestamp(seconds=1)},
        {"since_age": Duration(seconds=-1)},
    ],
)
async def test_wishes_that_cannot_be_meant(cluster: Cluster, agent: Agent, asked: dict[str, Any]) -> None:
    """
    Two ways to say the same, or a time that is none, is FIELD_INVALID.
    """
    _, name = await placed(cluster, agent)

    assert "FIELD_INVALID" == await failure(read(cluster, name, **asked))


async def test_positions_reach_the_reader(cluster: Cluster, agent: Agent) -> None:
    """
    Where lines end comes with them, for the reader who has to come back; an attempt that is not kept is NOT_FOUND.
    """
    session, name = await placed(cluster, agent)
    lines = read(cluster, name, attempt=9)
    asked = await subscription(session)
    call = v1.AgentServiceStub(session.channel).SendLogs()
    await call.write(v1.SendLogsRequest(subscription_id=asked.subscription_id, lines=["one"], position="9/x/4"))
    answer = await lines.read()
    await call.write(
        v1.SendLogsRequest(
            subscription_id=asked.subscription_id, end=True, error_reason="ATTEMPT_UNKNOWN", error_message="none kept"
        )
    )

    assert isinstance(answer, v1.StreamInstanceLogsResponse)
    assert "9/x/4" == answer.position
    assert "ATTEMPT_UNKNOWN" == await failure(lines)


async def test_no_session(cluster: Cluster, agent: Agent) -> None:
    """
    The log of an instance whose node has no session is NODE_UNREACHABLE.
    """
    session, name = await placed(cluster, agent)
    await session.close()

    assert "NODE_UNREACHABLE" == await failure(read(cluster, name))


async def test_pending_instance_has_no_log(cluster: Cluster) -> None:
    """
    An instance that is not placed, or that there is not, has no log.
    """
    await cluster.deploy()
    await cluster.until(lambda: list(cluster.store.view.instances))
    name = next(iter(cluster.store.view.instances))

    assert "NOT_FOUND" == await failure(read(cluster, name))
    assert "NOT_FOUND" == await failure(read(cluster, "instances/none"))
    assert "FIELD_INVALID" == await failure(read(cluster, "none"))


async def test_another_nodes_subscription(cluster: Cluster, agent: Agent) -> None:
    """
    An agent cannot write into the log of another node's instance.
    """
    session, name = await placed(cluster, agent)
    lines = read(cluster, name)
    asked = await subscription(session)
    other = await Agent(cluster, "b").joined()
    call = v1.AgentServiceStub(other.channel).SendLogs()
    await call.write(v1.SendLogsRequest(subscription_id=asked.subscription_id, lines=["forged"]))

    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await call

    assert "NOT_FOUND" == reason(failed.value)
    lines.cancel()


async def test_a_rank_that_nobody_has(cluster: Cluster, agent: Agent) -> None:
    """
    An instance on one node has rank 0 alone; another one is not found.
    """
    _, name = await placed(cluster, agent)

    assert "NOT_FOUND" == await failure(read(cluster, name, rank=1))
