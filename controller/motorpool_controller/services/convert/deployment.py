"""Deployments as callers see them."""

from __future__ import annotations

from motorpool import v1
from motorpool_controller.domain.groups import Counts, Tally
from motorpool_controller.domain.rollouts import history
from motorpool_controller.domain.workload import Deployment
from motorpool_controller.services.convert import fields
from motorpool_controller.services.convert.facts import facts_message
from motorpool_controller.services.convert.node import etag
from motorpool_controller.services.convert.placement import estimate_message
from motorpool_controller.services.convert.spec import spec_message


def deployment_message(deployment: Deployment, tally: Tally) -> v1.Deployment:
    """Return a deployment and what its instances make of it as a message.

    The API key is not in it.
    """
    counts = tally.counts(deployment)
    return v1.Deployment(
        name=deployment.name,
        uid=deployment.uid,
        generation=deployment.generation,
        etag=etag(deployment.revision),
        spec=spec_message(deployment.spec),
        state=_state(deployment, counts.updated_running),
        running_replicas=counts.running,
        facts=None if deployment.facts is None else facts_message(deployment.facts),
        estimate=None if deployment.estimate is None else estimate_message(deployment.estimate),
        create_time=fields.timestamp(deployment.create_time),
        delete_time=fields.timestamp(deployment.delete_time),
        findings=deployment.findings,
        revision=deployment.template_generation,
        rollout=_rollout_message(deployment, counts),
    )


def revision_messages(deployment: Deployment, tally: Tally) -> list[v1.DeploymentRevision]:
    """Return the specs that a deployment had, the present one last."""
    return [
        v1.DeploymentRevision(
            revision=each.template_generation,
            spec=spec_message(each.spec),
            create_time=fields.timestamp(each.create_time),
            current=each.template_generation == deployment.template_generation,
            replicas=tally.made_of(each.template_generation),
        )
        for each in history(deployment)
    ]


def _rollout_message(deployment: Deployment, counts: Counts) -> v1.Rollout:
    message = v1.Rollout(
        updated_replicas=counts.updated, ready_replicas=counts.ready, outdated_replicas=counts.outdated
    )
    if deployment.rollout is not None:
        message.state = fields.number(v1.RolloutState, "ROLLOUT_STATE", deployment.rollout.state)
        message.message = deployment.rollout.message
        message.state_time.FromDatetime(deployment.rollout.state_time)
    return message


def _state(deployment: Deployment, current: int) -> v1.DeploymentState.ValueType:
    if deployment.delete_time is not None:
        return v1.DEPLOYMENT_STATE_DELETING
    if current >= deployment.spec.replicas:
        return v1.DEPLOYMENT_STATE_AVAILABLE
    return v1.DEPLOYMENT_STATE_PROGRESSING
