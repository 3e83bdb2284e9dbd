"""Roles, and which one a method asks for."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from google.protobuf import descriptor_pool

from motorpool import v1


class Role(StrEnum):
    """Who a caller is; the least that a method asks for."""

    JOIN = "join"
    AGENT = "agent"
    READER = "reader"
    OPERATOR = "operator"
    ADMIN = "admin"

    def reaches(self, least: Role) -> bool:
        """Return whether this role may call what asks for ``least``. Join and agent include nothing else."""
        return least in _INCLUDES[self]


_INCLUDES: Mapping[Role, frozenset[Role]] = {
    Role.JOIN: frozenset({Role.JOIN}),
    Role.AGENT: frozenset({Role.AGENT}),
    Role.READER: frozenset({Role.READER}),
    Role.OPERATOR: frozenset({Role.READER, Role.OPERATOR}),
    Role.ADMIN: frozenset({Role.READER, Role.OPERATOR, Role.ADMIN}),
}

_FROM_PROTO: Mapping[v1.Role.ValueType, Role] = {
    v1.ROLE_JOIN: Role.JOIN,
    v1.ROLE_AGENT: Role.AGENT,
    v1.ROLE_READER: Role.READER,
    v1.ROLE_OPERATOR: Role.OPERATOR,
    v1.ROLE_ADMIN: Role.ADMIN,
}
_TO_PROTO = {role: number for number, role in _FROM_PROTO.items()}

# Services of others carry no role of ours: knowing whether we are well, and what we serve, is for readers.
FOREIGN = ("grpc.health.v1.Health", "grpc.reflection.v1alpha.ServerReflection")


def role_of(method: str) -> Role | None:
    """Return the least role that may call a method (``/package.Service/Method``); None: nobody may."""
    service, _, name = method.removeprefix("/").partition("/")
    if service in FOREIGN:
        return Role.READER
    try:
        found = descriptor_pool.Default().FindMethodByName(f"{service}.{name}")
    except KeyError:
        return None
    return role_from_proto(found.GetOptions().Extensions[v1.role])


def role_from_proto(number: v1.Role.ValueType) -> Role | None:
    """Return the role of the proto's enum; None for none."""
    return _FROM_PROTO.get(number)


def role_to_proto(role: Role) -> v1.Role.ValueType:
    """Return the proto's enum of a role."""
    return _TO_PROTO[role]
