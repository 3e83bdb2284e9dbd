"""Texts and TOML values to typed settings. A NotAllowedError says what is allowed."""

from __future__ import annotations

import ipaddress
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import urlsplit

BARE_EXECUTORS = ("auto", "process", "systemd")
LOG_FORMATS = ("text", "json")
LOG_LEVELS = ("debug", "info", "warning", "error")

_DNS_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_DNS_NAME = re.compile(
    r"(?=.{1,253}\Z)[A-Za-z0-9]([-A-Za-z0-9]{0,61}[A-Za-z0-9])?(\.[A-Za-z0-9]([-A-Za-z0-9]{0,61}[A-Za-z0-9])?)*"
)
_COLLECTOR = re.compile(r"https?://[A-Za-z0-9.:\[\]-]+:[0-9]{1,5}/?")
_LABEL_KEY = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_./]{0,251}[A-Za-z0-9])?")
_LABEL_VALUE = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")
_SIZE = re.compile(r"(?P<number>\d+(\.\d+)?)\s*(?P<unit>[KMGT]i?B|B)?")
_UNIT_BYTES = {
    "B": 1,
    "KB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "TB": 10**12,
    "KiB": 2**10,
    "MiB": 2**20,
    "GiB": 2**30,
    "TiB": 2**40,
}
_MAX_BYTES = 2**60
_MAX_SECONDS = 86_400
_MOST_ATTEMPTS = 20


class NotAllowedError(Exception):
    """A value that a setting may not have; the message is what is allowed."""


def text(value: object) -> str:
    """Return a text that is not empty."""
    if not isinstance(value, str) or not value.strip():
        raise NotAllowedError("give a text that is not empty")
    return value.strip()


def dns_label(value: object) -> str:
    """Return a node's name."""
    if not isinstance(value, str) or not _DNS_LABEL.fullmatch(value):
        raise NotAllowedError("give 1 to 63 lower-case letters, digits and dashes, no dash at either end")
    return value


def host(value: object) -> str:
    """Return an IP address or a DNS name."""
    if isinstance(value, str):
        try:
            return str(ipaddress.ip_address(value))
        except ValueError:
            # All digits and dots is a mistyped address, never a name.
            if _DNS_NAME.fullmatch(value) and not re.fullmatch(r"[\d.]+", value):
                return value
    raise NotAllowedError("give an IP address or a DNS name, without a port")


def endpoint(value: object) -> str:
    """Return ``host:port``, an IPv6 address in brackets."""
    allowed = "give host:port, e.g. controller.example:7400 or [fd00::1]:7400"
    if not isinstance(value, str):
        raise NotAllowedError(allowed)
    name, colon, port = value.rpartition(":")
    if not colon or not port.isascii() or not port.isdigit() or not 0 < int(port) < 65536:
        raise NotAllowedError(allowed)
    try:
        bare = host(name[1:-1] if name.startswith("[") and name.endswith("]") else name)
    except NotAllowedError as error:
        raise NotAllowedError(allowed) from error
    if ":" in bare and not name.startswith("["):
        raise NotAllowedError(allowed)
    return f"[{bare}]:{port}" if ":" in bare else f"{bare}:{port}"


def address(value: object) -> str:
    """Return the address of a hub."""
    try:
        parts = urlsplit(value) if isinstance(value, str) else None
        usable = parts is not None and parts.scheme in {"http", "https"} and parts.hostname and not parts.query
    except ValueError:
        usable = None
    if not isinstance(value, str) or not usable:
        raise NotAllowedError("give an address, e.g. https://hub.example or http://mirror.example:8080/hf")
    return value.rstrip("/")


def collector(value: object) -> str:
    """Return the address of an OpenTelemetry collector's gRPC."""
    if not isinstance(value, str) or not _COLLECTOR.fullmatch(value):
        raise NotAllowedError(
            "give http://host:port or https://host:port of an OpenTelemetry collector, e.g. port 4317"
        )
    return value


def listener(value: object) -> str:
    """Return ``host:port`` to listen on; port 0 takes a free one."""
    if isinstance(value, str) and value.endswith(":0"):
        return endpoint(f"{value[:-1]}1")[:-1] + "0"
    return endpoint(value)


def path(value: object) -> Path:
    """Return an absolute path; a relative one counts from the working directory."""
    if not isinstance(value, str) or not value or "\0" in value:
        raise NotAllowedError("give a path")
    try:
        return Path(value).expanduser().absolute()
    except RuntimeError as error:
        raise NotAllowedError("give a path; the home directory in it is not known") from error


def labels(value: object) -> Mapping[str, str]:
    """Return labels out of a table, a list of ``key=value`` or a comma list of them."""
    allowed = (
        "give key=value; a key has letters, digits and -_./ inside, a value up to 63 letters, digits and -_. inside"
    )
    if isinstance(value, Mapping):
        pairs = [(key, each) for key, each in value.items()]
    else:
        pairs = []
        for item in names(value):
            key, equals, each = item.partition("=")
            if not equals:
                raise NotAllowedError(allowed)
            pairs.append((key.strip(), each.strip()))
    found: dict[str, str] = {}
    for key, each in pairs:
        if not isinstance(each, str) or not _LABEL_KEY.fullmatch(key) or not _LABEL_VALUE.fullmatch(each):
            raise NotAllowedError(allowed)
        found[key] = each
    return found


def names(value: object) -> tuple[str, ...]:
    """Return names out of a list or a comma list."""
    if isinstance(value, str):
        items: Sequence[object] = value.split(",")
    elif isinstance(value, Sequence):
        items = value
    else:
        raise NotAllowedError("give a list of names")
    found = []
    for item in items:
        if not isinstance(item, str):
            raise NotAllowedError("give a list of names")
        if item.strip():
            found.append(item.strip())
    return tuple(found)


def port_range(value: object) -> range:
    """Return the ports ``first-last``, both included."""
    match = re.fullmatch(r"(\d{1,5})-(\d{1,5})", value) if isinstance(value, str) else None
    if match:
        first, last = int(match[1]), int(match[2])
        if 1024 <= first <= last <= 65535:
            return range(first, last + 1)
    raise NotAllowedError("give first-last between 1024 and 65535, e.g. 24000-24063")


def size_bytes(value: object) -> int:
    """Return a number of bytes."""
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    match = _SIZE.fullmatch(value.strip()) if isinstance(value, str) else None
    if match:
        size = round(float(match["number"]) * _UNIT_BYTES[match["unit"] or "B"])
        if size <= _MAX_BYTES:
            return size
    raise NotAllowedError("give bytes, or a number with KiB, MiB, GiB or TiB, e.g. 2GiB")


def seconds(value: object) -> float:
    """Return a number of seconds."""
    try:
        found = float(value) if isinstance(value, str | int | float) and not isinstance(value, bool) else math.nan
    except (ValueError, OverflowError):
        found = math.nan
    if 0 <= found <= _MAX_SECONDS:
        return found
    raise NotAllowedError("give seconds, from 0 to 86400")


def attempts(value: object) -> int:
    """Return how many attempts of an instance are kept."""
    if isinstance(value, str) and value.isascii() and value.isdecimal():
        value = int(value[:9])
    if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= _MOST_ATTEMPTS:
        return value
    raise NotAllowedError(f"give a number from 1 to {_MOST_ATTEMPTS}: each keeps up to 32 MiB of log")


def boolean(value: object) -> bool:
    """Return yes or no."""
    if isinstance(value, bool):
        return value
    if isinstance(value, str):
        if value.lower() in {"true", "yes", "on", "1"}:
            return True
        if value.lower() in {"false", "no", "off", "0"}:
            return False
    raise NotAllowedError("give true or false")


def log_level(value: object) -> str:
    """Return the name of a log level."""
    if isinstance(value, str) and value.lower() in LOG_LEVELS:
        return value.lower()
    raise NotAllowedError(f"give one of {', '.join(LOG_LEVELS)}")


def log_format(value: object) -> str:
    """Return how log lines look."""
    if isinstance(value, str) and value.lower() in LOG_FORMATS:
        return value.lower()
    raise NotAllowedError(f"give one of {', '.join(LOG_FORMATS)}")


def bare_executor(value: object) -> str:
    """Return what runs engines without an image."""
    if isinstance(value, str) and value.lower() in BARE_EXECUTORS:
        return value.lower()
    raise NotAllowedError(f"give one of {', '.join(BARE_EXECUTORS)}")
