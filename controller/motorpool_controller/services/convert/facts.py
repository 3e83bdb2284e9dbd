"""What is known of a model, to and from its message."""

from __future__ import annotations

from collections.abc import Iterable, Sized
from functools import lru_cache

from google.protobuf.message import Message

from motorpool import v1
from motorpool_controller.services.convert import fields
from motorpool_formats.facts import (
    Companion,
    Component,
    LatentAttention,
    LayerKind,
    ModelFacts,
    RecurrentState,
    RoleBytes,
)

MODELS_KNOWN = 256
_MAX_LAYERS = 65_536
_MAX_PARTS = 256
_ROLES = ("embedding", "layers", "experts", "output", "vision", "other")


def facts_message(facts: ModelFacts) -> v1.ModelFacts:
    """Return a model's facts as a message."""
    return v1.ModelFacts(
        format=facts.format,
        architecture=facts.architecture or "",
        display_name=facts.name or "",
        categories=facts.categories,
        quantization=facts.quantization or "",
        layers=facts.layers,
        hidden_size=facts.hidden_size,
        heads=_list(facts.heads),
        kv_heads=_list(facts.kv_heads),
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
        feed_forward_size=_list(facts.feed_forward),
        files=facts.files,
        chat_template=facts.chat_template,
        architectures=facts.architectures,
        model_type=facts.model_type or "",
        dtype=facts.dtype or "",
        layer_kinds=[fields.number(v1.LayerKind, "LAYER_KIND", kind) for kind in facts.layer_kinds or ()],
        latent=None if facts.latent is None else _latent_message(facts.latent),
        recurrent=None if facts.recurrent is None else _recurrent_message(facts.recurrent),
        experts_shared=facts.experts_shared,
        expert_feed_forward_size=facts.expert_feed_forward,
        vision_heads=facts.vision_heads,
        audio_heads=facts.audio_heads,
        custom_code=facts.custom_code,
        roles=None if facts.roles is None else v1.RoleBytes(**{role: getattr(facts.roles, role) for role in _ROLES}),
        layer_expert_bytes=facts.layer_expert_bytes or (),
        companions=[_companion_message(companion) for companion in facts.companions],
        components=[
            v1.PipelineComponent(component=part.name, type=part.type, weight_bytes=part.weight_bytes)
            for part in facts.components
        ],
    )


def known_facts(message: v1.ModelFacts) -> ModelFacts:
    """Return what an agent read from a model's headers: one object for all agents that read the same."""
    return _known(message.SerializeToString(deterministic=True))


@lru_cache(maxsize=MODELS_KNOWN)
def _known(message: bytes) -> ModelFacts:
    return facts_of(v1.ModelFacts.FromString(message), "answer.facts")


def facts_of(message: v1.ModelFacts, field: str) -> ModelFacts:
    """Return what an agent read from a model's headers. Weights of unknown size make no facts."""
    for sized in ("weight_bytes", "file_bytes"):
        if not message.HasField(sized):
            raise fields.invalid(f"{field}.{sized}", "it is missing; this agent does not suit this controller")
    layered: tuple[Sized, ...] = (
        message.layer_bytes,
        message.layer_expert_bytes,
        message.layer_kinds,
        message.heads,
        message.kv_heads,
        message.feed_forward_size,
    )
    if max(message.layers, *map(len, layered)) > _MAX_LAYERS:
        raise fields.invalid(f"{field}.layers", f"there are more than {_MAX_LAYERS}")
    for many in ("companions", "components", "architectures"):
        if len(getattr(message, many)) > _MAX_PARTS:
            raise fields.invalid(f"{field}.{many}", f"there are more than {_MAX_PARTS}")
    return ModelFacts(
        format=fields.name(message.format, f"{field}.format"),
        files=tuple(fields.text(entry) for entry in message.files),
        file_bytes=fields.size(message.file_bytes, f"{field}.file_bytes"),
        digest=fields.word(message.digest, f"{field}.digest"),
        name=fields.text(message.display_name) or None,
        architecture=fields.word(message.architecture, f"{field}.architecture") or None,
        categories=tuple(fields.name(entry, f"{field}.categories") for entry in message.categories),
        quantization=fields.word(message.quantization, f"{field}.quantization") or None,
        chat_template=message.chat_template,
        parameters=_optional(message, "parameter_count", field),
        weight_bytes=fields.size(message.weight_bytes, f"{field}.weight_bytes"),
        layer_bytes=tuple(fields.size(entry, f"{field}.layer_bytes") for entry in message.layer_bytes) or None,
        nonlayer_bytes=_optional(message, "nonlayer_bytes", field),
        layers=_optional(message, "layers", field),
        hidden_size=_optional(message, "hidden_size", field),
        feed_forward=_one_or_each(message.feed_forward_size, f"{field}.feed_forward_size"),
        heads=_one_or_each(message.heads, f"{field}.heads"),
        kv_heads=_one_or_each(message.kv_heads, f"{field}.kv_heads"),
        key_length=_optional(message, "key_length", field),
        value_length=_optional(message, "value_length", field),
        vocab_size=_optional(message, "vocabulary_size", field),
        context_length=_optional(message, "context_length", field),
        experts=_optional(message, "experts", field),
        experts_used=_optional(message, "experts_used", field),
        sliding_window=_optional(message, "sliding_window", field),
        sliding_key_length=_optional(message, "sliding_key_length", field),
        sliding_value_length=_optional(message, "sliding_value_length", field),
        architectures=tuple(fields.name(entry, f"{field}.architectures") for entry in message.architectures),
        model_type=fields.word(message.model_type, f"{field}.model_type") or None,
        dtype=fields.word(message.dtype, f"{field}.dtype") or None,
        layer_kinds=tuple(
            fields.required(v1.LayerKind, "LAYER_KIND", kind, LayerKind, f"{field}.layer_kinds")
            for kind in message.layer_kinds
        )
        or None,
        latent=_latent_of(message.latent, f"{field}.latent") if message.HasField("latent") else None,
        recurrent=_recurrent_of(message.recurrent, f"{field}.recurrent") if message.HasField("recurrent") else None,
        experts_shared=_optional(message, "experts_shared", field),
        expert_feed_forward=_optional(message, "expert_feed_forward_size", field),
        vision_heads=_optional(message, "vision_heads", field),
        audio_heads=_optional(message, "audio_heads", field),
        custom_code=message.custom_code,
        roles=_roles_of(message.roles, f"{field}.roles") if message.HasField("roles") else None,
        layer_expert_bytes=tuple(
            fields.size(entry, f"{field}.layer_expert_bytes") for entry in message.layer_expert_bytes
        )
        or None,
        companions=tuple(_companion_of(companion, f"{field}.companions") for companion in message.companions),
        components=tuple(_component_of(component, f"{field}.components") for component in message.components),
    )


def _latent_message(latent: LatentAttention) -> v1.LatentAttention:
    return v1.LatentAttention(
        kv_rank=latent.kv_rank,
        rope_dimension=latent.rope_dim,
        query_rank=latent.query_rank,
        nope_dimension=latent.nope_dim,
        value_dimension=latent.value_dim,
    )


def _latent_of(message: v1.LatentAttention, field: str) -> LatentAttention:
    return LatentAttention(
        kv_rank=fields.size(message.kv_rank, f"{field}.kv_rank"),
        rope_dim=fields.size(message.rope_dimension, f"{field}.rope_dimension"),
        query_rank=_optional(message, "query_rank", field),
        nope_dim=_optional(message, "nope_dimension", field),
        value_dim=_optional(message, "value_dimension", field),
    )


def _recurrent_message(state: RecurrentState) -> v1.RecurrentState:
    return v1.RecurrentState(convolution=state.convolution, state=state.state)


def _recurrent_of(message: v1.RecurrentState, field: str) -> RecurrentState:
    return RecurrentState(
        convolution=fields.size(message.convolution, f"{field}.convolution"),
        state=fields.size(message.state, f"{field}.state"),
    )


def _roles_of(message: v1.RoleBytes, field: str) -> RoleBytes:
    return RoleBytes(**{role: fields.size(getattr(message, role), f"{field}.{role}") for role in _ROLES})


def _companion_message(companion: Companion) -> v1.CompanionFile:
    return v1.CompanionFile(
        kind=companion.kind,
        file=companion.file,
        size_bytes=companion.file_bytes,
        weight_bytes=companion.weight_bytes,
        heads=companion.heads,
    )


def _companion_of(message: v1.CompanionFile, field: str) -> Companion:
    return Companion(
        kind=fields.name(message.kind, f"{field}.kind"),
        file=fields.name(message.file, f"{field}.file"),
        file_bytes=fields.size(message.size_bytes, f"{field}.size_bytes"),
        weight_bytes=_optional(message, "weight_bytes", field),
        heads=_optional(message, "heads", field),
    )


def _component_of(message: v1.PipelineComponent, field: str) -> Component:
    return Component(
        name=fields.name(message.component, f"{field}.component"),
        type=fields.word(message.type, f"{field}.type"),
        weight_bytes=_optional(message, "weight_bytes", field),
    )


def _optional(message: Message, field: str, path: str) -> int | None:
    if not message.HasField(field):
        return None
    value: int = getattr(message, field)
    return fields.size(value, f"{path}.{field}")


def _list(value: int | tuple[int, ...] | None) -> tuple[int, ...]:
    if value is None:
        return ()
    return value if isinstance(value, tuple) else (value,)


def _one_or_each(entries: Iterable[int], field: str) -> int | tuple[int, ...] | None:
    values = tuple(fields.size(entry, field) for entry in entries)
    if len(values) <= 1:
        return values[0] if values else None
    return values
