"""Where models come from, and what is known of them."""

from __future__ import annotations

from collections.abc import Iterable

from motorpool import v1
from motorpool_controller.domain.workload import ModelSource, SourceKind
from motorpool_controller.services.convert import fields
from motorpool_formats.facts import ModelFacts

_MAX_LAYERS = 65_536


def source_message(source: ModelSource) -> v1.ModelSource:
    """Return a model's source as a message."""
    if source.kind is SourceKind.LOCAL_PATH:
        return v1.ModelSource(local_path=source.path)
    if source.kind is SourceKind.HUGGING_FACE:
        return v1.ModelSource(
            hugging_face=v1.HuggingFaceSource(repository=source.repository, file=source.file, revision=source.revision)
        )
    return v1.ModelSource(
        model_scope=v1.ModelScopeSource(model_id=source.repository, file_path=source.file, revision=source.revision)
    )


def source_of(message: v1.ModelSource, field: str) -> ModelSource:
    """Return a message's source; what it may say is for ``specs.check_spec``."""
    given = message.WhichOneof("source")
    if given == "local_path":
        return ModelSource(kind=SourceKind.LOCAL_PATH, path=message.local_path)
    if given == "hugging_face":
        hub = message.hugging_face
        return ModelSource(
            kind=SourceKind.HUGGING_FACE, repository=hub.repository, file=hub.file, revision=hub.revision
        )
    if given == "model_scope":
        scope = message.model_scope
        return ModelSource(
            kind=SourceKind.MODEL_SCOPE,
            repository=scope.model_id,
            file=scope.file_path,
            revision=scope.revision,
        )
    raise fields.invalid(field, "no model is named; give local_path, hugging_face or model_scope")


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
        parameter_count=facts.parameters,
        weight_bytes=facts.weight_bytes,
        nonlayer_bytes=facts.nonlayer_bytes,
        layer_bytes=facts.layer_bytes or (),
        file_bytes=facts.file_bytes,
        digest=facts.digest,
        feed_forward_size=_list(facts.feed_forward),
        files=facts.files,
        chat_template=facts.chat_template,
    )


def facts_of(message: v1.ModelFacts, field: str) -> ModelFacts:
    """Return what an agent read from a model's headers. Weights of unknown size make no facts."""
    for sized in ("weight_bytes", "file_bytes"):
        if not message.HasField(sized):
            raise fields.invalid(f"{field}.{sized}", "it is missing; this agent does not suit this controller")
    layered = (message.layer_bytes, message.heads, message.kv_heads, message.feed_forward_size)
    if max(message.layers, *map(len, layered)) > _MAX_LAYERS:
        raise fields.invalid(f"{field}.layers", f"there are more than {_MAX_LAYERS}")
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
        parameters=fields.size(message.parameter_count, f"{field}.parameter_count"),
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
    )


def _optional(message: v1.ModelFacts, field: str, path: str) -> int | None:
    if not message.HasField(field):  # type: ignore[arg-type]  # callers name fields of the message
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
