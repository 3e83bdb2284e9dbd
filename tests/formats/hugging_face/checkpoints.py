"""Tensors of published models, by the names and shapes under which their classes save them."""

from __future__ import annotations

from collections.abc import Callable, Iterator

Tensors = dict[str, tuple[str, tuple[int, ...]]]
Linear = Iterator[tuple[str, tuple[str, tuple[int, ...]]]]
"""Tensors under which a linear map is saved."""


def plain(name: str, outputs: int, inputs: int, dtype: str = "BF16") -> Linear:
    yield f"{name}.weight", (dtype, (outputs, inputs))


def gptq(name: str, outputs: int, inputs: int, bits: int = 4, group: int = 128) -> Linear:
    yield f"{name}.qweight", ("I32", (inputs * bits // 32, outputs))
    yield f"{name}.qzeros", ("I32", (inputs // group, outputs * bits // 32))
    yield f"{name}.scales", ("F16", (inputs // group, outputs))
    yield f"{name}.g_idx", ("I32", (inputs,))


def awq(name: str, outputs: int, inputs: int, group: int = 128) -> Linear:
    yield f"{name}.qweight", ("I32", (inputs, outputs // 8))
    yield f"{name}.qzeros", ("I32", (inputs // group, outputs // 8))
    yield f"{name}.scales", ("F16", (inputs // group, outputs))


def packed(name: str, outputs: int, inputs: int, group: int = 128) -> Linear:
    """
    Compressed-tensors, four bits.
    """
    yield f"{name}.weight_packed", ("I32", (outputs, inputs // 8))
    yield f"{name}.weight_scale", ("BF16", (outputs, inputs // group))
    yield f"{name}.weight_shape", ("I64", (2,))


def int8(name: str, outputs: int, inputs: int) -> Linear:
    """
    Compressed-tensors, eight bits.
    """
    yield f"{name}.weight", ("I8", (outputs, inputs))
    yield f"{name}.weight_scale", ("BF16", (outputs, 1))


def nf4(name: str, outputs: int, inputs: int) -> Linear:
    yield f"{name}.weight", ("U8", (outputs * inputs // 2, 1))
    yield f"{name}.weight.absmax", ("U8", (outputs * inputs // 64,))
    yield f"{name}.weight.nested_absmax", ("F32", (outputs * inputs // 64 // 256,))
    yield f"{name}.weight.nested_quant_map", ("F32", (256,))
    yield f"{name}.weight.quant_map", ("F32", (16,))
    yield f"{name}.weight.quant_state.bitsandbytes__nf4", ("U8", (89,))


def mlx(name: str, outputs: int, inputs: int, group: int = 64) -> Linear:
    yield f"{name}.weight", ("U32", (outputs, inputs // 8))
    yield f"{name}.scales", ("BF16", (outputs, inputs // group))
    yield f"{name}.biases", ("BF16", (outputs, inputs // group))


def fp8(name: str, outputs: int, inputs: int) -> Linear:
    yield f"{name}.weight", ("F8_E4M3", (outputs, inputs))
    yield f"{name}.weight_scale_inv", ("F32", (-(-outputs // 128), -(-inputs // 128)))


def nvfp4(name: str, outputs: int, inputs: int) -> Linear:
    yield f"{name}.weight", ("U8", (outputs, inputs // 2))
    yield f"{name}.weight_scale", ("F8_E4M3", (outputs, inputs // 16))
    yield f"{name}.weight_scale_2", ("F32", ())
    yield f"{name}.input_scale", ("F32", ())


def llama_8b() -> Tensors:
    """
    Llama 3.1 8B: 8,030,261,248 parameters.
    """
    tensors: Tensors = {"model.embed_tokens.weight": ("BF16", (128256, 4096))}
    for layer in range(32):
        prefix = f"model.layers.{layer}"
        for part, outputs, inputs in (
            ("self_attn.q_proj", 4096, 4096),
            ("self_attn.k_proj", 1024, 4096),
            ("self_attn.v_proj", 1024, 4096),
            ("self_attn.o_proj", 4096, 4096),
            ("mlp.gate_proj", 14336, 4096),
            ("mlp.up_proj", 14336, 4096),
            ("mlp.down_proj", 4096, 14336),
        ):
            tensors |= plain(f"{prefix}.{part}", outputs, inputs)
        tensors[f"{prefix}.input_layernorm.weight"] = ("BF16", (4096,))
        tensors[f"{prefix}.post_attention_layernorm.weight"] = ("BF16", (4096,))
    tensors["model.norm.weight"] = ("BF16", (4096,))
    tensors["lm_head.weight"] = ("BF16", (128256, 4096))
    return tensors


def qwen_7b(linear: Callable[[str, int, int], Linear] = plain, dtype: str = "F16") -> Tensors:
    """
    Qwen2.5 7B: 7,615,616,512 parameters, however its linear maps are written.
    """
    tensors: Tensors = {"model.embed_tokens.weight": (dtype, (152064, 3584))}
    for layer in range(28):
        prefix = f"model.layers.{layer}"
        for part, outputs, inputs, bias in (
            ("self_attn.q_proj", 3584, 3584, True),
            ("self_attn.k_proj", 512, 3584, True),
            ("self_attn.v_proj", 512, 3584, True),
            ("self_attn.o_proj", 3584, 3584, False),
            ("mlp.gate_proj", 18944, 3584, False),
            ("mlp.up_proj", 18944, 3584, False),
            ("mlp.down_proj", 3584, 18944, False),
        ):
            tensors |= linear(f"{prefix}.{part}", outputs, inputs)
            if bias:
                tensors[f"{prefix}.{part}.bias"] = (dtype, (outputs,))
        tensors[f"{prefix}.input_layernorm.weight"] = (dtype, (3584,))
        tensors[f"{prefix}.post_attention_layernorm.weight"] = (dtype, (3584,))
    tensors["model.norm.weight"] = (dtype, (3584,))
    tensors["lm_head.weight"] = (dtype, (152064, 3584))
    return tensors


def mixtral_8x7b() -> Tensors:
    """
    Mixtral 8x7B: 46,702,792,704 parameters.
    """
    tensors: Tensors = {"model.embed_tokens.weight": ("BF16", (32000, 4096))}
    for layer in range(32):
        prefix = f"model.layers.{layer}"
        for part, outputs in (("q_proj", 4096), ("k_proj", 1024), ("v_proj", 1024), ("o_proj", 4096)):
            tensors |= plain(f"{prefix}.self_attn.{part}", outputs, 4096)
        tensors |= plain(f"{prefix}.block_sparse_moe.gate", 8, 4096)
        for expert in range(8):
            for part, outputs, inputs in (("w1", 14336, 4096), ("w2", 4096, 14336), ("w3", 14336, 4096)):
                tensors |= plain(f"{prefix}.block_sparse_moe.experts.{expert}.{part}", outputs, inputs)
        tensors[f"{prefix}.input_layernorm.weight"] = ("BF16", (4096,))
        tensors[f"{prefix}.post_attention_layernorm.weight"] = ("BF16", (4096,))
    tensors["model.norm.weight"] = ("BF16", (4096,))
    tensors["lm_head.weight"] = ("BF16", (32000, 4096))
    return tensors


def gpt_oss_20b() -> Tensors:
    """
    gpt-oss 20B: 20,914,757,184 parameters, its experts in MXFP4.
    """
    tensors: Tensors = {"model.embed_tokens.weight": ("BF16", (201088, 2880))}
    for layer in range(24):
        prefix = f"model.layers.{layer}"
        for part, outputs, inputs in (
            ("self_attn.q_proj", 4096, 2880),
            ("self_attn.k_proj", 512, 2880),
            ("self_attn.v_proj", 512, 2880),
            ("self_attn.o_proj", 2880, 4096),
            ("mlp.router", 32, 2880),
        ):
            tensors |= plain(f"{prefix}.{part}", outputs, inputs)
            tensors[f"{prefix}.{part}.bias"] = ("BF16", (outputs,))
        tensors[f"{prefix}.self_attn.sinks"] = ("BF16", (64,))
        for part, outputs in (("gate_up_proj", 5760), ("down_proj", 2880)):
            tensors[f"{prefix}.mlp.experts.{part}_bias"] = ("BF16", (32, outputs))
            tensors[f"{prefix}.mlp.experts.{part}_blocks"] = ("U8", (32, outputs, 90, 16))
            tensors[f"{prefix}.mlp.experts.{part}_scales"] = ("U8", (32, outputs, 90))
        tensors[f"{prefix}.input_layernorm.weight"] = ("BF16", (2880,))
        tensors[f"{prefix}.post_attention_layernorm.weight"] = ("BF16", (2880,))
    tensors["model.norm.weight"] = ("BF16", (2880,))
    tensors["lm_head.weight"] = ("BF16", (201088, 2880))
    return tensors


def deepseek_v3() -> Tensors:
    """
    DeepSeek-V3: 671 billion parameters, and one more layer that predicts ahead; FP8 by blocks.
    """
    tensors: Tensors = {"model.embed_tokens.weight": ("BF16", (129280, 7168))}
    for layer in range(62):
        prefix = f"model.layers.{layer}"
        for part, outputs, inputs in (
            ("q_a_proj", 1536, 7168),
            ("q_b_proj", 24576, 1536),
            ("kv_a_proj_with_mqa", 576, 7168),
            ("kv_b_proj", 32768, 512),
            ("o_proj", 7168, 16384),
        ):
            tensors |= fp8(f"{prefix}.self_attn.{part}", outputs, inputs)
        tensors[f"{prefix}.self_attn.q_a_layernorm.weight"] = ("BF16", (1536,))
        tensors[f"{prefix}.self_attn.kv_a_layernorm.weight"] = ("BF16", (512,))
        tensors[f"{prefix}.input_layernorm.weight"] = ("BF16", (7168,))
        tensors[f"{prefix}.post_attention_layernorm.weight"] = ("BF16", (7168,))
        networks = ["mlp"]
        if layer >= 3:
            networks = ["mlp.shared_experts", *(f"mlp.experts.{expert}" for expert in range(256))]
            tensors |= plain(f"{prefix}.mlp.gate", 256, 7168)
            tensors[f"{prefix}.mlp.gate.e_score_correction_bias"] = ("F32", (256,))
        for network in networks:
            width = 18432 if network == "mlp" else 2048
            for part, outputs, inputs in (
                ("gate_proj", width, 7168),
                ("up_proj", width, 7168),
                ("down_proj", 7168, width),
            ):
                tensors |= fp8(f"{prefix}.{network}.{part}", outputs, inputs)
    ahead = "model.layers.61"
    tensors[f"{ahead}.embed_tokens.weight"] = ("BF16", (129280, 7168))
    tensors[f"{ahead}.shared_head.head.weight"] = ("BF16", (129280, 7168))
    tensors |= plain(f"{ahead}.eh_proj", 7168, 14336)
    for norm in ("enorm", "hnorm", "shared_head.norm"):
        tensors[f"{ahead}.{norm}.weight"] = ("BF16", (7168,))
    tensors["model.norm.weight"] = ("BF16", (7168,))
    tensors["lm_head.weight"] = ("BF16", (129280, 7168))
    return tensors


def bge_m3() -> Tensors:
    """
    BGE-M3: 567,754,752 parameters.
    """
    tensors: Tensors = {
        "embeddings.word_embeddings.weight": ("F32", (250002, 1024)),
        "embeddings.position_embeddings.weight": ("F32", (8194, 1024)),
        "embeddings.token_type_embeddings.weight": ("F32", (1, 1024)),
    }
    for norm in ("embeddings.LayerNorm", *(f"encoder.layer.{layer}.{part}" for layer in range(24) for part in NORMS)):
        tensors[f"{norm}.weight"] = tensors[f"{norm}.bias"] = ("F32", (1024,))
    for layer in range(24):
        for part, outputs, inputs in (
            ("attention.self.query", 1024, 1024),
            ("attention.self.key", 1024, 1024),
            ("attention.self.value", 1024, 1024),
            ("attention.output.dense", 1024, 1024),
            ("intermediate.dense", 4096, 1024),
            ("output.dense", 1024, 4096),
        ):
            tensors |= plain(f"encoder.layer.{layer}.{part}", outputs, inputs, "F32")
            tensors[f"encoder.layer.{layer}.{part}.bias"] = ("F32", (outputs,))
    tensors |= plain("pooler.dense", 1024, 1024, "F32")
    tensors["pooler.dense.bias"] = ("F32", (1024,))
    return tensors


NORMS = ("attention.output.LayerNorm", "output.LayerNorm")
