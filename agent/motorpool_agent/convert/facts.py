"""A model's facts to and from their message."""

from __future__ import annotations

from collections.abc import Iterable

from motorpool import v1
from motorpool_formats.facts import (
    Companion,
    Component,
    LatentAttention,
    LayerKind,
    ModelFacts,
    RecurrentState,
    RoleBytes,
)

_KIND_NUMBERS = {kind: v1.LayerKind.Value(f"LAYER_KIND_{kind.name}") for kind in LayerKind}
_KINDS = {number: kind for kind, number in _KIND_NUMBERS.items()}


def facts_message(facts: ModelFacts) -> v1.ModelFacts:
    """Return the message of a model's facts; what is unknown is absent."""
    return v1.ModelFacts(
        format=facts.format,
        architecture=facts.architecture or "",
        display_name=facts.name or "",
        categories=facts.categories,
        quantization=facts.quantization or "",
        layers=facts.layers,
        hidden_size=facts.hidden_size,
        heads=_each(facts.heads),
        kv_heads=_each(facts.kv_heads),
        key_length=facts.key_length,
        value_length=facts.value_length,
        vocabulary_size=facts.vocab_size,
        context_length=facts.context_length,
        experts=facts.experts,
        experts_used=facts.experts_used,
        sliding_window=facts.sliding_window,
        sliding_key_length=facts.sliding_key_length,
        sliding_value_length=facts.sliding_value_length,
        parameter_count=facts.parameters,
        weight_bytes=facts.weight_bytes,
        nonlayer_bytes=facts.nonlayer_bytes,
        layer_bytes=facts.layer_bytes or (),
        file_bytes=facts.file_bytes,
        digest=facts.digest,
        feed_forward_size=_each(facts.feed_forward),
        files=facts.files,
        chat_template=facts.chat_template,
        architectures=facts.architectures,
        model_type=facts.model_type or "",
        dtype=facts.dtype or "",
        layer_kinds=[_KIND_NUMBERS[kind] for kind in facts.layer_kinds or ()],
        latent=_latent_message(facts.latent),
        recurrent=_recurrent_message(facts.recurrent),
        experts_shared=facts.experts_shared,
        expert_feed_forward_size=facts.expert_feed_forward,
        vision_heads=facts.vision_heads,
        audio_heads=facts.audio_heads,
        custom_code=facts.custom_code,
        roles=_roles_message(facts.roles),
        layer_expert_bytes=facts.layer_expert_bytes or (),
        companions=[_companion_message(companion) for companion in facts.companions],
        components=[_component_message(component) for component in facts.components],
    )


def facts_of(message: v1.ModelFacts) -> ModelFacts:
    """Return the facts that a message carries."""
    return ModelFacts(
        format=message.format,
        files=tuple(message.files),
        file_bytes=message.file_bytes,
        digest=message.digest,
        name=message.display_name or None,
        architecture=message.architecture or None,
        categories=tuple(message.categories),
        quantization=message.quantization or None,
        chat_template=message.chat_template,
        parameters=message.parameter_count if message.HasField("parameter_count") else None,
        weight_bytes=message.weight_bytes,
        layer_bytes=tuple(message.layer_bytes) or None,
        nonlayer_bytes=message.nonlayer_bytes if message.HasField("nonlayer_bytes") else None,
        layers=message.layers if message.HasField("layers") else None,
        hidden_size=message.hidden_size if message.HasField("hidden_size") else None,
        feed_forward=_one_or_each(message.feed_forward_size),
        heads=_one_or_each(message.heads),
        kv_heads=_one_or_each(message.kv_heads),
        key_length=message.key_length if message.HasField("key_length") else None,
        value_length=message.value_length if message.HasField("value_length") else None,
        vocab_size=message.vocabulary_size if message.HasField("vocabulary_size") else None,
        context_length=message.context_length if message.HasField("context_length") else None,
        experts=message.experts if message.HasField("experts") else None,
        experts_used=message.experts_used if message.HasField("experts_used") else None,
        sliding_window=message.sliding_window if message.HasField("sliding_window") else None,
        sliding_key_length=message.sliding_key_length if message.HasField("sliding_key_length") else None,
        sliding_value_length=message.sliding_value_length if message.HasField("sliding_value_length") else None,
        architectures=tuple(message.architectures),
        model_type=message.model_type or None,
        dtype=message.dtype or None,
        layer_kinds=tuple(_KINDS.get(kind, LayerKind.FULL) for kind in message.layer_kinds) or None,
        latent=_latent_of(message.latent) if message.HasField("latent") else None,
        recurrent=_recurrent_of(message.recurrent) if message.HasField("recurrent") else None,
        experts_shared=message.experts_shared if message.HasField("experts_shared") else None,
        expert_feed_forward=message.expert_feed_forward_size if message.HasField("expert_feed_forward_size") else None,
        vision_heads=message.vision_heads if message.HasField("vision_heads") else None,
        audio_heads=message.audio_heads if message.HasField("audio_heads") else None,
        custom_code=message.custom_code,
        roles=_roles_of(message.roles) if message.HasField("roles") else None,
        layer_expert_bytes=tuple(message.layer_expert_bytes) or None,
        companions=tuple(_companion_of(companion) for companion in message.companions),
        components=tuple(_component_of(component) for component in message.components),
    )


def _latent_message(latent: LatentAttention | None) -> v1.LatentAttention | None:
    if latent is None:
        return None
    return v1.LatentAttention(
        kv_rank=latent.kv_rank,
        rope_dimension=latent.rope_dim,
        query_rank=latent.query_rank,
        nope_dimension=latent.nope_dim,
        value_dimension=latent.value_dim,
    )


def _latent_of(message: v1.LatentAttention) -> LatentAttention:
    return LatentAttention(
        kv_rank=message.kv_rank,
        rope_dim=message.rope_dimension,
        query_rank=message.query_rank if message.HasField("query_rank") else None,
        nope_dim=message.nope_dimension if message.HasField("nope_dimension") else None,
        value_dim=message.value_dimension if message.HasField("value_dimension") else None,
    )


def _recurrent_message(state: RecurrentState | None) -> v1.RecurrentState | None:
    return None if state is None else v1.RecurrentState(convolution=state.convolution, state=state.state)


def _recurrent_of(message: v1.RecurrentState) -> RecurrentState:
    return RecurrentState(convolution=message.convolution, state=message.state)


def _roles_message(roles: RoleBytes | None) -> v1.RoleBytes | None:
    if roles is None:
        return None
    return v1.RoleBytes(
        embedding=roles.embedding,
        layers=roles.layers,
        experts=roles.experts,
        output=roles.output,
        vision=roles.vision,
        other=roles.other,
    )


def _roles_of(message: v1.RoleBytes) -> RoleBytes:
    return RoleBytes(
        embedding=message.embedding,
        layers=message.layers,
        experts=message.experts,
        output=message.output,
        vision=message.vision,
        other=message.other,
    )


def _companion_message(companion: Companion) -> v1.CompanionFile:
    return v1.CompanionFile(
        kind=companion.kind,
        file=companion.file,
        size_bytes=companion.file_bytes,
        weight_bytes=companion.weight_bytes,
        heads=companion.heads,
    )


def _companion_of(message: v1.CompanionFile) -> Companion:
    return Companion(
        kind=message.kind,
        file=message.file,
        file_bytes=message.size_bytes,
        weight_bytes=message.weight_bytes if message.HasField("weight_bytes") else None,
        heads=message.heads if message.HasField("heads") else None,
    )


def _component_message(component: Component) -> v1.PipelineComponent:
    return v1.PipelineComponent(component=component.name, type=component.type, weight_bytes=component.weight_bytes)


def _component_of(message: v1.PipelineComponent) -> Component:
    return Component(
        name=message.component,
        type=message.type,
        weight_bytes=message.weight_bytes if message.HasField("weight_bytes") else None,
    )


def _each(value: int | tuple[int, ...] | None) -> tuple[int, ...]:
    if value is None:
        return ()
    return value if isinstance(value, tuple) else (value,)


def _one_or_each(entries: Iterable[int]) -> int | tuple[int, ...] | None:
    values = tuple(entries)
    if len(values) <= 1:
        return values[0] if values else None
    return values
