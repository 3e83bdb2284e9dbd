"""What a node is to be told, object by object, each with the digest of its body."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from google.protobuf.message import Message

from motorpool import v1
from motorpool_controller.domain.hub_files import HubModel
from motorpool_controller.domain.workload import Assignment, GangMember, ModelSource
from motorpool_controller.reconcile.desired import Tombstone
from motorpool_controller.services.convert import fields
from motorpool_controller.services.convert.declaration import definition_message
from motorpool_controller.services.convert.facts import facts_message
from motorpool_controller.services.convert.instance import port_messages
from motorpool_controller.services.convert.model import source_message
from motorpool_controller.services.convert.placement import claim_message
from motorpool_controller.services.convert.spec import cache_message, lora_message, speculative_message
from motorpool_controller.store.files import FileOrder
from motorpool_controller.store.live import Wanted
from motorpool_controller.store.questions import Question
from motorpool_controller.store.taps import LogRequest


def desired_objects(wanted: Wanted) -> Iterator[v1.DesiredObject]:
    """Return everything a node is to be told."""
    for assignment in wanted.desired.assignments:
        body = assignment_message(assignment)
        yield v1.DesiredObject(id=f"assignment/{assignment.assignment_id}", digest=_digest(body), assignment=body)
    for tombstone in wanted.desired.tombstones:
        order = _tombstone_message(tombstone)
        yield v1.DesiredObject(id=f"tombstone/{tombstone.assignment_id}", digest=_digest(order), tombstone=order)
    for question in wanted.questions:
        query = _query_message(question)
        yield v1.DesiredObject(id=f"query/{question.query_id}", digest=_digest(query), query=query)
    for file_order in wanted.file_orders:
        query = _order_message(file_order)
        yield v1.DesiredObject(id=f"query/{file_order.query_id}", digest=_digest(query), query=query)
    for request in wanted.logs:
        logs = _logs_message(request)
        yield v1.DesiredObject(id=f"logs/{request.subscription_id}", digest=_digest(logs), logs=logs)


def assignment_message(assignment: Assignment) -> v1.Assignment:
    """Return what an agent is told to run as a message."""
    return v1.Assignment(
        assignment_id=assignment.assignment_id,
        generation=assignment.generation,
        instance=assignment.instance,
        deployment=assignment.deployment,
        backend=assignment.backend,
        backend_version=assignment.backend_version,
        framework=assignment.framework,
        model=source_message(assignment.model),
        facts=None if assignment.facts is None else facts_message(assignment.facts),
        served_model_name=assignment.served_model_name,
        parameters=[
            v1.Parameter(option=parameter.option, values=parameter.values, known=parameter.known)
            for parameter in assignment.parameters
        ],
        env=assignment.env,
        claim=claim_message(assignment.claim),
        offloaded_layers=assignment.offloaded_layers,
        tensor_split=assignment.tensor_split,
        memory_fraction=assignment.memory_fraction,
        exposure=fields.number(v1.Exposure, "EXPOSURE", assignment.exposure),
        api_key=assignment.api_key,
        context_length=assignment.context_length,
        parallel=assignment.parallel,
        restart_on_error=assignment.restart_on_error,
        trust_remote_code=assignment.trust_remote_code,
        memory_limit_bytes=assignment.memory_limit_bytes or 0,
        image=assignment.image,
        command=assignment.command,
        definition=None if assignment.definition is None else definition_message(assignment.definition),
        packages=assignment.packages,
        overcommitted=assignment.overcommitted,
        lora_adapters=[lora_message(adapter) for adapter in assignment.lora_adapters],
        speculative=None if assignment.speculative is None else speculative_message(assignment.speculative),
        extended_kv_cache=(
            None if assignment.extended_kv_cache is None else cache_message(assignment.extended_kv_cache)
        ),
        parallelism=assignment.parallelism,
        rank=assignment.rank,
        gang=[_member_message(member) for member in assignment.gang],
        gang_style=assignment.gang_style,
        gang_phase=(
            v1.GANG_PHASE_UNSPECIFIED
            if assignment.gang_phase is None
            else fields.number(v1.GangPhase, "GANG_PHASE", assignment.gang_phase)
        ),
        downloads=[_download_message(source, found) for source, found in assignment.downloads],
        traceparent=assignment.trace,
    )


def _download_message(source: ModelSource, found: HubModel) -> v1.Download:
    return v1.Download(
        source=source_message(source),
        commit=found.commit,
        files=[
            v1.HubFile(path=file.path, size_bytes=file.size_bytes, sha256=file.sha256, git_sha1=file.git_sha1)
            for file in found.files
        ],
    )


def _member_message(member: GangMember) -> v1.GangMember:
    return v1.GangMember(
        rank=member.rank,
        node=member.node,
        address=member.address,
        device_ids=[device.device_id for device in member.devices],
        devices=[
            v1.GangDevice(device_id=device.device_id, index=device.index, address=device.address)
            for device in member.devices
        ],
        ports=port_messages(member.ports),
    )


def _tombstone_message(tombstone: Tombstone) -> v1.Tombstone:
    return v1.Tombstone(
        assignment_id=tombstone.assignment_id, generation=tombstone.generation, message=tombstone.message
    )


def _query_message(question: Question) -> v1.Query:
    return v1.Query(
        query_id=question.query_id,
        deadline=fields.timestamp(question.deadline),
        read_model=v1.ReadModelQuery(local_path=question.path),
    )


def _order_message(order: FileOrder) -> v1.Query:
    return v1.Query(
        query_id=order.query_id,
        deadline=fields.timestamp(order.deadline),
        delete_files=v1.DeleteFilesQuery(files_id=order.files_id, etag=order.etag),
    )


def _logs_message(request: LogRequest) -> v1.LogSubscription:
    return v1.LogSubscription(
        subscription_id=request.subscription_id,
        assignment_id=request.assignment_id,
        tail_lines=request.tail_lines,
        follow=request.follow,
        # An agent of before knows `previous` alone.
        previous=request.attempt == -1,
        timeout=fields.duration(request.timeout_seconds),
        attempt=request.attempt,
        since_time=None if request.since_time is None else fields.timestamp(request.since_time),
        since_age=None if request.since_seconds is None else fields.duration(request.since_seconds),
        timestamps=request.timestamps,
        position=request.position,
    )


def _digest(body: Message) -> str:
    return hashlib.sha256(body.SerializeToString(deterministic=True)).hexdigest()
