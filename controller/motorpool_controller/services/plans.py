"""What would become of a deployment: the decision itself, on a fleet that may be thought otherwise."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from motorpool import v1
from motorpool_controller.catalog.catalog import Catalog
from motorpool_controller.domain.backends import declared_as, declared_profiles, wanted_backend, with_declared_claim
from motorpool_controller.domain.errors import NotFoundError, UnavailableError
from motorpool_controller.domain.names import check_deployment_id, deployment_name, id_of, node_name, resource_id, shown
from motorpool_controller.domain.placement import Suggestion
from motorpool_controller.domain.specs import check_spec
from motorpool_controller.domain.workload import DeploymentSpec, ModelSource, SourceKind
from motorpool_controller.reconcile.hub_models import on_hub
from motorpool_controller.scheduling.checks import Check, checks
from motorpool_controller.scheduling.columns import Columns
from motorpool_controller.scheduling.scheduler import Verdict, explain, schedule
from motorpool_controller.scheduling.snapshot import Reading, Request, Snapshot, wished, without
from motorpool_controller.scheduling.suggestions import advised
from motorpool_controller.scheduling.whatif import with_more, without_node
from motorpool_controller.services.choices import choose
from motorpool_controller.services.convert import fields
from motorpool_controller.services.convert.facts import facts_message
from motorpool_controller.services.convert.placement import (
    candidate_message,
    estimate_message,
    placement_message,
    refusal_message,
    suggestion_message,
)
from motorpool_controller.services.convert.spec import spec_of
from motorpool_controller.services.views import offers
from motorpool_controller.store.live import Live
from motorpool_controller.store.store import Store
from motorpool_formats.facts import ModelFacts

ANSWER_SECONDS = 15.0
"""How long nodes are waited for; those that have not answered by then have a row that says so."""

MOST_ASKED = 256
"""Nodes that are asked for a path; of more, those first by name."""

MOST_PLANS = 16
MOST_ADDED = 1_000
PLANNED = "plan"


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """A plan of one deployment. ``details`` is the first instance's verdict with every row and candidate."""

    spec: DeploymentSpec
    facts: ModelFacts | None
    details: Verdict
    verdicts: tuple[Verdict, ...]
    checks: tuple[Check, ...]
    findings: tuple[str, ...]
    suggestions: tuple[Suggestion, ...] = ()


class Planner:
    """Plans deployments that do not exist, or would be otherwise."""

    def __init__(
        self, store: Store, live: Live, catalog: Catalog, columns: Columns, *, clock: Callable[[], datetime]
    ) -> None:
        self._store = store
        self._live = live
        self._catalog = catalog
        self._clock = clock
        self._running = 0
        self._columns = columns

    async def plan(self, request: v1.PlanDeploymentRequest) -> v1.PlanDeploymentResponse:
        """Return what would become of a deployment now."""
        name = _name(request.deployment.name)
        spec = spec_of(request.deployment.spec)
        check_spec(spec)
        view = self._store.view
        choice = choose(spec, offers(view))
        wished = with_declared_claim(choice.spec, None, view.backends)
        self._snapshot(name, request)  # a wrong name is told before anything is read
        if self._running >= MOST_PLANS:
            raise UnavailableError(
                "BUSY", f"{self._running} plans are being made already; try again later", retry_seconds=2.0
            )
        self._running += 1
        try:
            if on_hub(wished):
                planned = await self._of_hub(name, wished, choice.findings, request)
            else:
                planned = await self._of_path(name, wished, choice.findings, request)
        finally:
            self._running -= 1
        return _message(planned)

    async def _of_path(
        self, name: str, spec: DeploymentSpec, findings: tuple[str, ...], request: v1.PlanDeploymentRequest
    ) -> Planned:
        requests = wished(name or deployment_name(PLANNED), spec)
        asked = schedule(self._snapshot(name, request), requests).questions
        await self._ask(asked[:MOST_ASKED])
        return self._planned(self._snapshot(name, request), requests, spec, findings)

    async def _of_hub(
        self, name: str, spec: DeploymentSpec, findings: tuple[str, ...], request: v1.PlanDeploymentRequest
    ) -> Planned:
        """Plan as though every node had the model: which it is, the hub says."""
        known = await self._catalog.look_up(spec.model).result()
        there = replace(spec, model=ModelSource(kind=SourceKind.LOCAL_PATH, path=f"/{spec.model.repository}"))
        snapshot = self._snapshot(name, request)
        readings = {(node, there.model.path): Reading(facts=known.facts) for node in snapshot.nodes}
        note = "every node is taken to have the model: agents of this version do not download, so deploy a local path"
        return self._planned(
            replace(snapshot, readings=readings),
            wished(name or deployment_name(PLANNED), there),
            there,
            (*findings, note),
        )

    async def _ask(self, questions: Sequence[tuple[str, str]]) -> None:
        connected = self._live.connected()
        reads = [self._live.read(node, path, self._clock()) for node, path in questions if node in connected]
        if not reads:
            return
        gathered = asyncio.gather(*reads)
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                await gathered
        except TimeoutError:
            return

    def _planned(
        self, snapshot: Snapshot, requests: Sequence[Request], spec: DeploymentSpec, findings: tuple[str, ...]
    ) -> Planned:
        self._columns.follow(snapshot)
        details = explain(snapshot, requests[0], self._columns)
        plan = schedule(snapshot, requests, self._columns)
        verdicts = (details, *(plan.verdicts[request.name] for request in requests[1:]))
        facts = details.facts or next(
            (reading.facts for (_, path), reading in sorted(snapshot.readings.items()) if path == spec.model.path), None
        )
        return Planned(
            spec=spec,
            facts=facts,
            details=details,
            verdicts=verdicts,
            checks=checks(
                verdicts, custom=self._is_declared(spec, facts), chosen=wanted_backend(spec, facts) is not None
            ),
            findings=findings,
            suggestions=(
                advised(snapshot, requests, self._columns).suggestions
                if any(verdict.placement is None for verdict in verdicts)
                else ()
            ),
        )

    def _is_declared(self, spec: DeploymentSpec, facts: ModelFacts | None) -> bool:
        """Return whether the backend takes any model: it states no formats, and so nothing can be held against it."""
        wanted = wanted_backend(spec, facts)
        declared = None if wanted is None else declared_as(self._store.view.backends, wanted)
        return declared is not None and not declared.declaration.formats

    def _snapshot(self, name: str, request: v1.PlanDeploymentRequest) -> Snapshot:
        view = self._store.view
        snapshot = Snapshot(
            nodes=view.nodes,
            profiles=view.profiles,
            instances=view.instances,
            usage=self._live.settled_usage,
            readings=self._live.readings,
            peaks=view.peaks,
            declared=declared_profiles(view.backends),
        )
        for instance in view.groups.of_deployment(name).values():
            snapshot = without(snapshot, instance)
        for gone in request.without:
            if gone in snapshot.nodes:
                snapshot = without_node(snapshot, gone)
            elif gone in view.instances:
                if gone in snapshot.instances:
                    snapshot = without(snapshot, view.instances[gone])
            else:
                raise NotFoundError("NOT_FOUND", f"without: {shown(gone)} does not exist; give nodes/… or instances/…")
        for added in request.add_nodes:
            resource_id(added.like, "nodes", "add_nodes.like")
            if added.like not in view.nodes:
                raise NotFoundError(
                    "NOT_FOUND", f"add_nodes.like: {shown(added.like)} does not exist; give one of the fleet's nodes"
                )
            if not 1 <= added.count <= MOST_ADDED:
                raise fields.invalid("add_nodes.count", f"{added.count} is not between 1 and {MOST_ADDED}")
            names = [node_name(f"{id_of(added.like)}-new-{number}") for number in range(1, added.count + 1)]
            snapshot = with_more(snapshot, view.nodes[added.like], names)
        return snapshot


def _name(given: str) -> str:
    return deployment_name(check_deployment_id(given.removeprefix("deployments/"))) if given else ""


def _message(planned: Planned) -> v1.PlanDeploymentResponse:
    details = planned.details
    return v1.PlanDeploymentResponse(
        backend=wanted_backend(planned.spec, planned.facts) or "",
        facts=None if planned.facts is None else facts_message(planned.facts),
        estimate=None if details.estimate is None else estimate_message(details.estimate),
        checks=[_check_message(check) for check in planned.checks],
        instances=_instances(planned.verdicts),
        findings=planned.findings,
        suggestions=[suggestion_message(each) for each in planned.suggestions],
    )


def _check_message(check: Check) -> v1.Check:
    return v1.Check(
        kind=fields.number(v1.CheckKind, "CHECK_KIND", check.kind),
        outcome=fields.number(v1.CheckOutcome, "CHECK_OUTCOME", check.outcome),
        message=check.message,
        refusals=[refusal_message(row) for row in check.refusals],
    )


def _instances(verdicts: Sequence[Verdict]) -> list[v1.PlannedInstance]:
    messages = [_instance(verdict, 1) for verdict in verdicts if verdict.placement is not None]
    nowhere = [verdict for verdict in verdicts if verdict.placement is None]
    return [*messages, _instance(nowhere[0], len(nowhere))] if nowhere else messages


def _instance(verdict: Verdict, count: int) -> v1.PlannedInstance:
    return v1.PlannedInstance(
        placement=None if verdict.placement is None else placement_message(verdict.placement),
        refusals=[refusal_message(row) for row in verdict.refusals],
        candidates=[candidate_message(candidate) for candidate in verdict.candidates],
        verdict=verdict.sentence,
        count=count,
    )
