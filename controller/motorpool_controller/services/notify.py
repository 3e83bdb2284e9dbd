"""Tells systemd how the service is, where systemd asked to be told."""

from __future__ import annotations

import os
import socket


def notify(state: str) -> None:
    """Send a state (``READY=1``) to the socket that NOTIFY_SOCKET names; do nothing without one."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address or not hasattr(socket, "AF_UNIX"):
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.connect(f"\0{address[1:]}" if address.startswith("@") else address)
        channel.sendall(state.encode())
