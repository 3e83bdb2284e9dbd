"""Instances by deployment and by node, kept up row by row: what is asked of one of these looks at no others."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType

from motorpool_controller.domain.workload import Instance

_Group = dict[str, Instance]
_NONE: Mapping[str, Instance] = MappingProxyType({})


class Groups:
    """Instances by name, in groups by full name of their deployment and of each node of their placement."""

    def __init__(self) -> None:
        self._of_deployment: dict[str, _Group] = {}
        self._on_node: dict[str, _Group] = {}

    def replace(self, before: Instance | None, after: Instance | None) -> None:
        """Take a row in another's place; None: there was none, or is none any more."""
        if before is not None:
            _remove(self._of_deployment, [before.deployment], before)
            _remove(self._on_node, nodes_of(before), before)
        if after is not None:
            _add(self._of_deployment, [after.deployment], after)
            _add(self._on_node, nodes_of(after), after)

    def of_deployment(self, deployment: str) -> Mapping[str, Instance]:
        """Return a deployment's instances."""
        return self._of_deployment.get(deployment, _NONE)

    def on_node(self, node: str) -> Mapping[str, Instance]:
        """Return the instances placed on a node."""
        return self._on_node.get(node, _NONE)


def nodes_of(instance: Instance) -> tuple[str, ...]:
    """Return the full names of the nodes that an instance is placed on."""
    return () if instance.placement is None else tuple(member.node for member in instance.placement.members)


def _add(groups: dict[str, _Group], keys: Iterable[str], instance: Instance) -> None:
    for key in keys:
        groups.setdefault(key, {})[instance.name] = instance


def _remove(groups: dict[str, _Group], keys: Iterable[str], instance: Instance) -> None:
    for key in dict.fromkeys(keys):
        group = groups[key]
        group.pop(instance.name, None)
        if not group:
            del groups[key]
