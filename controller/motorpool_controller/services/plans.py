"""What would become of a deployment: the decision itself, on a fleet that may be thought otherwise."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from motorpool import v1
from motorpool_controller.catalog.catalog import Catalog
from motorpool_controller.domain.backends import declared_as, wanted_backend, with_declared_claim
from motorpool_controller.domain.errors import InvalidError, UnavailableError
from motorpool_controller.domain.faults import of_part
from motorpool_controller.domain.names import check_deployment_id, deployment_name, shown
from motorpool_controller.domain.pinning import on_hub
from motorpool_controller.domain.placement import Placement, Suggestion
from motorpool_controller.domain.specs import check_spec
from motorpool_controller.domain.workload import DeploymentSpec, ModelSource, SourceKind
from motorpool_controller.scheduling.checks import Check, checks
from motorpool_controller.scheduling.columns import Columns
from motorpool_controller.scheduling.scheduler import Verdict, explain, schedule
from motorpool_controller.scheduling.snapshot import Reading, Request, Snapshot, wished
from motorpool_controller.scheduling.suggestions import advised
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
from motorpool_controller.services.supposed import fleet_now, supposed
from motorpool_controller.services.views import offers
from motorpool_controller.store.live import Live
from motorpool_controller.store.store import Store
from motorpool_formats.facts import ModelFacts

ANSWER_SECONDS = 15.0
"""How long nodes are waited for; those that have not answered by then have a row that says so."""

MOST_ASKED = 256
"""Nodes that are asked for a path; of more, those first by name."""

MOST_PLANS = 16
MOST_DEPLOYMENTS = 100
MOST_INSTANCES = 10_000
PLANNED = "plan"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wished:
    """A deployment that is planned: its full name, what it wishes for, and what its backend was chosen by.

    ``facts`` are those of a model on a hub, which every node is taken to have.
    """

    name: str
    spec: DeploymentSpec
    findings: tuple[str, ...]
    facts: ModelFacts | None = None

    @property
    def requests(self) -> list[Request]:
        """Return what is asked of the fleet."""
        return wished(self.name, self.spec)


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
    nodes_seen: int = 0
    decision_seconds: float = 0.0


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
        wishes = [self._wished(request.deployment, PLANNED)]
        (planned,) = await self._of_all(wishes, request.without, request.add_nodes)
        return _message(planned)

    async def plan_all(self, request: v1.PlanDeploymentsRequest) -> v1.PlanDeploymentsResponse:
        """Return what would become of deployments now, placed one after the other."""
        count = len(request.deployments)
        if not 1 <= count <= MOST_DEPLOYMENTS:
            raise fields.invalid("deployments", f"there are {count}; give 1 to {MOST_DEPLOYMENTS}")
        wishes = []
        for number, each in enumerate(request.deployments):
            try:
                wishes.append(self._wished(each, f"{PLANNED}-{number + 1}"))
            except InvalidError as error:
                raise of_part(error, f"deployments[{number}]") from error
        _check_together(wishes)
        planned = await self._of_all(wishes, request.without, request.add_nodes)
        return v1.PlanDeploymentsResponse(plans=[_message(each) for each in planned])

    def _wished(self, deployment: v1.Deployment, unnamed: str) -> Wished:
        name = deployment.name.removeprefix("deployments/")
        if name:
            check_deployment_id(name)
        spec = spec_of(deployment.spec)
        check_spec(spec)
        view = self._store.view
        choice = choose(spec, offers(view))
        return Wished(
            name=deployment_name(name or unnamed),
            spec=with_declared_claim(choice.spec, None, view.backends),
            findings=choice.findings,
        )

    async def _of_all(
        self, wishes: Sequence[Wished], gone: Sequence[str], added: Sequence[v1.AddedNodes]
    ) -> list[Planned]:
        def fleet() -> Snapshot:
            view = self._store.view
            standing = [each for wish in wishes for each in view.groups.of_deployment(wish.name).values()]
            return supposed(fleet_now(view, self._live), standing, gone, added)

        fleet()  # a wrong name is told before anything is read
        if self._running >= MOST_PLANS:
            raise UnavailableError(
                "BUSY", f"{self._running} plans are being made already; try again later", retry_seconds=2.0
            )
        self._running += 1
        try:
            there = [await self._looked_up(wish) if on_hub(wish.spec.model) else wish for wish in wishes]
            asked = {
                question
                for wish in there
                if wish.facts is None
                for question in schedule(fleet(), wish.requests[:1]).questions
            }
            await self._ask(sorted(asked)[:MOST_ASKED])
        finally:
            self._running -= 1
        return self._planned(_with_hub_models(fleet(), there), there)

    async def _looked_up(self, wish: Wished) -> Wished:
        """Return the wish as though every node had its model: which it is, the hub says."""
        known = await self._catalog.look_up(wish.spec.model).result()
        path = f"/{wish.spec.model.repository}"
        total = sum(file.size_bytes for file in known.files)
        note = f"{total / (1 << 30):.2f} GiB are downloaded by each node that runs it and does not have it yet"
        return replace(
            wish,
            spec=replace(wish.spec, model=ModelSource(kind=SourceKind.LOCAL_PATH, path=path)),
            findings=(*wish.findings, note),
            facts=known.facts,
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

    def _planned(self, snapshot: Snapshot, wishes: Sequence[Wished]) -> list[Planned]:
        """Return the plans, each with what the ones before it were given taken."""
        columns = self._columns
        columns.follow(snapshot)
        plans: list[Planned] = []
        booked: list[tuple[str, str, Placement]] = []
        try:
            for wish in wishes:
                plans.append(self._plan_of(snapshot, wish))
                placed = [(each.request, each.placement) for each in plans[-1].verdicts]
                taken = [(request.name, wish.name, place) for request, place in placed if place is not None]
                booked += taken
                for booking in taken:
                    columns.book(*booking)
        finally:
            for booking in booked:
                columns.release(*booking)
        return plans

    def _plan_of(self, snapshot: Snapshot, wish: Wished) -> Planned:
        requests, spec = wish.requests, wish.spec
        began = time.perf_counter()
        details = explain(snapshot, requests[0], self._columns)
        plan = schedule(snapshot, requests, self._columns)
        verdicts = (details, *(plan.verdicts[request.name] for request in requests[1:]))
        facts = details.facts or next(
            (reading.facts for (_, path), reading in sorted(snapshot.readings.items()) if path == spec.model.path), None
        )
        unplaced = any(verdict.placement is None for verdict in verdicts)
        suggestions = advised(snapshot, requests, self._columns).suggestions if unplaced else ()
        return Planned(
            spec=spec,
            facts=facts,
            details=details,
            verdicts=verdicts,
            checks=checks(
                verdicts, unchecked=self._unchecked(spec, facts), chosen=wanted_backend(spec, facts) is not None
            ),
            findings=wish.findings,
            suggestions=suggestions,
            nodes_seen=len(snapshot.nodes),
            decision_seconds=time.perf_counter() - began,
        )

    def _unchecked(self, spec: DeploymentSpec, facts: ModelFacts | None) -> str:
        """Return why it is not known which models the backend runs; empty where its profile says so."""
        wanted = wanted_backend(spec, facts)
        declared = None if wanted is None else declared_as(self._store.view.backends, wanted)
        if declared is not None and not declared.declaration.formats:
            return "the backend was declared here, and which models it runs only its author knows"
        if declared is None and spec.image:
            return "the engine comes from an image given by hand, and which models it runs only its author knows"
        return ""


def _check_together(wishes: Sequence[Wished]) -> None:
    names = [wish.name for wish in wishes]
    twice = next((number for number, name in enumerate(names) if name in names[:number]), None)
    if twice is not None:
        raise fields.invalid(f"deployments[{twice}].name", f"{shown(names[twice])} is there twice; name each once")
    count = sum(max(wish.spec.replicas, 1) for wish in wishes)
    if count > MOST_INSTANCES:
        raise fields.invalid("deployments", f"they wish for {count:,} instances, and {MOST_INSTANCES:,} is the most")


def _with_hub_models(snapshot: Snapshot, wishes: Sequence[Wished]) -> Snapshot:
    readings = {
        (node, wish.spec.model.path): Reading(facts=wish.facts)
        for wish in wishes
        if wish.facts is not None
        for node in snapshot.nodes
    }
    return replace(snapshot, readings={**snapshot.readings, **readings}) if readings else snapshot


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
        nodes_seen=planned.nodes_seen,
        decision_time=fields.duration(planned.decision_seconds),
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
