"""Who makes the call that is being handled."""

from __future__ import annotations

import ipaddress
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import unquote

import grpc

from motorpool_controller.domain.names import SHOWN_CHARACTERS
from motorpool_controller.services.roles import Role

Context = grpc.aio.ServicerContext[Any, Any]
_SITE_BITS = 64


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Caller:
    """Who makes this call: a token's holder, or a node's agent. Each call has its own."""

    role: Role
    token_id: str = ""
    description: str = ""
    node: str = ""
    node_uid: str = ""
    certificate_serial: str = ""
    session_end: datetime | None = None
    """Until when the certificate opens sessions."""
    authority: str = ""
    """Fingerprint of who signed the certificate."""

    @property
    def actor(self) -> str:
        """Who it is in records and events, for people: the token's name, and what it is for."""
        token = f"tokens/{self.token_id}" if self.token_id else self.node
        words = " ".join(self.description.split())
        if not words:
            return token
        cut = words if len(words) <= SHOWN_CHARACTERS else f"{words[: SHOWN_CHARACTERS - 1]}…"
        return f"{token} ({cut})"


_CALLER: ContextVar[Caller] = ContextVar("caller")


def caller() -> Caller:
    """Return who makes the call that is being handled."""
    return _CALLER.get()


def set_caller(found: Caller) -> None:
    """From now on, in this task, the call is this one's."""
    _CALLER.set(found)


def address_of(peer: str) -> str:
    """Return the address in what gRPC calls a peer (`ipv4:192.0.2.1:4711`, `ipv6:%5B::1%5D:4711`); else the peer."""
    kind, _, rest = unquote(peer).partition(":")
    host = rest.rpartition(":")[0].strip("[]") if kind in {"ipv4", "ipv6"} else ""
    return host or peer


def site_of(address: str) -> str:
    """Return what limits count as one: an IPv4 address, or the /64 that one machine can pick addresses from."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(found, ipaddress.IPv4Address):
        return str(found)
    if found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    return str(ipaddress.ip_network((found, _SITE_BITS), strict=False))
