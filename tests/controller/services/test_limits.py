"""What one caller can have the controller do: sizes, times, numbers, how often."""

import asyncio
import socket
import ssl
import struct
from types import SimpleNamespace
from typing import Any

import grpc
import pytest
from google.rpc.error_details_pb2 import RetryInfo
from grpc_status import rpc_status

from motorpool import v1
from motorpool_controller.domain.errors import DomainError
from motorpool_controller.services import authentication
from motorpool_controller.services.callers import Caller, Context
from motorpool_controller.services.enrollment import EnrollmentService
from motorpool_controller.services.guard import Guard
from motorpool_controller.services.rates import Rate, Rates
from motorpool_controller.services.roles import Role
from motorpool_controller.services.server import HEADERS_BYTES, PUBLIC_MESSAGE_BYTES, STREAMS_OF_CONNECTION
from motorpool_controller.store.store import utc_now
from tests.controller.requests import csr
from tests.controller.running import Running, reason

pytestmark = pytest.mark.promise("P9")

EXHAUSTED = grpc.StatusCode.RESOURCE_EXHAUSTED
PING_FRAME = struct.pack(">I", 8)[1:] + bytes([6, 0]) + struct.pack(">I", 0) + b"motorpoo"
SETTINGS_FRAME = bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + SETTINGS_FRAME
GOAWAY, SETTINGS = 7, 4
MAX_CONCURRENT_STREAMS = 3


def retry_seconds(error: grpc.RpcError) -> float:
    status = rpc_status.from_call(error)
    assert status is not None
    for detail in status.details:
        told = RetryInfo()
        if detail.Unpack(told):
            return told.retry_delay.ToNanoseconds() / 1e9
    raise AssertionError("no RetryInfo")


async def test_long_headers_are_refused(listeners: Running) -> None:
    """
    Headers beyond the limit end the call before anybody looks at them.
    """
    metadata = (*listeners.bearer(Role.READER), ("x-long", "x" * (HEADERS_BYTES + 1)))
    with pytest.raises(grpc.RpcError) as caught:
        await v1.ClusterServiceStub(listeners.public).GetCluster(v1.GetClusterRequest(), metadata=metadata)

    assert EXHAUSTED == caught.value.code()


async def test_every_listener_bounds_its_messages(listeners: Running) -> None:
    """
    A stranger's message beyond the limit is refused as well, on any method that there is.
    """
    for method in ("/motorpool.v1.EnrollmentService/Enroll", "/motorpool.v1.Invented/Method"):
        call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = listeners.public.unary_unary(method)
        with pytest.raises(grpc.RpcError) as caught:
            await call(b"x" * (PUBLIC_MESSAGE_BYTES + 1))
        assert caught.value.code() in {EXHAUSTED, grpc.StatusCode.UNAUTHENTICATED}


async def test_a_call_has_its_time() -> None:
    """
    A call that its handler never answers ends by itself, with a reason, and its handler with it.
    """
    left = asyncio.Event()

    async def endless(_request: bytes, _context: object) -> bytes:
        try:
            await asyncio.Event().wait()
        finally:
            left.set()
        return b""

    async def known(_details: object) -> Any:
        return grpc.unary_unary_rpc_method_handler(endless, request_deserializer=bytes)

    async def admin(method: str, context: Context) -> Caller:
        return Caller(role=Role.ADMIN, token_id="t")

    method = "/motorpool.v1.ClusterService/GetCluster"
    server = grpc.aio.server(interceptors=[_Always(Guard(admin, call_seconds=0.05), method, known)])
    server.add_generic_rpc_handlers([_Handlers(await known(None))])
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(method)
        with pytest.raises(grpc.RpcError) as caught:
            await call(b"")
    await server.stop(None)

    assert (grpc.StatusCode.DEADLINE_EXCEEDED, "CALL_TIMEOUT") == reason(caught.value)
    assert left.is_set()


class _Handlers(grpc.GenericRpcHandler):
    def __init__(self, handler: Any) -> None:
        self._handler = handler

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        return self._handler


class _Always(grpc.aio.ServerInterceptor):
    def __init__(self, guard: Guard, method: str, known: Any) -> None:
        self._guard, self._method, self._known = guard, method, known

    async def intercept_service(self, continuation: Any, details: Any) -> Any:
        return await self._guard.intercept_service(self._known, SimpleNamespace(method=self._method))


def _frames(listeners: Running, sent: bytes, wanted: int) -> bytes:
    """Send bytes over TLS of a connection of its own; return the payload of the first frame of a kind."""
    context = ssl.create_default_context(cadata=listeners.authority.pem)
    context.set_alpn_protocols(["h2"])
    address = listeners.server.public_address
    with (
        socket.create_connection((address.host, address.port), timeout=20) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as connection,
    ):
        connection.sendall(sent)
        read = connection.makefile("rb")
        while head := read.read(9):
            payload = read.read(int.from_bytes(head[:3]))
            if head[3] == wanted and not head[4] & 1:
                return payload
    return b""


async def test_who_pings_without_end_is_disconnected(listeners: Running) -> None:
    """
    Pings faster than anyone needs end the connection (ENHANCE_YOUR_CALM), without a call having been made.
    """
    payload = await asyncio.to_thread(_frames, listeners, PREFACE + PING_FRAME * 10, GOAWAY)

    assert 11 == int.from_bytes(payload[4:8])
    assert b"too_many_pings" in payload


async def test_a_connection_has_so_many_streams(listeners: Running) -> None:
    """
    The listener tells every client how many calls it takes at once on a connection.
    """
    payload = await asyncio.to_thread(_frames, listeners, PREFACE, SETTINGS)
    settings = dict(struct.iter_unpack(">HI", payload))

    assert STREAMS_OF_CONNECTION == settings[MAX_CONCURRENT_STREAMS]


async def test_enrolments_are_let_in_at_a_rate(listeners: Running) -> None:
    """
    Beyond the burst a machine is told when its turn comes, over a real connection; its token is not used up.
    """
    service = listeners.service(EnrollmentService)
    now = 0.0
    service._rates = Rates(Rate(burst=2, per_second=0.5), Rate(burst=10, per_second=10.0))
    service._monotonic = lambda: now
    token = listeners.bearer(Role.JOIN, uses=3)
    for name in ("a", "b"):
        await listeners.enroll(name, token)

    with pytest.raises(grpc.RpcError) as caught:
        await listeners.enroll("c", token)
    assert (EXHAUSTED, "RATE_LIMITED") == reason(caught.value)
    assert pytest.approx(2.0) == retry_seconds(caught.value)

    now = 2.0
    assert "nodes/c" == (await listeners.enroll("c", token)).answer.node


async def test_refused_enrolments_count_as_well(listeners: Running) -> None:
    """
    Bad requests wear the limit down like good ones: each would cost its work again.
    """
    service = listeners.service(EnrollmentService)
    service._rates = Rates(Rate(burst=1, per_second=0.01), Rate(burst=10, per_second=10.0))
    request = v1.EnrollRequest(node_id="???", csr_pem=csr(), enrollment_id="x")
    found = []
    for _ in range(2):
        with pytest.raises(grpc.RpcError) as caught:
            await v1.EnrollmentServiceStub(listeners.public).Enroll(request, metadata=listeners.bearer(Role.JOIN))
        found.append(reason(caught.value)[1])

    assert ["FIELD_INVALID", "RATE_LIMITED"] == found


async def test_wrong_tokens_are_looked_up_at_a_rate(listeners: Running) -> None:
    """
    Who tries tokens without end is told to come later, without a look into the database; calls without one are free.
    """
    now = 0.0
    wrong = Rates(Rate(burst=3, per_second=0.5), Rate(burst=100, per_second=10.0))
    authenticate = authentication.TokenAuthenticator(listeners.store, utc_now, monotonic=lambda: now, wrong=wrong)

    async def refusal(value: str, peer: str = "ipv4:192.0.2.1:1") -> str:
        context: Any = SimpleNamespace(
            invocation_metadata=lambda: (("authorization", f"Bearer {value}"),), peer=lambda: peer
        )
        try:
            await authenticate("/motorpool.v1.ClusterService/GetCluster", context)
        except DomainError as error:
            return error.reason
        return "admitted"

    guess = f"mp_abcdefghij_{'a' * 64}"
    good = listeners.bearer(Role.READER)[0][1].removeprefix("Bearer ")

    assert ["TOKEN_INVALID"] * 5 == [await refusal("nonsense") for _ in range(5)]
    assert ["TOKEN_INVALID"] * 3 + ["RATE_LIMITED"] == [await refusal(guess) for _ in range(4)]
    assert "RATE_LIMITED" == await refusal(good)
    assert "admitted" == await refusal(good, "ipv4:192.0.2.2:1")
    now = 2.0
    assert "admitted" == await refusal(good)


async def test_a_flood_of_enrolments_changes_nothing_for_others(listeners: Running) -> None:
    """
    While enrolments are refused for their rate, a reader is answered as ever.
    """
    token = listeners.bearer(Role.JOIN)
    request = v1.EnrollRequest(node_id="x", csr_pem="nonsense", enrollment_id="x")
    stub = v1.EnrollmentServiceStub(listeners.public)
    asked = [asyncio.ensure_future(stub.Enroll(request, metadata=token)) for _ in range(200)]
    listed = await v1.NodeServiceStub(listeners.public).ListNodes(
        v1.ListNodesRequest(), metadata=listeners.bearer(Role.READER)
    )
    refused = await asyncio.gather(*asked, return_exceptions=True)

    assert not listed.nodes
    reasons = [reason(each)[1] for each in refused if isinstance(each, grpc.aio.AioRpcError)]
    assert {"FIELD_INVALID", "RATE_LIMITED"} == set(reasons)
    assert 200 == len(reasons)
