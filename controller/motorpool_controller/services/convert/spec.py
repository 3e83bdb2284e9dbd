"""The wish, both ways. Defaults are applied on the way in; what a value may be is for ``domain.specs``."""

from __future__ import annotations

from motorpool import v1
from motorpool_controller.domain.workload import (
    DeploymentSpec,
    Exposure,
    ExtendedKvCache,
    LoraAdapter,
    RolloutStrategy,
    Speculative,
    Strategy,
)
from motorpool_controller.services.convert import fields
from motorpool_controller.services.convert.model import source_message, source_of


def spec_message(spec: DeploymentSpec) -> v1.DeploymentSpec:
    """Return a spec as a message, defaults written out."""
    return v1.DeploymentSpec(
        model=source_message(spec.model),
        replicas=spec.replicas,
        categories=spec.categories,
        backend=spec.backend,
        backend_version=spec.backend_version,
        parameters=spec.parameters,
        env=spec.env,
        image=spec.image,
        command=spec.command,
        placement_strategy=fields.number(v1.PlacementStrategy, "PLACEMENT_STRATEGY", spec.strategy),
        node_selector=v1.NodeSelector(match_labels=spec.match_labels) if spec.match_labels else None,
        device_selector=(
            v1.DeviceSelector(devices=spec.devices, devices_per_instance=spec.devices_per_instance)
            if spec.devices or spec.devices_per_instance
            else None
        ),
        cpu_offloading=spec.cpu_offloading,
        distributed=spec.distributed,
        exposure=fields.number(v1.Exposure, "EXPOSURE", spec.exposure),
        restart_on_error=spec.restart_on_error,
        reschedule_after=fields.duration(spec.reschedule_after_seconds),
        claim=(
            None
            if spec.claim_memory_bytes is None and spec.claim_device_memory_bytes is None
            else v1.ClaimOverride(
                memory_bytes=spec.claim_memory_bytes, device_memory_bytes=spec.claim_device_memory_bytes
            )
        ),
        allow_overcommit=spec.allow_overcommit,
        extended_kv_cache=None if spec.extended_kv_cache is None else cache_message(spec.extended_kv_cache),
        speculative=None if spec.speculative is None else speculative_message(spec.speculative),
        lora_adapters=[lora_message(adapter) for adapter in spec.lora_adapters],
        trust_remote_code=spec.trust_remote_code,
        served_model_name=spec.served_model_name,
        packages=spec.packages,
        drain_timeout=None if spec.drain_seconds is None else fields.duration(spec.drain_seconds),
        rollout_strategy=fields.number(v1.RolloutStrategy, "ROLLOUT_STRATEGY", spec.rollout_strategy),
    )


def spec_of(message: v1.DeploymentSpec, field: str = "spec") -> DeploymentSpec:
    """Return a message's spec."""
    default = DeploymentSpec(model=source_of(message.model, f"{field}.model"))
    claim = message.claim
    return DeploymentSpec(
        model=default.model,
        replicas=message.replicas if message.HasField("replicas") else default.replicas,
        categories=tuple(message.categories),
        backend=message.backend,
        backend_version=message.backend_version,
        parameters=tuple(message.parameters),
        env={name: message.env[name] for name in sorted(message.env)},
        image=message.image,
        command=tuple(message.command),
        strategy=(
            fields.member(
                v1.PlacementStrategy,
                "PLACEMENT_STRATEGY",
                message.placement_strategy,
                Strategy,
                f"{field}.placement_strategy",
            )
            or default.strategy
        ),
        match_labels={
            name: message.node_selector.match_labels[name] for name in sorted(message.node_selector.match_labels)
        },
        devices=tuple(message.device_selector.devices),
        devices_per_instance=message.device_selector.devices_per_instance,
        cpu_offloading=message.cpu_offloading if message.HasField("cpu_offloading") else None,
        distributed=message.distributed if message.HasField("distributed") else None,
        exposure=(
            fields.member(v1.Exposure, "EXPOSURE", message.exposure, Exposure, f"{field}.exposure") or default.exposure
        ),
        restart_on_error=(
            message.restart_on_error if message.HasField("restart_on_error") else default.restart_on_error
        ),
        reschedule_after_seconds=(
            fields.bounded_seconds_of(message.reschedule_after, f"{field}.reschedule_after")
            if message.HasField("reschedule_after")
            else default.reschedule_after_seconds
        ),
        claim_memory_bytes=claim.memory_bytes if claim.HasField("memory_bytes") else None,
        claim_device_memory_bytes=claim.device_memory_bytes if claim.HasField("device_memory_bytes") else None,
        allow_overcommit=message.allow_overcommit,
        extended_kv_cache=cache_of(message.extended_kv_cache) if message.HasField("extended_kv_cache") else None,
        speculative=(
            speculative_of(message.speculative, f"{field}.speculative") if message.HasField("speculative") else None
        ),
        lora_adapters=tuple(
            LoraAdapter(adapter.adapter, source_of(adapter.source, f"{field}.lora_adapters"))
            for adapter in message.lora_adapters
        ),
        trust_remote_code=message.trust_remote_code,
        served_model_name=message.served_model_name,
        packages=tuple(message.packages),
        drain_seconds=(
            fields.bounded_seconds_of(message.drain_timeout, f"{field}.drain_timeout")
            if message.HasField("drain_timeout")
            else None
        ),
        rollout_strategy=(
            fields.member(
                v1.RolloutStrategy,
                "ROLLOUT_STRATEGY",
                message.rollout_strategy,
                RolloutStrategy,
                f"{field}.rollout_strategy",
            )
            or default.rollout_strategy
        ),
    )


def lora_message(adapter: LoraAdapter) -> v1.LoraAdapter:
    """Return an adapter as a message."""
    return v1.LoraAdapter(adapter=adapter.adapter, source=source_message(adapter.source))


def speculative_message(speculative: Speculative) -> v1.SpeculativeDecoding:
    """Return how tokens are guessed ahead as a message."""
    return v1.SpeculativeDecoding(
        algorithm=speculative.algorithm,
        draft_model=None if speculative.draft_model is None else source_message(speculative.draft_model),
        draft_tokens=speculative.draft_tokens,
        ngram_min=speculative.ngram_min,
        ngram_max=speculative.ngram_max,
    )


def speculative_of(message: v1.SpeculativeDecoding, field: str) -> Speculative:
    """Return a message's way of guessing tokens ahead."""
    return Speculative(
        algorithm=message.algorithm,
        draft_model=(
            source_of(message.draft_model, f"{field}.draft_model") if message.HasField("draft_model") else None
        ),
        draft_tokens=message.draft_tokens if message.HasField("draft_tokens") else None,
        ngram_min=message.ngram_min if message.HasField("ngram_min") else None,
        ngram_max=message.ngram_max if message.HasField("ngram_max") else None,
    )


def cache_message(cache: ExtendedKvCache) -> v1.ExtendedKvCache:
    """Return a cache that overflows into host memory as a message."""
    return v1.ExtendedKvCache(
        enabled=cache.enabled,
        memory_ratio=cache.memory_ratio,
        memory_bytes=cache.memory_bytes,
        chunk_size=cache.chunk_size,
    )


def cache_of(message: v1.ExtendedKvCache) -> ExtendedKvCache:
    """Return a message's cache that overflows into host memory."""
    return ExtendedKvCache(
        enabled=message.enabled,
        memory_ratio=message.memory_ratio if message.HasField("memory_ratio") else None,
        memory_bytes=message.memory_bytes if message.HasField("memory_bytes") else None,
        chunk_size=message.chunk_size if message.HasField("chunk_size") else None,
    )
