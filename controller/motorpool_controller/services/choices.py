"""What a spec means for the backends that there are: which one is meant, and what it says to the parameters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from motorpool_controller.domain import parameters
from motorpool_controller.domain.backends import wanted_backend
from motorpool_controller.domain.errors import InvalidError
from motorpool_controller.domain.fleet import Profile
from motorpool_controller.domain.names import shown
from motorpool_controller.domain.workload import DeploymentSpec, Exposure
from motorpool_controller.estimation.launched import check_overrides
from motorpool_controller.services.views import Offer, offer_of


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
    parsed = parameters.parse(spec.parameters, profile.options)
    check_overrides(profile.options, parsed)
    notes = list(parameters.unknown(parsed, profile.backend))
    if not profile.api_key:
        where = "the network" if spec.exposure is Exposure.NODE else "the node"
        notes.append(f"{profile.backend} checks no API key: whoever reaches the port from {where} is served")
    if spec.backend:
        spec = replace(spec, backend=profile.backend)
    else:
        notes.append(f"{profile.backend} is chosen by the model; name another backend if you want one")
    return Choice(spec=spec, profile=profile, findings=tuple(notes))
