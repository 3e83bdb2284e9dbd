"""One connection to the controller, and the table of its services."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from contextlib import contextmanager

import grpc

from motorpool import v1
from motorpool_cli import failures
from motorpool_cli.retries import Retries
from motorpool_cli.settings import Settings

# A call that only reads or records; waiting is done by watching.
TIMEOUT_SECONDS = 20.0
MESSAGE_BYTES = 64 * 1024 * 1024


class Client:
    """The controller's services over one TLS channel."""

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
def connect(settings: Settings) -> Iterator[Client]:
    """Give a client for the time of the block; failed calls leave it as CommandError."""
    credentials = grpc.composite_channel_credentials(
        grpc.ssl_channel_credentials(settings.ca_pem), grpc.access_token_call_credentials(settings.token)
    )
    options: list[tuple[str, int]] = [("grpc.max_receive_message_length", MESSAGE_BYTES)]
    if _is_loopback(settings.server):
        options.append(("grpc.enable_http_proxy", 0))  # https_proxy is obeyed elsewhere; no proxy leads back here
    with grpc.secure_channel(settings.server, credentials, options) as channel:
        try:
            yield Client(grpc.intercept_channel(channel, Retries()))
        except grpc.RpcError as error:
            raise failures.from_rpc(error, settings.server) from None


def _is_loopback(server: str) -> bool:
    host = server.rpartition(":")[0].strip("[]")
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:  # another name
        return False
