"""What a deployment's specs were, and which of its instances are made of the present one."""

from __future__ import annotations

from dataclasses import replace

from motorpool_controller.domain.errors import NotFoundError, PreconditionError
from motorpool_controller.domain.workload import Deployment, DeploymentSpec, Former, Instance, InstanceState

MOST_FORMER = 10
"""So many specs beside the present one are kept."""


def history(deployment: Deployment) -> tuple[Former, ...]:
    """Return the specs that a deployment had, as they followed each other; the last is the present one."""
    present = Former(
        template_generation=deployment.template_generation,
        spec=deployment.spec,
        create_time=deployment.template_time or deployment.create_time,
    )
    return (*deployment.former, present)


def same_instances(one: DeploymentSpec, other: DeploymentSpec) -> bool:
    """Return whether instances of one spec are those of the other: what only says how many and what then aside."""
    return _kept(one, other) == other


def restored(deployment: Deployment, template_generation: int | None) -> DeploymentSpec:
    """Return the spec of an earlier generation, by default the one before, with the present number of instances.

    Raise NOT_FOUND for one that is not kept, and NO_FORMER_SPEC where there was none before.
    """
    *former, present = history(deployment)
    if template_generation is None:
        if not former:
            raise PreconditionError(
                "NO_FORMER_SPEC", f"{deployment.name} never had another spec; change it with `motorpool update`"
            )
        found = former[-1]
    else:
        kept = {each.template_generation: each for each in (*former, present)}
        if template_generation not in kept:
            numbers = ", ".join(str(number) for number in sorted(kept))
            raise NotFoundError(
                "NOT_FOUND", f"{deployment.name} has no revision {template_generation}; those kept are {numbers}"
            )
        found = kept[template_generation]
    return _kept(found.spec, present.spec)


def _kept(spec: DeploymentSpec, present: DeploymentSpec) -> DeploymentSpec:
    """Return a spec with what instances are not made of as the present one has it."""
    return replace(
        spec,
        replicas=present.replicas,
        rollout_strategy=present.rollout_strategy,
        reschedule_after_seconds=present.reschedule_after_seconds,
        drain_seconds=present.drain_seconds,
    )


def is_outdated(instance: Instance, deployment: Deployment) -> bool:
    """Return whether an instance is made of another spec than the present one."""
    return outdates(deployment, instance.template_generation, instance.deployment_generation)


def outdates(deployment: Deployment, template_generation: int, deployment_generation: int) -> bool:
    """Return whether what was made by these generations is of another spec than the present one."""
    if not template_generation:  # of a controller that knew no way back
        return deployment_generation < deployment.template_generation
    return template_generation != deployment.template_generation


def is_ready(instance: Instance) -> bool:
    """Return whether an instance serves, and has not failed since it last ran well."""
    return instance.state is InstanceState.RUNNING and instance.first_failure is None


def has_failed(instance: Instance) -> bool:
    """Return whether an instance has failed, and has not run well since."""
    return instance.state is InstanceState.ERROR or instance.first_failure is not None
