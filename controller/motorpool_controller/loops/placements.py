"""What is told of an instance's way to its node, where its deployment's call is traced."""

from __future__ import annotations

from motorpool_controller.domain.groups import nodes_of
from motorpool_controller.domain.traces import places_of
from motorpool_controller.domain.workload import Assignment, Instance
from motorpool_telemetry import tracing


def trace_placement(instance: Instance, assignment: Assignment, deployed: str, begin_ns: int, decided_ns: int) -> None:
    """Tell of an instance that was recorded, and its nodes told, after a decision that took from then till then."""
    places = places_of(deployed, instance.uid)
    if not assignment.trace or places.assigned != assignment.trace:
        return  # the deployment was changed meanwhile, and belongs to another trace
    about = {
        "motorpool.instance": instance.name,
        "motorpool.deployment": instance.deployment,
        "motorpool.backend": assignment.backend,
        "motorpool.backend.version": assignment.backend_version,
        "motorpool.nodes": ",".join(nodes_of(instance)),
    }
    tracing.record("schedule", places.scheduled, deployed, begin_ns=begin_ns, end_ns=decided_ns, attributes=about)
    tracing.record("assign", places.assigned, places.scheduled, begin_ns=decided_ns, attributes=about)
