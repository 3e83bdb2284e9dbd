"""What a model means for the fleet, without a decision: what it needs, and which backends can run it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace

from motorpool import v1
from motorpool_controller.domain import parameters
from motorpool_controller.domain.backends import Offer, misfit, wanted_backend
from motorpool_controller.domain.errors import InvalidError
from motorpool_controller.domain.fleet import Profile
from motorpool_controller.domain.names import shown
from motorpool_controller.domain.workload import DeploymentSpec, ModelSource, Parameter
from motorpool_controller.estimation.launched import LOADED_PROJECTOR, NO_PROJECTOR, OVERRIDES, launched_facts
from motorpool_controller.estimation.needs import Needs, needs_of
from motorpool_controller.estimation.unknown import UnknownError
from motorpool_controller.services.convert.facts import facts_message
from motorpool_controller.services.convert.model import source_message
from motorpool_controller.services.convert.placement import estimate_message
from motorpool_controller.services.known import CONTEXT, KNOWN
from motorpool_controller.services.views import offer_of
from motorpool_formats.facts import ModelFacts

MOST_CONTEXTS = 16
USUAL_CONTEXTS = (2_048, 8_192, 32_768, 131_072)
"""Context lengths that are estimated unless told otherwise, as far as the model goes, and the model's own."""

CHANGING = (OVERRIDES, LOADED_PROJECTOR, NO_PROJECTOR)
MOST_SHOWN = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A model's facts, and who gave them."""

    source: ModelSource
    facts: ModelFacts
    read_from: str
    commit: str = ""
    fetched_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What the estimates are to be for; empty fields leave the choice to the model."""

    backend: str = ""
    parameters: tuple[str, ...] = ()
    contexts: tuple[int, ...] = ()


def inspection(found: Found, wish: Wish, offered: Mapping[str, Offer]) -> v1.ModelInspection:
    """Return all there is to say of a model; raise for a backend that nobody offers, and for bad parameters."""
    spec = DeploymentSpec(model=found.source, backend=wish.backend)
    wanted = wanted_backend(spec, found.facts)
    offer = None if wanted is None else offer_of(offered, wanted)
    if offer is None and wish.backend and offered:
        raise InvalidError(
            "BACKEND_UNKNOWN",
            f"backend: no node offers {shown(wish.backend)}; there is {', '.join(sorted(offered))}",
            metadata={"field": "backend"},
        )
    launched = _launched(found.facts, wish, offer or KNOWN.get(wanted or ""))
    estimates = [] if offer is None else _estimates(offer.profile, found.facts, launched.facts, wish, spec)
    return v1.ModelInspection(
        source=source_message(found.source),
        read_from=found.read_from,
        commit=found.commit,
        facts=facts_message(launched.facts),
        backend="" if offer is None else offer.profile.backend,
        estimates=[_estimate_message(needs) for needs in estimates],
        backends=[
            # Parameters are those of one backend, and change nothing for others.
            _verdict(each, launched.facts if each is offer else found.facts)
            for _, each in sorted(offered.items())
        ],
        findings=[*launched.findings, *_findings(launched.facts, wanted, offer, estimates)],
        fetched_bytes=found.fetched_bytes,
    )


@dataclass(frozen=True, slots=True)
class _Launched:
    """A model's facts under the parameters of the wish, and what there is to say of that."""

    facts: ModelFacts
    findings: tuple[str, ...] = ()


def _launched(facts: ModelFacts, wish: Wish, offer: Offer | None) -> _Launched:
    if offer is None:
        ignored = ("the parameters were not looked at: no node offers a backend that knows them",)
        return _Launched(facts, ignored if wish.parameters else ())
    options = offer.profile.options
    given = parameters.parse(wish.parameters, options)
    try:
        changed = launched_facts(facts, options, given)
    except UnknownError as error:
        return _Launched(facts, (error.text,))
    passed_on = _passed_on(given, offer)
    by = [
        parameter.option
        for parameter in given
        if any(option.name == parameter.option and option.meaning in CHANGING for option in options)
    ]
    return _Launched(changed, (*(_changes(facts, changed, by) if by else ()), *passed_on))


def _passed_on(given: Sequence[Parameter], offer: Offer) -> tuple[str, ...]:
    """Return one remark for each parameter that these figures do not know of."""
    if offer.nodes:
        return parameters.unknown(given, offer.profile.backend)
    return tuple(
        f"{shown(parameter.option)} of {offer.profile.backend} is not known without a node that offers it: the figures"
        " are those without it"
        for parameter in given
        if not parameter.known
    )


def _changes(before: ModelFacts, after: ModelFacts, by: Sequence[str]) -> tuple[str, ...]:
    """Return in words what parameters changed; what is too long for a line is only named."""
    said = " and ".join(f"--{option}" for option in by)
    changes = [
        f"{field.name} {_shown(old)} → {_shown(new)}" if max(len(str(old)), len(str(new))) <= MOST_SHOWN else field.name
        for field in fields(ModelFacts)
        if (old := getattr(before, field.name)) != (new := getattr(after, field.name))
    ]
    if not changes:
        return (f"{said} changes none of these facts",)
    return (f"these are the facts under {said}: {', '.join(changes)}",)


def _shown(value: object) -> str:
    return "unknown" if value is None else str(value)


def _estimates(
    profile: Profile, facts: ModelFacts, launched: ModelFacts, wish: Wish, spec: DeploymentSpec
) -> list[Needs]:
    """Return what an instance needs for each context, ascending; this is the one place that asks."""
    given = parameters.parse(wish.parameters, profile.options)
    option = next((option.name for option in profile.options if option.meaning == CONTEXT), None)
    if option is None or parameters.value_of(given, profile.options, CONTEXT) is not None:
        return [needs_of(facts, profile, given, spec)]
    return [
        _at(length, needs_of(facts, profile, (*given, Parameter(option=option, values=(str(length),))), spec))
        for length in wish.contexts or _usual(launched)
    ]


def _at(length: int, needs: Needs) -> Needs:
    """Return the needs with the context that was asked for, where the rules do not change it."""
    return needs if needs.context_length is not None else replace(needs, context_length=length)


def _usual(facts: ModelFacts) -> Sequence[int]:
    longest = facts.context_length
    if longest is None:
        return USUAL_CONTEXTS
    return sorted({longest, *(length for length in USUAL_CONTEXTS if length < longest)})


def _estimate_message(needs: Needs) -> v1.ContextEstimate:
    return v1.ContextEstimate(
        context_length=needs.context_length,
        host=estimate_message(needs.host),
        device=estimate_message(needs.device),
    )


def _verdict(offer: Offer, facts: ModelFacts) -> v1.BackendVerdict:
    profile = offer.profile
    against = misfit(profile, facts)
    reason, message = against or ("", _fitting(profile, facts))
    return v1.BackendVerdict(
        backend=profile.backend,
        fits=against is None,
        reason=reason,
        message=message,
        nodes=offer.nodes,
    )


def _fitting(profile: Profile, facts: ModelFacts) -> str:
    if profile.architectures:
        return f"it reads {facts.format} and runs {facts.architecture}"
    return f"it reads {facts.format}; which architectures it runs, its profile does not say"


def _findings(facts: ModelFacts, wanted: str | None, offer: Offer | None, estimates: Sequence[Needs]) -> list[str]:
    notes: list[str] = []
    if offer is None:
        notes.append(
            f"no node offers {wanted}, the backend for this model: what it needs is not estimated"
            if wanted
            else "no backend is known for this model: what it needs is not estimated"
        )
    notes.extend(sorted({needs.host.provenance for needs in estimates if needs.host.upper is None}))
    longest = max((needs.context_length or 0 for needs in estimates), default=0)
    if facts.context_length and longest > facts.context_length:
        notes.append(
            f"a context of {longest} tokens is longer than the {facts.context_length} that the model is made for: "
            "engines refuse it, or answers get worse"
        )
    if facts.custom_code:
        notes.append("it brings code of its own, which runs only in a deployment that says trust_remote_code")
    return notes
