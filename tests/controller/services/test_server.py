import socket
from datetime import timedelta
from pathlib import Path

import grpc
import pytest
from cryptography import x509

from motorpool import v1
from motorpool_controller.config import Address, Settings
from motorpool_controller.security.authority import SERVER_LIFE, SERVER_RENEW_BEFORE
from motorpool_controller.services.duties import Handlers
from motorpool_controller.services.errors import ListenError
from motorpool_controller.services.roles import Role
from motorpool_controller.services.server import PUBLIC_MESSAGE_BYTES, Server
from motorpool_controller.store.store import utc_now
from tests.controller.running import Running, running


async def test_port_in_use_is_said_to_be(listeners: Running) -> None:
    """
    An address that another program listens on is named, with the flag that gives another.
    """
    with socket.create_server(("127.0.0.1", 0)) as taken:
        settings = Settings(
            data_dir=listeners.settings.data_dir,
            listen=Address("127.0.0.1", taken.getsockname()[1]),
            agents_listen=Address("127.0.0.1", 0),
        )
        with pytest.raises(ListenError, match=rf"cannot listen on {settings.listen}: .* with --listen"):
            Server(settings, listeners.authorities)


async def test_two_controllers_do_not_share_a_port(listeners: Running) -> None:
    """
    A port of one controller is not given to another one, which would get half of the calls.
    """
    settings = Settings(
        data_dir=listeners.settings.data_dir,
        listen=Address("127.0.0.1", 0),
        agents_listen=listeners.server.agents_address,
    )
    with pytest.raises(ListenError, match="--agents-listen"):
        Server(settings, listeners.authorities)


async def test_endless_message_is_refused(listeners: Running) -> None:
    """
    A message larger than the limit is refused before it is in memory.
    """
    call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = listeners.public.unary_unary(
        "/motorpool.v1.ClusterService/GetCluster"
    )
    with pytest.raises(grpc.RpcError) as caught:
        await call(b"x" * (PUBLIC_MESSAGE_BYTES + 1), metadata=listeners.bearer(Role.READER))

    assert caught.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_certificate_is_renewed_while_serving(tmp_path: Path) -> None:
    """
    When the server's certificate ends soon, new connections get a new one; nothing is restarted.
    """
    now = utc_now()
    async with running(tmp_path, clock=lambda: now) as listeners:
        before = _certificate(tmp_path)
        now += SERVER_LIFE - SERVER_RENEW_BEFORE - timedelta(days=1)
        await _ask(listeners)
        assert before == _certificate(tmp_path)
        now += timedelta(days=2)
        # Tokens of the present: the certificate of the future is not good yet, so a client of ours would refuse it.
        with pytest.raises(grpc.RpcError):
            await _ask(listeners)
        assert before.serial_number != _certificate(tmp_path).serial_number


def _certificate(directory: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate((directory / "controller" / "server.pem").read_bytes())


async def _ask(listeners: Running) -> v1.Cluster:
    """Ask over a connection of its own."""
    credentials = grpc.ssl_channel_credentials(listeners.authority.pem.encode())
    options = [("grpc.use_local_subchannel_pool", 1)]
    async with grpc.aio.secure_channel(str(listeners.server.public_address), credentials, options) as channel:
        return await v1.ClusterServiceStub(channel).GetCluster(
            v1.GetClusterRequest(), metadata=listeners.bearer(Role.READER)
        )


async def test_stranger_of_the_authority_is_not_connected(listeners: Running) -> None:
    """
    A client that trusts other authorities than the cluster's does not get through TLS.
    """
    async with grpc.aio.secure_channel(str(listeners.server.public_address), grpc.ssl_channel_credentials()) as channel:
        with pytest.raises(grpc.RpcError) as caught:
            await v1.ClusterServiceStub(channel).GetCluster(
                v1.GetClusterRequest(), metadata=listeners.bearer(Role.READER)
            )

    assert caught.value.code() == grpc.StatusCode.UNAVAILABLE


def test_service_that_is_none_is_refused() -> None:
    """
    Only services of the protos can be served.
    """
    with pytest.raises(TypeError, match="object is none of the services"):
        Handlers([object()])
