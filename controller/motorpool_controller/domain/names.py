"""Names of resources: ``deployments/chat``, ``nodes/a``, ``nodes/a/devices/GPU-1``."""

from __future__ import annotations

import re

from motorpool_controller.domain.errors import InvalidError

DEPLOYMENT_ID_LENGTH = 48
NODE_ID_LENGTH = 63
BACKEND_ID_LENGTH = 63
SHOWN_CHARACTERS = 80

_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?")
_BACKEND = re.compile(r"[a-z](?:[a-z0-9_-]*[a-z0-9])?")


def check_deployment_id(text: str, field: str = "deployment_id") -> str:
    """Return ``text`` if it may name a deployment; else raise what is wrong with it."""
    return _check_label(text, field, "a deployment's name", DEPLOYMENT_ID_LENGTH)


def check_node_id(text: str, field: str = "node_id") -> str:
    """Return ``text`` if it may name a node (a DNS label); else raise what is wrong with it."""
    return _check_label(text, field, "a node's name", NODE_ID_LENGTH)


def is_backend_id(text: str) -> bool:
    """Return whether ``text`` may name a declared backend."""
    return 0 < len(text) <= BACKEND_ID_LENGTH and _BACKEND.fullmatch(text) is not None


def backend_name(backend_id: str) -> str:
    """Return the full name of a backend."""
    return f"backends/{backend_id}"


def deployment_name(deployment_id: str) -> str:
    """Return the full name of a deployment."""
    return f"deployments/{deployment_id}"


def instance_name(deployment: str, suffix: str) -> str:
    """Return the full name of an instance of ``deployment`` (a full name)."""
    return f"instances/{id_of(deployment)}-{suffix}"


def node_name(node_id: str) -> str:
    """Return the full name of a node."""
    return f"nodes/{node_id}"


def device_name(node: str, device_id: str) -> str:
    """Return the full name of a device of ``node`` (a full name)."""
    return f"{node}/devices/{device_id}"


def id_of(name: str) -> str:
    """Return the last part of a full name."""
    return name.rpartition("/")[2]


def resource_id(name: str, collection: str, field: str = "name") -> str:
    """Return ``a`` of ``{collection}/a``; raise if ``name`` is not of that form."""
    prefix, slash, identifier = name.partition("/")
    if prefix != collection or not slash or not identifier or "/" in identifier or "\0" in identifier:
        raise _invalid(
            field, f"{shown(name)} is not of the form {collection}/NAME; write {collection}/ and then the name"
        )
    return identifier


def device_of(name: str, field: str = "devices") -> tuple[str, str]:
    """Return (full name of the node, device id) of ``nodes/a/devices/b``; raise if it is not of that form."""
    head, middle, device_id = name.partition("/devices/")
    collection, slash, node_id = head.partition("/")
    if not middle or not slash or collection != "nodes" or not device_id or not _is_label(node_id, NODE_ID_LENGTH):
        raise _invalid(
            field,
            f"{shown(name)} is not of the form nodes/NODE/devices/DEVICE; `motorpool devices` lists the names there"
            " are",
        )
    return head, device_id


def shown(text: str) -> str:
    """Return a stranger's text fit for a message: quoted, printable and not endless."""
    cut = text if len(text) <= SHOWN_CHARACTERS else text[: SHOWN_CHARACTERS - 1] + "…"
    return f"“{printable(cut)}”"


def printable(text: str) -> str:
    """Return a text without what a terminal would obey."""
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)


def _check_label(text: str, field: str, what: str, longest: int) -> str:
    if _is_label(text, longest):
        return text
    if not text:
        raise _invalid(field, f"{what} is missing; give 1 to {longest} lower-case letters, digits and dashes")
    if len(text) > longest:
        raise _invalid(field, f"{shown(text)} has {len(text)} characters, and {what} has at most {longest}; shorten it")
    raise _invalid(
        field,
        f"{shown(text)} is not {what}: use lower-case letters, digits and dashes, a letter or digit first and last",
    )


def _is_label(text: str, longest: int) -> bool:
    return 0 < len(text) <= longest and _LABEL.fullmatch(text) is not None


def _invalid(field: str, message: str) -> InvalidError:
    return InvalidError("FIELD_INVALID", f"{field}: {message}", metadata={"field": field})
