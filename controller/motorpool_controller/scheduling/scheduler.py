"""The whole public surface of scheduling: a snapshot and requests in, a plan out; "does not fit" is an answer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from motorpool_controller.domain.fleet import Option, StartOrder
from motorpool_controller.domain.placement import Candidate, Estimate, Placement, Refusal
from motorpool_controller.domain.workload import Parameter
from motorpool_controller.scheduling.asking import as_many_as_needed, everyone
from motorpool_controller.scheduling.choice import Chosen, Ranking, chosen
from motorpool_controller.scheduling.columns import Codes, Columns
from motorpool_controller.scheduling.eligibility import Eligibility, eligible
from motorpool_controller.scheduling.reasons import refusals
from motorpool_controller.scheduling.selectors.host_memory import in_host_memory
from motorpool_controller.scheduling.selectors.layers import all_layers, some_layers
from motorpool_controller.scheduling.selectors.one_node import on_one_device, on_several_devices
from motorpool_controller.scheduling.selectors.overcommit import overcommitted
from motorpool_controller.scheduling.selectors.rpc import by_rpc
from motorpool_controller.scheduling.selectors.several_hosts import on_several_hosts
from motorpool_controller.scheduling.selectors.several_nodes import on_several_nodes
from motorpool_controller.scheduling.selectors.supply import Fleet, Supply
from motorpool_controller.scheduling.snapshot import Request, Snapshot
from motorpool_controller.scheduling.terms import CPU, Terms
from motorpool_formats.facts import ModelFacts

MOST_CANDIDATES = 20
WITH_RUNNER_UP = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What became of one request. ``refusals`` are folded; of a placed request there are some in ``explain`` only.

    ``candidates`` are the best, best first: the choice and the runner-up, in ``explain`` twenty; ``places`` is how many
    there are. ``parameters``, ``options``, ``facts``, ``api_key`` (whether the backend checks one) and
    ``start_order`` (of several nodes) are those of the chosen node; ``estimate`` is that of the chosen place, or of the
    first that was looked at.
    """

    request: Request
    placement: Placement | None = None
    refusals: tuple[Refusal, ...] = ()
    candidates: tuple[Candidate, ...] = ()
    places: int = 0
    estimate: Estimate | None = None
    facts: ModelFacts | None = None
    parameters: tuple[Parameter, ...] = ()
    options: tuple[Option, ...] = ()
    api_key: bool = False
    start_order: StartOrder = StartOrder.TOGETHER

    @property
    def sentence(self) -> str:
        """Return the verdict in one sentence."""
        if self.placement is not None:
            members = self.placement.members
            devices = ", ".join(claim.device_id for claim in members[0].claim.devices) or "host memory"
            others = f" and {len(members) - 1} more" if len(members) > 1 else ""
            return (
                f"It fits on {members[0].node}{others} ({devices}), the best of {self.places}"
                f" {'place' if self.places == 1 else 'places'} with {self.placement.score:.1f} points of 100."
            )
        stages = ", ".join(dict.fromkeys(row.stage for row in self.refusals))
        return f"It fits nowhere: every place was refused ({stages})."


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What became of each request, by name, and which (node, path) must be read before more can be said."""

    verdicts: Mapping[str, Verdict] = field(default_factory=dict)
    questions: tuple[tuple[str, str], ...] = ()
    unfinished: bool = False
    """Whether there were more requests than it was to place."""

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


def schedule(
    snapshot: Snapshot,
    requests: Iterable[Request],
    columns: Columns | None = None,
    *,
    frugal: bool = False,
    most: int | None = None,
) -> Plan:
    """Return a plan for all requests, in their order; each accounts for what the ones before it were given.

    The order of nodes and of earlier instances does not matter. A request that the snapshot already has a placement for
    does not compete with it (A8). Requests of one deployment have one spec. ``columns`` are the snapshot's, where they
    are kept from one decision to the next; they are as before afterwards. ``frugal``: nothing that a decision
    does not record: no runner-up, and of the questions only as many as those need that have no place; none of
    the requests has a placement. After ``most`` placements the plan ends, and says nothing of the requests behind them:
    of those it takes one, to see that there are any.
    """
    columns = Columns.of(snapshot) if columns is None else columns
    if not frugal:
        requests = list(requests)
    return _plan(snapshot, requests, columns, 1 if frugal else WITH_RUNNER_UP, rows=False, frugal=frugal, most=most)


def explain(
    snapshot: Snapshot, request: Request, columns: Columns | None = None, *, most: int = MOST_CANDIDATES
) -> Verdict:
    """Return the verdict on one request: the same computation, with all its rows and ``most`` of its candidates."""
    columns = Columns.of(snapshot) if columns is None else columns
    return _plan(snapshot, [request], columns, most, rows=True).verdicts[request.name]


def placements(snapshot: Snapshot, requests: Sequence[Request], columns: Columns) -> dict[str, Placement]:
    """Return the placements of ``schedule`` up to the first request that has none, without a word of why."""
    return _plan(snapshot, requests, columns, 1, rows=None).placements


def _plan(
    snapshot: Snapshot,
    requests: Iterable[Request],
    columns: Columns,
    keep: int,
    *,
    rows: bool | None,
    frugal: bool = False,
    most: int | None = None,
) -> Plan:
    """Return the plan, with rows of those that were placed, too, if ``rows``; None ends it at the first refusal."""
    again = (
        {}
        if frugal
        else {each.name: snapshot.instances[each.name] for each in requests if each.name in snapshot.instances}
    )
    unfinished = False
    refused: dict[str, Verdict] = {}
    verdicts: dict[str, Verdict] = {}
    unread: dict[str, Codes] = {}
    waiting = Counter[str]()
    booked: list[tuple[str, str, Placement]] = []
    search: _Search | None = None
    with columns.apart_from(again):
        try:
            for request in requests:
                if len(booked) == most:
                    unfinished = True
                    break
                passed = eligible(columns, snapshot, request)
                # A plan only ever takes memory: what was refused to one instance is refused to its equals after it.
                verdict = refused.get(request.deployment)
                if verdict is None:
                    if search is None or not search.goes_on(request, passed):
                        files = snapshot.files.get(request.spec.model, frozenset())
                        search = _Search(Fleet(columns, request, passed, files))
                    verdict = _decided(search, request, snapshot, keep, rows=rows)
                verdicts[request.name] = verdict if verdict.request is request else replace(verdict, request=request)
                if verdict.placement is None or not frugal:
                    for path, slots in passed.unread.items():
                        waiting[path] += 1
                        if unread.setdefault(path, slots) is not slots:
                            unread[path] = np.union1d(unread[path], slots)
                if verdict.placement is None:
                    if rows is None:
                        break
                    refused[request.deployment] = verdict
                else:
                    booked.append((request.name, request.deployment, verdict.placement))
                    columns.book(*booked[-1])
                    if search is not None:
                        search.placed = verdict.placement
        finally:
            for booking in booked:
                columns.release(*booking)
    questions = as_many_as_needed(columns, unread, waiting) if frugal else everyone(columns, unread)
    return Plan(verdicts=verdicts, questions=tuple(sorted(questions)), unfinished=unfinished)


@dataclass(slots=True, eq=False)
class _Search:
    """A search that goes on for the next request of the same deployment: a placement changes what one node has."""

    fleet: Fleet
    ranking: Ranking | None = None
    """All places on single devices, where it can be kept up."""
    placed: Placement | None = None
    """What was found last: it is booked by now, and ``ranking`` does not know."""

    def goes_on(self, request: Request, passed: Eligibility) -> bool:
        """Return whether a request may have what was found out for the one before."""
        before = self.fleet.request
        same = request.deployment == before.deployment and request.spec is before.spec
        return same and passed is self.fleet.eligibility

    def best(self, keep: int) -> Chosen:
        """Return the best placements of the first strategy that has any (B6.4, B9.3)."""
        if self.ranking is not None and self.placed is not None:
            found = self.ranking.best(keep) if self.ranking.renew(self.placed.members[0].node) else Chosen()
            if found.candidates:
                return found
        self.ranking = None
        self.fleet.look_anew()
        supplies = [supply for supply in self.fleet.supplies() if not supply.demand.spans]
        batches = on_one_device(self.fleet, supplies)
        if not batches:
            return _best(self.fleet, supplies, keep)
        ranking = Ranking(self.fleet, batches, [], [])
        if keep == 1 and not self.fleet.pinned and all(batch.supply.bank.shape.total for batch in batches):
            self.ranking = ranking
        return ranking.best(keep)


def _decided(search: _Search, request: Request, snapshot: Snapshot, keep: int, *, rows: bool | None) -> Verdict:
    best, fleet = search.best(keep), search.fleet
    terms = best.terms[0] if best.terms else _first_terms(fleet.eligibility)
    placement = best.candidates[0].placement if best.candidates else None
    on_host = placement.framework == CPU if placement is not None else _host_alone(fleet)
    return Verdict(
        request=request,
        placement=placement,
        refusals=(
            refusals(fleet, snapshot, fits=placement is not None)
            if rows or (rows is not None and placement is None)
            else ()
        ),
        candidates=best.candidates,
        places=best.places,
        estimate=None if terms is None else terms.estimate(CPU if on_host else ""),
        facts=None if terms is None else terms.facts,
        parameters=() if terms is None else terms.parameters,
        options=() if terms is None else terms.profile.options,
        api_key=terms is not None and terms.profile.api_key,
        start_order=(
            StartOrder.TOGETHER if terms is None or placement is None else terms.profile.start_order(placement.style)
        ),
    )


def _host_alone(fleet: Fleet) -> bool:
    """Return whether only host memory is in question: no device is wanted, or none is there that may be used."""
    terms = _first_terms(fleet.eligibility)
    if terms is None or not terms.demand.on_devices:
        return True
    return next(fleet.host_slots(), None) is not None and next(fleet.supplies(), None) is None


def _best(fleet: Fleet, supplies: Sequence[Supply], keep: int) -> Chosen:
    """Return the best placements where there are none on single devices."""
    batches = [*on_several_devices(fleet, supplies), *all_layers(fleet, supplies)]
    if batches:
        return chosen(fleet, batches, [], [], keep)
    if gangs := [*on_several_nodes(fleet), *by_rpc(fleet)]:
        return chosen(fleet, [], gangs, [], keep)
    if parts := some_layers(fleet, supplies):
        return chosen(fleet, parts, [], [], keep)
    if hosts := in_host_memory(fleet):
        return chosen(fleet, [], [], hosts, keep)
    if spread := on_several_hosts(fleet):
        return chosen(fleet, [], spread, [], keep)
    beyond = overcommitted(fleet)
    return Chosen() if beyond is None else Chosen(candidates=(beyond[0],), terms=(beyond[1],), places=1)


def _first_terms(eligibility: Eligibility) -> Terms | None:
    return eligibility.terms[0] if eligibility.terms else None
