"""One connection to the controller, and the table of its services."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from contextlib import contextmanager

import grpc

from motorpool import v1
from motorpool_cli import failures
from motorpool_cli.bearer import secure_channel
from motorpool_cli.following import Followed, Servers
from motorpool_cli.retries import Retries
from motorpool_cli.settings import Settings
from motorpool_cli.tracing import Trace

# A call that only reads or records; waiting is done by watching.
TIMEOUT_SECONDS = 20.0
MESSAGE_BYTES = 64 * 1024 * 1024


class Client:
    """The controller's services over TLS; of several controllers, those of the one that leads."""

    def __init__(self, channel: grpc.Channel) -> None:
        self.cluster = v1.ClusterServiceStub(channel)
        self.nodes = v1.NodeServiceStub(channel)
        self.deployments = v1.DeploymentServiceStub(channel)
        self.files = v1.FileServiceStub(channel)
        self.instances = v1.InstanceServiceStub(channel)
        self.models = v1.ModelServiceStub(channel)
        self.events = v1.EventServiceStub(channel)
        self.backends = v1.BackendServiceStub(channel)
        self.tokens = v1.TokenServiceStub(channel)
        self.watch = v1.WatchServiceStub(channel)


@contextmanager
def connect(settings: Settings, *, patient: bool = True) -> Iterator[Client]:
    """Give a client for the time of the block; failed calls leave it as CommandError.

    One that is not ``patient`` waits for no controller to come, or to take another one's place.
    """
    servers = Servers(
        settings.servers,
        lambda server: secure_channel(server, settings.ca_pem, settings.token, _options(server)),
    )
    with Followed(servers) as channel:
        try:
            retries = Retries(lambda: patient and servers.several)
            yield Client(grpc.intercept_channel(channel, retries, Trace()))
        except grpc.RpcError as error:
            raise failures.from_rpc(error, servers.present) from None


def _options(server: str) -> list[tuple[str, int]]:
    options: list[tuple[str, int]] = [
        ("grpc.max_receive_message_length", MESSAGE_BYTES),
        # A controller that stands still keeps its connections: who follows something is to notice.
        ("grpc.keepalive_time_ms", 20_000),
        ("grpc.keepalive_timeout_ms", 10_000),
        ("grpc.http2.ping_timeout_ms", 10_000),
        ("grpc.max_reconnect_backoff_ms", 2_000),
    ]
    if _is_loopback(server):
        options.append(("grpc.enable_http_proxy", 0))  # https_proxy is obeyed elsewhere; no proxy leads back here
    return options


def _is_loopback(server: str) -> bool:
    host = server.rpartition(":")[0].strip("[]")
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:  # another name
        return False
