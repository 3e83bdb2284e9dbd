"""What can keep a controller from serving."""

from __future__ import annotations


class ListenError(Exception):
    """An address cannot be listened on."""
