"""What a tensor is for, by its name."""

from __future__ import annotations

import re
from enum import Enum
from functools import lru_cache


class Role(Enum):
    """What a tensor is for; the names are those of ``RoleBytes``."""

    EMBEDDING = "embedding"
    LAYERS = "layers"
    EXPERTS = "experts"
    OUTPUT = "output"
    VISION = "vision"
    OTHER = "other"


_LAYER = re.compile(r"(?:^|\.)(?:layers?|h|blocks?)\.([0-9]{1,4})\.")
"""Where the number of a layer stands; what precedes it is the stack that the layer is of."""

_TOWER = re.compile(
    r"(?:^|\.)(?:visual|vision\w*|vit|vpm|resampler|apm|audio\w*|speech\w*|sound\w*|image\w*|img_\w+|multi_?modal\w*"
    r"|mm_\w+|pre_mm\w*|mlp1|connector|aligner|\w*projector|perceiver\w*|qformer|query_tokens|language_projection|embed_vision"
    r"|embed_audio|embed_tokens_extend|view_seperator|sam_model|siglip\w*|clip\w*|patch_merger|video\w*)(?:\.|$)"
)
"""A part for pictures or sound: towers, and what brings their results to the width of the text."""

_APART = re.compile(r"(?:^|\.)(?:mtp\w*|nextn\w*|eagle\w*|medusa\w*|draft\w*|talker|token2wav|code2wav)(?:\.|$)")
"""A part beside the model proper: it predicts ahead, or it speaks."""

_EXPERT = re.compile(r"\.experts\.|\.experts?_|block_sparse_moe\.(?:in|out)put_linear\.|\.moe\.(?:gate|up|down)_proj\.")

_EMBEDDING = re.compile(
    r"(?:^|\.)(?:embed_tokens\w*|embed_in|embed_positions|embeddings?|word_embeddings\w*|position_embeddings"
    r"|token_type_embeddings|tok_embeddings|tokens_embed|wte|wpe|shared)(?:\.|$)"
)

_OUTPUT = re.compile(r"(?:^|\.)(?:lm_head|embed_out|output_layer|proj_out|score|classifier|cls|output|head)(?:\.|$)")


def role_of(name: str, *, layers: int | None, encoder_decoder: bool = False) -> tuple[Role, int | None]:
    """Return a tensor's role, and the number of its layer where it is of one."""
    match = _LAYER.search(name)
    if match is None:
        return _outside(name), None
    stack = _stack(name[: match.start()])
    if stack is not Role.LAYERS:
        return stack, None
    if encoder_decoder:
        return Role.LAYERS, None
    layer = int(match[1])
    if layers is not None and layer >= layers:  # DeepSeek keeps what predicts ahead as one more layer
        return Role.OTHER, None
    return (Role.EXPERTS if _EXPERT.search(name, match.end() - 1) else Role.LAYERS), layer


@lru_cache(maxsize=1024)
def _stack(prefix: str) -> Role:
    if _TOWER.search(prefix):
        return Role.VISION
    return Role.OTHER if _APART.search(prefix) else Role.LAYERS


def _outside(name: str) -> Role:
    if _TOWER.search(name):
        return Role.VISION
    if _APART.search(name):
        return Role.OTHER
    if _EMBEDDING.search(name):
        return Role.EMBEDDING
    return Role.OUTPUT if _OUTPUT.search(name) else Role.OTHER
