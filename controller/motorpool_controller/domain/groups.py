"""Instances by deployment and by node, kept up row by row: what is asked of one of these looks at no others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from motorpool_controller.domain.rollouts import is_ready, outdates
from motorpool_controller.domain.workload import Deployment, Instance, InstanceState

_Group = dict[str, Instance]
_NONE: Mapping[str, Instance] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Counts:
    """How many of a deployment's instances run, are of its present spec, are of that and ready, and are of others."""

    running: int = 0
    updated: int = 0
    updated_running: int = 0
    ready: int = 0
    outdated: int = 0


class Tally:
    """A deployment's instances that are not being stopped, counted by what they are made of and how they do."""

    def __init__(self, instances: Iterable[Instance] = ()) -> None:
        self._counts: Counter[tuple[int, int, bool, bool]] = Counter()
        for instance in instances:
            self.take(instance, 1)

    def take(self, instance: Instance, number: int) -> None:
        """Count an instance, or with -1 count it no more."""
        if not instance.leaves:
            self._counts[_kind(instance)] += number
            if not self._counts[_kind(instance)]:
                del self._counts[_kind(instance)]

    @property
    def number(self) -> int:
        """How many there are."""
        return sum(self._counts.values())

    def made_of(self, template_generation: int) -> int:
        """Return how many are known to be made of one generation's spec."""
        return sum(number for (made_of, *_), number in self._counts.items() if made_of == template_generation)

    def counts(self, deployment: Deployment) -> Counts:
        """Return what they come to under the deployment's present spec."""
        running = updated = updated_running = ready = outdated = 0
        for (template_generation, generation, runs, is_well), number in self._counts.items():
            running += number * runs
            if outdates(deployment, template_generation, generation):
                outdated += number
            else:
                updated += number
                updated_running += number * runs
                ready += number * is_well
        return Counts(running, updated, updated_running, ready, outdated)


class Groups:
    """Instances by name, in groups by full name of their deployment and of each node of their placement."""

    def __init__(self) -> None:
        self._of_deployment: dict[str, _Group] = {}
        self._tallies: dict[str, Tally] = {}
        self._on_node: dict[str, _Group] = {}

    def replace(self, before: Instance | None, after: Instance | None) -> None:
        """Take a row in another's place; None: there was none, or is none any more."""
        were, are = (() if before is None else nodes_of(before)), (() if after is None else nodes_of(after))
        if before is not None and were != are:
            _remove(self._on_node, were, before)
        if after is not None:
            _add(self._on_node, are, after)
        if before is not None and after is not None and before.deployment == after.deployment:
            self._of_deployment[after.deployment][after.name] = after
            if before.leaves or after.leaves or _kind(before) != _kind(after):
                tally = self._tallies[after.deployment]
                tally.take(before, -1)
                tally.take(after, 1)
            return
        if before is not None:
            _remove(self._of_deployment, [before.deployment], before)
            self._tallies[before.deployment].take(before, -1)
            if before.deployment not in self._of_deployment:
                del self._tallies[before.deployment]
        if after is not None:
            _add(self._of_deployment, [after.deployment], after)
            self._tallies.setdefault(after.deployment, Tally()).take(after, 1)

    def of_deployment(self, deployment: str) -> Mapping[str, Instance]:
        """Return a deployment's instances."""
        return self._of_deployment.get(deployment, _NONE)

    def tally(self, deployment: str) -> Tally:
        """Return how many instances a deployment has of each kind, without looking at them."""
        return self._tallies.get(deployment) or Tally()

    def on_node(self, node: str) -> Mapping[str, Instance]:
        """Return the instances placed on a node."""
        return self._on_node.get(node, _NONE)


def nodes_of(instance: Instance) -> tuple[str, ...]:
    """Return the full names of the nodes that an instance is placed on."""
    return () if instance.placement is None else tuple(member.node for member in instance.placement.members)


def _kind(instance: Instance) -> tuple[int, int, bool, bool]:
    generation = 0 if instance.template_generation else instance.deployment_generation
    running = instance.state is InstanceState.RUNNING
    return instance.template_generation, generation, running, is_ready(instance)


def _add(groups: dict[str, _Group], keys: Iterable[str], instance: Instance) -> None:
    for key in keys:
        groups.setdefault(key, {})[instance.name] = instance


def _remove(groups: dict[str, _Group], keys: Iterable[str], instance: Instance) -> None:
    for key in dict.fromkeys(keys):
        group = groups[key]
        group.pop(instance.name, None)
        if not group:
            del groups[key]
