"""Why instances are where they are, or nowhere: the decision's own computation, looked at more closely."""

from __future__ import annotations

import time
from collections.abc import Mapping

from motorpool import v1
from motorpool_controller.domain.backends import with_declared_claim
from motorpool_controller.domain.pinning import pinned, unknown
from motorpool_controller.domain.placement import Candidate, Suggestion
from motorpool_controller.domain.workload import Deployment, DeploymentSpec, Instance, InstanceState
from motorpool_controller.reconcile.hub_models import unread
from motorpool_controller.scheduling.columns import Columns
from motorpool_controller.scheduling.scheduler import Verdict, explain
from motorpool_controller.scheduling.snapshot import Request, Snapshot, wished
from motorpool_controller.scheduling.suggestions import advised
from motorpool_controller.services.convert import fields
from motorpool_controller.services.convert.placement import (
    candidate_message,
    estimate_message,
    placement_message,
    refusal_message,
    suggestion_message,
)
from motorpool_controller.services.supposed import fleet_now, supposed
from motorpool_controller.store.live import Live
from motorpool_controller.store.view import View

MOST_IN_FULL = 8
"""So many placed instances have rows and candidates; what is pending fits nowhere for one and the same reasons."""


def explanation(deployment: Deployment, view: View, live: Live, columns: Columns) -> v1.ExplainDeploymentResponse:
    """Return why a deployment's instances are where they are; the columns follow the fleet."""
    snapshot = fleet_now(view, live)
    instances = [instance for _, instance in sorted(view.groups.of_deployment(deployment.name).items())]
    spec = with_declared_claim(pinned(deployment, deployment.spec), deployment.facts, view.backends)
    waiting = next((instance for instance in instances if instance.placement is None), None)
    placed = [instance for instance in instances if instance.placement is not None]
    requests = [
        Request(name=instance.name, deployment=deployment.name, spec=spec)
        for instance in [*([] if waiting is None else [waiting]), *placed[:MOST_IN_FULL]]
    ]
    began = time.perf_counter()
    columns.follow(snapshot)
    verdicts = {
        request.name: (
            unread(request, deployment, live.models) if unknown(deployment) else explain(snapshot, request, columns)
        )
        for request in requests
    }
    pending = [instance for instance in instances if instance.placement is None and instance.stop_time is None]
    estimate = deployment.estimate or next(
        (verdict.estimate for verdict in verdicts.values() if verdict.estimate is not None), None
    )
    suggestions = _suggestions(supposed(snapshot, instances), deployment.name, spec, columns) if pending else ()
    return v1.ExplainDeploymentResponse(
        estimate=None if estimate is None else estimate_message(estimate),
        instances=[
            _message(instance, verdicts[instance.name])
            if instance.name in verdicts
            else _short(instance, waiting, verdicts)
            for instance in instances
        ],
        suggestions=[suggestion_message(each) for each in suggestions],
        nodes_seen=len(snapshot.nodes),
        decision_time=fields.duration(time.perf_counter() - began),
    )


def _suggestions(anew: Snapshot, deployment: str, spec: DeploymentSpec, columns: Columns) -> tuple[Suggestion, ...]:
    """Return what would make the deployment fit were it placed anew: a change of its spec replaces its instances."""
    columns.follow(anew)
    return advised(anew, wished(deployment, spec), columns).suggestions


def _message(instance: Instance, verdict: Verdict) -> v1.InstanceExplanation:
    candidates = verdict.candidates
    if instance.placement is not None and not candidates:
        # Nothing would be feasible today; it was when it was placed.
        candidates = (Candidate(placement=instance.placement, score=instance.placement.score),)
    return v1.InstanceExplanation(
        instance=instance.name,
        state=fields.number(v1.InstanceState, "INSTANCE_STATE", instance.state),
        placement=None if instance.placement is None else placement_message(instance.placement),
        refusals=[refusal_message(row) for row in verdict.refusals],
        candidates=[candidate_message(candidate) for candidate in candidates],
        verdict=_sentence(instance, verdict),
    )


def _short(instance: Instance, waiting: Instance | None, verdicts: Mapping[str, Verdict]) -> v1.InstanceExplanation:
    """Return what is said of one instance of many; of one that waits as ``waiting`` does, what is said of that."""
    like = waiting if instance.placement is None else None
    return v1.InstanceExplanation(
        instance=instance.name,
        state=fields.number(v1.InstanceState, "INSTANCE_STATE", instance.state),
        placement=None if instance.placement is None else placement_message(instance.placement),
        verdict=_placed(instance) if like is None else verdicts[like.name].sentence,
        like="" if like is None else like.name,
    )


def _sentence(instance: Instance, verdict: Verdict) -> str:
    return verdict.sentence if instance.placement is None else _placed(instance)


def _placed(instance: Instance) -> str:
    if instance.placement is None:
        return ""
    leader = instance.placement.members[0]
    devices = ", ".join(claim.device_id for claim in leader.claim.devices) or "host memory"
    placed = f"It was placed on {leader.node} ({devices}) with {instance.placement.score:.1f} points of 100"
    if instance.state is InstanceState.RUNNING:
        return f"{placed}, and runs."
    return f"{placed}, and is {instance.state}: {instance.state_message or 'nothing more is known'}"
