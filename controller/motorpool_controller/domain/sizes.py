"""Bytes in words."""

from __future__ import annotations

MIB = 1 << 20
GIB = 1 << 30


def in_words(size_bytes: int) -> str:
    """Return a size as people read it: GiB with two decimals, below one in MiB."""
    if abs(size_bytes) < GIB:
        return f"{size_bytes / MIB:,.1f} MiB"
    return f"{size_bytes / GIB:,.2f} GiB"
