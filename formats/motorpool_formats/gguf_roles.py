"""A GGUF model's bytes, layer by layer and by what they are for, told from tensors' names.

Names: LLM_TENSOR_NAMES in src/llama-arch.cpp of llama.cpp, and TN_* in tools/mtmd/clip-impl.h.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from motorpool_formats.facts import RoleBytes
from motorpool_formats.gguf import Tensor

_LAYER = re.compile(r"(?:enc\.|dec\.)?blk\.(\d{1,9})\.(.*)", re.DOTALL)
_EXPERTS = re.compile(r"ffn_(?:gate|up|down|gate_up)(?:_exps|_chexps|\.\d+)\b")
"""One tensor for all experts of a layer, or (before 2024) one for each; shared experts (_shexp) are no such."""
_EMBEDDING = re.compile(r"(?:token_embd|per_layer_token_embd|position_embd|token_types)\b")
_OUTPUT = re.compile(r"(?:output|cls|dense_[23])(?:\.|$)")
_VISION = re.compile(r"(?:v|mm|a|resampler)\.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """A model's bytes; ``layers`` and ``experts``, a part of them, have one entry for each layer."""

    layers: tuple[int, ...] | None
    experts: tuple[int, ...] | None
    roles: RoleBytes


def parts_of(tensors: Sequence[Tensor], count: int | None) -> Parts:
    """Return the bytes of a model with ``count`` layers."""
    layers, experts = [0] * (count or 0), [0] * (count or 0)
    embedding = output = vision = other = 0
    for tensor in tensors:
        layer = _LAYER.match(tensor.name)
        if layer is not None and int(layer[1]) < len(layers):
            layers[int(layer[1])] += tensor.size_bytes
            if _EXPERTS.match(layer[2]):
                experts[int(layer[1])] += tensor.size_bytes
        elif _EMBEDDING.match(tensor.name):
            embedding += tensor.size_bytes
        elif _OUTPUT.match(tensor.name):
            output += tensor.size_bytes
        elif _VISION.match(tensor.name):
            vision += tensor.size_bytes
        else:
            other += tensor.size_bytes
    return Parts(
        layers=None if count is None else tuple(layers),
        experts=None if count is None else tuple(experts),
        roles=RoleBytes(
            embedding=embedding,
            layers=sum(layers) - sum(experts),
            experts=sum(experts),
            output=output,
            vision=vision,
            other=other,
        ),
    )
