"""What llama.cpp is told that decides its memory: options and their defaults, as one value."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from motorpool_controller.domain.fleet import Option
from motorpool_controller.domain.parameters import integer_of, named
from motorpool_controller.domain.sizes import MIB
from motorpool_controller.domain.workload import Parameter
from motorpool_controller.estimation.unknown import UnknownError
from motorpool_formats.facts import Companion, ModelFacts
from motorpool_formats.ggml import TENSOR_TYPES, TensorType

DEFAULT_CONTEXT_LENGTH = 8_192
DEFAULT_PARALLEL = 1
DEFAULT_BATCH = 2_048
DEFAULT_MICRO_BATCH = 512
DEFAULT_CHECKPOINTS = 32
"""llama.cpp b11549, common/arg.cpp; context and slots are ours (scheduling README, Decisions)."""

MAX_CONTEXT_LENGTH = (1 << 31) - 1
MAX_PARALLEL = 4_096
"""Bounds of our own, so that no product of wishes grows beyond reason."""

CELL_PADDING = 256
"""A context's tokens are rounded up to as many (llama.cpp, src/llama-context.cpp)."""

BUILD_OF_FEW_LOGITS = 10_434
"""From some build of June 2026 on (its pull request 23861) the server reserves logits for one token a slot; this is the
oldest one looked at. Older ones, and versions that tell no build, are taken to reserve them for the whole batch."""

SECOND_MODELS = ("model-draft", "md", "control-vector", "spec-draft-model")
"""Options that load a model whose own cache and buffers are not estimated yet."""

MOVERS = ("override-tensor",)
"""Options that place tensors in a way of their own."""

_BUILD = re.compile(r"(?:^b|\.)(\d{4,6})$")
_CACHE_TYPES = {layout.name.lower(): layout for layout in TENSOR_TYPES.values()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """Sizes are in tokens; ``experts_in_host`` counts layers, from the first, whose experts stay in host memory.

    ``all_logits`` says that the server makes room for the logits of every token of a batch.
    """

    context_length: int
    parallel: int
    micro_batch: int
    keys: TensorType
    values: TensorType
    flash_attention: bool | None
    full_window: bool
    unified: bool
    cache_in_host: bool
    experts_in_host: int
    embeds: bool
    all_logits: bool
    checkpoints: int
    prompt_cache_bytes: int
    projector: Companion | None
    projector_in_host: bool
    adapter_bytes: int
    mover: str | None

    @property
    def streams(self) -> int:
        """Return how many caches there are: one for each slot, or one for all."""
        return 1 if self.unified else self.parallel

    @property
    def stream_cells(self) -> int:
        """Return the tokens that one cache has room for."""
        return padded(-(-self.context_length // self.streams))

    def window_cells(self, window: int) -> int:
        """Return the tokens that one windowed cache has room for."""
        if self.full_window:
            return self.stream_cells
        return min(padded(window * (self.parallel if self.unified else 1) + self.micro_batch), self.stream_cells)


def slots_of(facts: ModelFacts, options: Sequence[Option], parameters: Sequence[Parameter]) -> tuple[int, int]:
    """Return context length and slots: those asked for, else ours."""
    most = facts.context_length or DEFAULT_CONTEXT_LENGTH
    given = integer_of(parameters, options, "context_length")
    if given is not None and given > 0:
        context_length = min(given, MAX_CONTEXT_LENGTH)
    elif given == 0:  # llama.cpp's word for "as much as the model was made for"
        context_length = min(most, MAX_CONTEXT_LENGTH)
    else:
        context_length = min(DEFAULT_CONTEXT_LENGTH, most)
    parallel = integer_of(parameters, options, "parallel") or DEFAULT_PARALLEL
    return context_length, min(max(parallel, 1), MAX_PARALLEL, context_length)


def launch_of(
    facts: ModelFacts, options: Sequence[Option], parameters: Sequence[Parameter], versions: Sequence[str] = ()
) -> Launch:
    """Return what the parameters say, and the defaults, for any of the versions; raise UnknownError for the rest.

    The facts are those of ``launched_facts``: a projector among them is loaded.
    """
    context_length, parallel = slots_of(facts, options, parameters)
    second = next((name for name in SECOND_MODELS if named(parameters, name) is not None), None)
    if second is not None:
        raise UnknownError(f"--{second} loads a model whose cache is not estimated yet", f"--{second}")
    cache_mib = _number(parameters, 0, "cache-ram", "cram")
    if cache_mib < 0:
        raise UnknownError(
            "--cache-ram without a limit lets the prompt cache take all memory; give it in MiB", "--cache-ram"
        )
    batch = max(_number(parameters, DEFAULT_BATCH, "batch-size", "b"), 1)
    micro_batch = max(_number(parameters, DEFAULT_MICRO_BATCH, "ubatch-size", "ub"), 1)
    embeds = _said(parameters, "embeddings", "embedding", "reranking", "rerank")
    flash = (named(parameters, "flash-attn", "fa") or ("auto",))[0].lower()
    return Launch(
        context_length=context_length,
        parallel=parallel,
        micro_batch=min(batch, micro_batch, padded(context_length)),
        keys=_cache_type(parameters, "cache-type-k", "ctk"),
        values=_cache_type(parameters, "cache-type-v", "ctv"),
        flash_attention={"on": True, "1": True, "off": False, "0": False}.get(flash),
        full_window=_said(parameters, "swa-full"),
        unified=_said(parameters, "kv-unified", "kvu"),
        cache_in_host=_said(parameters, "no-kv-offload", "nkvo"),
        experts_in_host=_experts_in_host(facts, parameters),
        embeds=embeds,
        all_logits=embeds or any(_build(version) < BUILD_OF_FEW_LOGITS for version in versions),
        checkpoints=max(_number(parameters, DEFAULT_CHECKPOINTS, "ctx-checkpoints", "ctxcp", "swa-checkpoints"), 0),
        prompt_cache_bytes=cache_mib * MIB,
        projector=_projector(facts, parameters),
        projector_in_host=_said(parameters, "no-mmproj-offload"),
        adapter_bytes=sum(
            _weights(_companion(facts, parameters, "adapter", option)) for option in ("lora", "lora-scaled")
        ),
        mover=next((name for name in MOVERS if _said(parameters, name)), None),
    )


def _build(version: str) -> int:
    """Return the build of llama.cpp that a version is; 0 where it does not tell."""
    found = _BUILD.search(version)
    return int(found[1]) if found else 0


def padded(tokens: int) -> int:
    """Return the cells that a cache for so many tokens has (llama.cpp pads to 256)."""
    return -(-tokens // CELL_PADDING) * CELL_PADDING


def row_bytes(elements: int, layout: TensorType) -> int:
    """Return the bytes of one row of so many elements."""
    return -(-elements // layout.block_elements) * layout.block_bytes


def _said(parameters: Sequence[Parameter], *names: str) -> bool:
    return named(parameters, *names) is not None


def _number(parameters: Sequence[Parameter], default: int, *names: str) -> int:
    values = named(parameters, *names)
    if not values:
        return default
    try:
        return int(values[0][:20])
    except ValueError:
        raise UnknownError(f"--{names[0]} has a value that is no number", f"--{names[0]}") from None


def _experts_in_host(facts: ModelFacts, parameters: Sequence[Parameter]) -> int:
    layers = facts.layers or 0
    if _said(parameters, "cpu-moe", "cmoe"):
        return layers
    return min(max(_number(parameters, 0, "n-cpu-moe", "ncmoe"), 0), layers)


def _projector(facts: ModelFacts, parameters: Sequence[Parameter]) -> Companion | None:
    if not facts.projectors and _said(parameters, "mmproj", "mm"):
        raise UnknownError("--mmproj loads weights whose size is not read yet", "--mmproj")
    return next(iter(facts.projectors), None)


def _companion(facts: ModelFacts, parameters: Sequence[Parameter], kind: str, *options: str) -> Companion | None:
    values = named(parameters, *options)
    if values is None:
        return None
    name = PurePosixPath(values[0]).name if values else ""
    found = next((each for each in facts.companions if each.kind == kind and each.file == name), None)
    if found is None:
        raise UnknownError(f"--{options[0]} loads weights whose size is not read yet", f"--{options[0]}")
    return found


def _weights(companion: Companion | None) -> int:
    if companion is None:
        return 0
    return companion.file_bytes if companion.weight_bytes is None else companion.weight_bytes


def _cache_type(parameters: Sequence[Parameter], *names: str) -> TensorType:
    values = named(parameters, *names)
    name = values[0].lower() if values else "f16"
    if name not in _CACHE_TYPES:
        raise UnknownError(
            f"--{names[0]} names a type of cache that is not known here; e.g. f16 or q8_0", f"--{names[0]}"
        )
    return _CACHE_TYPES[name]
