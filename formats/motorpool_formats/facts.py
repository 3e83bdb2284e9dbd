"""What the rest of Motorpool knows about a model file."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What a model's own headers say, whatever the format; what they do not say is None, never 0."""

    format: str
    """``gguf``."""
    files: tuple[str, ...]
    """Names of the files the model consists of; an engine is given the first."""
    file_bytes: int
    """What those files take on disk."""
    digest: str
    """``sha256:…`` over each file's header and size: the model's identity, without reading its weights."""

    name: str | None
    architecture: str | None
    categories: tuple[str, ...]
    """llm, embedding, reranker, image, text_to_speech; not to be served alone: adapter, projector."""
    quantization: str | None
    """As llama.cpp names it: Q4_K_M, BF16 …"""
    chat_template: bool
    """Whether the model brings a template that turns a chat into a prompt."""

    parameters: int
    """Elements of all tensors."""
    weight_bytes: int
    """Bytes of all tensors."""
    layer_bytes: tuple[int, ...] | None
    """Bytes of each layer's tensors: the part an engine offloads layer by layer."""
    nonlayer_bytes: int | None
    """The other tensors' bytes (embeddings, output …): ``weight_bytes`` less ``sum(layer_bytes)``."""

    layers: int | None = None
    hidden_size: int | None = None
    feed_forward: int | tuple[int, ...] | None = None
    """One for each layer where layers differ; so also ``heads`` and ``kv_heads``, whose 0 means: has none."""
    heads: int | tuple[int, ...] | None = None
    kv_heads: int | tuple[int, ...] | None = None
    key_length: int | None = None
    value_length: int | None = None
    vocab_size: int | None = None
    context_length: int | None = None
    """The longest context the model was trained for."""
    experts: int | None = None
    """None also for a dense model."""
    experts_used: int | None = None
    sliding_window: int | None = None
    """How far back windowed attention looks; None also where all attention is full."""
