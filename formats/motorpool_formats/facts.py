"""What the rest of Motorpool knows about a model file."""

from dataclasses import dataclass
from enum import StrEnum


class LayerKind(StrEnum):
    """What a layer keeps of the tokens before: all, those of a window, a state of fixed size, all and a state, none."""

    FULL = "full"
    SLIDING = "sliding"
    RECURRENT = "recurrent"
    HYBRID = "hybrid"
    NONE = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class LatentAttention:
    """Sizes of multi-head latent attention (DeepSeek-V2, arXiv:2405.04434), whose cache holds a compressed vector.

    A token and layer take ``kv_rank + rope_dim`` elements of cache where the engine caches compressed.
    """

    kv_rank: int
    rope_dim: int
    query_rank: int | None = None
    nope_dim: int | None = None
    value_dim: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RecurrentState:
    """What one recurrent layer keeps of one sequence, in elements, however long the sequence is."""

    convolution: int
    state: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleBytes:
    """Bytes of tensors by what they are for; together they are ``ModelFacts.weight_bytes``.

    ``layers`` are the layers' tensors without their experts, ``vision`` is every tower and projector for pictures and
    sound that is part of the model itself, and not a companion file.
    """

    embedding: int = 0
    layers: int = 0
    experts: int = 0
    output: int = 0
    vision: int = 0
    other: int = 0


PROJECTOR = "projector"


@dataclass(frozen=True, slots=True, kw_only=True)
class Companion:
    """A file beside the model that an engine loads with it. ``kind``: projector, draft or adapter."""

    kind: str
    file: str
    file_bytes: int
    weight_bytes: int | None = None
    heads: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Component:
    """One part of a pipeline (diffusers): its name, class, and bytes of weights; None where they cannot be told."""

    name: str
    type: str
    weight_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What a model's own headers say, whatever the format; what they do not say is None, never 0."""

    format: str
    """gguf, safetensors, pytorch, diffusers; of faster-whisper's models: ctranslate2."""
    files: tuple[str, ...]
    """Names of the files the model consists of; an engine is given the first."""
    file_bytes: int
    """What those files take on disk."""
    digest: str
    """``sha256:…`` over each file's header and size, and its config.json: the model's identity, without reading its
    weights. Files without a header count by their last 64 KiB, where PyTorch's have checksums."""

    name: str | None
    architecture: str | None
    categories: tuple[str, ...]
    """llm, embedding, reranker, image, speech_to_text, text_to_speech; empty where that is not known. Not to be served
    alone: adapter, projector, draft."""
    quantization: str | None
    """GGUF: as llama.cpp names it: Q4_K_M, BF16 … Others: method and bits, e.g. gptq-int4, awq-int4, fp8; None where
    the weights are as they were trained."""
    chat_template: bool
    """Whether the model brings a template that turns a chat into a prompt."""

    parameters: int | None
    """Elements of all tensors; of packed quantised ones, of what they stand for where that can be told."""
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
    sliding_key_length: int | None = None
    """Width of a key in layers with a window, where it differs from ``key_length``; so also of a value."""
    sliding_value_length: int | None = None

    architectures: tuple[str, ...] = ()
    """All class names that config.json gives; ``architecture`` is the first."""
    model_type: str | None = None
    """``model_type`` of config.json."""
    dtype: str | None = None
    """Number type the model computes in, e.g. bfloat16."""
    layer_kinds: tuple[LayerKind, ...] | None = None
    """One for each layer; None where it is not known, and then every layer has to be taken for full attention."""
    latent: LatentAttention | None = None
    recurrent: RecurrentState | None = None
    experts_shared: int | None = None
    expert_feed_forward: int | None = None
    """Width of one expert."""
    vision_heads: int | None = None
    audio_heads: int | None = None
    custom_code: bool = False
    """The repository brings code of its own that an engine would have to run (``auto_map``)."""

    roles: RoleBytes | None = None
    layer_expert_bytes: tuple[int, ...] | None = None
    """Of ``layer_bytes``, the part that is experts."""
    companions: tuple[Companion, ...] = ()
    components: tuple[Component, ...] = ()

    @property
    def projectors(self) -> tuple[Companion, ...]:
        """The projectors among the companions; the first is the one to load where nobody names another."""
        return tuple(companion for companion in self.companions if companion.kind == PROJECTOR)
