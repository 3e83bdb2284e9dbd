"""What an instance needs, by the rules that its backend's profile names."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from motorpool_controller.domain.fleet import Profile
from motorpool_controller.domain.placement import Confidence, Estimate
from motorpool_controller.domain.sizes import in_words
from motorpool_controller.domain.workload import DeploymentSpec, Parameter
from motorpool_controller.estimation import gguf
from motorpool_formats.facts import ModelFacts


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """What an instance needs in host memory alone, or on one device and ``beside`` it in host memory (bytes).

    ``context_length`` and ``parallel`` are what the figures hold for; the launch states the same, so that claim and
    engine never differ. ``layers`` is how many can be put on a device, the output layer included.
    """

    host: Estimate
    device: Estimate
    beside: int | None = None
    context_length: int | None = None
    parallel: int | None = None
    layers: int | None = None


_Rule = Callable[[ModelFacts, Profile, Sequence[Parameter]], Needs]


def needs_of(
    facts: ModelFacts | None, profile: Profile, parameters: Sequence[Parameter], spec: DeploymentSpec
) -> Needs:
    """Return what an instance needs; unknowns stay None, and a claim given by hand wins over the estimate."""
    rule = RULES.get(profile.rules)
    if facts is None:
        needs = _unknown("unknown: the model's headers could not be read")
    elif rule is None:
        needs = _unknown(f"unknown: {profile.backend} takes what the claim says, and none was given")
    else:
        needs = rule(facts, profile, parameters)
    return replace(
        needs,
        host=_by_hand(needs.host, spec.claim_memory_bytes),
        device=_by_hand(needs.device, spec.claim_device_memory_bytes),
        beside=_beside(needs, spec),
    )


def _beside(needs: Needs, spec: DeploymentSpec) -> int | None:
    if spec.claim_device_memory_bytes is None:
        return needs.beside
    if spec.claim_memory_bytes is not None:
        return spec.claim_memory_bytes
    return gguf.RUNTIME_BYTES if needs.beside is None else needs.beside


def _gguf(facts: ModelFacts, profile: Profile, parameters: Sequence[Parameter]) -> Needs:
    estimated = gguf.estimate(facts, profile.options, parameters)
    return Needs(
        host=estimated.host,
        device=estimated.device,
        beside=estimated.beside,
        context_length=estimated.context_length,
        parallel=estimated.parallel,
        layers=None if facts.layers is None else facts.layers + 1,
    )


def _by_hand(estimate: Estimate, claim_bytes: int | None) -> Estimate:
    if claim_bytes is None:
        return estimate
    beside = "" if estimate.upper is None else f"; the estimate was {in_words(estimate.upper)}"
    return replace(
        estimate,
        lower=claim_bytes,
        upper=claim_bytes,
        provenance=f"given by hand{beside}",
        confidence=Confidence.HIGH,
    )


def _unknown(provenance: str) -> Needs:
    estimate = Estimate(provenance=provenance)
    return Needs(host=estimate, device=estimate)


RULES: Mapping[str, _Rule] = {"gguf": _gguf}
"""By ``Profile.rules``; rules that are not here want a claim given by hand."""
