"""What a node was told to run, as it tells of it: of a process that no record places there."""

from __future__ import annotations

from motorpool import v1
from motorpool_controller.domain.hub_files import HubFile, HubModel
from motorpool_controller.domain.workload import (
    Assignment,
    Exposure,
    GangDevice,
    GangMember,
    GangPhase,
    LoraAdapter,
    ModelSource,
    Parameter,
)
from motorpool_controller.services.convert import fields
from motorpool_controller.services.convert.declaration import definition_of
from motorpool_controller.services.convert.facts import facts_of
from motorpool_controller.services.convert.model import source_of
from motorpool_controller.services.convert.placement import claim_of
from motorpool_controller.services.convert.spec import cache_of, speculative_of
from motorpool_telemetry.traces import read


def assignment_of(message: v1.Assignment, field: str) -> Assignment:
    """Return a message's assignment. Of a cache in host memory a node knows only that there is one, and its chunks."""
    exposure = fields.required(v1.Exposure, "EXPOSURE", message.exposure, Exposure, f"{field}.exposure")
    fraction = f"{field}.memory_fraction"
    return Assignment(
        assignment_id=fields.name(message.assignment_id, f"{field}.assignment_id"),
        generation=fields.size(message.generation, f"{field}.generation"),
        instance=fields.name(message.instance, f"{field}.instance"),
        deployment=fields.name(message.deployment, f"{field}.deployment"),
        backend=fields.name(message.backend, f"{field}.backend"),
        backend_version=fields.word(message.backend_version, f"{field}.backend_version"),
        framework=fields.word(message.framework, f"{field}.framework"),
        model=source_of(message.model, f"{field}.model"),
        served_model_name=message.served_model_name,
        claim=claim_of(message.claim, f"{field}.claim"),
        facts=facts_of(message.facts, f"{field}.facts") if message.HasField("facts") else None,
        parameters=tuple(
            Parameter(option=each.option, values=tuple(each.values), known=each.known) for each in message.parameters
        ),
        env={name: message.env[name] for name in sorted(message.env)},
        offloaded_layers=message.offloaded_layers if message.HasField("offloaded_layers") else None,
        tensor_split=tuple(fields.ratio(each, f"{field}.tensor_split") for each in message.tensor_split),
        memory_fraction=(
            fields.ratio(message.memory_fraction, fraction) if message.HasField("memory_fraction") else None
        ),
        exposure=exposure,
        api_key=message.api_key,
        context_length=message.context_length if message.HasField("context_length") else None,
        parallel=message.parallel if message.HasField("parallel") else None,
        restart_on_error=message.restart_on_error,
        trust_remote_code=message.trust_remote_code,
        memory_limit_bytes=fields.size(message.memory_limit_bytes, f"{field}.memory_limit_bytes") or None,
        image=message.image,
        command=tuple(message.command),
        definition=definition_of(message.definition) if message.HasField("definition") else None,
        lora_adapters=tuple(
            LoraAdapter(each.adapter, source_of(each.source, f"{field}.lora_adapters"))
            for each in message.lora_adapters
        ),
        speculative=(
            speculative_of(message.speculative, f"{field}.speculative") if message.HasField("speculative") else None
        ),
        extended_kv_cache=cache_of(message.extended_kv_cache) if message.HasField("extended_kv_cache") else None,
        packages=tuple(message.packages),
        overcommitted=message.overcommitted,
        downloads=tuple(_download_of(each, f"{field}.downloads") for each in message.downloads),
        parallelism={name: message.parallelism[name] for name in sorted(message.parallelism)},
        rank=message.rank,
        gang=tuple(_member_of(each) for each in message.gang),
        gang_style=message.gang_style,
        trace=read(message.traceparent),
        gang_phase=fields.member(v1.GangPhase, "GANG_PHASE", message.gang_phase, GangPhase, f"{field}.gang_phase"),
    )


def _download_of(message: v1.Download, field: str) -> tuple[ModelSource, HubModel]:
    files = tuple(
        HubFile(
            path=fields.name(each.path, field),
            size_bytes=fields.size(each.size_bytes, field),
            sha256=fields.word(each.sha256, field),
            git_sha1=fields.word(each.git_sha1, field),
        )
        for each in message.files
    )
    return source_of(message.source, field), HubModel(commit=fields.name(message.commit, field), files=files)


def _member_of(message: v1.GangMember) -> GangMember:
    return GangMember(
        rank=message.rank,
        node=message.node,
        address=message.address,
        devices=tuple(
            GangDevice(
                device_id=each.device_id,
                index=each.index if each.HasField("index") else None,
                address=each.address,
            )
            for each in message.devices
        ),
        ports={port.port_name: port.number for port in message.ports},
    )
