"""What an instance needs, by the rules that its backend's profile names."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from motorpool_controller.domain.errors import InvalidError
from motorpool_controller.domain.fleet import Profile
from motorpool_controller.domain.peak import Peak
from motorpool_controller.domain.placement import Confidence, Estimate, Item
from motorpool_controller.domain.sizes import in_words
from motorpool_controller.domain.workload import DeploymentSpec, Parameter
from motorpool_controller.estimation import gguf, itemised, measured, mindie, published
from motorpool_controller.estimation.extras import extras_of
from motorpool_controller.estimation.launched import launched_facts
from motorpool_controller.estimation.offload import RUNTIME_BYTES, Offload
from motorpool_controller.estimation.unknown import UnknownError, unknown
from motorpool_formats.facts import ModelFacts

FIXED = "fixed"
"""The rules of backends of which nothing is known but what is claimed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """What an instance needs in host memory alone, or on devices and ``beside`` them in host memory (bytes).

    ``context_length`` and ``parallel`` are what the figures hold for; the launch states the same, so that claim and
    engine never differ. ``layers`` is how many can be put on devices, the output layer included, and ``offload``
    answers for any number of them on any devices; both are None where layers mean nothing.
    """

    host: Estimate
    device: Estimate
    beside: int | None = None
    context_length: int | None = None
    parallel: int | None = None
    layers: int | None = None
    offload: Offload | None = None


_NO_PEAKS: Mapping[str, Peak] = {}
_Rule = Callable[[ModelFacts, Profile, Sequence[Parameter], DeploymentSpec], Needs]


def needs_of(
    facts: ModelFacts | None,
    profile: Profile,
    parameters: Sequence[Parameter],
    spec: DeploymentSpec,
    peaks: Mapping[str, Peak] = _NO_PEAKS,
) -> Needs:
    """Return what an instance needs: by rule, as it was measured where it was, and as it was given by hand above all.

    Unknowns stay None. ``peaks`` are by name of their kind.
    """
    rule = RULES.get(profile.rules)
    if facts is None:
        needs = _unknown("the model's headers could not be read", ("facts",))
    elif rule is None:
        needs = _unknown(f"{profile.backend} takes what the claim says, and none was given", ("claim",))
    else:
        try:
            launched = launched_facts(facts, profile.options, parameters)
            needs = rule(launched, profile, parameters, spec)
            if peaks and profile.rules in measured.MEASURED_RULES:
                needs = _measured(needs, facts, profile, parameters, spec, peaks)
        except UnknownError as error:
            needs = _unknown(error.text, error.missing, facts.weight_bytes)
        except InvalidError as error:
            needs = _unknown(error.message, ("parameters",), facts.weight_bytes)
    return replace(
        needs,
        host=_by_hand(needs.host, spec.claim_memory_bytes, profile),
        device=_by_hand(needs.device, spec.claim_device_memory_bytes, profile),
        beside=_beside(needs, spec),
        offload=None if spec.claim_device_memory_bytes is not None else needs.offload,
    )


def _measured(
    needs: Needs,
    facts: ModelFacts,
    profile: Profile,
    parameters: Sequence[Parameter],
    spec: DeploymentSpec,
    peaks: Mapping[str, Peak],
) -> Needs:
    slots = (needs.context_length, needs.parallel)
    in_host = measured.kinds_of(
        facts, profile, parameters, spec, slots=slots, layers=None if needs.layers is None else 0, in_host=True
    )
    on_device = measured.kinds_of(facts, profile, parameters, spec, slots=slots, layers=needs.layers, in_host=False)
    device = measured.corrected if profile.rules in measured.ALLOCATED_AT_START else measured.raised
    beside = measured.peak_in_host(on_device, peaks)
    return replace(
        needs,
        host=measured.raised(needs.host, measured.peak_in_host(in_host, peaks)),
        device=device(needs.device, measured.peak_on_device(on_device, peaks)),
        beside=needs.beside
        if beside is None or needs.beside is None
        else max(needs.beside, measured.with_margin(beside)),
    )


def _beside(needs: Needs, spec: DeploymentSpec) -> int | None:
    if spec.claim_device_memory_bytes is None:
        return needs.beside
    if spec.claim_memory_bytes is not None:
        return spec.claim_memory_bytes
    return RUNTIME_BYTES if needs.beside is None else needs.beside


def _gguf(facts: ModelFacts, profile: Profile, parameters: Sequence[Parameter], spec: DeploymentSpec) -> Needs:
    versions = [version.version for version in profile.versions if spec.backend_version in {"", version.version}]
    estimated = gguf.estimate(facts, profile.options, parameters, versions)
    return Needs(
        host=estimated.host,
        device=estimated.device,
        beside=estimated.beside,
        context_length=estimated.context_length,
        parallel=estimated.parallel,
        layers=None if facts.layers is None else facts.layers + 1,
        offload=estimated.offload,
    )


def _fraction(facts: ModelFacts, profile: Profile, parameters: Sequence[Parameter], spec: DeploymentSpec) -> Needs:
    """Return the published rule with the itemised sum beside it (B3.1, B3.2)."""
    estimate = _with_items(_published(facts, spec), facts, profile, parameters, spec)
    stated = itemised.stated_context(facts, profile.options, parameters)
    return Needs(host=estimate, device=estimate, beside=0, context_length=stated)


def _mindie(facts: ModelFacts, profile: Profile, parameters: Sequence[Parameter], spec: DeploymentSpec) -> Needs:
    estimate = mindie.estimate(facts, parameters, extras_of(facts, spec))
    estimate = _with_items(estimate, facts, profile, parameters, spec)
    none = Estimate(provenance="unknown: MindIE runs on devices only", missing=("device",))
    return Needs(
        host=none,
        device=estimate,
        beside=mindie.memory_of(parameters),
        context_length=mindie.sequence_of(facts, parameters),
    )


def _fixed(facts: ModelFacts, _profile: Profile, _parameters: Sequence[Parameter], spec: DeploymentSpec) -> Needs:
    """Return the published rule for backends that say nothing of memory (B10)."""
    estimate = _published(facts, spec)
    beside = None if estimate.upper is None else published.memory_beside(estimate.upper)
    return Needs(host=estimate, device=estimate, beside=beside)


def _published(facts: ModelFacts, spec: DeploymentSpec) -> Estimate:
    return published.estimate(facts, spec.categories or facts.categories, extras_of(facts, spec))


def _with_items(
    estimate: Estimate,
    facts: ModelFacts,
    profile: Profile,
    parameters: Sequence[Parameter],
    spec: DeploymentSpec,
) -> Estimate:
    """Return the estimate with the itemised sum, where there is one: a pipeline has its own, a gap leaves it out."""
    if estimate.items or published.IMAGE in (spec.categories or facts.categories):
        return estimate
    wanted = itemised.wanted_of(facts, profile.options, parameters)
    try:
        items = itemised.items(facts, profile.rules, wanted, extras_of(facts, spec))
    except UnknownError as error:
        return replace(estimate, provenance=f"{estimate.provenance}; no itemised sum: {error.text}")
    return replace(
        estimate,
        items=items,
        provenance=(
            f"{estimate.provenance}; itemised for {wanted.context_length:,} tokens and {wanted.concurrency} at a time:"
            f" {in_words(_sum(items))}"
        ),
    )


def _sum(items: Sequence[Item]) -> int:
    return sum(item.size_bytes for item in items)


def _by_hand(estimate: Estimate, claim_bytes: int | None, profile: Profile) -> Estimate:
    if claim_bytes is None:
        return estimate
    beside = "" if estimate.upper is None else f"; the estimate was {in_words(estimate.upper)}"
    return replace(
        estimate,
        lower=claim_bytes,
        upper=claim_bytes,
        # A declared backend's claim is its author's, not the user's.
        provenance=f"{'as claimed' if profile.rules == FIXED else 'given by hand'}{beside}",
        confidence=Confidence.HIGH,
        missing=(),
        by_hand=True,
    )


def _unknown(text: str, missing: tuple[str, ...], weights: int | None = None) -> Needs:
    estimate = unknown(text, missing, weights)
    return Needs(host=estimate, device=estimate)


RULES: Mapping[str, _Rule] = {
    "gguf": _gguf,
    "vllm": _fraction,
    "sglang": _fraction,
    "generic_fraction": _fraction,
    "mindie": _mindie,
    FIXED: _fixed,
}
"""By ``Profile.rules``; rules that are not here want a claim given by hand."""
