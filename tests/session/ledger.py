"""Why instances were told to stop: taken down at each commit, from what was known just before it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta

from motorpool_controller.domain.fleet import Node, NodeState
from motorpool_controller.domain.maintenance import drain_of
from motorpool_controller.domain.workload import Deployment, Instance
from tests.session.controller import ControllerProcess
from tests.session.loops import Clock


@dataclass(slots=True)
class _Before:
    """The rows at the last look."""

    revision: int = -1
    nodes: dict[str, Node] = field(default_factory=dict)
    deployments: dict[str, Deployment] = field(default_factory=dict)
    instances: dict[str, Instance] = field(default_factory=dict)


class Ledger:
    """Tombstones by assignment, each for its highest generation, and orders for which there was no reason."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._before = _Before()
        self._started = 0.0
        self.tombstones: dict[str, int] = {}
        self.superseded: dict[str, int] = {}
        """The highest generation that each assignment was ever told to run."""
        self.unreasonable: list[str] = []
        self.writes = 0

    def controller_started(self, controller: ControllerProcess) -> None:
        self._started = self._clock.seconds
        self._before = _Before()
        self.look(controller)

    def restored(self) -> None:
        """An older store is in place: what it does not know any more was ordered all the same."""
        self._before = _Before()

    def look(self, controller: ControllerProcess) -> None:
        view = controller.store.view
        if view.revision == self._before.revision:
            return
        self.writes += 1
        before = self._before
        self._before = _Before(view.revision, dict(view.nodes), dict(view.deployments), dict(view.instances))
        stopped = []
        for instance in view.instances.values():
            self.superseded[instance.uid] = max(self.superseded.get(instance.uid, 0), instance.generation)
            known = before.instances.get(instance.name)
            if instance.leaves and before.revision >= 0 and (known is None or not known.leaves):
                stopped.append(instance)
            if instance.stop_time is None:
                continue
            self.tombstones[instance.uid] = max(self.tombstones.get(instance.uid, 0), instance.generation)
        for order in (each for node in view.nodes.values() for each in node.releases):
            former = self.tombstones.get(order.assignment_id, 0)
            self.tombstones[order.assignment_id] = max(former, order.generation)
        for name in {instance.deployment for instance in stopped}:
            self._judge(controller, before, name, [each for each in stopped if each.deployment == name])

    def _judge(self, controller: ControllerProcess, before: _Before, name: str, stopped: list[Instance]) -> None:
        deployment = controller.store.view.deployments.get(name)
        if deployment is None or deployment.delete_time is not None:
            return
        there = [each for each in before.instances.values() if each.deployment == name and not each.leaves]
        lost = [
            each
            for each in stopped
            if self._was_lost(controller, each, deployment) or drain_of(each, before.nodes) is not None
        ]
        surplus = len(there) - deployment.spec.replicas
        rest = len(stopped) - len(lost)
        if rest > max(0, surplus):
            names = ", ".join(sorted(each.name for each in stopped if each not in lost))
            self.unreasonable.append(
                f"{names} of {name} told to stop with {len(there)} there for {deployment.spec.replicas} wished: "
                + "; ".join(each.stop_reason for each in stopped)
            )

    def _was_lost(self, controller: ControllerProcess, instance: Instance, deployment: Deployment) -> bool:
        """Whether its node was silent for a lease and the deployment's patience, and not in a mass failure."""
        view, lease = controller.store.view, controller.settings.lease_seconds(len(controller.store.view.nodes))
        patience = deployment.spec.reschedule_after_seconds
        members = () if instance.placement is None else instance.placement.members
        now = self._clock.now()
        for node in (view.nodes.get(member.node) for member in members):
            if node is None or node.state is not NodeState.UNREACHABLE or node.state_time is None or patience < 0:
                continue
            heard = controller.live.heartbeat_time(node.name)
            silent = self._clock.seconds - self._started if heard is None else (now - heard).total_seconds()
            company = [
                each
                for each in view.nodes.values()
                if each.state is NodeState.UNREACHABLE
                and each.state_time is not None
                and abs(each.state_time - node.state_time) <= timedelta(seconds=600)
            ]
            if silent >= lease and now - node.state_time >= timedelta(seconds=patience) and len(company) < 2:
                return True
        return False
