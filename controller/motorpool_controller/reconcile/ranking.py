"""Which of a deployment's instances is worth least, and goes first (B13.3)."""

from __future__ import annotations

from motorpool_controller.domain.fleet import NodeState
from motorpool_controller.domain.groups import nodes_of
from motorpool_controller.domain.workload import Instance, InstanceState, Strategy
from motorpool_controller.reconcile.draft import Draft

_RUNNING, _OTHERS, _USELESS, _UNPLACED = 100.0, 50.0, 0.0, -1.0
_OFFLOADED = 10.0
_USELESS_STATES = {InstanceState.ERROR, InstanceState.UNREACHABLE}


def worth(draft: Draft, instance: Instance) -> tuple[float, float, str]:
    """Return what to sort by so that the least useful goes first, and of equal ones the youngest.

    Points as the scale-down scorers give them: 100 for the state, 10 for layers on devices, 1 for the place.
    """
    points = _state(draft, instance)
    if instance.placement is not None:
        points += _OFFLOADED * _offloaded(draft, instance) + _place(draft, instance)
    return points, -instance.create_time.timestamp(), instance.name


def _state(draft: Draft, instance: Instance) -> float:
    if instance.placement is None:
        return _UNPLACED
    nodes = (draft.nodes.get(name) for name in nodes_of(instance))
    there = all(node is not None and node.state is NodeState.READY for node in nodes)
    if not there or instance.state in _USELESS_STATES:
        return _USELESS
    return _RUNNING if instance.state is InstanceState.RUNNING else _OTHERS


def _offloaded(draft: Draft, instance: Instance) -> float:
    """Return the share of layers that are on devices, 0 where nobody knows it."""
    deployment = draft.deployments.get(instance.deployment)
    layers = None if deployment is None or deployment.facts is None else deployment.facts.layers
    offloaded = None if instance.placement is None else instance.placement.offloaded_layers
    # One more than the model has is the output layer.
    return 0.0 if not layers or offloaded is None else min(offloaded / layers, 1.0)


def _place(draft: Draft, instance: Instance) -> float:
    """Return how well its place keeps the strategy, 0 to 1: apart from its like, or where much else is."""
    deployment = draft.deployments.get(instance.deployment)
    neighbours = [each for each in draft.on(nodes_of(instance)) if not each.leaves]
    if deployment is not None and deployment.spec.strategy is Strategy.BINPACK:
        return 1 - 1 / max(1, len(neighbours))
    return 1 / max(1, sum(each.deployment == instance.deployment for each in neighbours))
