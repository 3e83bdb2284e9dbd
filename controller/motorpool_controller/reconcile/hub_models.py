"""Models on hubs: what is to be looked up, what became of it, and why nothing runs them yet."""

from __future__ import annotations

from motorpool_controller.domain.backends import answers_to, wanted_backend
from motorpool_controller.domain.errors import InvalidError
from motorpool_controller.domain.fleet import Profile
from motorpool_controller.domain.parameters import parse
from motorpool_controller.domain.placement import Estimate, Refusal
from motorpool_controller.domain.workload import Deployment, DeploymentSpec, SourceKind
from motorpool_controller.estimation.needs import needs_of
from motorpool_controller.scheduling.scheduler import Verdict
from motorpool_controller.scheduling.snapshot import Reading, Request, Snapshot
from motorpool_formats.facts import ModelFacts


def on_hub(spec: DeploymentSpec) -> bool:
    """Return whether the controller itself has to read the model, from a hub."""
    return spec.model.kind is not SourceKind.LOCAL_PATH


def hub_verdict(snapshot: Snapshot, request: Request, deployment: Deployment, reading: Reading) -> Verdict:
    """Return the verdict on an instance whose model lies on a hub; what was learnt of it before stays known."""
    facts = deployment.facts or reading.facts
    if facts is None:
        return Verdict(request=request, refusals=(_not_read(deployment, reading),))
    return Verdict(
        request=request,
        refusals=(_not_fetched(deployment),),
        facts=facts,
        estimate=_estimate(snapshot, deployment.spec, facts),
    )


def _not_read(deployment: Deployment, reading: Reading) -> Refusal:
    model = deployment.spec.model
    if reading.error_reason:
        reason = reading.error_reason
        message = f"{reading.error_message.rstrip('. ')}. It is looked up again from time to time."
    else:
        reason = "MODEL_NOT_READ_YET"
        message = f"The controller is reading the headers of {model.repository}; what they say comes soon."
    return Refusal(stage="facts", reason=reason, subject=deployment.name, message=message)


def _not_fetched(deployment: Deployment) -> Refusal:
    return Refusal(
        stage="facts",
        reason="SOURCE_NOT_FETCHED_YET",
        subject=deployment.name,
        message=(
            f"The headers of {deployment.spec.model.repository} were read, and the agents of this version do not "
            "download: give a local path, the same on the nodes that are to run it."
        ),
    )


def _estimate(snapshot: Snapshot, spec: DeploymentSpec, facts: ModelFacts) -> Estimate | None:
    """Return what an instance would need in host memory; None as long as no node offers a backend for it."""
    profile = _profile(snapshot, spec, facts)
    if profile is None:
        return None
    try:
        given = parse(spec.parameters, profile.options)
    except InvalidError as error:
        return Estimate(provenance=f"unknown: {error.message}")
    return needs_of(facts, profile, given, spec, snapshot.peaks).host


def _profile(snapshot: Snapshot, spec: DeploymentSpec, facts: ModelFacts) -> Profile | None:
    wanted = wanted_backend(spec, facts)
    if wanted is None:
        return None
    if wanted in snapshot.declared:
        return snapshot.declared[wanted]
    profiles = (
        snapshot.profiles.get(digest)
        for _, node in sorted(snapshot.nodes.items())
        for _, digest in sorted(node.profiles.items())
    )
    return next((profile for profile in profiles if profile is not None and answers_to(profile, wanted)), None)
