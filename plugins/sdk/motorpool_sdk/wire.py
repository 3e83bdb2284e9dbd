"""How a host and a plugin's process speak: frames of a 4-byte length and as many bytes of JSON."""

from __future__ import annotations

import socket
import struct
from pathlib import Path
from typing import TypeVar

import msgspec

from motorpool_sdk.accelerator import Device, DeviceError
from motorpool_sdk.errors import WireError

MOST_BYTES = 4 * 1024 * 1024
_LENGTH = struct.Struct(">I")
LENGTH_BYTES = _LENGTH.size

T = TypeVar("T")


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """A call. ``deadline`` is a reading of the monotonic clock in seconds, which processes of a machine share."""

    id: int
    method: str
    deadline: float
    body: msgspec.Raw = msgspec.Raw(b"null")


class Response(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to the request of that id: a result, or a text in ``error`` that says what went wrong."""

    id: int
    result: msgspec.Raw = msgspec.Raw(b"null")
    error: str = ""


class Introduction(msgspec.Struct, frozen=True, kw_only=True):
    """Asks a process to load its plugin; ``kind`` names the hook that must bring one."""

    kind: str


class Fingerprint(msgspec.Struct, frozen=True, kw_only=True):
    """What an accelerator plugin's fingerprint is on the wire: devices and errors apart."""

    devices: tuple[Device, ...] = ()
    errors: tuple[DeviceError, ...] = ()


def frame(message: Request | Response) -> bytes:
    """Return the message as one frame; raises WireError when it is too long."""
    content = encode(message)
    if len(content) > MOST_BYTES:
        raise WireError(f"a message of {len(content)} bytes is too long; {MOST_BYTES} is the most")
    return _LENGTH.pack(len(content)) + content


def length(header: bytes) -> int:
    """Return how many bytes follow ``header``; raises WireError when it announces too many."""
    (announced,) = _LENGTH.unpack(header)
    if announced > MOST_BYTES:
        raise WireError(f"a frame announces {announced} bytes; {MOST_BYTES} is the most")
    return int(announced)


def receive(connection: socket.socket) -> bytes | None:
    """Return the content of the next frame, or None when the other side is gone. Blocks."""
    header = _exactly(connection, LENGTH_BYTES)
    return None if header is None else _exactly(connection, length(header))


def encode(value: object) -> bytes:
    """Return ``value`` as JSON; raises WireError for a value that has no JSON form."""
    try:
        return msgspec.json.encode(value, enc_hook=_to_json)
    except (TypeError, ValueError, NotImplementedError, RecursionError) as error:
        raise WireError(f"a value cannot be sent: {error}") from error


def decode(content: bytes | msgspec.Raw, kind: type[T]) -> T:
    """Return the value of type ``kind`` in ``content``; raises WireError naming the field that is not as it must be."""
    try:
        return msgspec.json.decode(content, type=kind, dec_hook=_from_json)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise WireError(str(error)) from error


def _exactly(connection: socket.socket, count: int) -> bytes | None:
    parts: list[bytes] = []
    while count:
        try:
            part = connection.recv(count)
        except ConnectionError:
            return None
        if not part:
            return None
        parts.append(part)
        count -= len(part)
    return b"".join(parts)


def _to_json(value: object) -> object:
    if isinstance(value, Path):
        return str(value)
    raise NotImplementedError(f"{type(value).__name__} has no form in JSON")


def _from_json(kind: type[object], value: object) -> object:
    if kind is Path and isinstance(value, str):
        return Path(value)
    raise NotImplementedError(f"{kind.__name__} has no form in JSON")
