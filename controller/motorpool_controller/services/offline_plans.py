"""``motorpool-controller plan``: where deployments would go in a fleet on file, without a server or a network.

The fleet is an object of lists, each of messages of the API in their JSON form: ``nodes`` (Node), ``backends``
(Backend: a profile and the nodes that offer it; none named means all; of backends that the file does not name, every
node offers the built-in profile), ``instances`` (Instance, of which the placement counts). A deployment is a
Deployment: its spec, and the facts of its model. examples/plans has some.

A large fleet takes seconds to read, and a decision milliseconds: the fleet is read once, for however many deployments.
"""

from __future__ import annotations

import gc
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO

from motorpool import v1
from motorpool_controller.domain.errors import InvalidError
from motorpool_controller.domain.names import deployment_name, id_of, shown
from motorpool_controller.domain.placement import Placement
from motorpool_controller.domain.specs import check_spec
from motorpool_controller.domain.workload import DeploymentSpec, Instance, InstanceState, ModelSource, SourceKind
from motorpool_controller.scheduling.columns import Columns
from motorpool_controller.scheduling.companions import ADAPTER, Wanted, wanted_by
from motorpool_controller.scheduling.scheduler import explain, schedule
from motorpool_controller.scheduling.snapshot import Reading, Request, Touched, wished
from motorpool_controller.scheduling.suggestions import advised
from motorpool_controller.services.convert.facts import facts_of
from motorpool_controller.services.convert.fields import invalid
from motorpool_controller.services.convert.spec import spec_of
from motorpool_controller.services.offline_fleets import document_of, fleet_of, message_of, of_version, read_document
from motorpool_controller.services.offline_reports import OfflinePlan, fault_json, plan_json, plan_text

MOST_PLACES = 100_000
MODEL_PATH = "/model"
LINES = Path("-")
"""In place of a file: a deployment on each line of what is read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """What is asked: deployments, how they are answered, and whether what is placed stands for those after it.

    Of each deployment's first instance so many ``places`` are told, 0 means all, after the best ``skip``.
    """

    deployments: Sequence[Path]
    output: str = "text"
    places: int = 0
    skip: int = 0
    keep: bool = False

    @property
    def series(self) -> bool:
        """Whether several are answered: each in a line of JSON, or under its name."""
        return len(self.deployments) > 1 or LINES in self.deployments


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What is said of a deployment: its plan, or, of one that came on a line, what is ``wrong`` with it."""

    text: str
    wrong: bool = False


def answers(fleet_file: Path, wishes: Wishes, lines: TextIO) -> Iterator[Answer]:
    """Plan one deployment after another; raise an InvalidError.

    A line that is wrong is told so, and the next one is read; a file that is wrong ends it.
    """
    if wishes.output not in {"text", "json"}:
        raise invalid("--output", f"{shown(wishes.output)} is none of text, json")
    for option, number in (("--places", wishes.places), ("--skip", wishes.skip)):
        if not 0 <= number <= MOST_PLACES:
            raise invalid(option, f"{number} is not between 0 and {MOST_PLACES:,}")
    if wishes.deployments.count(LINES) > 1:
        raise invalid("--deployment", "- stands there twice, and there is one standard input")
    with _uncollected():
        fleet = OfflineFleet(fleet_file, keep=wishes.keep)
        for file in wishes.deployments:
            if file != LINES:
                yield Answer(text=_told(fleet, read_document(file), str(file), wishes))
                continue
            for number, line in enumerate(lines, 1):
                if line.strip():
                    yield _answered(fleet, line, f"line {number}", wishes)


def _answered(fleet: OfflineFleet, line: str, where: str, wishes: Wishes) -> Answer:
    try:
        return Answer(text=_told(fleet, document_of(line.encode(), where), where, wishes))
    except InvalidError as error:
        told = error.message if error.message.startswith(where) else f"{where}: {error.message}"
        return Answer(text=told if wishes.output == "text" else fault_json(error.reason, told), wrong=True)


def _told(fleet: OfflineFleet, document: dict[str, Any], where: str, wishes: Wishes) -> str:
    most = wishes.skip + wishes.places if wishes.places else MOST_PLACES
    planned = fleet.plan(message_of(document, v1.Deployment(), where), most=most)
    if wishes.output == "json":
        return plan_json(planned, wishes.skip, in_a_line=wishes.series)
    text = plan_text(planned, wishes.skip)
    return f"{planned.deployment}\n{text}\n" if wishes.series else text


@contextmanager
def _uncollected() -> Iterator[None]:
    """Pause the garbage collector: of a large fleet nothing is garbage, and looking for it took half of the time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


class OfflineFleet:
    """A fleet on file, on which deployments are planned one after another."""

    def __init__(self, file: Path, *, keep: bool = False) -> None:
        self._snapshot = fleet_of(read_document(file), str(file))
        self._columns: Columns | None = None
        self._keep = keep
        self._count = 0

    def plan(self, message: v1.Deployment, *, most: int = MOST_PLACES) -> OfflinePlan:
        """Return what would become of each instance, the first with its ``most`` best places; raise an InvalidError."""
        spec, reading = _wish(message)
        name = self._name(message)
        columns = self._follow(spec, reading)
        snapshot, requests = self._snapshot, wished(name, spec)
        first = explain(snapshot, requests[0], columns, most=max(most, 2))
        plan = schedule(snapshot, requests, columns)
        verdicts = (first, *(plan.verdicts[request.name] for request in requests[1:]))
        if all(verdict.placement is not None for verdict in verdicts):
            planned = OfflinePlan(deployment=name, verdicts=verdicts)
        else:
            suggestions = advised(snapshot, requests, columns).suggestions
            planned = OfflinePlan(deployment=name, verdicts=verdicts, suggestions=suggestions)
        if self._keep:
            self._stand(requests, [verdict.placement for verdict in verdicts])
        return planned

    def _name(self, message: v1.Deployment) -> str:
        """Return its name, or what it is called that has none; what stands on file has its own."""
        self._count += 1
        name = deployment_name(id_of(message.name) or ("plan" if self._count == 1 else f"plan-{self._count}"))
        if self._keep and any(instance.deployment == name for instance in self._snapshot.instances.values()):
            raise invalid("name", f"{name} stands already; with --keep each deployment has a name of its own")
        return name

    def _follow(self, spec: DeploymentSpec, reading: Reading) -> Columns:
        """Have every node know the model, and offer the version, that are asked for."""
        before = self._snapshot
        known = {spec.model.path: reading, **{each.path: _beside(each, reading) for each in wanted_by(spec)}}
        readings = {(node, path): each for path, each in known.items() for node in before.nodes}
        self._snapshot = of_version(replace(before, readings=readings), spec.backend_version)
        if self._columns is None:
            self._columns = Columns.of(self._snapshot)
        else:
            touched = Touched(readings=frozenset(readings.keys() | before.readings.keys()))
            self._columns.follow(self._snapshot, touched)
        return self._columns

    def _stand(self, requests: Iterable[Request], places: Iterable[Placement | None]) -> None:
        """Have what was placed stand for those after it."""
        placed = {
            request.name: _standing(request, place)
            for request, place in zip(requests, places, strict=True)
            if place is not None
        }
        self._snapshot = replace(self._snapshot, instances={**self._snapshot.instances, **placed})
        if self._columns is not None:
            self._columns.follow(self._snapshot, Touched(instances=frozenset(placed)))


def _wish(message: v1.Deployment) -> tuple[DeploymentSpec, Reading]:
    """Return what a deployment wishes, and what its model is."""
    spec = spec_of(message.spec)
    if not message.HasField("facts") and spec.claim_device_memory_bytes is None and spec.claim_memory_bytes is None:
        raise invalid(
            "facts", "what the model is has to stand in the file, e.g. as `motorpool model inspect -o json` says"
        )
    if not message.HasField("facts"):
        reading = Reading(error_reason="MODEL_FORMAT_UNKNOWN", error_message="the file gives no facts")
    else:
        reading = Reading(facts=facts_of(message.facts, "facts"))
    if spec.model.kind is not SourceKind.LOCAL_PATH or not spec.model.path:
        # Where the model lies is no matter here.
        spec = replace(spec, model=ModelSource(kind=SourceKind.LOCAL_PATH, path=MODEL_PATH))
    check_spec(spec)
    return spec, reading


def _beside(wanted: Wanted, reading: Reading) -> Reading:
    """Return what every node knows of something that is loaded beside the model: what the model's facts say of it."""
    facts = reading.facts
    companions = () if facts is None else facts.companions
    found = next((each for each in companions if (each.kind, each.file) == (wanted.kind, wanted.path)), None)
    if facts is None or found is None:
        message = f"the facts in the file have no companion of kind {wanted.kind!r} with the file {wanted.path}"
        return Reading(error_reason="MODEL_NOT_FOUND", error_message=message)
    categories = (ADAPTER,) if wanted.kind == ADAPTER else facts.categories
    return Reading(
        facts=replace(
            facts,
            categories=categories,
            file_bytes=found.file_bytes,
            weight_bytes=found.file_bytes if found.weight_bytes is None else found.weight_bytes,
            companions=(),
        )
    )


def _standing(request: Request, placement: Placement) -> Instance:
    beginning = datetime.min.replace(tzinfo=UTC)
    return Instance(
        name=request.name,
        uid=request.name,
        deployment=request.deployment,
        deployment_generation=1,
        create_time=beginning,
        state_time=beginning,
        state=InstanceState.RUNNING,
        placement=placement,
    )
