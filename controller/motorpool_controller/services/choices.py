"""What a spec means for the backends that there are: which one is meant, and what it says to the parameters."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from motorpool_controller.domain import parameters
from motorpool_controller.domain.backends import Offer, wanted_backend, with_declared_claim
from motorpool_controller.domain.declarations import DeclaredBackend, lack
from motorpool_controller.domain.errors import InvalidError
from motorpool_controller.domain.faults import Fault, refuse
from motorpool_controller.domain.fleet import Profile
from motorpool_controller.domain.names import shown
from motorpool_controller.domain.workload import DeploymentSpec, Exposure, Parameter
from motorpool_controller.estimation.launched import check_overrides
from motorpool_controller.estimation.needs import needs_of
from motorpool_controller.scheduling.rules.registry import RULES
from motorpool_controller.scheduling.rules.wish import Wish
from motorpool_controller.services.views import offer_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """A spec that was looked at: its backend's profile, where one is known, and notes that are no errors."""

    spec: DeploymentSpec
    profile: Profile | None
    findings: tuple[str, ...]


def choose(spec: DeploymentSpec, offers: Mapping[str, Offer]) -> Choice:
    """Return what a spec means now; raise for a backend that nobody offers, and for parameters that it refuses.

    As long as no node offers anything, everything may still come: the deployment stands, and its rows say what is
    missing.
    """
    wanted = wanted_backend(spec, None)
    offer = None if wanted is None else offer_of(offers, wanted)
    if offer is None and spec.backend and offers:
        names = [name for found in offers.values() for name in (found.profile.backend, *found.profile.aliases)]
        raise InvalidError(
            "BACKEND_UNKNOWN",
            f"spec.backend: no node offers {shown(spec.backend)}; there is {', '.join(sorted(names))}, and `motorpool "
            "plugins` shows what became of each node's plugins",
            metadata={"field": "spec.backend"},
        )
    if offer is None:
        return Choice(spec=spec, profile=None, findings=())
    profile = offer.profile
    if offer.declared is not None:
        refuse(_declared_faults(spec, offer.declared))
    parsed = parameters.parse(spec.parameters, profile.options)
    if profile.closed_options:
        parameters.refuse_unknown(parsed, profile.backend)
    check_overrides(profile.options, parsed)
    _check_version(spec, offer)
    _check_sizes(spec, profile, parsed)
    notes = list(parameters.unknown(parsed, profile.backend))
    if offer.declared is not None:
        notes += _declared_notes(spec, offer, offer.declared)
    if not profile.api_key:
        where = "the network" if spec.exposure is Exposure.NODE else "the node"
        notes.append(f"{profile.backend} checks no API key: whoever reaches the port from {where} is served")
    if spec.backend:
        spec = replace(spec, backend=profile.backend)
    else:
        notes.append(f"{profile.backend} is chosen by the model; name another backend if you want one")
    return Choice(spec=spec, profile=profile, findings=tuple(notes))


def _check_version(spec: DeploymentSpec, offer: Offer) -> None:
    wanted = spec.backend_version
    if wanted and offer.versions and wanted not in offer.versions:
        raise InvalidError(
            "BACKEND_VERSION_UNKNOWN",
            f"spec.backend_version: no node offers version {shown(wanted)} of {offer.profile.backend}; there is "
            f"{', '.join(offer.versions)}: choose one of these, or install it on a node",
            metadata={"field": "spec.backend_version"},
        )


def _check_sizes(spec: DeploymentSpec, profile: Profile, parsed: Sequence[Parameter]) -> None:
    """Raise for parameters that cannot go together whatever the model is; what the model rules out, rows tell later."""
    rule = RULES.get(profile.rules)
    if rule is None:
        return
    needs = needs_of(None, profile, parsed, spec)
    faults = rule(
        Wish(spec=spec, facts=None, profile=profile, version=None, parameters=tuple(parsed), needs=needs)
    ).faults
    if faults:
        field = "spec.parameters"
        message = " ".join(dict.fromkeys(fault.message for fault in faults))
        raise InvalidError(faults[0].reason, f"{field}: {message}", metadata={"field": field})


def _declared_faults(spec: DeploymentSpec, backend: DeclaredBackend) -> Iterator[Fault]:
    """Return why a declared backend cannot be launched for a spec, as far as that is known by now."""
    versions = [version.version for version in backend.declaration.versions]
    if spec.backend_version and spec.backend_version not in versions:
        yield (
            "spec.backend_version",
            f"{backend.backend} has no version {shown(spec.backend_version)}, but {', '.join(versions)}",
        )
        return
    if spec.command:
        yield "spec.command", f"{backend.backend} runs what its declaration says; leave it out"
    # Any of these may be taken.
    candidates = [version for version in versions if spec.backend_version in {"", version}]
    hint = ", or choose another --backend-version" if len(candidates) > 1 else ""
    lacks = (lack(backend, version, env=spec.env, image=spec.image) for version in candidates)
    yield from ((found.field, f"{found.message}{hint}") for found in lacks if found is not None)


def _declared_notes(spec: DeploymentSpec, offer: Offer, backend: DeclaredBackend) -> Iterator[str]:
    name, claims = backend.backend, with_declared_claim(spec, None, {backend.name: backend})
    if claims.claim_memory_bytes is None and claims.claim_device_memory_bytes is None:
        yield (
            f"nothing is claimed, and nothing is known of {name}: where the model's headers do not tell what it needs, "
            "give a claim (--memory 2GiB, or --device-memory 8GiB for a device), here or in its declaration"
        )
    if not offer.nodes:
        yield f"no node runs declared backends yet, as {name} is one; install motorpool-custom beside an agent"
