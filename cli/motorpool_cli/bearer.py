"""Channels over TLS that show a token with each call."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import grpc

_Continuation = Callable[[Any, Any], Any]


class _Details(NamedTuple):
    method: str
    timeout: float | None
    metadata: Any
    credentials: grpc.CallCredentials | None
    wait_for_ready: bool | None
    compression: Any


def with_metadata(details: Any, *pairs: tuple[str, str]) -> Any:
    """Return a call's details with more metadata."""
    return _Details(
        method=details.method,
        timeout=details.timeout,
        metadata=[*(details.metadata or ()), *pairs],
        credentials=details.credentials,
        wait_for_ready=getattr(details, "wait_for_ready", None),
        compression=getattr(details, "compression", None),
    )


def secure_channel(server: str, ca_pem: bytes, token: str, options: Sequence[tuple[str, int]] = ()) -> grpc.Channel:
    """Return a channel that trusts this authority alone and shows this token."""
    credentials = grpc.ssl_channel_credentials(ca_pem)
    return grpc.intercept_channel(grpc.secure_channel(server, credentials, options), _Bearer(token))


class _Bearer(
    grpc.UnaryUnaryClientInterceptor,
    grpc.UnaryStreamClientInterceptor,
    grpc.StreamUnaryClientInterceptor,
    grpc.StreamStreamClientInterceptor,
):
    """Puts the token in each call's metadata.

    gRPC's own call credentials are Python that its threads call: one that lets go of them while the last channel is
    closed waits for the interpreter's lock, which whoever closes it keeps until that thread is done, for good.
    """

    def __init__(self, token: str) -> None:
        self._shown = ("authorization", f"Bearer {token}")

    def intercept_unary_unary(self, continuation: _Continuation, client_call_details: Any, request: Any) -> Any:
        """Return the call."""
        return continuation(with_metadata(client_call_details, self._shown), request)

    def intercept_unary_stream(self, continuation: _Continuation, client_call_details: Any, request: Any) -> Any:
        """Return the call."""
        return continuation(with_metadata(client_call_details, self._shown), request)

    def intercept_stream_unary(
        self, continuation: _Continuation, client_call_details: Any, request_iterator: Any
    ) -> Any:
        """Return the call."""
        return continuation(with_metadata(client_call_details, self._shown), request_iterator)

    def intercept_stream_stream(
        self, continuation: _Continuation, client_call_details: Any, request_iterator: Any
    ) -> Any:
        """Return the call."""
        return continuation(with_metadata(client_call_details, self._shown), request_iterator)
