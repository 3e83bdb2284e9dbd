"""P6 on the agents' listener: every method that the protos define, with every kind of certificate, over real TLS."""

from collections.abc import AsyncIterator, Collection
from datetime import datetime, timedelta
from pathlib import Path

import grpc
import pytest
from cryptography.hazmat.primitives import serialization
from google.protobuf import descriptor_pool

from motorpool import v1
from motorpool_controller.security.authority import RENEW_GRACE, SESSION_LIFE, Authority
from motorpool_controller.services.roles import Role
from motorpool_controller.store.store import utc_now
from tests.controller.requests import csr
from tests.controller.running import Enrolled, Running, reason, running

pytestmark = pytest.mark.promise("P6")

UNAUTHENTICATED, DENIED = grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED


def methods() -> dict[str, str]:
    """Each method of each service, and its role; what is added to the protos is here by itself."""
    pool = descriptor_pool.Default()
    services = [name.removesuffix("Servicer") for name in dir(v1) if name.endswith("ServiceServicer")]
    return {
        f"/motorpool.v1.{service}/{method.name}": v1.Role.Name(method.GetOptions().Extensions[v1.role])
        for service in services
        for method in pool.FindServiceByName(f"motorpool.v1.{service}").methods
    }


METHODS = methods()
STREAMED = {
    f"/{method.containing_service.full_name}/{method.name}"
    for method in descriptor_pool.Default().FindServiceByName("motorpool.v1.AgentService").methods
    if method.client_streaming
}
AGENTS = {name for name, role in METHODS.items() if role == "ROLE_AGENT"}


class Clock:
    def __init__(self) -> None:
        self.ahead = timedelta()

    def __call__(self) -> datetime:
        return utc_now() + self.ahead


@pytest.fixture(name="clock")
def _clock() -> Clock:
    return Clock()


@pytest.fixture(name="here")
async def _here(tmp_path: Path, clock: Clock) -> AsyncIterator[Running]:
    async with running(tmp_path, clock=clock) as listeners:
        yield listeners


async def answers(
    listeners: Running, machine: Enrolled, names: Collection[str] = METHODS
) -> dict[str, tuple[grpc.StatusCode, str]]:
    """Call every method with a machine's certificate and no body; return how each was refused, or that it got past."""
    found = {}
    async with listeners.agents(machine.answer.certificate_pem, machine.key) as channel:
        for name in names:
            metadata = listeners.bearer(Role.ADMIN)
            # A message that is written while the call ends already is an error of the client's own: an empty stream has
            # none, and one request goes out in one piece with the call.
            streams: grpc.aio.StreamStreamMultiCallable[bytes, bytes] = channel.stream_stream(name)
            asks: grpc.aio.UnaryStreamMultiCallable[bytes, bytes] = channel.unary_stream(name)
            call = (
                streams(iter([]), metadata=metadata, timeout=30)
                if name in STREAMED
                else asks(b"", metadata=metadata, timeout=30)
            )
            try:
                await call.read()
            except grpc.aio.AioRpcError as error:
                refused = error.code() in {UNAUTHENTICATED, DENIED}
                found[name] = reason(error) if refused else (error.code(), "")
            else:
                found[name] = (grpc.StatusCode.OK, "")
            call.cancel()
    return found


async def test_an_agent_reaches_agents_methods_and_no_other(here: Running) -> None:
    """
    With a good certificate each method for agents gets past, and each other one is refused, an admin's token or not.
    """
    found = await answers(here, await here.enroll("a", here.bearer(Role.JOIN)))

    others = METHODS.keys() - AGENTS
    assert AGENTS
    assert dict.fromkeys(others, (DENIED, "ROLE_INSUFFICIENT")) == {name: found[name] for name in others}
    assert not {UNAUTHENTICATED, DENIED, grpc.StatusCode.UNAVAILABLE} & {found[name][0] for name in AGENTS}


async def test_after_its_day_a_certificate_only_renews(here: Running, clock: Clock) -> None:
    """
    A certificate past its day gets past Renew and nothing else; past the grace of thirty days nothing at all.
    """
    machine = await here.enroll("a", here.bearer(Role.JOIN))
    expired = (UNAUTHENTICATED, "CERTIFICATE_EXPIRED")
    renew = "/motorpool.v1.AgentService/Renew"

    clock.ahead = SESSION_LIFE + timedelta(minutes=1)
    found = await answers(here, machine)
    assert (grpc.StatusCode.INVALID_ARGUMENT, "") == found.pop(renew)
    assert {expired} == set(found.values())

    clock.ahead = SESSION_LIFE + RENEW_GRACE + timedelta(minutes=1)
    assert dict.fromkeys(METHODS, expired) == await answers(here, machine)


@pytest.mark.parametrize(
    ("what", "expected"), [("banned", (DENIED, "NODE_BANNED")), ("deleted", (UNAUTHENTICATED, "CERTIFICATE_REVOKED"))]
)
async def test_no_method_answers_a_node_that_was_shut_out(
    here: Running, what: str, expected: tuple[grpc.StatusCode, str]
) -> None:
    """
    The certificate of a node that was banned or deleted gets past nothing.
    """
    machine = await here.enroll("a", here.bearer(Role.JOIN))
    nodes, admin = v1.NodeServiceStub(here.public), here.bearer(Role.ADMIN)
    if what == "banned":
        await nodes.BanNode(v1.BanNodeRequest(name="nodes/a"), metadata=admin)
    else:
        await nodes.DeleteNode(v1.DeleteNodeRequest(name="nodes/a"), metadata=admin)

    assert dict.fromkeys(METHODS, expected) == await answers(here, machine)


async def test_no_method_answers_another_authoritys_certificate(here: Running, tmp_path: Path) -> None:
    """
    A certificate that says all the right things, signed by somebody else, is not even connected.
    """
    machine = await here.enroll("a", here.bearer(Role.JOIN))
    (tmp_path / "other").mkdir()
    stranger = Authority.create(tmp_path / "other", here.authority.cluster_id, utc_now())
    key = serialization.load_pem_private_key(machine.key, password=None)
    forged = v1.EnrollResponse(
        certificate_pem=stranger.sign_agent(csr(key), machine.answer.node_uid, utc_now()).pem  # type: ignore[arg-type]
    )

    # Without a connection no method differs from another; a stream's client says so in a way of its own.
    names = METHODS.keys() - STREAMED
    found = await answers(here, Enrolled(forged, machine.key), names)

    assert dict.fromkeys(names, (grpc.StatusCode.UNAVAILABLE, "")) == found
