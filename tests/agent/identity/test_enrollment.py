"""Enrolment, against a controller with real TLS."""

from __future__ import annotations

import asyncio
import socket
import stat
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest

from motorpool import v1
from motorpool_agent.identity.enrollment import enroll
from motorpool_agent.identity.errors import RefusedError, UnreachableError
from motorpool_agent.identity.store import Identity, IdentityStore
from tests.agent.authority import TestAuthority
from tests.agent.controllers import RefusalError, TestController, serving


@pytest.fixture
async def controller() -> AsyncIterator[TestController]:
    async with serving(TestController()) as served:
        yield served


@pytest.fixture
def store(tmp_path: Path) -> IdentityStore:
    return IdentityStore(tmp_path)


async def join(
    store: IdentityStore, controller: TestController, *, token: str | None = None, server: str | None = None
) -> Identity:
    return await enroll(
        store,
        server=server or controller.public,
        token=token or controller.authority.token(),
        node_id="alpha",
        host=v1.Host(hostname="alpha"),
        agent_version="0.1.0",
        use_proxy=False,
    )


async def test_a_token_buys_an_identity(store: IdentityStore, controller: TestController) -> None:
    """
    Enrolment sends the token as bearer and keeps what comes back, for the owner's eyes only.
    """
    identity = await join(store, controller)

    request, bearer = controller.enrolments[0]
    assert bearer == f"Bearer {controller.authority.token()}"
    assert (request.node_id, request.host.hostname) == ("alpha", "alpha")
    assert identity.document.node == "nodes/alpha"
    assert identity.document.agent_endpoints == (controller.agents,)
    assert store.load() == identity
    assert stat.S_IMODE((store.directory / "key.pem").stat().st_mode) == 0o600
    assert stat.S_IMODE(store.directory.stat().st_mode) == 0o700


async def test_a_lost_answer_is_asked_for_again(store: IdentityStore, controller: TestController) -> None:
    """
    Two tries of one machine carry the same enrollment id.
    """
    controller.refuse_enrolment = RefusalError(grpc.StatusCode.UNAVAILABLE, "", "went away")
    with pytest.raises(UnreachableError, match="not used up"):
        await join(store, controller)
    controller.refuse_enrolment = None

    await join(store, controller)

    first, second = (request.enrollment_id for request, _ in controller.enrolments)
    assert first == second != ""


@pytest.mark.parametrize(
    ("code", "reason", "step"),
    [
        (grpc.StatusCode.UNAUTHENTICATED, "TOKEN_EXPIRED", "motorpool-controller token join"),
        (grpc.StatusCode.UNAUTHENTICATED, "TOKEN_USED_UP", "motorpool-controller token join"),
        (grpc.StatusCode.UNAUTHENTICATED, "TOKEN_INVALID", "motorpool-controller token join"),
        (grpc.StatusCode.ALREADY_EXISTS, "NODE_NAME_TAKEN", "--node-name"),
    ],
)
async def test_a_refusal_says_what_to_do(
    store: IdentityStore, controller: TestController, code: grpc.StatusCode, reason: str, step: str
) -> None:
    """
    A refused enrolment names server, reason and next step, leaves no identity, and never shows the token.
    """
    controller.refuse_enrolment = RefusalError(code, reason, "that is how it is")

    with pytest.raises(RefusedError) as caught:
        await join(store, controller)

    message = str(caught.value)
    assert caught.value.reason == reason
    assert caught.value.exit_code == 4
    assert all(part in message for part in (controller.public, reason, "that is how it is", step))
    assert "5555" not in message
    assert store.load() is None


async def test_another_cluster_gets_nothing(store: IdentityStore, controller: TestController) -> None:
    """
    A server whose chain lacks the token's authority is sent neither token nor name.
    """
    stranger = TestAuthority("another cluster")

    with pytest.raises(UnreachableError, match="not the cluster that this join token is for"):
        await join(store, controller, token=stranger.token())

    assert controller.enrolments == []


async def test_a_leaf_is_no_authority(store: IdentityStore, controller: TestController) -> None:
    """
    A token whose fingerprint is that of the server's own certificate is not trusted as an authority.
    """
    from motorpool_agent.identity.authority import fetch_authority

    host, port = controller.public.split(":")
    import asyncio
    import hashlib
    import ssl

    leaf = await asyncio.to_thread(ssl.get_server_certificate, (host, int(port)))
    fingerprint = hashlib.sha256(ssl.PEM_cert_to_DER_cert(leaf)).hexdigest()

    answer = await asyncio.to_thread(fetch_authority, host, int(port), fingerprint)

    assert "not an authority's" in answer["mismatch"]


async def test_nobody_there(store: IdentityStore, controller: TestController) -> None:
    """
    A port that nobody listens on is an unreachable controller, with exit code 3.
    """
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]

    with pytest.raises(UnreachableError, match=f"127.0.0.1:{port}.*--server") as caught:
        await join(store, controller, server=f"127.0.0.1:{port}")

    assert caught.value.exit_code == 3


@pytest.mark.parametrize(
    "token", ["", "mpj_", "mp_abcdefghij_" + "5" * 64, "mpj_a_b_c", "\0", "mpj_x_secretsecret_" + "g" * 64]
)
async def test_a_malformed_token_is_refused_before_anything_is_sent(
    store: IdentityStore, controller: TestController, token: str
) -> None:
    """
    What is no join token is said to be none, without being repeated.
    """
    with pytest.raises(RefusedError, match="malformed") as caught:
        await join(store, controller, token=token or " ")

    assert caught.value.reason == "TOKEN_INVALID"
    assert not token.strip("\0") or token not in str(caught.value).replace("mpj_, an id", "")


async def test_a_machine_waits_for_its_turn(store: IdentityStore, controller: TestController) -> None:
    """
    Where too many enrol at once, a machine comes again when it was told to, with the same token, and gets in.
    """
    controller.refuse_enrolment = RefusalError(
        grpc.StatusCode.RESOURCE_EXHAUSTED, "RATE_LIMITED", "too many", retry_seconds=0.01
    )

    async def let_in() -> None:
        while not controller.enrolments:  # noqa: ASYNC110  # the first try
            await asyncio.sleep(0.005)
        controller.refuse_enrolment = None

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(let_in())
        joining = tasks.create_task(join(store, controller))

    assert "nodes/alpha" == joining.result().document.node
    assert 2 == len(controller.enrolments)


async def test_nobody_waits_for_ever_to_be_let_in(
    store: IdentityStore, controller: TestController, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    A machine that was sent away for too long says so; a refusal that names no time is told at once.
    """
    monkeypatch.setattr("motorpool_agent.identity.enrollment.LONGEST_WAIT_SECONDS", -1.0)
    for seconds in (0.01, None):
        controller.refuse_enrolment = RefusalError(
            grpc.StatusCode.RESOURCE_EXHAUSTED, "RATE_LIMITED", "too many", retry_seconds=seconds
        )
        with pytest.raises(RefusedError, match="RATE_LIMITED"):
            await join(store, controller)

    assert 2 == len(controller.enrolments)


@pytest.mark.promise("P6")
async def test_a_coming_authority_is_trusted_beside(store: IdentityStore, controller: TestController) -> None:
    """
    A machine that joins while the authority is rotated trusts both; an answer without the token's counts for nothing.
    """
    coming = TestAuthority("coming").pem
    controller.told_to_trust = controller.authority.pem + coming
    assert (await join(store, controller)).ca_pem == controller.told_to_trust

    controller.told_to_trust = coming
    assert (await join(store, controller)).ca_pem == controller.authority.pem
