"""The whole public surface of scheduling: a snapshot and requests in, a plan out; "does not fit" is an answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from motorpool_controller.domain.fleet import Option
from motorpool_controller.domain.placement import Candidate, Estimate, Placement, Refusal
from motorpool_controller.domain.workload import Parameter
from motorpool_controller.scheduling.allocatable import Ledger
from motorpool_controller.scheduling.filters import Filtered, filtered
from motorpool_controller.scheduling.offers import CPU, Offer
from motorpool_controller.scheduling.scorers import ranked
from motorpool_controller.scheduling.selectors.registry import SELECTORS
from motorpool_controller.scheduling.snapshot import Request, Snapshot
from motorpool_formats.facts import ModelFacts

MOST_CANDIDATES = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What became of one request. ``refusals`` are one by one, for placed requests too: why not elsewhere.

    ``candidates`` are the best twenty, best first. ``parameters``, ``options``, ``facts`` and ``api_key`` (whether the
    backend
    checks one) are those of the chosen node; ``estimate`` is that of the chosen place, or of the first that was looked
    at.
    """

    request: Request
    placement: Placement | None = None
    refusals: tuple[Refusal, ...] = ()
    candidates: tuple[Candidate, ...] = ()
    estimate: Estimate | None = None
    facts: ModelFacts | None = None
    parameters: tuple[Parameter, ...] = ()
    options: tuple[Option, ...] = ()
    api_key: bool = False

    @property
    def sentence(self) -> str:
        """Return the verdict in one sentence."""
        if self.placement is not None:
            leader = self.placement.members[0]
            devices = ", ".join(claim.device_id for claim in leader.claim.devices) or "host memory"
            return (
                f"It fits on {leader.node} ({devices}), the best of {len(self.candidates)}"
                f" {'place' if len(self.candidates) == 1 else 'places'} with {self.placement.score:.1f} points of 100."
            )
        stages = ", ".join(dict.fromkeys(row.stage for row in self.refusals))
        return f"It fits nowhere: every place was refused ({stages})."


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What became of each request, by name, and which (node, path) must be read before more can be said."""

    verdicts: Mapping[str, Verdict] = field(default_factory=dict)
    questions: tuple[tuple[str, str], ...] = ()

    @property
    def placements(self) -> dict[str, Placement]:
        """Return the placements by name of the request."""
        return {name: v.placement for name, v in self.verdicts.items() if v.placement is not None}

    @property
    def refusals(self) -> dict[str, tuple[Refusal, ...]]:
        """Return the rows by name of the request."""
        return {name: verdict.refusals for name, verdict in self.verdicts.items()}

    @property
    def candidates(self) -> dict[str, tuple[Candidate, ...]]:
        """Return the feasible placements by name of the request."""
        return {name: verdict.candidates for name, verdict in self.verdicts.items()}


def schedule(snapshot: Snapshot, requests: Sequence[Request]) -> Plan:
    """Return a plan for all requests, in their order; each accounts for what the ones before it were given.

    The order of nodes and of earlier instances does not matter. A request that the snapshot already has a placement for
    does not compete with it (A8). Requests of one deployment have one spec.
    """
    placing = {request.name for request in requests}
    standing = {name: instance for name, instance in snapshot.instances.items() if name not in placing}
    ledger = Ledger(replace(snapshot, instances=standing))
    passed: dict[str, Filtered] = {}
    refused: dict[str, Verdict] = {}
    verdicts: dict[str, Verdict] = {}
    for request in requests:
        name = request.deployment
        if name not in passed:
            passed[name] = filtered(snapshot, request)
        # A plan only ever takes memory: what was refused to one instance is refused to its equals after it.
        verdict = refused.get(name) or _decided(request, passed[name], snapshot, ledger)
        verdicts[request.name] = replace(verdict, request=request)
        if verdict.placement is None:
            refused[name] = verdict
        else:
            ledger.book(request.name, name, verdict.placement)
    questions = sorted({question for result in passed.values() for question in result.questions})
    return Plan(verdicts=verdicts, questions=tuple(questions))


def explain(snapshot: Snapshot, request: Request) -> Verdict:
    """Return the verdict on one request: the same computation, looked at more closely."""
    return schedule(snapshot, [request]).verdicts[request.name]


def _decided(request: Request, passed: Filtered, snapshot: Snapshot, ledger: Ledger) -> Verdict:
    placements: list[Placement] = []
    rows = list(passed.refusals)
    for model in sorted({offer.profile.memory_model for offer in passed.offers}):
        offers = [offer for offer in passed.offers if offer.profile.memory_model is model]
        select = SELECTORS.get(model)
        if select is None:
            rows.extend(_no_selector(offer) for offer in offers)
            continue
        selection = select(offers, request, ledger)
        placements.extend(selection.placements)
        rows.extend(selection.refusals)
    candidates = ranked(placements, request, snapshot.nodes, ledger)
    if not candidates and not rows:
        rows.append(_nothing(request))
    chosen = candidates[0].placement if candidates else None
    offer = _offer_of(chosen, passed.offers)
    on_device = chosen is not None and chosen.framework != CPU
    return Verdict(
        request=request,
        placement=chosen,
        refusals=tuple(rows),
        candidates=candidates[:MOST_CANDIDATES],
        estimate=None if offer is None else offer.needs.device if on_device else offer.needs.host,
        facts=None if offer is None else offer.facts,
        parameters=() if offer is None else offer.parameters,
        options=() if offer is None else offer.profile.options,
        api_key=offer is not None and offer.profile.api_key,
    )


def _offer_of(chosen: Placement | None, offers: Sequence[Offer]) -> Offer | None:
    if chosen is None:
        return offers[0] if offers else None
    return next((offer for offer in offers if offer.node.name == chosen.members[0].node), None)


def _no_selector(offer: Offer) -> Refusal:
    return Refusal(
        stage="backend",
        reason="MEMORY_MODEL_NOT_SERVED_YET",
        subject=offer.node.name,
        message=(
            f"{offer.profile.backend} takes memory by {offer.profile.memory_model.value}, which this version does "
            "not place yet; choose another backend."
        ),
    )


def _nothing(request: Request) -> Refusal:
    return Refusal(
        stage="devices",
        reason="NO_PLACE",
        subject=request.deployment,
        message="No node has a device for it, and host memory is not allowed; allow cpu_offloading, or add a device.",
    )
