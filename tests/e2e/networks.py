"""Nodes in network namespaces of their own, joined by a bridge that stands in another one: two machines on a cable.

The bridge is not in the host's namespace, whose packet filters (a container engine's, say) would see what it forwards.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.e2e.fleet import BIN, Fleet, Process

may_make_networks = pytest.mark.skipif(os.geteuid() != 0, reason="only root may make network namespaces")


@dataclass(frozen=True)
class Network:
    """A bridged network: the host's own address on it, and each node's namespace and address."""

    host: str
    namespaces: dict[str, str]
    addresses: dict[str, str]

    @contextlib.contextmanager
    def cut_off(self, node: str) -> Iterator[None]:
        """A time in which nobody reaches a node, nor it anybody."""
        _ip("-n", self.namespaces[node], "link", "set", "cable0", "down")
        try:
            yield
        finally:
            _ip("-n", self.namespaces[node], "link", "set", "cable0", "up")


@contextlib.contextmanager
def network(*nodes: str) -> Iterator[Network]:
    """Make a network of these nodes and the host, and remove it."""
    # By process: tests' workers run at once. 198.18.0.0/15 is set apart for benchmarks of networks.
    number = os.getpid() % 1000
    prefix, subnet = f"mp{number}", f"198.{18 + number // 256 % 2}.{number % 256}"
    hub = f"{prefix}-hub"
    with contextlib.ExitStack() as made:
        _namespace(made, hub)
        _ip("-n", hub, "link", "add", "bridge", "type", "bridge")
        _ip("-n", hub, "link", "set", "bridge", "up")
        _ip("link", "add", f"{prefix}-host", "type", "veth", "peer", "name", "host", "netns", hub)
        # It would end with the namespace that has its other end, which is some time after that was deleted.
        made.callback(_ip, "link", "delete", f"{prefix}-host")
        _join(hub, "host")
        _ip("address", "add", f"{subnet}.1/24", "dev", f"{prefix}-host")
        _ip("link", "set", f"{prefix}-host", "up")
        namespaces, addresses = {}, {}
        for place, node in enumerate(nodes, 2):
            name = namespaces[node] = f"{prefix}-{node}"
            addresses[node] = f"{subnet}.{place}"
            _namespace(made, name)
            _ip("-n", hub, "link", "add", "name", node, "type", "veth", "peer", "name", "cable0", "netns", name)
            _join(hub, node)
            _ip("-n", name, "address", "add", f"{addresses[node]}/24", "dev", "cable0")
            _ip("-n", name, "link", "set", "cable0", "up")
        yield Network(f"{subnet}.1", namespaces, addresses)


class NetworkFleet(Fleet):
    """A controller on the host, and each agent in its node's namespace."""

    def __init__(self, folder: Path, engines: Path, net: Network) -> None:
        self.network = net
        super().__init__(folder, engines, host=net.host)

    def launch_agent(self, node: str = "a", *more: str, token: str | None = None) -> Process:
        """Start a node's agent where the node's network is."""
        # Not `ip netns exec`: that mounts another /sys, and hides control groups.
        space = f"--net=/run/netns/{self.network.namespaces[node]}"
        self.agent_command = ("nsenter", space, str(BIN / "motorpool-agent"))
        return super().launch_agent(node, *more, token=token)


def _namespace(made: contextlib.ExitStack, name: str) -> None:
    _ip("netns", "add", name)
    made.callback(_ip, "netns", "delete", name)
    _ip("-n", name, "link", "set", "lo", "up")


def _join(hub: str, link: str) -> None:
    _ip("-n", hub, "link", "set", "dev", link, "master", "bridge", "up")


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, stdin=subprocess.DEVNULL, timeout=10)
