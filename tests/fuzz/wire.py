"""Several messages in one input: each behind its length, two bytes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

MOST_MESSAGES = 64


def joined(messages: Iterable[bytes]) -> bytes:
    """Return messages as one input."""
    return b"".join(len(message).to_bytes(2, "big") + message for message in messages)


def split(content: bytes) -> Iterator[bytes]:
    """Give the messages of any input; the last one is what is left."""
    for _ in range(MOST_MESSAGES):
        if not content:
            return
        length = int.from_bytes(content[:2], "big")
        yield content[2 : 2 + length]
        content = content[2 + length :]
