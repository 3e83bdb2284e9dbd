"""What an agent was told to run, told back: the message of an assignment."""

from __future__ import annotations

from google.protobuf.duration_pb2 import Duration

from motorpool import v1
from motorpool_agent.convert.facts import facts_message
from motorpool_agent.reconcile.assignment import Assignment, Definition, Download, Gang, ModelSource, Speculative


def assignment_message(assignment: Assignment) -> v1.Assignment:
    """Return the message that an assignment came as; of its host cache only what engines are told is kept."""
    gang = assignment.gang
    cache = assignment.extended_kv_cache
    return v1.Assignment(
        assignment_id=assignment.assignment_id,
        generation=assignment.generation,
        instance=assignment.instance,
        deployment=assignment.deployment,
        backend=assignment.backend,
        backend_version=assignment.backend_version,
        framework=assignment.framework,
        model=_source(assignment.model),
        facts=None if assignment.facts is None else facts_message(assignment.facts),
        served_model_name=assignment.served_model_name,
        parameters=[
            v1.Parameter(option=each.option, values=each.values, known=each.known) for each in assignment.parameters
        ],
        env=assignment.env,
        claim=v1.Claim(
            memory_bytes=assignment.memory_bytes,
            devices=[
                v1.DeviceClaim(device_id=each.device_id, memory_bytes=each.memory_bytes) for each in assignment.devices
            ],
        ),
        offloaded_layers=assignment.offloaded_layers,
        tensor_split=assignment.tensor_split,
        memory_fraction=assignment.memory_fraction,
        exposure=v1.EXPOSURE_LOCAL if assignment.local_only else v1.EXPOSURE_NODE,
        api_key=assignment.api_key,
        context_length=assignment.context_length,
        parallel=assignment.parallel,
        restart_on_error=assignment.restart_on_error,
        trust_remote_code=assignment.trust_remote_code,
        memory_limit_bytes=assignment.memory_limit_bytes or 0,
        image=assignment.image,
        command=assignment.command,
        definition=None if assignment.definition is None else _definition(assignment.definition),
        lora_adapters=[v1.LoraAdapter(adapter=each.name, source=_source(each.source)) for each in assignment.adapters],
        speculative=None if assignment.speculative is None else _speculative(assignment.speculative),
        packages=assignment.packages,
        overcommitted=assignment.overcommitted,
        extended_kv_cache=None if cache is None else v1.ExtendedKvCache(enabled=True, chunk_size=cache.chunk_size),
        downloads=[_download(each) for each in assignment.downloads],
        parallelism=assignment.parallelism,
        rank=0 if gang is None else gang.rank,
        gang=[] if gang is None else _members(gang),
        gang_style="" if gang is None else gang.style,
        gang_phase=_phase(gang),
        traceparent=assignment.trace,
    )


def _download(download: Download) -> v1.Download:
    return v1.Download(
        source=_source(download.source),
        commit=download.commit,
        files=[
            v1.HubFile(path=each.path, size_bytes=each.size_bytes, sha256=each.sha256, git_sha1=each.git_sha1)
            for each in download.files
        ],
    )


def _phase(gang: Gang | None) -> v1.GangPhase.ValueType:
    if gang is None:
        return v1.GANG_PHASE_UNSPECIFIED
    return v1.GANG_PHASE_RUN if gang.run else v1.GANG_PHASE_RESERVE


def _members(gang: Gang) -> list[v1.GangMember]:
    return [
        v1.GangMember(
            rank=member.rank,
            node=member.node,
            address=member.address,
            device_ids=[device.device_id for device in member.devices],
            devices=[
                v1.GangDevice(device_id=device.device_id, index=device.index, address=device.address)
                for device in member.devices
            ],
            ports=[v1.Port(port_name=name, number=number) for name, number in sorted(member.ports.items())],
        )
        for member in gang.members
    ]


def _source(source: ModelSource) -> v1.ModelSource:
    match source.kind:
        case "local_path":
            return v1.ModelSource(local_path=source.path)
        case "hugging_face":
            hub = v1.HuggingFaceSource(repository=source.repository, file=source.file, revision=source.revision)
            return v1.ModelSource(hugging_face=hub)
        case _:
            scope = v1.ModelScopeSource(model_id=source.repository, file_path=source.file, revision=source.revision)
            return v1.ModelSource(model_scope=scope)


def _definition(definition: Definition) -> v1.BackendDefinition:
    return v1.BackendDefinition(
        backend=definition.backend,
        version=definition.version,
        command=definition.command,
        image=definition.image,
        entrypoint=definition.entrypoint,
        env=definition.env,
        api_key_env=definition.api_key_env,
        health_path=definition.health_path,
        container_port=definition.container_port,
        start_timeout=_duration(definition.start_timeout_seconds),
        stop_grace=_duration(definition.stop_grace_seconds),
    )


def _speculative(speculative: Speculative) -> v1.SpeculativeDecoding:
    return v1.SpeculativeDecoding(
        algorithm=speculative.algorithm,
        draft_model=None if speculative.draft_model is None else _source(speculative.draft_model),
        draft_tokens=speculative.draft_tokens,
        ngram_min=speculative.ngram_min,
        ngram_max=speculative.ngram_max,
    )


def _duration(seconds: float) -> Duration:
    message = Duration()
    message.FromNanoseconds(round(seconds * 1e9))
    return message
