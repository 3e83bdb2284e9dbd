"""Deployments as callers see them."""

from __future__ import annotations

from collections.abc import Iterable

from motorpool import v1
from motorpool_controller.domain.workload import Deployment, Instance, InstanceState
from motorpool_controller.services.convert import fields
from motorpool_controller.services.convert.facts import facts_message
from motorpool_controller.services.convert.node import etag
from motorpool_controller.services.convert.placement import estimate_message
from motorpool_controller.services.convert.spec import spec_message


def deployment_message(deployment: Deployment, instances: Iterable[Instance]) -> v1.Deployment:
    """Return a deployment and what its instances (those of others are passed over) make of it as a message.

    The API key is not in it.
    """
    running = [
        instance
        for instance in instances
        if instance.deployment == deployment.name
        and instance.state is InstanceState.RUNNING
        and instance.stop_time is None
    ]
    current = [instance for instance in running if instance.deployment_generation >= deployment.template_generation]
    return v1.Deployment(
        name=deployment.name,
        uid=deployment.uid,
        generation=deployment.generation,
        etag=etag(deployment.revision),
        spec=spec_message(deployment.spec),
        state=_state(deployment, len(current)),
        running_replicas=len(running),
        facts=None if deployment.facts is None else facts_message(deployment.facts),
        estimate=None if deployment.estimate is None else estimate_message(deployment.estimate),
        create_time=fields.timestamp(deployment.create_time),
        delete_time=fields.timestamp(deployment.delete_time),
        findings=deployment.findings,
    )


def _state(deployment: Deployment, current: int) -> v1.DeploymentState.ValueType:
    if deployment.delete_time is not None:
        return v1.DEPLOYMENT_STATE_DELETING
    if current >= deployment.spec.replicas:
        return v1.DEPLOYMENT_STATE_AVAILABLE
    return v1.DEPLOYMENT_STATE_PROGRESSING
