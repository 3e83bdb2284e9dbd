"""Models of many architectures, with random weights or with holes for weights: what llama.cpp loads, in any size.

With weights a model answers (nonsense); with holes it is a sparse file of a real model's size that takes no room on
disk, and whose memory the engine plans all the same. Keys and tensors are those that llama.cpp asks for (src/models:
load_arch_hparams, create_tensor). Nothing in them is anyone's but ours.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import gguf
import numpy as np

from tests.models.tiny_gguf import add_words

SEED = 7
ALIGNMENT = 32

Kind = gguf.GGMLQuantizationType
Value = int | float | bool | str | tuple[int, ...] | tuple[bool, ...]
Shape = tuple[int, ...]
Weights = dict[str, Shape]


@dataclass(frozen=True, slots=True, kw_only=True)
class Animal:
    """A model: its architecture, that architecture's keys, and its tensors with their shapes, innermost first."""

    name: str
    architecture: str
    keys: Mapping[str, Value]
    weights: Mapping[str, Shape]
    matrices: Kind = Kind.F16

    def write(self, path: Path, *, holes: bool = False) -> Path:
        """Write the model to ``path``, with weights or with holes for them, and return the path."""
        writer = gguf.GGUFWriter(path, self.architecture)
        writer.add_name(self.name)
        for key, value in self.keys.items():
            _add(writer, f"{self.architecture}.{key}", value)
        if holes:
            writer.add_tokenizer_model("none")
        else:
            add_words(writer)
        random = np.random.default_rng(SEED)
        end = 0
        for name, shape in self.weights.items():
            kind = self._kind(name, shape)
            size = _size(shape, kind)
            end += -(-size // ALIGNMENT) * ALIGNMENT
            if holes:
                writer.add_tensor_info(name, shape[::-1], np.dtype(np.float32), size, raw_dtype=kind)
                continue
            values = random.standard_normal(shape[::-1], dtype=np.float32) / np.float32(math.sqrt(shape[0]))
            writer.add_tensor(name, gguf.quants.quantize(values, kind), raw_dtype=kind)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        if holes:
            writer.write_ti_data_to_file()
        else:
            writer.write_tensors_to_file()
        writer.close()
        if holes:
            with path.open("r+b") as file:
                begin = file.seek(0, 2)
                file.truncate(-(-begin // ALIGNMENT) * ALIGNMENT + end)
        return path

    def _kind(self, name: str, shape: Shape) -> Kind:
        quantised = len(shape) > 1 and name.endswith(".weight") and "conv1d" not in name and "_inp." not in name
        return self.matrices if quantised else Kind.F32


def dense(
    name: str,
    architecture: str,
    *,
    layers: int,
    width: int,
    heads: int,
    kv_heads: int,
    feed_forward: int,
    vocabulary: int,
    head: int | None = None,
    tied: bool = False,
    biases: bool = False,
    qk_norms: bool = False,
    post_norms: bool = False,
    fused: bool = False,
    window: int | None = None,
    period: int | None = None,
    context: int = 131_072,
    matrices: Kind = Kind.F16,
) -> Animal:
    """Return a transformer whose layers all look alike: llama, qwen2, qwen3, gemma3, phi3 …"""
    head = head or width // heads
    weights = _ends(width, vocabulary, tied=tied)
    for layer in range(layers):
        block = f"blk.{layer}"
        weights |= _attention(block, width, heads, kv_heads, head, biases=biases, qk_norms=qk_norms, fused=fused)
        weights |= _gated(block, width, feed_forward, fused=fused)
        if post_norms:
            weights |= {f"{block}.post_attention_norm.weight": (width,), f"{block}.post_ffw_norm.weight": (width,)}
    keys = _keys(layers, width, heads, kv_heads, head, feed_forward, vocabulary, context)
    keys |= _windowed(window, period)
    return Animal(name=name, architecture=architecture, keys=keys, weights=weights, matrices=matrices)


def mixture(
    name: str,
    architecture: str,
    *,
    layers: int,
    width: int,
    heads: int,
    kv_heads: int,
    feed_forward: int,
    expert_feed_forward: int,
    experts: int,
    used: int,
    vocabulary: int,
    head: int | None = None,
    qk_norms: bool = False,
    gpt_oss: bool = False,
    window: int | None = None,
    context: int = 131_072,
    matrices: Kind = Kind.F16,
) -> Animal:
    """Return a mixture of experts: mixtral (llama), qwen3moe, gpt-oss."""
    head = head or width // heads
    weights = _ends(width, vocabulary, tied=False)
    for layer in range(layers):
        block = f"blk.{layer}"
        weights |= _attention(block, width, heads, kv_heads, head, biases=gpt_oss, qk_norms=qk_norms)
        weights |= _experts(block, width, expert_feed_forward, experts)
        if gpt_oss:
            del weights[f"{block}.ffn_norm.weight"]
            weights |= {
                f"{block}.attn_output.bias": (width,),
                f"{block}.attn_sinks.weight": (heads,),
                f"{block}.post_attention_norm.weight": (width,),
                f"{block}.ffn_gate_inp.bias": (experts,),
                f"{block}.ffn_gate_exps.bias": (expert_feed_forward, experts),
                f"{block}.ffn_up_exps.bias": (expert_feed_forward, experts),
                f"{block}.ffn_down_exps.bias": (width, experts),
            }
    keys = _keys(layers, width, heads, kv_heads, head, feed_forward, vocabulary, context)
    keys |= {"expert_count": experts, "expert_used_count": used, "expert_feed_forward_length": expert_feed_forward}
    keys |= _windowed(window, None)
    return Animal(name=name, architecture=architecture, keys=keys, weights=weights, matrices=matrices)


def latent(
    name: str,
    *,
    layers: int,
    width: int,
    heads: int,
    kv_rank: int,
    rope: int,
    nope: int,
    value: int,
    feed_forward: int,
    expert_feed_forward: int,
    experts: int,
    used: int,
    shared: int,
    vocabulary: int,
    query_rank: int,
    matrices: Kind = Kind.F16,
) -> Animal:
    """Return a model with multi-head latent attention, as DeepSeek-V2 is (deepseek2)."""
    weights = _ends(width, vocabulary, tied=False)
    for layer in range(layers):
        block = f"blk.{layer}"
        weights |= {
            f"{block}.attn_norm.weight": (width,),
            f"{block}.attn_q_a.weight": (width, query_rank),
            f"{block}.attn_q_a_norm.weight": (query_rank,),
            f"{block}.attn_q_b.weight": (query_rank, heads * (nope + rope)),
            f"{block}.attn_kv_a_mqa.weight": (width, kv_rank + rope),
            f"{block}.attn_kv_a_norm.weight": (kv_rank,),
            f"{block}.attn_k_b.weight": (nope, kv_rank, heads),
            f"{block}.attn_v_b.weight": (kv_rank, value, heads),
            f"{block}.attn_output.weight": (heads * value, width),
        }
        if layer == 0:
            weights |= _gated(block, width, feed_forward)
        else:
            weights |= _experts(block, width, expert_feed_forward, experts)
            weights |= {
                f"{block}.ffn_gate_shexp.weight": (width, shared * expert_feed_forward),
                f"{block}.ffn_up_shexp.weight": (width, shared * expert_feed_forward),
                f"{block}.ffn_down_shexp.weight": (shared * expert_feed_forward, width),
            }
    keys = _keys(layers, width, heads, 1, kv_rank + rope, feed_forward, vocabulary, 163_840)
    keys |= {
        "attention.kv_lora_rank": kv_rank,
        "attention.q_lora_rank": query_rank,
        "attention.value_length": kv_rank,
        "attention.key_length_mla": nope + rope,
        "attention.value_length_mla": value,
        "rope.dimension_count": rope,
        "leading_dense_block_count": 1,
        "expert_count": experts,
        "expert_used_count": used,
        "expert_shared_count": shared,
        "expert_feed_forward_length": expert_feed_forward,
        "expert_weights_scale": 1.0,
        "expert_gating_func": 1,
    }
    return Animal(name=name, architecture="deepseek2", keys=keys, weights=weights, matrices=matrices)


def recurrent(
    name: str,
    architecture: str,
    *,
    layers: int,
    width: int,
    inner: int,
    state: int,
    rank: int,
    vocabulary: int,
    convolution: int = 4,
    attention: Mapping[int, int] | None = None,
    heads: int = 0,
    feed_forward: int = 0,
    matrices: Kind = Kind.F16,
) -> Animal:
    """Return Mamba, or Jamba: Mamba's layers with attention in those that ``attention`` gives key/value heads."""
    attention = attention or {}
    weights = _ends(width, vocabulary, tied=False)
    head = width // heads if heads else 0
    for layer in range(layers):
        block = f"blk.{layer}"
        if layer in attention:
            weights |= _attention(block, width, heads, attention[layer], head)
        else:
            weights |= {
                f"{block}.attn_norm.weight": (width,),
                f"{block}.ssm_in.weight": (width, 2 * inner),
                f"{block}.ssm_conv1d.weight": (convolution, inner),
                f"{block}.ssm_conv1d.bias": (inner,),
                f"{block}.ssm_x.weight": (inner, rank + 2 * state),
                f"{block}.ssm_dt.weight": (rank, inner),
                f"{block}.ssm_dt.bias": (inner,),
                f"{block}.ssm_a": (state, inner),
                f"{block}.ssm_d": (inner,),
                f"{block}.ssm_out.weight": (inner, width),
            }
            if architecture == "jamba":
                weights |= {
                    f"{block}.ssm_dt_norm.weight": (rank,),
                    f"{block}.ssm_b_norm.weight": (state,),
                    f"{block}.ssm_c_norm.weight": (state,),
                }
        if feed_forward:
            weights |= _gated(block, width, feed_forward)
    keys: dict[str, Value] = {
        "block_count": layers,
        "context_length": 262_144,
        "embedding_length": width,
        "feed_forward_length": feed_forward,
        "attention.head_count": heads,
        "attention.layer_norm_rms_epsilon": 1e-5,
        "vocab_size": vocabulary,
        "ssm.conv_kernel": convolution,
        "ssm.inner_size": inner,
        "ssm.state_size": state,
        "ssm.time_step_rank": rank,
    }
    if attention:
        keys["attention.head_count_kv"] = tuple(attention.get(layer, 0) for layer in range(layers))
    return Animal(name=name, architecture=architecture, keys=keys, weights=weights, matrices=matrices)


def _keys(
    layers: int, width: int, heads: int, kv_heads: int, head: int, feed_forward: int, vocabulary: int, context: int
) -> dict[str, Value]:
    return {
        "block_count": layers,
        "context_length": context,
        "embedding_length": width,
        "feed_forward_length": feed_forward,
        "attention.head_count": heads,
        "attention.head_count_kv": kv_heads,
        "attention.key_length": head,
        "attention.value_length": head,
        "attention.layer_norm_rms_epsilon": 1e-5,
        "rope.dimension_count": head,
        "vocab_size": vocabulary,
    }


def _windowed(window: int | None, period: int | None) -> dict[str, Value]:
    keys: dict[str, Value] = {} if window is None else {"attention.sliding_window": window}
    return keys if period is None else {**keys, "attention.sliding_window_pattern": period}


def _ends(width: int, vocabulary: int, *, tied: bool) -> Weights:
    weights: Weights = {"token_embd.weight": (width, vocabulary), "output_norm.weight": (width,)}
    return weights if tied else {**weights, "output.weight": (width, vocabulary)}


def _attention(
    block: str,
    width: int,
    heads: int,
    kv_heads: int,
    head: int,
    *,
    biases: bool = False,
    qk_norms: bool = False,
    fused: bool = False,
) -> Weights:
    weights: Weights = {f"{block}.attn_norm.weight": (width,), f"{block}.attn_output.weight": (heads * head, width)}
    sizes = {"q": heads * head, "k": kv_heads * head, "v": kv_heads * head}
    if fused:
        return {**weights, f"{block}.attn_qkv.weight": (width, sum(sizes.values()))}
    weights |= {f"{block}.attn_{which}.weight": (width, size) for which, size in sizes.items()}
    if biases:
        weights |= {f"{block}.attn_{which}.bias": (size,) for which, size in sizes.items()}
    if qk_norms:
        weights |= {f"{block}.attn_q_norm.weight": (head,), f"{block}.attn_k_norm.weight": (head,)}
    return weights


def _gated(block: str, width: int, feed_forward: int, *, fused: bool = False) -> Weights:
    weights: Weights = {f"{block}.ffn_norm.weight": (width,), f"{block}.ffn_down.weight": (feed_forward, width)}
    if fused:
        return {**weights, f"{block}.ffn_up.weight": (width, 2 * feed_forward)}
    return weights | {f"{block}.ffn_{which}.weight": (width, feed_forward) for which in ("gate", "up")}


def _experts(block: str, width: int, feed_forward: int, experts: int) -> Weights:
    return {
        f"{block}.ffn_norm.weight": (width,),
        f"{block}.ffn_gate_inp.weight": (width, experts),
        f"{block}.ffn_gate_exps.weight": (width, feed_forward, experts),
        f"{block}.ffn_up_exps.weight": (width, feed_forward, experts),
        f"{block}.ffn_down_exps.weight": (feed_forward, width, experts),
    }


def _size(shape: Shape, kind: Kind) -> int:
    elements, size = gguf.GGML_QUANT_SIZES[kind]
    return math.prod(shape) // elements * size


def _add(writer: gguf.GGUFWriter, key: str, value: Value) -> None:
    if isinstance(value, bool):
        writer.add_bool(key, value)
    elif isinstance(value, int):
        writer.add_uint32(key, value)
    elif isinstance(value, float):
        writer.add_float32(key, value)
    elif isinstance(value, tuple):
        writer.add_array(key, value)
    else:
        writer.add_string(key, value)
