"""Channels to the controller, and what a failed call said."""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import grpc
import grpc.aio
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from motorpool_agent.identity.store import Identity

MAX_RECEIVE_BYTES = 64 << 20
_ERROR_DOMAIN = "motorpool"
_ENDPOINT = re.compile(r"(\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9._-]{1,253}):[0-9]{1,5}")
_MOST_ENDPOINTS = 64
ROTATED = (
    "the controller's certificate is of no authority that this node trusts: if the cluster's authority was rotated "
    "while this machine was away, stop its agent and enrol it again: "
    "`motorpool-agent enroll --again --server … --token …` with a new join token; what runs goes on"
)


@dataclass(frozen=True, slots=True)
class CallFailure:
    """A failed call: status code, our stable reason (empty when there is none), words, and when to come again."""

    code: grpc.StatusCode
    reason: str
    message: str
    retry_after_seconds: float | None = None
    leader_public: tuple[str, ...] = ()
    leader_agents: tuple[str, ...] = ()
    """Both listeners of the controller that leads, where the one that was called stands by and knows."""

    @property
    def not_leader(self) -> bool:
        """Whether the one that was called stands by."""
        return self.reason == "NOT_LEADER"

    @property
    def turned_away(self) -> bool:
        """Whether gRPC itself had no room for the call: too many waited before it, or were in progress."""
        full = self.code in {grpc.StatusCode.CANCELLED, grpc.StatusCode.RESOURCE_EXHAUSTED}
        return full and not self.reason and self.retry_after_seconds is None

    @property
    def untrusted(self) -> bool:
        """Whether the controller's certificate is of no authority that was trusted."""
        return self.code is grpc.StatusCode.UNAVAILABLE and "CERTIFICATE_VERIFY_FAILED" in self.message


def dial_agents(identity: Identity, endpoint: str, *, use_proxy: bool) -> grpc.aio.Channel:
    """Return a channel to the agents' listener that shows the node's certificate and trusts its cluster alone."""
    credentials = grpc.ssl_channel_credentials(
        root_certificates=identity.ca_pem.encode(),
        private_key=identity.key_pem.encode(),
        certificate_chain=identity.certificate_pem.encode(),
    )
    return grpc.aio.secure_channel(endpoint, credentials, options=_options(use_proxy=use_proxy))


def dial_public(ca_pem: str, endpoint: str, *, use_proxy: bool) -> grpc.aio.Channel:
    """Return a channel to the public listener that trusts exactly this authority."""
    credentials = grpc.ssl_channel_credentials(root_certificates=ca_pem.encode())
    return grpc.aio.secure_channel(endpoint, credentials, options=_options(use_proxy=use_proxy))


def _options(*, use_proxy: bool) -> list[tuple[str, int]]:
    return [
        # gRPC obeys https_proxy by itself; a session through a proxy is the operator's explicit wish.
        ("grpc.enable_http_proxy", int(use_proxy)),
        ("grpc.keepalive_time_ms", 20_000),
        ("grpc.keepalive_timeout_ms", 10_000),
        # A minute unless told otherwise, whatever keepalive says: a controller that stands still is noticed sooner.
        ("grpc.http2.ping_timeout_ms", 10_000),
        # Heartbeats count as data only one way; without this gRPC stops pinging a silent controller.
        ("grpc.http2.max_pings_without_data", 0),
        ("grpc.max_receive_message_length", MAX_RECEIVE_BYTES),
        ("grpc.max_send_message_length", MAX_RECEIVE_BYTES),
        # Connections are ours to retry: channels that share one would share its back-off.
        ("grpc.use_local_subchannel_pool", 1),
    ]


def failure_of(error: grpc.aio.AioRpcError) -> CallFailure:
    """Return what a failed call said; garbage in its details counts as no details."""
    message = error.details() or error.code().name
    try:
        status = rpc_status.from_call(error)
    except (ValueError, TypeError):
        status = None
    reason = ""
    retry_after_seconds: float | None = None
    metadata: Mapping[str, str] = {}
    for detail in status.details if status is not None else ():
        info = error_details_pb2.ErrorInfo()
        retry = error_details_pb2.RetryInfo()
        if detail.Is(info.DESCRIPTOR) and detail.Unpack(info) and info.domain == _ERROR_DOMAIN:
            reason, metadata = info.reason, info.metadata
        elif detail.Is(retry.DESCRIPTOR) and detail.Unpack(retry):
            retry_after_seconds = max(0.0, retry.retry_delay.seconds + retry.retry_delay.nanos / 1e9)
    return CallFailure(
        error.code(),
        reason,
        message,
        retry_after_seconds,
        leader_public=usable_endpoints(metadata.get("public_endpoints", "").split(",")),
        leader_agents=usable_endpoints(metadata.get("agent_endpoints", "").split(",")),
    )


def usable_endpoints(endpoints: Iterable[str]) -> tuple[str, ...]:
    """Return those that are `host:port`, each once, and no more of them than a cluster has."""
    found = dict.fromkeys(each for each in endpoints if _ENDPOINT.fullmatch(each))
    return tuple(found)[:_MOST_ENDPOINTS]


def split_endpoint(endpoint: str) -> tuple[str, int]:
    """Return host (without brackets) and port of ``host:port``."""
    host, _, port = endpoint.rpartition(":")
    return host.strip("[]"), int(port)


def local_address(endpoint: str) -> str:
    """Return this machine's address on the way to an endpoint; nothing is sent.

    Where the endpoint's name cannot be resolved now, the address on the way to anywhere else; at last loopback.
    """
    # 192.0.2.1 is nobody's, by RFC 5737: only its route is asked for.
    for host, port in (split_endpoint(endpoint), ("192.0.2.1", 9)):
        try:
            candidates = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)
        except (OSError, UnicodeError):
            continue
        for family, kind, protocol, _, address in candidates:
            try:
                with socket.socket(family, kind, protocol) as probe:
                    probe.connect(address)
                    found = str(probe.getsockname()[0])
            except OSError:
                continue
            if not ipaddress.ip_address(found.partition("%")[0]).is_unspecified:
                return found.partition("%")[0]
    return "127.0.0.1"
