import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from motorpool import v1
from motorpool_controller.security.authority import Authority
from motorpool_controller.services.roles import Role
from motorpool_controller.store.store import utc_now
from tests.controller.requests import csr
from tests.controller.running import Metadata, Running, reason

UNAUTHENTICATED = grpc.StatusCode.UNAUTHENTICATED
DENIED = grpc.StatusCode.PERMISSION_DENIED


async def ask(listeners: Running, metadata: Metadata) -> v1.Cluster:
    return await v1.ClusterServiceStub(listeners.public).GetCluster(v1.GetClusterRequest(), metadata=metadata)


async def refusal(listeners: Running, metadata: Metadata) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.RpcError) as caught:
        await ask(listeners, metadata)
    return reason(caught.value)


async def test_caller_learns_its_role(listeners: Running) -> None:
    """
    Reader, operator and admin are admitted as what their tokens say.
    """
    roles = [
        (await ask(listeners, listeners.bearer(role))).caller_role for role in (Role.READER, Role.OPERATOR, Role.ADMIN)
    ]

    assert [v1.ROLE_READER, v1.ROLE_OPERATOR, v1.ROLE_ADMIN] == roles


@pytest.mark.promise("P6")
@pytest.mark.parametrize(
    ("metadata", "why"),
    [
        ((), "CREDENTIALS_MISSING"),
        ((("authorization", ""),), "TOKEN_INVALID"),
        ((("authorization", "Bearer "),), "TOKEN_INVALID"),
        ((("authorization", "Bearer nonsense"),), "TOKEN_INVALID"),
        ((("authorization", f"Bearer mp_abcdefghij_{'a' * 64}"),), "TOKEN_INVALID"),
        ((("authorization", f"Bearer mp_' OR 1=1_{'a' * 64}"),), "TOKEN_INVALID"),
    ],
)
async def test_who_is_not_known_is_told_why(listeners: Running, metadata: Metadata, why: str) -> None:
    """
    A call without credentials, or with some that are none, is refused with its reason.
    """
    assert (UNAUTHENTICATED, why) == await refusal(listeners, metadata)


@pytest.mark.promise("P6")
async def test_right_id_with_wrong_secret_is_refused(listeners: Running) -> None:
    """
    Knowing a token's id, which lists show, does not help without its secret.
    """
    ((key, value),) = listeners.bearer(Role.ADMIN)
    other = listeners.bearer(Role.ADMIN)[0][1]
    mixed = value[: value.rindex("_")] + other[other.rindex("_") :]

    assert (UNAUTHENTICATED, "TOKEN_INVALID") == await refusal(listeners, ((key, mixed),))


async def test_two_tokens_are_none(listeners: Running) -> None:
    """
    A call that carries two tokens is refused: nobody is to guess which one counts.
    """
    token = listeners.bearer(Role.ADMIN)

    assert (UNAUTHENTICATED, "TOKEN_INVALID") == await refusal(listeners, token + token)


async def test_scheme_is_bearer_in_any_case(listeners: Running) -> None:
    """
    The scheme's case does not matter; another scheme is refused.
    """
    ((key, value),) = listeners.bearer(Role.READER)
    text = value.removeprefix("Bearer ")

    assert (await ask(listeners, ((key, f"bearer {text}"),))).cluster_id
    assert (UNAUTHENTICATED, "TOKEN_INVALID") == await refusal(listeners, ((key, f"Basic {text}"),))


async def test_expired_token_is_refused(listeners: Running) -> None:
    """
    A token whose time is over is told so, apart from one that was never there.
    """
    token = listeners.bearer(Role.ADMIN, ttl=timedelta(hours=1), now=utc_now() - timedelta(hours=1))

    assert (UNAUTHENTICATED, "TOKEN_EXPIRED") == await refusal(listeners, token)


async def test_revoked_token_is_refused_at_once(listeners: Running) -> None:
    """
    The next call after a revocation is refused.
    """
    token = listeners.bearer(Role.ADMIN)
    assert (await ask(listeners, token)).cluster_id
    listeners.store.tokens.delete(token[0][1].split("_")[1])

    assert (UNAUTHENTICATED, "TOKEN_INVALID") == await refusal(listeners, token)


@pytest.mark.promise("P6")
async def test_what_there_is_not_is_for_those_who_are_known(listeners: Running) -> None:
    """
    Whether a method exists is told to readers only: others are refused first, with the same words as anywhere.
    """
    unknown: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = listeners.public.unary_unary(
        "/motorpool.v1.NodeService/Invented"
    )

    async def call(metadata: Metadata) -> tuple[grpc.StatusCode, str]:
        with pytest.raises(grpc.RpcError) as caught:
            await unknown(b"", metadata=metadata)
        return reason(caught.value)

    assert (UNAUTHENTICATED, "CREDENTIALS_MISSING") == await call(())
    assert (DENIED, "ROLE_INSUFFICIENT") == await call(listeners.bearer(Role.JOIN))
    assert (grpc.StatusCode.UNIMPLEMENTED, "UNIMPLEMENTED") == await call(listeners.bearer(Role.READER))


@pytest.mark.promise("P9")
@pytest.mark.parametrize("raw", [b"\xff", b"\x0a\xff\xff\xff\xff\x0f", b"\x0a\x02\xff\xfe"])
async def test_bytes_that_are_no_message_are_the_callers_mistake(listeners: Running, raw: bytes) -> None:
    """
    A body that cannot be parsed is refused with a reason, not as an unknown error; strangers' bodies are not parsed.
    """
    get: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = listeners.public.unary_unary(
        "/motorpool.v1.NodeService/GetNode"
    )
    watch: grpc.aio.UnaryStreamMultiCallable[bytes, bytes] = listeners.public.unary_stream(
        "/motorpool.v1.WatchService/Watch"
    )
    for metadata, expected in (
        (listeners.bearer(Role.READER), (grpc.StatusCode.INVALID_ARGUMENT, "FIELD_INVALID")),
        ((), (UNAUTHENTICATED, "CREDENTIALS_MISSING")),
    ):
        with pytest.raises(grpc.RpcError) as caught:
            await get(raw, metadata=metadata)
        assert expected == reason(caught.value)
        with pytest.raises(grpc.RpcError) as caught:
            await watch(raw, metadata=metadata).read()
        assert expected == reason(caught.value)


async def test_bytes_that_are_no_message_end_a_session(listeners: Running) -> None:
    """
    In an agent's stream, too, a message that cannot be parsed is refused with its reason.
    """
    machine = await listeners.enroll("a", listeners.bearer(Role.JOIN))
    async with listeners.agents(machine.answer.certificate_pem, machine.key) as channel:
        session: grpc.aio.StreamStreamMultiCallable[bytes, bytes] = channel.stream_stream(
            "/motorpool.v1.AgentService/Session"
        )

        async def sent() -> AsyncIterator[bytes]:
            yield b"\xff"

        with pytest.raises(grpc.RpcError) as caught:
            await session(sent()).read()
    assert (grpc.StatusCode.INVALID_ARGUMENT, "FIELD_INVALID") == reason(caught.value)


@pytest.mark.promise("P6")
async def test_agents_listener_needs_a_certificate_of_the_cluster(listeners: Running, tmp_path: Path) -> None:
    """
    Without a client certificate, with another authority's, or with one that names no node, no call gets through.
    """
    other = tmp_path / "other"
    other.mkdir()
    stranger = Authority.create(other, listeners.authority.cluster_id, utc_now())
    machine = await listeners.enroll("a", listeners.bearer(Role.JOIN))
    request = v1.RenewRequest(csr_pem=csr())

    credentials = grpc.ssl_channel_credentials(listeners.authority.pem.encode())
    async with grpc.aio.secure_channel(str(listeners.server.agents_address), credentials) as channel:
        with pytest.raises(grpc.RpcError) as caught:
            await v1.AgentServiceStub(channel).Renew(request, metadata=listeners.bearer(Role.ADMIN))
        assert caught.value.code() == grpc.StatusCode.UNAVAILABLE  # refused in the handshake

    foreign = stranger.sign_agent(_csr_of(machine.key), machine.answer.node_uid, utc_now())
    async with listeners.agents(foreign.pem, machine.key) as channel:
        with pytest.raises(grpc.RpcError) as caught:
            await v1.AgentServiceStub(channel).Renew(request)
        assert caught.value.code() == grpc.StatusCode.UNAVAILABLE

    unknown = listeners.authority.sign_agent(_csr_of(machine.key), "no-such-node", utc_now())
    async with listeners.agents(unknown.pem, machine.key) as channel:
        with pytest.raises(grpc.RpcError) as caught:
            await v1.AgentServiceStub(channel).Renew(request)
        assert (UNAUTHENTICATED, "CERTIFICATE_REVOKED") == reason(caught.value)


def _csr_of(key: bytes) -> str:
    from cryptography.hazmat.primitives import serialization

    loaded = serialization.load_pem_private_key(key, password=None)
    return csr(loaded)  # type: ignore[arg-type]  # the P-256 key that the test made


@pytest.mark.promise("P6")
async def test_agents_listener_serves_agents_calls_only(listeners: Running) -> None:
    """
    With an agent's certificate nothing but AgentService can be called, not even with an admin's token beside it.
    """
    machine = await listeners.enroll("a", listeners.bearer(Role.JOIN))
    async with listeners.agents(machine.answer.certificate_pem, machine.key) as channel:
        for metadata in ((), listeners.bearer(Role.ADMIN)):
            with pytest.raises(grpc.RpcError) as caught:
                await v1.ClusterServiceStub(channel).GetCluster(v1.GetClusterRequest(), metadata=metadata)
            assert (DENIED, "ROLE_INSUFFICIENT") == reason(caught.value)


async def test_health_is_told_to_readers(listeners: Running) -> None:
    """
    The health service answers a reader, once and as a stream, and nobody else.
    """
    health = health_pb2_grpc.HealthStub(listeners.public)
    request = health_pb2.HealthCheckRequest()
    serving = health_pb2.HealthCheckResponse.SERVING
    reader = listeners.bearer(Role.READER)
    watching = health.Watch(request, metadata=reader)

    assert serving == (await health.Check(request, metadata=reader)).status
    assert serving == (await asyncio.wait_for(watching.read(), timeout=20)).status
    watching.cancel()
    with pytest.raises(grpc.RpcError) as caught:
        await health.Check(request)
    assert (UNAUTHENTICATED, "CREDENTIALS_MISSING") == reason(caught.value)
