"""Why what nodes run, and no record places there, cannot be adopted: a row for each thing that speaks against it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from motorpool_controller.domain.backends import answers_to, declared_as, wanted_backend
from motorpool_controller.domain.declarations import packages_of
from motorpool_controller.domain.errors import InvalidError
from motorpool_controller.domain.fleet import DeviceUsage, NodeState, NodeUsage
from motorpool_controller.domain.names import device_name, id_of, shown
from motorpool_controller.domain.parameters import integer_of, parse, without_meanings
from motorpool_controller.domain.pinning import pinned
from motorpool_controller.domain.placement import Refusal
from motorpool_controller.domain.workload import (
    Assignment,
    Deployment,
    DeploymentSpec,
    GangPhase,
    ModelSource,
    Speculative,
)
from motorpool_controller.reconcile.adoption import Around, Found, is_full, placement_of
from motorpool_controller.reconcile.placing import stated_by
from motorpool_controller.scheduling.allocatable import Ledger, Room


def refusals(found: Found, around: Around) -> tuple[Refusal, ...]:
    """Return every reason why it cannot be adopted; none where it can."""
    return (*_unfit(found, around), *_differing(found, around), *_crowded(found, around))


def overcommits(found: Found, around: Around) -> bool:
    """Return whether its claims go beyond what others leave, which its deployment allows."""
    return around.deployment.spec.allow_overcommit and any(
        True for member in found.members for _ in _beyond(member, around)
    )


def _unfit(found: Found, around: Around) -> Iterator[Refusal]:
    """Yield why it can be nobody's, whatever its deployment wishes."""
    told, deployment = found.assignment, around.deployment
    for rank, member in enumerate(found.members):
        node = member.node
        if node.state is not NodeState.READY:
            message = f"{node.name} is {node.state}, and what it runs now is not known; wait until it is ready"
            yield Refusal(stage="node", reason="NODE_NOT_READY", subject=node.name, message=message)
        if any(each.assignment_id == told.assignment_id for each in node.releases):
            message = f"it was released: {node.name} is to end it"
            yield Refusal(stage="node", reason="RELEASED", subject=node.name, message=message)
        if told.gang and not _belongs(member, rank, found):
            message = (
                f"{node.name} was told something else of it than {found.node.name}, which leads: they do not run "
                "together; `motorpool release` ends each of them"
            )
            yield Refusal(stage="node", reason="MEMBERS_APART", subject=node.name, message=message)
    if deployment.delete_time is not None:
        message = f"{deployment.name} is being deleted; make it again when it is gone"
        yield Refusal(stage="deployment", reason="DEPLOYMENT_LEAVES", subject=deployment.name, message=message)
    placed = [each for each in around.siblings if each.placement is not None and not each.leaves]
    if told.api_key and told.api_key != deployment.api_key and placed:
        yield Refusal(
            stage="deployment",
            reason="API_KEY_DIFFERS",
            subject=deployment.name,
            message=f"it checks another API key than {deployment.name} has, whose callers it would send away; adopt it "
            "before others of the deployment are placed, or release it",
        )


def _belongs(member: Found, rank: int, leader: Found) -> bool:
    """Return whether a member runs in one generation with the leader, and was told of the same others and ports."""
    told, leads = member.assignment, leader.assignment
    return (
        (told.gang, told.gang_style, member.report.generation)
        == (leads.gang, leads.gang_style, leader.report.generation)
        and told.gang_phase is GangPhase.RUN
        and told.rank == rank
    )


def _differing(found: Found, around: Around) -> Iterator[Refusal]:
    """Yield in what it is not made of its deployment's present spec; values may be secret, and are not told."""
    spec, told = around.deployment.spec, found.assignment
    sources = _sources(pinned(around.deployment, spec))
    declared = declared_as(around.declared, found.backend) if told.definition is not None else None
    cache = spec.extended_kv_cache if spec.extended_kv_cache is not None and spec.extended_kv_cache.enabled else None
    has = told.extended_kv_cache
    same = {
        "model": _is_same(told.model, sources[0]),
        "served_model_name": told.served_model_name == (spec.served_model_name or id_of(around.deployment.name)),
        "env": told.env == spec.env,
        "exposure": told.exposure is spec.exposure,
        "restart_on_error": told.restart_on_error is spec.restart_on_error,
        "trust_remote_code": told.trust_remote_code is spec.trust_remote_code,
        "claim.memory_bytes": told.memory_limit_bytes == spec.claim_memory_bytes,
        "image": told.image == spec.image,
        "command": told.command == spec.command,
        "packages": told.packages == (*packages_of(declared, told.backend_version), *spec.packages),
        "lora_adapters": [each.adapter for each in told.lora_adapters] == [each.adapter for each in spec.lora_adapters],
        "speculative": _aside(told.speculative) == _aside(spec.speculative),
        "adapters or draft model": len(_sources(told)) == len(sources)
        and all(_is_same(*each) for each in zip(_sources(told)[1:], sources[1:], strict=True)),
        "extended_kv_cache": (None if has is None else has.chunk_size, has is None)
        == (None if cache is None else cache.chunk_size, cache is None),
        "backend_version": spec.backend_version in {"", told.backend_version},
        "node_selector": all(
            member.node.labels.get(key) == value for member in found.members for key, value in spec.match_labels.items()
        ),
        "device_selector": _is_pinned(found, spec.devices, spec.devices_per_instance),
    }
    for field, equal in same.items():
        if not equal:
            yield _differs(around.deployment, field)
    yield from _other_engine(found, around)


def _sources(of: DeploymentSpec | Assignment) -> list[ModelSource]:
    """Return what is loaded: the model first, adapters, a draft model."""
    draft = None if of.speculative is None else of.speculative.draft_model
    return [of.model, *(each.source for each in of.lora_adapters), *([] if draft is None else [draft])]


def _is_same(told: ModelSource, wished: ModelSource) -> bool:
    """Return whether both are one; what was not looked up on its hub yet is any commit of the branch that it names."""
    if not wished.commit and not wished.revision:
        told = replace(told, revision="")
    return replace(told, commit="") == replace(wished, commit="")


def _aside(speculative: Speculative | None) -> Speculative | None:
    return None if speculative is None else replace(speculative, draft_model=None)


def _other_engine(found: Found, around: Around) -> Iterator[Refusal]:
    """Yield in what its backend, or what the engine was started with, is not as the spec says."""
    spec, told = around.deployment.spec, found.assignment
    profile = around.profile(found)
    if profile is None:
        yield Refusal(
            stage="backend",
            reason="BACKEND_MISSING",
            subject=found.node.name,
            message=f"{found.node.name} does not offer {shown(found.backend)} now, without which its parameters cannot "
            "be compared; `motorpool plugins` says why",
        )
        return
    wanted = wanted_backend(spec, around.deployment.facts or told.facts)
    if wanted is not None and not answers_to(profile, wanted):
        yield _differs(around.deployment, "backend")
        return
    try:
        given = parse(spec.parameters, profile.options)
    except InvalidError:
        yield _differs(around.deployment, "parameters")
        return
    stated = stated_by(placement_of(found))
    values = {"context_length": told.context_length, "parallel": told.parallel, "gpu_layers": told.offloaded_layers}
    wished = {meaning: integer_of(given, profile.options, meaning) for meaning in values}
    others = any(value not in {None, values[meaning]} for meaning, value in wished.items())
    if others or told.parameters != without_meanings(given, profile.options, stated):
        yield _differs(around.deployment, "parameters")


def _is_pinned(found: Found, pins: Sequence[str], count: int) -> bool:
    claimed = [
        device_name(member.node.name, each.device_id)
        for member in found.members
        for each in member.assignment.claim.devices
    ]
    return (not pins or set(claimed) <= set(pins)) and count in {0, len(claimed)}


def _differs(deployment: Deployment, field: str) -> Refusal:
    return Refusal(
        stage="spec",
        reason="SPEC_DIFFERS",
        subject=deployment.name,
        message=f"it was made with another {field} than {deployment.name} has; `motorpool update` changes that back",
    )


def _crowded(found: Found, around: Around) -> Iterator[Refusal]:
    """Yield where there is no room: in the deployment, among names, and beside the claims of others."""
    told, deployment = found.assignment, around.deployment
    if is_full(around, told.assignment_id):
        yield Refusal(
            stage="deployment",
            reason="REPLICAS_COMPLETE",
            subject=deployment.name,
            message=f"{deployment.name} has all {deployment.spec.replicas} that it wishes for; adopt with "
            "--add-replica to have it wish for one more, or release it",
        )
    named = next((each for each in (*around.siblings, *around.beside) if each.name == told.instance), None)
    if named is not None and named.uid != told.assignment_id:
        message = f"{named.name} is another instance by now; `motorpool release` ends this one"
        yield Refusal(stage="deployment", reason="NAME_TAKEN", subject=named.name, message=message)
    if not deployment.spec.allow_overcommit:
        for member in found.members:
            yield from _beyond(member, around)


def _beyond(found: Found, around: Around) -> Iterator[Refusal]:
    """Yield for each memory that its claim does not fit into beside those of others; its own use is there already."""
    node, claim = found.node, found.assignment.claim
    ledger = Ledger()
    ledger.know(node)
    # As if nothing were in use: what it uses itself cannot be told from what strangers do.
    ledger.measure(
        node.name,
        NodeUsage(
            measure_time=node.create_time,
            memory_used_bytes=0,
            memory_own_bytes=0,
            devices=tuple(DeviceUsage(device_id=each.device_id, used_bytes=0, own_bytes=0) for each in node.devices),
        ),
    )
    for instance in around.beside:
        ledger.stand(instance)
    there = {device.device_id: device for device in node.devices}
    shared = 0
    for part in claim.devices:
        device = there.get(part.device_id)
        if device is None:
            message = f"{node.name} has no device {shown(part.device_id)} now, on which it has a claim"
            yield Refusal(stage="device_memory", reason="DEVICE_MISSING", subject=node.name, message=message)
            continue
        shared += part.memory_bytes if ledger.shares_host(node, device) else 0
        subject = device_name(node.name, part.device_id)
        yield from _short(ledger.device(node, device), part.memory_bytes, "device_memory", subject)
    yield from _short(ledger.host(node), claim.memory_bytes + shared, "host_memory", node.name)


def _short(room: Room, needed: int, stage: str, subject: str) -> Iterator[Refusal]:
    if not needed:
        return
    if room.available is None:
        message = f"it claims {needed:,} bytes of {subject}, of which is not known how much is left: {room.unknown}"
        yield Refusal(stage=stage, reason="MEMORY_UNKNOWN", subject=subject, message=message, needed=needed)
    elif needed > room.available:
        holders = tuple(name for name, _ in room.holders)
        yield Refusal(
            stage=stage,
            reason="CLAIMS_TOO_LARGE",
            subject=subject,
            message=f"it claims {needed:,} bytes of {subject}, and {room.available:,} are left beside "
            f"{', '.join(holders) or 'nothing'}; drain one of these first",
            resource=stage,
            needed=needed,
            available=room.available,
            holders=holders,
        )
