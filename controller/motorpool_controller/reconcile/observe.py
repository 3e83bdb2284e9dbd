"""What an agent reports of an instance, taken into its record."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from motorpool_controller.domain.event import Severity
from motorpool_controller.domain.fleet import Node, NodeState
from motorpool_controller.domain.workload import Exposure, Instance, InstanceState
from motorpool_controller.reconcile.gangs import observe_member
from motorpool_controller.reconcile.moves import may_move, moved
from motorpool_controller.reconcile.world import Notice, Report

HTTP = "http"


def observe(instance: Instance, report: Report, node: Node, now: datetime) -> Instance:
    """Return the instance as the report shows it; the very same object when the report says nothing new.

    A report of another assignment or generation, or from a node that does not count as ready, changes nothing; one
    that does not know its generation may only say that something is there (QUARANTINED, ERROR).
    """
    if report.assignment_id != instance.uid or node.state is not NodeState.READY or instance.placement is None:
        return instance
    vague = report.generation == 0 and report.state in {InstanceState.QUARANTINED, InstanceState.ERROR}
    if report.generation != instance.generation and not vague:
        return instance
    if instance.gang is not None:
        seen = observe_member(instance, instance.gang, report, node.name, now)
        return _served(instance, seen, node.address)
    launch = report.launch or instance.launch
    seen = replace(
        instance,
        launch=launch,
        pid=report.pid,
        pid_start_ticks=report.pid_start_ticks,
        start_time=report.start_time,
        restart_count=report.restart_count,
        first_failure=report.first_failure,
        last_failure=report.last_failure,
        next_try_time=report.next_try_time,
        adopted=report.adopted,
        attempt=report.attempt,
        attempts=report.attempts,
    )
    if may_move(seen, report.state) and not instance.leaves:
        seen = moved(seen, report.state, report.message, now)
    return _served(instance, seen, node.address)


def _served(before: Instance, after: Instance, address: str) -> Instance:
    """Return what became of an instance, with where it serves; the very same object where nothing did."""
    if after.assignment is not None and after.assignment.gang:
        address = after.assignment.gang[0].address
    running = after.state is InstanceState.RUNNING
    after = replace(after, endpoint=_endpoint(after, address) if running else "")
    return before if after == before else after


def happened(before: Instance, after: Instance) -> Notice | None:
    """Return the event of a change that people want to hear of; None for the others."""
    if before.state is after.state:
        return None
    name = after.name
    if after.state is InstanceState.RUNNING:
        message = f"{name} serves at {after.endpoint}." if after.endpoint else f"{name} serves."
        return Notice(severity=Severity.INFO, reason="INSTANCE_RUNNING", subject=name, message=message)
    if after.state is InstanceState.ERROR:
        failure = after.last_failure
        why = after.state_message if failure is None else failure.message
        return Notice(severity=Severity.ERROR, reason="INSTANCE_FAILED", subject=name, message=f"{name} failed: {why}")
    if after.state is InstanceState.QUARANTINED:
        return Notice(
            severity=Severity.WARNING,
            reason="INSTANCE_QUARANTINED",
            subject=name,
            message=f"{name} is kept aside by its node, and its claim with it: {after.state_message}",
        )
    return None


def _endpoint(instance: Instance, address: str) -> str:
    port = None if instance.launch is None else instance.launch.ports.get(HTTP)
    local = instance.assignment is not None and instance.assignment.exposure is Exposure.LOCAL
    address = "127.0.0.1" if local else address
    if port is None or not address:
        return ""
    return f"http://[{address}]:{port}" if ":" in address else f"http://{address}:{port}"
