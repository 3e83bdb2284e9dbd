"""What a recurrent layer keeps of a sequence, by the kind of recurrence that a config.json describes.

A convolution over k tokens keeps all but one of them. The kinds: Mamba (arXiv:2312.00752), Mamba-2
(arXiv:2405.21060), gated delta rule (arXiv:2412.06464), Kimi's delta attention (arXiv:2510.26692), lightning attention
(arXiv:2501.08313), RG-LRU (arXiv:2402.19427), and LFM2's short convolutions, which have no other state.
"""

from __future__ import annotations

from motorpool_formats.facts import RecurrentState
from motorpool_formats.hugging_face.documents import Document
from motorpool_formats.hugging_face.text_part import HEADS, HIDDEN_SIZE, TextPart

MAX_ELEMENTS = 1 << 62
"""They travel in 64 bits."""

KEYS = frozenset(
    {
        "conv1d_width",
        "conv_L_cache",
        "conv_kernel",
        "expand",
        "linear_attn_config",
        "linear_conv_kernel_dim",
        "linear_key_head_dim",
        "linear_num_key_heads",
        "linear_num_value_heads",
        "linear_value_head_dim",
        "lru_width",
        "mamba_d_conv",
        "mamba_d_head",
        "mamba_d_state",
        "mamba_expand",
        "mamba_head_dim",
        "mamba_headdim",
        "mamba_n_groups",
        "mamba_n_heads",
        "mamba_ngroups",
        "mamba_num_heads",
        "n_groups",
        "n_mamba_heads",
        "ssm_state_size",
        "state_size",
    }
)
"""What the sizes below are made of."""


def recurrent_state(part: TextPart) -> RecurrentState | None:
    """Return what one recurrent layer keeps; None where the kind is not known or a size is missing."""
    document = part.document
    if "linear_num_value_heads" in document:
        state = _gated_delta(document)
    elif section := document.section("linear_attn_config"):
        state = _delta_attention(section)
    elif "conv_L_cache" in document:
        state = _short_convolution(part)
    elif "attn_type_list" in document:
        state = _lightning(part)
    elif part.model_type == "recurrent_gemma":
        state = _gated_linear(part)
    elif any(key in document for key in ("mamba_n_heads", "n_mamba_heads", "mamba_num_heads")) or (
        part.model_type == "mamba2"
    ):
        state = _mamba2(part)
    else:
        state = _mamba(part)
    return None if state is None or max(state.convolution, state.state) > MAX_ELEMENTS else state


def _mamba(part: TextPart) -> RecurrentState | None:
    document, hidden_size = part.document, part.whole(*HIDDEN_SIZE)
    kernel = document.whole("mamba_d_conv", "conv_kernel")
    size = document.whole("mamba_d_state", "state_size")
    expand = document.whole("mamba_expand", "expand")
    # Mamba gives the width itself; in Jamba that name is the feed-forward network's.
    width = document.whole("intermediate_size") if "state_size" in document else None
    if width is None and hidden_size is not None and expand is not None:
        width = expand * hidden_size
    if not kernel or size is None or width is None:
        return None
    return RecurrentState(convolution=width * (kernel - 1), state=width * size)


def _mamba2(part: TextPart) -> RecurrentState | None:
    document, hidden_size = part.document, part.whole(*HIDDEN_SIZE)
    heads = document.whole("mamba_n_heads", "n_mamba_heads", "mamba_num_heads", "num_heads")
    groups = document.whole("mamba_n_groups", "mamba_ngroups", "n_groups")
    size = document.whole("mamba_d_state", "ssm_state_size", "state_size")
    kernel = document.whole("mamba_d_conv", "conv_kernel")
    expand = document.whole("mamba_expand", "expand")
    length = (
        None
        if document.values.get("mamba_d_head") == "auto"  # Bamba and Granite write so
        else document.whole("mamba_d_head", "mamba_headdim", "mamba_head_dim", "head_dim")
    )
    if length is None and heads and expand is not None and hidden_size is not None:
        length = expand * hidden_size // heads
    if heads is None or groups is None or size is None or length is None or not kernel:
        return None
    width = heads * length
    return RecurrentState(convolution=(width + 2 * groups * size) * (kernel - 1), state=width * size)


def _gated_delta(document: Document) -> RecurrentState | None:
    key_heads, value_heads = document.whole("linear_num_key_heads"), document.whole("linear_num_value_heads")
    key_length, value_length = document.whole("linear_key_head_dim"), document.whole("linear_value_head_dim")
    kernel = document.whole("linear_conv_kernel_dim")
    if key_heads is None or value_heads is None or key_length is None or value_length is None or not kernel:
        return None
    width = 2 * key_heads * key_length + value_heads * value_length
    return RecurrentState(convolution=width * (kernel - 1), state=value_heads * value_length * key_length)


def _delta_attention(section: Document) -> RecurrentState | None:
    heads, length = section.whole("num_heads"), section.whole("head_dim")
    kernel = section.whole("short_conv_kernel_size")
    if heads is None or length is None or not kernel:
        return None
    return RecurrentState(convolution=3 * heads * length * (kernel - 1), state=heads * length * length)


def _lightning(part: TextPart) -> RecurrentState | None:
    heads, length = part.whole(*HEADS), part.whole("head_dim")
    if heads is None or length is None:
        return None
    return RecurrentState(convolution=0, state=heads * length * length)


def _gated_linear(part: TextPart) -> RecurrentState | None:
    width = part.document.whole("lru_width", *HIDDEN_SIZE)
    kernel = part.document.whole("conv1d_width")
    if width is None or not kernel:
        return None
    return RecurrentState(convolution=width * (kernel - 1), state=width)


def _short_convolution(part: TextPart) -> RecurrentState | None:
    kernel, hidden_size = part.document.whole("conv_L_cache"), part.whole(*HIDDEN_SIZE)
    if not kernel or hidden_size is None:
        return None
    return RecurrentState(convolution=hidden_size * (kernel - 1), state=0)
