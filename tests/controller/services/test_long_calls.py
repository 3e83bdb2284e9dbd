"""Streams end with the credentials that they were opened with."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import grpc
import pytest

from motorpool import v1
from motorpool_controller.domain.event import Severity
from motorpool_controller.services import long_calls
from motorpool_controller.services.roles import Role
from motorpool_controller.store.store import utc_now
from motorpool_controller.store.transaction import Transaction
from tests.controller.agent_client import Agent, Session
from tests.controller.clusters import Cluster
from tests.controller.running import Metadata, Running, reason, running

UNAUTHENTICATED = grpc.StatusCode.UNAUTHENTICATED
WAIT_SECONDS = 20.0
pytestmark = pytest.mark.promise("P6")


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Looked after more often than in earnest, so that tests need not wait.
    """
    monkeypatch.setattr(long_calls.LongCalls.__init__, "__kwdefaults__", {"look_seconds": 0.05, "most": 3})


def token_id(metadata: Metadata) -> str:
    return metadata[0][1].split("_")[1]


async def opened(listeners: Running, metadata: Metadata) -> grpc.aio.UnaryStreamCall[v1.WatchRequest, v1.WatchResponse]:
    call = v1.WatchServiceStub(listeners.public).Watch(v1.WatchRequest(), metadata=metadata)
    async with asyncio.timeout(WAIT_SECONDS):
        assert isinstance(await call.read(), v1.WatchResponse)
    return call


async def how_it_ends(
    call: grpc.aio.UnaryStreamCall[v1.WatchRequest, v1.WatchResponse],
) -> tuple[grpc.StatusCode, str]:
    try:
        async with asyncio.timeout(WAIT_SECONDS):
            while await call.read() is not grpc.aio.EOF:
                pass
    except grpc.aio.AioRpcError as error:
        return reason(error)
    raise AssertionError("it ended without an error")


async def test_revoking_a_token_cuts_its_streams(listeners: Running) -> None:
    """
    A watch that was opened with a token ends when somebody, even beside the process, revokes it; others go on.
    """
    gone, kept = listeners.bearer(Role.READER), listeners.bearer(Role.READER)
    cut, other = await opened(listeners, gone), await opened(listeners, kept)
    await asyncio.to_thread(listeners.store.tokens.delete, token_id(gone))

    assert (UNAUTHENTICATED, "TOKEN_INVALID") == await how_it_ends(cut)
    assert not other.done()
    other.cancel()


async def test_a_stream_ends_with_its_tokens_time(tmp_path: Path) -> None:
    """
    A watch does not outlast the token's time.
    """
    ahead = timedelta()
    async with running(tmp_path, clock=lambda: utc_now() + ahead) as listeners:
        call = await opened(listeners, listeners.bearer(Role.READER, ttl=timedelta(hours=1)))
        ahead = timedelta(hours=2)

        assert (UNAUTHENTICATED, "TOKEN_EXPIRED") == await how_it_ends(call)


async def test_a_stream_that_nobody_reads_is_cut_too(listeners: Running) -> None:
    """
    A reader that reads nothing, so that the controller waits in the middle of a message, is cut like any other.
    """
    metadata = listeners.bearer(Role.READER)
    call = await opened(listeners, metadata)
    watching = [task for task in asyncio.all_tasks() if "streams looked after" in task.get_name()]
    many = "x" * 60_000

    for number in range(200):

        def change(tx: Transaction, number: int = number) -> None:
            tx.event(Severity.INFO, "FULL", "nodes/a", f"{number} {many}")

        await listeners.store.commit(change)
    await asyncio.to_thread(listeners.store.tokens.delete, token_id(metadata))

    assert 1 == len(watching)
    async with asyncio.timeout(WAIT_SECONDS):
        while not watching[0].done():  # noqa: ASYNC110  # it ends when the last stream has left
            await asyncio.sleep(0.02)
    call.cancel()


async def test_one_caller_has_so_many_streams(listeners: Running) -> None:
    """
    One more than one caller may have is refused, and told when to come again; when one ends, the next is admitted.
    """
    metadata = listeners.bearer(Role.READER)
    calls = [await opened(listeners, metadata) for _ in range(3)]

    assert (grpc.StatusCode.RESOURCE_EXHAUSTED, "TOO_MANY_STREAMS") == await how_it_ends(
        v1.WatchServiceStub(listeners.public).Watch(v1.WatchRequest(), metadata=metadata)
    )
    another = await opened(listeners, listeners.bearer(Role.READER))
    calls.pop().cancel()
    async with asyncio.timeout(WAIT_SECONDS):
        while True:
            try:
                calls.append(await opened(listeners, metadata))
                break
            except grpc.aio.AioRpcError:  # the one that left has not been noticed yet
                await asyncio.sleep(0.02)
    for call in (*calls, another):
        call.cancel()


async def ended(session: Session) -> tuple[grpc.StatusCode, str]:
    try:
        async with asyncio.timeout(WAIT_SECONDS):
            while await session.call.read() is not grpc.aio.EOF:
                pass
    except grpc.aio.AioRpcError as error:
        return reason(error)
    raise AssertionError("it ended without an error")


async def test_banning_a_node_ends_its_session(cluster: Cluster, agent: Agent) -> None:
    """
    A banned node's session ends, and it gets no other one, no certificate and no enrolment until it is let back in;
    then it comes back with the certificate that it has.
    """
    session = await agent.joined()
    request = v1.BanNodeRequest(name="nodes/a", reason="stolen")
    banned = await cluster.nodes.BanNode(request, metadata=cluster.admin)
    denied = (grpc.StatusCode.PERMISSION_DENIED, "NODE_BANNED")

    assert ("stolen", True) == (banned.ban.reason, banned.ban.actor.startswith("tokens/"))
    assert denied == await ended(session)
    for refused in (agent.opened, agent.enrol):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await refused()
        assert denied == reason(caught.value)
    async with agent.channel() as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await v1.AgentServiceStub(channel).Renew(v1.RenewRequest(csr_pem=agent.csr()))
    assert denied == reason(caught.value)

    freed = await cluster.nodes.UnbanNode(v1.UnbanNodeRequest(name="nodes/a"), metadata=cluster.admin)
    assert not freed.HasField("ban")
    assert (await agent.opened()).epoch > session.epoch
    reasons = cluster.event_reasons()
    assert ["NODE_BANNED", "NODE_UNBANNED"] == [each for each in reasons if "BAN" in each]


async def test_deleting_a_node_cuts_its_log_streams(cluster: Cluster, agent: Agent) -> None:
    """
    A stream of log lines of a node that was deleted does not go on.
    """
    await agent.joined()
    channel = agent.channel()
    held = asyncio.Event()

    async def lines() -> AsyncIterator[v1.SendLogsRequest]:
        await held.wait()
        yield v1.SendLogsRequest()

    call = v1.AgentServiceStub(channel).SendLogs(lines())
    sent = asyncio.ensure_future(call)
    await cluster.nodes.DeleteNode(v1.DeleteNodeRequest(name="nodes/a", force=True), metadata=cluster.admin)

    with pytest.raises(grpc.aio.AioRpcError) as caught:
        async with asyncio.timeout(WAIT_SECONDS):
            await sent
    assert (UNAUTHENTICATED, "CERTIFICATE_REVOKED") == reason(caught.value)
    held.set()
    await channel.close()
