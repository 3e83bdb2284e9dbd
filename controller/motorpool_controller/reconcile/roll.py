"""Nodes by what decisions look for, kept up node by node: what is asked of some looks at no others."""

from __future__ import annotations

from datetime import datetime

from motorpool_controller.domain.fleet import Node, NodeState
from motorpool_controller.domain.maintenance import is_drained


class Roll:
    """Names of nodes, as they are or as a decision is about to leave them."""

    def __init__(self) -> None:
        self.unready: set[str] = set()
        """Those that are in any state but ready."""
        self.lost: set[str] = set()
        """Those that are unreachable."""
        self.enrolled: set[str] = set()
        """Those that were never in session."""
        self.draining: set[str] = set()
        """Those from which something is moved away, themselves or their devices."""
        self._ready_since: dict[str, datetime] = {}
        """Those that became ready not long ago."""

    def take(self, name: str, node: Node | None) -> None:
        """Take a node as it now is; None if it is gone."""
        state = None if node is None else node.state
        _keep(self.unready, name, state not in {None, NodeState.READY})
        _keep(self.lost, name, state is NodeState.UNREACHABLE)
        _keep(self.enrolled, name, state is NodeState.ENROLLED)
        _keep(self.draining, name, node is not None and bool(node.cordons) and is_drained(node))
        if node is not None and state is NodeState.READY and node.state_time is not None:
            self._ready_since[name] = node.state_time
        else:
            self._ready_since.pop(name, None)

    def ready_since(self, time: datetime) -> list[str]:
        """Return the nodes that became ready after this time, and forget the others: time goes on."""
        self._ready_since = {name: since for name, since in self._ready_since.items() if since > time}
        return list(self._ready_since)


def _keep(names: set[str], name: str, belongs: bool) -> None:  # it is what the name is about
    if belongs:
        names.add(name)
    else:
        names.discard(name)
