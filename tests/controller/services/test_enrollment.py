import asyncio
from datetime import timedelta
from pathlib import Path

import grpc
import pytest

from motorpool import v1
from motorpool_agent.identity.ending import CallEnding
from motorpool_controller.security.authority import agent_identity
from motorpool_controller.services.roles import Role
from motorpool_controller.store.store import utc_now
from tests.controller.requests import csr
from tests.controller.running import Running, reason, running

INVALID = grpc.StatusCode.INVALID_ARGUMENT


async def renew(listeners: Running, certificate_pem: str, key: bytes) -> v1.RenewResponse:
    async with listeners.agents(certificate_pem, key) as channel:
        return await v1.AgentServiceStub(channel).Renew(v1.RenewRequest(csr_pem=csr()))


async def test_machine_becomes_a_node(listeners: Running) -> None:
    """
    Enrolment gives a certificate for the node that it made, with which the agents' listener knows the node.
    """
    machine = await listeners.enroll("a", listeners.bearer(Role.JOIN))
    identity = agent_identity(machine.answer.certificate_pem.encode())
    node = listeners.store.view.nodes["nodes/a"]

    assert identity is not None
    assert ("nodes/a", node.uid, identity.node_uid) == (machine.answer.node, machine.answer.node_uid, node.uid)
    assert listeners.authority.pem == machine.answer.ca_pem
    assert [str(listeners.server.agents_address)] == list(machine.answer.agent_endpoints)
    assert (1 << 30, "0.1.0") == (node.host.memory_bytes, node.agent_version)
    assert (identity.serial,) == node.certificate_serials
    assert (await renew(listeners, machine.answer.certificate_pem, machine.key)).certificate_pem


async def test_token_is_used_up(listeners: Running) -> None:
    """
    A token for one machine makes one node, whoever comes first; nothing of the other one is stored.
    """
    token = listeners.bearer(Role.JOIN)
    results = await asyncio.gather(listeners.enroll("a", token), listeners.enroll("b", token), return_exceptions=True)

    failed = [result for result in results if isinstance(result, grpc.RpcError)]
    assert [(grpc.StatusCode.UNAUTHENTICATED, "TOKEN_USED_UP")] == [reason(error) for error in failed]
    assert len(listeners.store.view.nodes) == 1


async def test_name_of_another_machine_is_taken(listeners: Running) -> None:
    """
    A name that another machine has is refused, and the token's use is not counted: it serves under another name.
    """
    await listeners.enroll("a", listeners.bearer(Role.JOIN))
    token = listeners.bearer(Role.JOIN)

    with pytest.raises(grpc.RpcError) as caught:
        await listeners.enroll("a", token, enrollment_id="other")
    assert (grpc.StatusCode.ALREADY_EXISTS, "NODE_NAME_TAKEN") == reason(caught.value)
    assert (await listeners.enroll("b", token)).answer.node == "nodes/b"


async def test_machine_that_lost_its_certificate_gets_another_for_the_same_node(listeners: Running) -> None:
    """
    The same machine with the same token, used up by itself, gets a new certificate; its old one is revoked.
    """
    token = listeners.bearer(Role.JOIN)
    first = await listeners.enroll("a", token)
    second = await listeners.enroll("a", token)

    assert first.answer.node_uid == second.answer.node_uid
    assert (await renew(listeners, second.answer.certificate_pem, second.key)).certificate_pem
    with pytest.raises(grpc.RpcError) as caught:
        await renew(listeners, first.answer.certificate_pem, first.key)
    assert (grpc.StatusCode.UNAUTHENTICATED, "CERTIFICATE_REVOKED") == reason(caught.value)


async def test_used_up_token_of_another_machine_gives_nothing(listeners: Running) -> None:
    """
    A used-up token enrols nobody again but the machine that it was used for.
    """
    await listeners.enroll("a", listeners.bearer(Role.JOIN))
    token = listeners.bearer(Role.JOIN)
    await listeners.enroll("b", token)

    with pytest.raises(grpc.RpcError) as caught:
        await listeners.enroll("a", token)
    assert (grpc.StatusCode.UNAUTHENTICATED, "TOKEN_USED_UP") == reason(caught.value)


@pytest.mark.parametrize("name", ["", "A", "-a", "a-", "a.b", "a/b", "x" * 64, "☃", "a\n"])
async def test_name_that_is_no_dns_label_is_refused(listeners: Running, name: str) -> None:
    """
    A node's name is a DNS label; the field is named.
    """
    with pytest.raises(grpc.RpcError) as caught:
        await listeners.enroll(name, listeners.bearer(Role.JOIN))
    assert (INVALID, "FIELD_INVALID") == reason(caught.value)


async def test_bad_request_uses_no_token(listeners: Running) -> None:
    """
    A signing request that is none, or a missing enrolment id, is refused, and the token stays good.
    """
    token = listeners.bearer(Role.JOIN)
    stub = v1.EnrollmentServiceStub(listeners.public)
    for request in (
        v1.EnrollRequest(node_id="a", enrollment_id="x", csr_pem="nothing"),
        v1.EnrollRequest(node_id="a", csr_pem=csr()),
        v1.EnrollRequest(node_id="a", enrollment_id="x" * 300, csr_pem=csr()),
    ):
        with pytest.raises(grpc.RpcError) as caught:
            await stub.Enroll(request, metadata=token)
        assert (INVALID, "FIELD_INVALID") == reason(caught.value)

    assert {} == listeners.store.view.nodes
    assert (await listeners.enroll("a", token)).answer.node == "nodes/a"


async def test_certificate_past_its_day_renews_and_does_nothing_else(tmp_path: Path) -> None:
    """
    After 24 hours a session is refused and Renew gives a new certificate; after 31 days only enrolling again helps.
    """
    start = now = utc_now()
    async with running(tmp_path, clock=lambda: now) as listeners:
        machine = await listeners.enroll("a", listeners.bearer(Role.JOIN))

        async def refusal() -> tuple[grpc.StatusCode, str]:
            async with listeners.agents(machine.answer.certificate_pem, machine.key) as channel:
                hello = v1.SessionRequest(hello=v1.Hello(cluster_id="other"))
                call = v1.AgentServiceStub(channel).Session(iter([hello]))
                said = CallEnding(call)
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    await call.read()
                return reason(await said.of(caught.value))

        # Its first day: admitted, and refused for what it says.
        now = start + timedelta(hours=23, minutes=59)
        assert (grpc.StatusCode.FAILED_PRECONDITION, "WRONG_CLUSTER") == await refusal()
        now = start + timedelta(hours=24, seconds=1)
        assert (grpc.StatusCode.UNAUTHENTICATED, "CERTIFICATE_EXPIRED") == await refusal()
        assert (await renew(listeners, machine.answer.certificate_pem, machine.key)).certificate_pem
        now = start + timedelta(days=31, seconds=1)
        with pytest.raises(grpc.RpcError) as caught:
            await renew(listeners, machine.answer.certificate_pem, machine.key)
        assert (grpc.StatusCode.UNAUTHENTICATED, "CERTIFICATE_EXPIRED") == reason(caught.value)


async def test_deleted_nodes_certificate_is_revoked(listeners: Running) -> None:
    """
    After its node was deleted, a certificate opens nothing; the machine may enrol again as a new node.
    """
    machine = await listeners.enroll("a", listeners.bearer(Role.JOIN))
    await listeners.store.commit(lambda tx: tx.nodes.delete("nodes/a"))
    with pytest.raises(grpc.RpcError) as caught:
        await renew(listeners, machine.answer.certificate_pem, machine.key)
    again = await listeners.enroll("a", listeners.bearer(Role.JOIN))

    assert (grpc.StatusCode.UNAUTHENTICATED, "CERTIFICATE_REVOKED") == reason(caught.value)
    assert machine.answer.node_uid != again.answer.node_uid


async def test_renewal_keeps_the_certificate_in_use(listeners: Running) -> None:
    """
    An agent that dies before it wrote its new certificate down goes on with the old one; very old ones end.
    """
    machine = await listeners.enroll("a", listeners.bearer(Role.JOIN))
    for _ in range(3):
        await renew(listeners, machine.answer.certificate_pem, machine.key)
    # The fourth renewal still comes with the first certificate, and pushes it out.
    await renew(listeners, machine.answer.certificate_pem, machine.key)
    with pytest.raises(grpc.RpcError) as caught:
        await renew(listeners, machine.answer.certificate_pem, machine.key)

    assert (grpc.StatusCode.UNAUTHENTICATED, "CERTIFICATE_REVOKED") == reason(caught.value)
