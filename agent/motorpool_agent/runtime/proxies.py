"""The proxies that engines are told of, where the agent's configuration says so."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

_KINDS = ("http_proxy", "https_proxy", "all_proxy")
_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_USER = re.compile(r"(?<=://)[^/@\s]+(?=@)")


def engine_proxies(address: str, environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return the agent's own proxies for its engines; never for the way to this machine, where engines meet.

    Each in both spellings, as programs read one or the other; empty where the agent has none.
    """
    found = {kind: value for kind in _KINDS if (value := _either(kind, environ))}
    if not found:
        return {}
    excepted = [each.strip() for each in _either("no_proxy", environ).split(",")]
    found["no_proxy"] = ",".join(dict.fromkeys(filter(None, [*excepted, *_LOOPBACK, address])))
    return {spelling: value for name, value in found.items() for spelling in (name, name.upper())}


def beneath(proxies: Mapping[str, str], env: Mapping[str, str]) -> dict[str, str]:
    """Return a deployment's environment above the proxies: what it names itself it names in both spellings."""
    named = {name.lower() for name in env}
    return {**{name: value for name, value in proxies.items() if name.lower() not in named}, **env}


def without_user(value: str, mask: str) -> str:
    """Return a value with the user and password of any URL in it masked."""
    return _USER.sub(mask, value)


def users(value: str) -> tuple[str, ...]:
    """Return the users and passwords of the URLs in a value, each pair as it stands there."""
    return tuple(user for user in _USER.findall(value) if ":" in user)


def _either(name: str, environ: Mapping[str, str]) -> str:
    return environ.get(name) or environ.get(name.upper()) or ""
