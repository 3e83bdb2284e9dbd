"""What the controller says as it ends a call reaches the agent, whatever was on its way."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import grpc
import grpc.aio
import pytest

from motorpool_agent.identity.ending import CallEnding

CALLS = 200


@pytest.fixture(name="refusing")
async def _refusing() -> AsyncIterator[grpc.aio.Channel]:
    """
    A channel to a server that refuses each call without a look at what comes in.
    """

    async def refuse(_: object, context: grpc.aio.ServicerContext[bytes, bytes]) -> None:
        await context.abort(grpc.StatusCode.UNAUTHENTICATED, "expired", (("told", "why"),))

    handlers: dict[str, Any] = {"talk": grpc.stream_stream_rpc_method_handler(refuse)}
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test", handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", [("grpc.enable_http_proxy", 0)]) as channel:
        yield channel
    await server.stop(0)


async def told(channel: grpc.aio.Channel, turns: int) -> tuple[grpc.StatusCode, str | None, object]:
    """Return how a call ends whose messages begin to be written so many turns of the loop after it."""
    call: grpc.aio.StreamStreamCall[bytes, bytes] = channel.stream_stream("/test/talk")()
    said = CallEnding(call)

    async def talk() -> None:
        for _ in range(turns):
            await asyncio.sleep(0)
        while True:
            await call.write(b"more")

    talking = asyncio.create_task(talk())
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call.read()
    await asyncio.wait({talking})
    assert isinstance(talking.exception(), grpc.aio.AioRpcError | asyncio.InvalidStateError)
    error = await said.of(caught.value)
    return error.code(), error.details(), (error.trailing_metadata() or {}).get("told")


async def test_refusal_is_heard_while_messages_are_written(refusing: grpc.aio.Channel) -> None:
    """
    A call that is refused ends with what its server says, at whatever moment a message of it was being sent.
    """
    heard = Counter([await told(refusing, number % 20) for number in range(CALLS)])

    assert {(grpc.StatusCode.UNAUTHENTICATED, "expired", "why"): CALLS} == heard


async def test_other_ends_are_as_they_are(refusing: grpc.aio.Channel) -> None:
    """
    Where nobody answered, or the call was given up here, there is nothing to say instead.
    """
    call: grpc.aio.StreamStreamCall[bytes, bytes] = refusing.stream_stream("/test/other")()
    said = CallEnding(call)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call.read()

    assert caught.value is await said.of(caught.value)
    assert grpc.StatusCode.UNIMPLEMENTED is caught.value.code()


async def test_status_may_come_after_the_error() -> None:
    """
    An error of gRPC's own gives way to the call's end, also where that comes later.
    """
    async with grpc.aio.insecure_channel("127.0.0.1:1", [("grpc.enable_http_proxy", 0)]) as channel:
        call: grpc.aio.StreamStreamCall[bytes, bytes] = channel.stream_stream("/test/talk")()
        said = CallEnding(call)
        nothing = grpc.aio.Metadata()
        own = grpc.aio.AioRpcError(grpc.StatusCode.INTERNAL, nothing, nothing, details="Internal error from Core")

        assert grpc.StatusCode.UNAVAILABLE is (await said.of(own)).code()
