"""What the controller wants: messages to the agent's types. Whatever does not make sense is refused here."""

from __future__ import annotations

import math
import re
from datetime import UTC

from google.protobuf.duration_pb2 import Duration

from motorpool import v1
from motorpool_agent.convert.facts import facts_of
from motorpool_agent.reconcile.assignment import (
    Adapter,
    Assignment,
    Definition,
    DeleteFiles,
    DesiredVersion,
    DeviceClaim,
    Download,
    ExtendedKvCache,
    Gang,
    GangDevice,
    GangMember,
    HubFile,
    LogSubscription,
    ModelSource,
    Parameter,
    ReadModel,
    Speculative,
    Tombstone,
)
from motorpool_telemetry import traces

DesiredBody = Assignment | Tombstone | ReadModel | DeleteFiles | LogSubscription

# Ids name folders and files; ports, argv and the like are the supervisor's to judge.
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_SHA256 = re.compile(r"([0-9a-f]{64})?")
_SHA1 = re.compile(r"([0-9a-f]{40})?")
_REPOSITORY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)?")
_LEAST_MEMBERS = 2
_DEFAULT_LOG_SECONDS = 3600.0


class BadMessageError(Exception):
    """A message that cannot be meant; says which object, which field and why."""


def version_of(message: v1.DesiredVersion) -> DesiredVersion:
    """Return a version."""
    return DesiredVersion(message.controller_epoch, message.version)


def version_message(version: DesiredVersion) -> v1.DesiredVersion:
    """Return the message of a version."""
    return v1.DesiredVersion(controller_epoch=version.controller_epoch, version=version.version)


def body_of(message: v1.DesiredObject) -> DesiredBody:
    """Return what an object wants, or raise a BadMessageError. Kind and id must be those that its own id names."""
    match message.WhichOneof("body"):
        case "assignment":
            kind, name = "assignment", message.assignment.assignment_id
        case "tombstone":
            kind, name = "tombstone", message.tombstone.assignment_id
        case "query":
            kind, name = "query", message.query.query_id
        case "logs":
            kind, name = "logs", message.logs.subscription_id
        case _:
            raise BadMessageError(f"object {message.id[:80]!r} is of no kind that this agent knows")
    if not _ID.fullmatch(name) or message.id != f"{kind}/{name}":
        raise BadMessageError(f"object {message.id[:80]!r} has the body of {kind}/{name[:80]}")
    if kind == "assignment":
        return _assignment(message)
    if kind == "tombstone":
        return _tombstone(message)
    return _query(message) if kind == "query" else _logs(message)


def _assignment(message: v1.DesiredObject) -> Assignment:
    body = message.assignment
    _positive(message.id, "generation", body.generation)
    for field, value in (("instance", body.instance), ("backend", body.backend)):
        if not value:
            raise BadMessageError(f"object {message.id}: {field} is empty")
    claims = [body.claim.memory_bytes, body.memory_limit_bytes, *(device.memory_bytes for device in body.claim.devices)]
    if min(claims) < 0:
        raise BadMessageError(f"object {message.id}: claim: bytes are negative")
    return Assignment(
        assignment_id=body.assignment_id,
        generation=body.generation,
        digest=message.digest,
        instance=body.instance,
        deployment=body.deployment,
        backend=body.backend,
        backend_version=body.backend_version,
        framework=body.framework,
        model=_source(message.id, body.model),
        served_model_name=body.served_model_name,
        facts=facts_of(body.facts) if body.HasField("facts") else None,
        parameters=tuple(
            Parameter(option=each.option, values=tuple(each.values), known=each.known) for each in body.parameters
        ),
        env=dict(body.env),
        memory_bytes=body.claim.memory_bytes,
        devices=tuple(DeviceClaim(each.device_id, each.memory_bytes) for each in body.claim.devices),
        offloaded_layers=body.offloaded_layers if body.HasField("offloaded_layers") else None,
        tensor_split=tuple(_finite(message.id, "tensor_split", each) for each in body.tensor_split),
        memory_fraction=(
            _finite(message.id, "memory_fraction", body.memory_fraction) if body.HasField("memory_fraction") else None
        ),
        local_only=body.exposure == v1.EXPOSURE_LOCAL,
        api_key=body.api_key,
        context_length=body.context_length if body.HasField("context_length") else None,
        parallel=body.parallel if body.HasField("parallel") else None,
        restart_on_error=body.restart_on_error,
        trust_remote_code=body.trust_remote_code,
        memory_limit_bytes=body.memory_limit_bytes or None,
        image=body.image,
        command=tuple(body.command),
        definition=_definition(body.definition) if body.HasField("definition") else None,
        adapters=tuple(
            Adapter(name=each.adapter, source=_source(message.id, each.source)) for each in body.lora_adapters
        ),
        speculative=_speculative(message.id, body.speculative) if body.HasField("speculative") else None,
        packages=tuple(body.packages),
        overcommitted=body.overcommitted,
        extended_kv_cache=_cache(body.extended_kv_cache) if body.extended_kv_cache.enabled else None,
        parallelism=dict(body.parallelism),
        gang=_gang(message.id, body) if body.gang else None,
        downloads=tuple(_download(message.id, each) for each in body.downloads),
        trace=traces.read(body.traceparent),
    )


def _download(object_id: str, message: v1.Download) -> Download:
    files = tuple(
        HubFile(path=each.path, size_bytes=each.size_bytes, sha256=each.sha256, git_sha1=each.git_sha1)
        for each in message.files
    )
    for file in files:
        # Paths are joined with a folder of ours, and digests name files: nothing of them may lead elsewhere.
        parts = file.path.split("/")
        if not file.path or "\0" in file.path or {"", ".", ".."} & set(parts) or file.size_bytes < 0:
            raise BadMessageError(f"object {object_id}: downloads: {file.path[:200]!r} is no file of a repository")
        if not _SHA256.fullmatch(file.sha256) or not _SHA1.fullmatch(file.git_sha1):
            raise BadMessageError(f"object {object_id}: downloads: {file.path[:200]!r} has no digest that can be")
    if not files or len({file.path for file in files}) < len(files):
        raise BadMessageError(f"object {object_id}: downloads: no files, or one of them twice")
    source = _source(object_id, message.source)
    if source.kind == "local_path" or not _REPOSITORY.fullmatch(source.repository):
        raise BadMessageError(f"object {object_id}: downloads: {source.repository[:200]!r} is no repository of a hub")
    return Download(source=source, commit=message.commit, files=files)


def _gang(object_id: str, body: v1.Assignment) -> Gang:
    if [member.rank for member in body.gang] != list(range(len(body.gang))) or len(body.gang) < _LEAST_MEMBERS:
        raise BadMessageError(f"object {object_id}: gang: its members are not all there, by rank")
    if not 0 <= body.rank < len(body.gang):
        raise BadMessageError(f"object {object_id}: rank is {body.rank}; the gang has {len(body.gang)} members")
    if body.gang_phase not in {v1.GANG_PHASE_RESERVE, v1.GANG_PHASE_RUN}:
        raise BadMessageError(f"object {object_id}: gang_phase is {body.gang_phase}, which this agent does not know")
    return Gang(
        style=body.gang_style,
        rank=body.rank,
        run=body.gang_phase == v1.GANG_PHASE_RUN,
        members=tuple(
            GangMember(
                rank=member.rank,
                node=member.node,
                address=member.address,
                devices=tuple(
                    GangDevice(
                        device_id=device.device_id,
                        index=device.index if device.HasField("index") else None,
                        address=device.address,
                    )
                    for device in member.devices
                ),
                ports={port.port_name: port.number for port in member.ports},
            )
            for member in body.gang
        ),
    )


def _speculative(object_id: str, message: v1.SpeculativeDecoding) -> Speculative:
    return Speculative(
        algorithm=message.algorithm,
        draft_model=_source(object_id, message.draft_model) if message.HasField("draft_model") else None,
        draft_tokens=message.draft_tokens if message.HasField("draft_tokens") else None,
        ngram_min=message.ngram_min if message.HasField("ngram_min") else None,
        ngram_max=message.ngram_max if message.HasField("ngram_max") else None,
    )


def _cache(message: v1.ExtendedKvCache) -> ExtendedKvCache:
    return ExtendedKvCache(chunk_size=message.chunk_size if message.HasField("chunk_size") else None)


def _definition(message: v1.BackendDefinition) -> Definition:
    default = Definition(backend="", version="")
    return Definition(
        backend=message.backend,
        version=message.version,
        command=tuple(message.command),
        image=message.image,
        entrypoint=tuple(message.entrypoint),
        env=dict(message.env),
        api_key_env=message.api_key_env,
        health_path=message.health_path,
        container_port=message.container_port if message.HasField("container_port") else None,
        start_timeout_seconds=seconds_of(message.start_timeout) or default.start_timeout_seconds,
        stop_grace_seconds=seconds_of(message.stop_grace) or default.stop_grace_seconds,
    )


def _source(object_id: str, source: v1.ModelSource) -> ModelSource:
    match source.WhichOneof("source"):
        case "local_path":
            return ModelSource(kind="local_path", path=source.local_path)
        case "hugging_face":
            hub = source.hugging_face
            return ModelSource(kind="hugging_face", repository=hub.repository, file=hub.file, revision=hub.revision)
        case "model_scope":
            scope = source.model_scope
            return ModelSource(
                kind="model_scope", repository=scope.model_id, file=scope.file_path, revision=scope.revision
            )
        case _:
            raise BadMessageError(f"object {object_id}: model: no source that this agent knows")


def _tombstone(message: v1.DesiredObject) -> Tombstone:
    body = message.tombstone
    _positive(message.id, "generation", body.generation)
    return Tombstone(assignment_id=body.assignment_id, generation=body.generation, message=body.message)


def _query(message: v1.DesiredObject) -> ReadModel | DeleteFiles:
    body = message.query
    question = body.WhichOneof("question")
    if question not in {"read_model", "delete_files"}:
        raise BadMessageError(f"object {message.id}: a question that this agent does not know")
    try:
        deadline = body.deadline.ToDatetime(tzinfo=UTC)
    except (ValueError, OverflowError) as error:
        raise BadMessageError(f"object {message.id}: deadline: {error}") from error
    if question == "delete_files":
        asked = body.delete_files
        if not _ID.fullmatch(asked.files_id) or not asked.etag:
            raise BadMessageError(f"object {message.id}: delete_files: files_id or etag cannot be one")
        return DeleteFiles(query_id=body.query_id, deadline=deadline, files_id=asked.files_id, etag=asked.etag)
    return ReadModel(query_id=body.query_id, deadline=deadline, local_path=body.read_model.local_path)


def _logs(message: v1.DesiredObject) -> LogSubscription:
    body = message.logs
    if not _ID.fullmatch(body.assignment_id):
        raise BadMessageError(f"object {message.id}: assignment_id: cannot be an id")
    try:
        since = body.since_time.ToDatetime(tzinfo=UTC) if body.HasField("since_time") else None
    except (ValueError, OverflowError) as error:
        raise BadMessageError(f"object {message.id}: since_time: {error}") from error
    return LogSubscription(
        subscription_id=body.subscription_id,
        assignment_id=body.assignment_id,
        tail_lines=body.tail_lines,
        follow=body.follow,
        attempt=body.attempt if body.HasField("attempt") else -body.previous,
        since_time=since,
        since_seconds=seconds_of(body.since_age) if body.HasField("since_age") else None,
        timestamps=body.timestamps,
        position=body.position,
        timeout_seconds=seconds_of(body.timeout) or _DEFAULT_LOG_SECONDS,
    )


def seconds_of(duration: Duration) -> float:
    """Return a duration's seconds; 0 where it is absent or negative."""
    return max(0.0, duration.seconds + duration.nanos / 1e9)


def _positive(object_id: str, field: str, value: int) -> None:
    if value < 1:
        raise BadMessageError(f"object {object_id}: {field} is {value}; it counts from 1")


def _finite(object_id: str, field: str, value: float) -> float:
    if not math.isfinite(value):
        raise BadMessageError(f"object {object_id}: {field} is {value}")
    return value
