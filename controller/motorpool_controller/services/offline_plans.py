"""``motorpool-controller plan``: where a deployment would go in a fleet on file, without a server or a network.

The fleet is an object of lists, each of messages of the API in their JSON form: ``nodes`` (Node), ``backends``
(Backend: a profile and the nodes that offer it; none named means all; of backends that the file does not name, every
node offers the built-in profile), ``instances`` (Instance, of which the placement counts). The deployment is a
Deployment: its spec, and the facts of its model. examples/plans has some.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from motorpool import v1
from motorpool_controller.domain.names import deployment_name, id_of, shown
from motorpool_controller.domain.specs import check_spec
from motorpool_controller.domain.workload import ModelSource, SourceKind
from motorpool_controller.scheduling.columns import Columns
from motorpool_controller.scheduling.scheduler import explain, schedule
from motorpool_controller.scheduling.snapshot import Reading, wished
from motorpool_controller.scheduling.suggestions import advised
from motorpool_controller.services.convert.facts import facts_of
from motorpool_controller.services.convert.fields import invalid
from motorpool_controller.services.convert.spec import spec_of
from motorpool_controller.services.offline_fleets import fleet_of, message_of, read_document
from motorpool_controller.services.offline_reports import OfflinePlan, plan_json, plan_text

MOST_PLACES = 100_000
MODEL_PATH = "/model"


def plan_of_files(fleet_file: Path, deployment_file: Path, output: str, *, places: int = 0, skip: int = 0) -> str:
    """Return the plan of a deployment on a fleet as ``text`` or ``json``; raise an InvalidError.

    Of the first instance so many ``places`` are told, 0 means all, after the best ``skip``.
    """
    if output not in {"text", "json"}:
        raise invalid("--output", f"{shown(output)} is none of text, json")
    for option, number in (("--places", places), ("--skip", skip)):
        if not 0 <= number <= MOST_PLACES:
            raise invalid(option, f"{number} is not between 0 and {MOST_PLACES:,}")
    with _uncollected():
        planned = plan_offline(fleet_file, deployment_file, most=skip + places if places else MOST_PLACES)
    return plan_text(planned, skip) if output == "text" else plan_json(planned, skip)


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


def plan_offline(fleet_file: Path, deployment_file: Path, *, most: int = MOST_PLACES) -> OfflinePlan:
    """Return what would become of each instance, the first with its ``most`` best places; raise an InvalidError."""
    fleet = read_document(fleet_file)
    message = message_of(read_document(deployment_file), v1.Deployment(), str(deployment_file))
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
    snapshot = fleet_of(fleet, str(fleet_file), spec.backend_version)
    snapshot = replace(snapshot, readings={(node, spec.model.path): reading for node in snapshot.nodes})
    name = deployment_name(id_of(message.name) or "plan")
    requests = wished(name, spec)
    columns = Columns.of(snapshot)
    first = explain(snapshot, requests[0], columns, most=max(most, 2))
    plan = schedule(snapshot, requests, columns)
    verdicts = (first, *(plan.verdicts[request.name] for request in requests[1:]))
    if all(verdict.placement is not None for verdict in verdicts):
        return OfflinePlan(verdicts=verdicts)
    return OfflinePlan(verdicts=verdicts, suggestions=advised(snapshot, requests, columns).suggestions)
