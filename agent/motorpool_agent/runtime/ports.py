"""Which instance listens on which port: a ledger over the configured range, each port bind-tested before its use."""

from __future__ import annotations

import errno
import ipaddress
import logging
import socket
from collections.abc import Mapping
from pathlib import Path

from motorpool_agent.runtime.errors import LaunchError

log = logging.getLogger(__name__)

DEFAULT_RANGE = range(24000, 24064)
_EPHEMERAL = Path("/proc/sys/net/ipv4/ip_local_port_range")
_ANY = "0.0.0.0"  # noqa: S104  # listened on only where the node's address is not the machine's own
_LOOPBACK = "127.0.0.1"


class Ports:
    """The ledger. Handles make it durable: an adopted instance claims the port that its handle names."""

    def __init__(self, ports: range, address: str) -> None:
        self._ports = ports
        self._address = listen_address(address)
        if self._address == _ANY:
            log.warning(
                "instances listen on every address of this machine, as %s is none of its own (a name, or behind NAT); "
                "give one of its addresses with --node-ip to have them listen there only",
                address,
            )
        self._holders: dict[int, str] = {}
        overlap = ephemeral_overlap(ports)
        if overlap is not None:
            log.warning(
                "ports overlap the kernel's ephemeral range, outgoing connections may take one: %s-%s and %s-%s",
                ports.start,
                ports.stop - 1,
                overlap.start,
                overlap.stop - 1,
            )

    def address(self, *, local_only: bool) -> str:
        """Return the address that an instance listens on."""
        return _LOOPBACK if local_only else self._address

    def claim(self, assignment_id: str, port: int) -> None:
        """Enter a port that an adopted instance listens on."""
        self._holders[port] = assignment_id

    def reserve(self, assignment_id: str, address: str, *, last: int | None = None, avoid: frozenset[int]) -> int:
        """Return a free port, the ``last`` one if it still is; raise ``LaunchError`` if there is none."""
        self.release(assignment_id)
        candidates = [port for port in self._ports if port not in avoid]
        if last in candidates:
            candidates = [last, *(port for port in candidates if port != last)]
        for port in candidates:
            if self._free(address, port):
                self._holders[port] = assignment_id
                return port
        raise self._none_free(address, 1)

    def reserve_named(
        self, assignment_id: str, address: str, wanted: Mapping[str, int], *, avoid: frozenset[int]
    ) -> dict[str, int]:
        """Return the first of so many free ports in a row for each name; raise ``LaunchError`` if there are none."""
        self.release(assignment_id)
        found: dict[str, int] = {}
        for name, count in wanted.items():
            for first in self._ports[: len(self._ports) - count + 1]:
                ports = range(first, first + count)
                if avoid.isdisjoint(ports) and all(self._free(address, port) for port in ports):
                    found[name] = first
                    self._holders |= dict.fromkeys(ports, assignment_id)
                    break
            else:
                self.release(assignment_id)
                raise self._none_free(address, count)
        return found

    def reserve_exactly(
        self, assignment_id: str, address: str, wanted: Mapping[str, int], told: Mapping[str, int]
    ) -> dict[str, int]:
        """Reserve the ports that other members were told; raise ``LaunchError`` if one of them is not free any more."""
        self.release(assignment_id)
        for name, count in wanted.items():
            first = told.get(name, 0)
            for port in range(first, first + count):
                if not first or not self._free(address, port):
                    self.release(assignment_id)
                    raise LaunchError(
                        "PORT_TAKEN",
                        f"port {port} of {address}, which the other members know as this one's {name!r}, is held by "
                        f"{self._holders.get(port, 'another program')} now; all members are to reserve anew",
                    )
                self._holders[port] = assignment_id
        return {name: told[name] for name in wanted}

    def held(self, assignment_id: str) -> tuple[int, ...]:
        """Return all ports that an assignment holds."""
        return tuple(sorted(port for port, holder in self._holders.items() if holder == assignment_id))

    def release(self, assignment_id: str) -> None:
        """Give back what an assignment holds."""
        self._holders = {port: holder for port, holder in self._holders.items() if holder != assignment_id}

    def _free(self, address: str, port: int) -> bool:
        return port not in self._holders and free(address, port)

    def _none_free(self, address: str, count: int) -> LaunchError:
        held = len(set(self._ports) & set(self._holders))
        wanted = "none" if count == 1 else f"no {count} in a row"
        return LaunchError(
            "NO_FREE_PORT",
            f"{wanted} of the {len(self._ports)} ports {self._ports.start}-{self._ports.stop - 1} is free on "
            f"{address}: "
            f"{held} held by instances of this node, the rest by other programs (`ss -ltnp` names them); "
            "widen the range with --port-range (or MOTORPOOL_PORT_RANGE), or remove an instance",
        )


def free(address: str, port: int) -> bool:
    """Whether a server could listen on this port now."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        # As servers do: connections that linger from a server before do not count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError:
            return False
    return True


def listen_address(address: str) -> str:
    """Return the node's address if this machine can listen on it, else any: behind NAT, or given as a name."""
    try:
        version = ipaddress.ip_address(address).version
    except ValueError:
        return _ANY
    with socket.socket(socket.AF_INET if version == 4 else socket.AF_INET6, socket.SOCK_STREAM) as probe:
        try:
            probe.bind((address, 0))
        except OSError as error:
            if error.errno != errno.EADDRNOTAVAIL:
                raise
            return _ANY
    return address


def probe_address(address: str) -> str:
    """Return where to reach a server of this machine that listens on ``address``."""
    return _LOOPBACK if address == _ANY else address


def ephemeral_overlap(ports: range) -> range | None:
    """Return those among ``ports`` that the kernel may give to outgoing connections."""
    try:
        low, high = (int(word) for word in _EPHEMERAL.read_text(encoding="ascii").split())
    except (OSError, ValueError):
        return None
    return range(low, high + 1) if ports.start <= high and low < ports.stop else None
