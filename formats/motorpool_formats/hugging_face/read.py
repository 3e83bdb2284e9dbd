"""From a folder in the layout of the Hugging Face hub to facts."""

from __future__ import annotations

import re
from collections.abc import Mapping

from motorpool_formats.errors import ModelFormatUnknownError, ModelIncompleteError
from motorpool_formats.facts import Companion, ModelFacts
from motorpool_formats.hugging_face.categories import categories_in
from motorpool_formats.hugging_face.config import Shape, dtype_of, shape_of
from motorpool_formats.hugging_face.diffusers import INDEX, read_pipeline
from motorpool_formats.hugging_face.documents import Document, find_document, read_document
from motorpool_formats.hugging_face.fingerprint import Fingerprint
from motorpool_formats.hugging_face.folders import Listed
from motorpool_formats.hugging_face.overrides import overridden_config
from motorpool_formats.hugging_face.quantization import find_quantization
from motorpool_formats.hugging_face.reading import Spread, measure
from motorpool_formats.hugging_face.speech import read_speech
from motorpool_formats.hugging_face.tally import Tally
from motorpool_formats.hugging_face.text_part import text_part
from motorpool_formats.hugging_face.weights import PYTORCH, SAFETENSORS, Weights, find_weights
from motorpool_formats.protocols import Folder

CONFIG = "config.json"
ADAPTER_CONFIG = "adapter_config.json"

TEMPLATE_FILES = ("chat_template.jinja", "chat_template.json")
TOKENIZER_CONFIG = "tokenizer_config.json"
MAX_TOKENIZER_CONFIG_BYTES = 8 << 20
"""Gemma's has one; nothing of it is kept."""

_TEMPLATE_KEY = re.compile(rb'"chat_template"\s*+:\s*+["\[]')


def read(folder: Folder, *, overrides: Mapping[str, object] | None = None, spread: Spread = map) -> ModelFacts:
    """Return the facts of the model in a folder: its headers and small JSON files are read, and never its weights.

    ``overrides`` are what ``--hf-overrides`` of an engine would change in config.json. Headers are read through
    ``spread``: give a pool's ``map`` where a read takes long.
    """
    folder = Listed(folder)
    files = folder.files()
    if INDEX in files:
        return read_pipeline(folder, spread)
    if speech := read_speech(folder, spread):
        return speech
    weights = find_weights(folder)
    adapter = _adapter_weights(folder)
    if weights is None and adapter is not None and ADAPTER_CONFIG in files:
        return _read_adapter(folder, adapter, spread)
    if CONFIG not in files:
        raise ModelFormatUnknownError(
            folder.name,
            f"it holds no GGUF file, no {CONFIG}, no {INDEX} and no known speech model",
            "name a model's folder or repository",
        )
    if weights is None:
        raise ModelIncompleteError(
            folder.name,
            f"there is a {CONFIG}, but no weights ({', '.join((SAFETENSORS, *PYTORCH))})",
            "finish the download or name another folder",
        )
    config = read_document(folder, CONFIG)
    fingerprint = Fingerprint()  # of the model as it lies there, whatever is overridden
    fingerprint.add_document(config)
    if overrides:
        config = Document(CONFIG, overridden_config(config.values, overrides))
    return _read_model(folder, config, weights, adapter, fingerprint, spread)


def _read_model(
    folder: Folder,
    config: Document,
    weights: Weights,
    adapter: Weights | None,
    fingerprint: Fingerprint,
    spread: Spread,
) -> ModelFacts:
    shape, part = shape_of(config), text_part(config)
    quantization = find_quantization(folder, config, part.document)
    tally = Tally(layers=shape.layers, encoder_decoder=part.encoder_decoder, quantization=quantization)
    measured = measure(folder, weights, tally, fingerprint, spread)
    architectures = config.texts("architectures")
    layer_bytes = measured.layer_bytes
    return ModelFacts(
        format=weights.format,
        files=weights.files,
        file_bytes=measured.file_bytes,
        digest=fingerprint.text(),
        name=None,
        architecture=architectures[0] if architectures else None,
        categories=categories_in(folder, architectures, config),
        quantization=quantization.name if quantization else None,
        chat_template=_has_chat_template(folder),
        parameters=measured.parameters,
        weight_bytes=measured.weight_bytes,
        layer_bytes=layer_bytes,
        nonlayer_bytes=None if layer_bytes is None else measured.weight_bytes - sum(layer_bytes),
        layers=shape.layers,
        hidden_size=shape.hidden_size,
        feed_forward=shape.feed_forward,
        heads=shape.heads,
        kv_heads=shape.kv_heads,
        key_length=shape.key_length,
        value_length=shape.value_length,
        vocab_size=shape.vocab_size,
        context_length=_context_length(folder, shape),
        experts=shape.experts,
        experts_used=shape.experts_used,
        sliding_window=shape.sliding_window,
        sliding_key_length=shape.sliding_key_length,
        sliding_value_length=shape.sliding_value_length,
        architectures=architectures,
        model_type=config.text("model_type"),
        dtype=dtype_of(config) or dtype_of(part.document) or measured.dtype,
        layer_kinds=shape.layer_kinds,
        latent=shape.latent,
        recurrent=shape.recurrent,
        experts_shared=shape.experts_shared,
        expert_feed_forward=shape.expert_feed_forward,
        vision_heads=shape.vision_heads,
        audio_heads=shape.audio_heads,
        custom_code=bool(config.section("auto_map")),
        roles=measured.roles,
        layer_expert_bytes=measured.layer_expert_bytes,
        companions=_adapter_companions(folder, adapter),
    )


def _read_adapter(folder: Folder, weights: Weights, spread: Spread) -> ModelFacts:
    """Return the facts of a LoRA adapter, which an engine loads beside its base model."""
    config = read_document(folder, ADAPTER_CONFIG)
    fingerprint = Fingerprint()
    fingerprint.add_document(config)
    measured = measure(folder, weights, Tally(), fingerprint, spread)
    kind = config.text("peft_type")
    return ModelFacts(
        format=weights.format,
        files=weights.files,
        file_bytes=measured.file_bytes,
        digest=fingerprint.text(),
        name=None,
        architecture=None,
        categories=("adapter",),
        quantization=None,
        chat_template=_has_chat_template(folder),
        parameters=measured.parameters,
        weight_bytes=measured.weight_bytes,
        layer_bytes=None,
        nonlayer_bytes=None,
        model_type=kind.lower() if kind else None,
        dtype=measured.dtype,
    )


def _context_length(folder: Folder, shape: Shape) -> int | None:
    settings = find_document(folder, "sentence_bert_config.json")
    stated = settings.whole("max_seq_length") if settings else None
    return stated or shape.context_length


def _adapter_weights(folder: Folder) -> Weights | None:
    files = folder.files()
    for suffix, kind in ((SAFETENSORS, "safetensors"), (".bin", "pytorch")):
        if (name := f"adapter_model{suffix}") in files:
            return Weights(kind, (name,))
    return None


def _adapter_companions(folder: Folder, adapter: Weights | None) -> tuple[Companion, ...]:
    sizes = folder.files()
    return tuple(
        Companion(kind="adapter", file=name, file_bytes=sizes[name]) for name in (adapter.files if adapter else ())
    )


def _has_chat_template(folder: Folder) -> bool:
    """Return whether the tokenizer brings a template, looked for in its file and not parsed: that can be large."""
    files = folder.files()
    if any(name in files for name in TEMPLATE_FILES):
        return True
    if TOKENIZER_CONFIG not in files:
        return False
    with folder.open(TOKENIZER_CONFIG) as source:
        content = source.read(0, min(source.size, MAX_TOKENIZER_CONFIG_BYTES))
    return _TEMPLATE_KEY.search(content) is not None
