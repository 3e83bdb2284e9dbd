"""Under which names and addresses this machine is reached."""

from __future__ import annotations

import socket
from collections.abc import Sequence

from motorpool_controller.config import Address

LOOPBACK = ("localhost", "127.0.0.1", "::1")
# Addresses of documentation: nothing is ever sent there, the kernel only names the address it would send from.
_ELSEWHERE = ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1"))


def advertised(listen: Address, advertise: Sequence[str]) -> tuple[str, ...]:
    """Return the hosts at which others reach a listener: those given, else what it listens on."""
    if advertise:
        return tuple(advertise)
    if not listen.wildcard:
        return (listen.host,)
    found = [*_own_addresses(), socket.gethostname()]
    return tuple(dict.fromkeys(found))


def certified(listens: Sequence[Address], advertise: Sequence[str]) -> tuple[str, ...]:
    """Return every host that the server's certificate has to name."""
    hosts = [host for listen in listens for host in advertised(listen, advertise)]
    return tuple(dict.fromkeys([*hosts, *(each.host for each in listens if not each.wildcard), *LOOPBACK]))


def _own_addresses() -> list[str]:
    found = []
    for family, elsewhere in _ELSEWHERE:
        try:
            with socket.socket(family, socket.SOCK_DGRAM) as probe:
                probe.connect((elsewhere, 9))
                address = str(probe.getsockname()[0])
        except OSError:
            continue
        found.append(address)
    return found
