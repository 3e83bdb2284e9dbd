"""Places for what waits for one, and the rows that say why it waits."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from motorpool_controller.domain.backends import declared_as, runner_of
from motorpool_controller.domain.declarations import definition_of, packages_of
from motorpool_controller.domain.event import Severity
from motorpool_controller.domain.names import id_of
from motorpool_controller.domain.parameters import STATED, without_meanings
from motorpool_controller.domain.pinning import downloads_of, on_hub, pinned, unknown, with_found
from motorpool_controller.domain.placement import Placement
from motorpool_controller.domain.traces import places_of
from motorpool_controller.domain.workload import (
    Assignment,
    Deployment,
    DeploymentSpec,
    Instance,
    InstanceState,
    ModelSource,
)
from motorpool_controller.reconcile.agenda import Tried
from motorpool_controller.reconcile.draft import AT_ONCE, Draft
from motorpool_controller.reconcile.gangs import gang_members, new_gang
from motorpool_controller.reconcile.hub_models import found_of, unread
from motorpool_controller.scheduling.refusals import unchanged
from motorpool_controller.scheduling.scheduler import Verdict, schedule
from motorpool_controller.scheduling.snapshot import Request, Snapshot
from motorpool_formats.facts import ModelFacts

UNEVENTFUL = "MODEL_NOT_READ_YET"
PASSING = "NODE_SUSPECT"
"""A row that ends soon: the node is heard from again, or its lease runs out."""


def place_pending(draft: Draft) -> None:
    """Place what can be placed, oldest first, and renew the rows of the rest where they say something new.

    Those behind the last one that is placed are not looked at: of ten thousand that wait each decision takes a few.
    """
    if draft.agenda.waiting.deployments.isdisjoint(draft.deployments):
        return
    _take_look_ups(draft)
    snapshot, columns = draft.snapshot()
    verdicts = _verdicts(draft, snapshot) | dict(_unread(draft))
    read: dict[str, Mapping[str, ModelFacts]] = {}
    for instance in sorted(map(draft.instances.__getitem__, verdicts), key=lambda each: (each.create_time, each.name)):
        verdict, deployment = verdicts[instance.name], draft.deployments[instance.deployment]
        path = deployment.spec.model.place
        if path not in read:
            answers = columns.answers(path)
            read[path] = {node: answer.facts for node, answer in answers.items() if answer.facts is not None}
        _learn(draft, deployment, verdict, read[path])
        if verdict.placement is None:
            _refuse(draft, instance, verdict)
        else:
            _place(draft, instance, verdict, verdict.placement)


def _take_look_ups(draft: Draft) -> None:
    """Take what look-ups found of models on hubs, and note which are still to be made."""
    wanted: dict[ModelSource, None] = {}
    agenda = draft.agenda
    for name in sorted(agenda.unread | draft.concerned_names):
        agenda.unread.discard(name)
        deployment = draft.deployments.get(name) if name in agenda.waiting.deployments else None
        if deployment is None:
            continue
        found = with_found(deployment, found_of(draft.world.models, unknown(deployment)))
        if found is not deployment:
            draft.put(found)
            agenda.try_again(name)
        if sources := unknown(found):
            agenda.unread.add(name)
            wanted |= dict.fromkeys(sources)
    draft.look_ups = tuple(wanted)


def _unread(draft: Draft) -> Iterator[tuple[str, Verdict]]:
    """Yield, by name, what becomes of instances whose models on hubs were not looked up yet."""
    for name in draft.agenda.unread:
        deployment = draft.deployments[name]
        for instance in draft.agenda.groups.of_deployment(name).values():
            if instance.placement is None:
                yield instance.name, unread(draft.request(instance, deployment), deployment, draft.world.models)


def _verdicts(draft: Draft, snapshot: Snapshot) -> dict[str, Verdict]:
    """Return what becomes of instances whose models are known or lie on nodes, and note which questions are open."""
    agenda = draft.agenda
    plan = schedule(snapshot, _to_try(draft), agenda.columns, frugal=True, most=AT_ONCE)
    if plan.unfinished:
        draft.unfinished = True
        draft.wake(draft.now)
    draft.questions = tuple(sorted({*plan.questions, *agenda.questions()}))
    for verdict in plan.verdicts.values():
        if verdict.placement is None:
            request = verdict.request
            agenda.tried[request.name] = Tried(agenda.columns.state, request.spec, plan.questions)
    return dict(plan.verdicts)


def _to_try(draft: Draft) -> Iterator[Request]:
    """Yield requests for the instances that may be placed now, one after the other as far as they are asked for.

    What fitted nowhere is not tried again before something changes that could let it fit: its rows stand.
    """
    agenda = draft.agenda
    for name in agenda.waiting:
        instance = draft.instances[name]
        deployment = draft.deployments.get(instance.deployment)
        if deployment is None or deployment.name in agenda.unread:
            continue
        request = draft.request(instance, deployment)
        if not agenda.is_refused(name, request.spec):
            yield request


def _place(draft: Draft, instance: Instance, verdict: Verdict, placement: Placement) -> None:
    nodes = [member.node for member in placement.members]
    deployment = draft.deployments[instance.deployment]
    message = f"{nodes[0]} was told to run it." if len(nodes) == 1 else f"{' and '.join(nodes)} were told to reserve."
    draft.put(
        replace(
            instance,
            state=InstanceState.SCHEDULED,
            state_message=message,
            state_time=draft.now,
            placement=placement,
            refusals=(),
            assignment=_assignment(draft, instance, deployment, verdict, placement),
            gang=new_gang(placement, verdict.start_order),
        )
    )
    draft.event(Severity.INFO, "INSTANCE_PLACED", instance.name, f"{instance.name} was placed. {verdict.sentence}")


def _refuse(draft: Draft, instance: Instance, verdict: Verdict) -> None:
    rows = verdict.refusals
    if unchanged(instance.refusals, rows):
        return
    if instance.refusals and any(row.reason == PASSING for row in rows):
        return  # what was told stands: for a moment's silence nothing is written
    draft.put(replace(instance, refusals=rows, state_message=verdict.sentence))
    reasons, told = {row.reason for row in rows}, {row.reason for row in instance.refusals}
    # While a node reads the model nothing is decided: what else there was is told once it has answered.
    news = set() if UNEVENTFUL in reasons else reasons if UNEVENTFUL in told else reasons - told
    row = next((row for row in rows if row.reason in news), None)
    if row is not None:
        draft.event(Severity.WARNING, row.reason, instance.name, f"{instance.name} is not placed: {row.message}")


def _learn(draft: Draft, deployment: Deployment, verdict: Verdict, read: Mapping[str, ModelFacts]) -> None:
    model = deployment.spec.model
    found = dict(deployment.hub_models).get(model)
    facts = (None if found is None else found.facts) if on_hub(model) else _facts(deployment, read)
    estimate = deployment.estimate
    if verdict.estimate is not None and (
        estimate is None or facts != deployment.facts or verdict.placement is not None
    ):
        estimate = verdict.estimate
    if facts != deployment.facts or estimate != deployment.estimate:
        draft.put(replace(deployment, facts=facts, estimate=estimate))


def _facts(deployment: Deployment, read: Mapping[str, ModelFacts]) -> ModelFacts | None:
    """Return what is known of the model; if nodes disagree, what was believed before, else what the first says."""
    if not read or deployment.facts in read.values():
        return deployment.facts
    return read[min(read)]


def _assignment(
    draft: Draft, instance: Instance, deployment: Deployment, verdict: Verdict, placement: Placement
) -> Assignment:
    spec, leader = pinned(deployment, deployment.spec), placement.members[0]
    declared = declared_as(draft.world.declared, placement.backend)
    return Assignment(
        assignment_id=instance.uid,
        generation=instance.generation,
        instance=instance.name,
        deployment=deployment.name,
        backend=placement.backend if declared is None else runner_of(draft.nodes[leader.node], draft.world.profiles),
        backend_version=placement.backend_version,
        framework=placement.framework,
        model=spec.model,
        served_model_name=spec.served_model_name or id_of(deployment.name),
        claim=leader.claim,
        facts=_meant(verdict.facts, spec),
        parameters=without_meanings(verdict.parameters, verdict.options, stated_by(placement)),
        env=spec.env,
        offloaded_layers=placement.offloaded_layers,
        tensor_split=placement.tensor_split,
        memory_fraction=placement.memory_fraction,
        exposure=spec.exposure,
        api_key=deployment.api_key if verdict.api_key else "",
        context_length=placement.context_length,
        parallel=placement.parallel,
        restart_on_error=spec.restart_on_error,
        trust_remote_code=spec.trust_remote_code,
        memory_limit_bytes=spec.claim_memory_bytes,
        image=spec.image,
        command=spec.command,
        definition=None if declared is None else definition_of(declared, placement.backend_version),
        packages=(*packages_of(declared, placement.backend_version), *spec.packages),
        lora_adapters=spec.lora_adapters,
        speculative=spec.speculative,
        extended_kv_cache=spec.extended_kv_cache,
        overcommitted=placement.overcommitted,
        parallelism=placement.parallelism,
        gang=gang_members(placement, draft.nodes),
        gang_style=placement.style,
        downloads=downloads_of(deployment),
        trace=places_of(deployment.trace, instance.uid).assigned,
    )


def _meant(facts: ModelFacts | None, spec: DeploymentSpec) -> ModelFacts | None:
    """Return a model's facts with what the deployment says that it is for, which its headers may not know."""
    return replace(facts, categories=spec.categories) if facts is not None and spec.categories else facts


def stated_by(placement: Placement) -> tuple[str, ...]:
    """Return the meanings that the assignment states itself; what it does not, the user's parameters still say."""
    stated = {
        "context_length": placement.context_length,
        "parallel": placement.parallel,
        "gpu_layers": placement.offloaded_layers,
        "nodes": len(placement.members),
    }
    return tuple(meaning for meaning in STATED if stated[meaning] is not None)
