"""Nodes that filters cannot tell apart are one class: what holds of one holds of all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from operator import attrgetter

from motorpool_controller.domain.fleet import Host, Node, Profile

_OF_ONE_NODE = frozenset(
    {
        *("name", "uid", "enrollment_id", "create_time", "state_message", "state_time", "address", "agent_labels"),
        *("operator_labels", "reserved", "agent_version", "cordoned_devices", "cordons", "devices", "plugins"),
        *("session_epoch", "certificate_serials", "revision", "host", "refused", "executors", "releases"),
        *("conditions", "ban", "trusted_authorities"),
    }
)
"""Fields of a node by which no filter tells nodes apart, and those that ``class_of`` looks into."""

_OF_ONE_HOST = frozenset({"hostname", "kernel", "cpu_count", "memory_bytes", "boot_id", "machine_id"})

_facts_of_node = attrgetter(*(each.name for each in fields(Node) if each.name not in _OF_ONE_NODE))
_facts_of_host = attrgetter(*(each.name for each in fields(Host) if each.name not in _OF_ONE_HOST))


def class_of(node: Node) -> object:
    """Return what filters tell nodes apart by, labels and measurements left out."""
    return (
        tuple(map(_hashable, _facts_of_node(node))),
        _facts_of_host(node.host),
        bool(node.refused),
        frozenset((executor.executor, executor.works) for executor in node.executors),
        frozenset(each.condition for each in node.conditions if each.pressed),
        frozenset((plugin.kind, plugin.provides, plugin.version, plugin.state) for plugin in node.plugins),
        frozenset(
            (each.vendor, each.framework, each.architecture, each.compute_capability, each.runtime_version)
            for each in node.devices
        ),
    )


class Likeness:
    """Numbers of profiles: the same number where they differ in where programs lie on their nodes alone."""

    def __init__(self) -> None:
        self._by_digest: dict[str, int] = {}
        self._by_profile: dict[Profile, int] = {}

    def of(self, digest: str, profile: Profile) -> int:
        """Return the number of the profile that has this digest."""
        if digest not in self._by_digest:
            versions = tuple(replace(version, executable="", installed=False) for version in profile.versions)
            same = replace(profile, versions=versions)
            self._by_digest[digest] = self._by_profile.setdefault(same, len(self._by_profile))
        return self._by_digest[digest]


def _hashable(value: object) -> object:
    return frozenset(value.items()) if isinstance(value, Mapping) else value
