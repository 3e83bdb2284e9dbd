"""A tiny Llama with random weights as safetensors: a folder as hubs have them, 1.5 MB, of our own making."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

BEGIN, END = 256, 257
VOCABULARY = 288
WIDTH, LAYERS, HEADS, KV_HEADS, HEAD, FEED_FORWARD = 128, 2, 4, 2, 32, 256
CONTEXT_LENGTH = 2048
_TEMPLATE = "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}assistant:"


def make_tiny_llama(folder: Path) -> None:
    """Write a model that answers any text with printable characters, and never ends by itself."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file(_weights(), folder / "model.safetensors", metadata={"format": "pt"})
    for name, content in {
        "config.json": _config(),
        "generation_config.json": {"bos_token_id": BEGIN, "eos_token_id": END},
        "tokenizer.json": _tokenizer(),
        "tokenizer_config.json": {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "bos_token": "<s>",
            "eos_token": "</s>",
            "model_max_length": CONTEXT_LENGTH,
            "chat_template": _TEMPLATE,
        },
    }.items():
        (folder / name).write_text(json.dumps(content, indent=1), encoding="utf-8")


def make_tiny_adapter(folder: Path, rank: int = 12) -> None:
    """Write a LoRA adapter of that model, strong enough that it says something else."""
    random = np.random.default_rng(2)
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {}
    for layer in range(LAYERS):
        for name, rows in (("q_proj", HEADS * HEAD), ("v_proj", KV_HEADS * HEAD)):
            place = f"base_model.model.model.layers.{layer}.self_attn.{name}"
            tensors[f"{place}.lora_A.weight"] = random.standard_normal((rank, WIDTH)).astype(np.float32)
            tensors[f"{place}.lora_B.weight"] = random.standard_normal((rows, rank)).astype(np.float32)
    save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    config = {"peft_type": "LORA", "r": rank, "lora_alpha": 2 * rank, "target_modules": ["q_proj", "v_proj"]}
    (folder / "adapter_config.json").write_text(
        json.dumps({**config, "bias": "none", "task_type": "CAUSAL_LM", "base_model_name_or_path": "tiny-llama"})
    )


def _weights() -> dict[str, np.ndarray]:
    random = np.random.default_rng(1)

    def matrix(rows: int, columns: int) -> np.ndarray:
        return (random.standard_normal((rows, columns)) / np.sqrt(columns)).astype(np.float32)

    head = matrix(VOCABULARY, WIDTH)
    # Tokens without a weight have the logit 0, below the largest: only printable characters are said.
    head[[token for token in range(VOCABULARY) if not 32 <= token < 127]] = 0
    tensors = {
        "model.embed_tokens.weight": matrix(VOCABULARY, WIDTH) * 8,
        "model.norm.weight": np.ones(WIDTH, np.float32),
        "lm_head.weight": head,
    }
    for layer in range(LAYERS):
        name = f"model.layers.{layer}"
        tensors |= {
            f"{name}.input_layernorm.weight": np.ones(WIDTH, np.float32),
            f"{name}.post_attention_layernorm.weight": np.ones(WIDTH, np.float32),
            f"{name}.self_attn.q_proj.weight": matrix(HEADS * HEAD, WIDTH),
            f"{name}.self_attn.k_proj.weight": matrix(KV_HEADS * HEAD, WIDTH),
            f"{name}.self_attn.v_proj.weight": matrix(KV_HEADS * HEAD, WIDTH),
            f"{name}.self_attn.o_proj.weight": matrix(WIDTH, HEADS * HEAD),
            f"{name}.mlp.gate_proj.weight": matrix(FEED_FORWARD, WIDTH),
            f"{name}.mlp.up_proj.weight": matrix(FEED_FORWARD, WIDTH),
            f"{name}.mlp.down_proj.weight": matrix(WIDTH, FEED_FORWARD),
        }
    return tensors


def _config() -> dict[str, object]:
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": WIDTH,
        "intermediate_size": FEED_FORWARD,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "num_key_value_heads": KV_HEADS,
        "head_dim": HEAD,
        "vocab_size": VOCABULARY,
        "max_position_embeddings": CONTEXT_LENGTH,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "hidden_act": "silu",
        "bos_token_id": BEGIN,
        "eos_token_id": END,
        "tie_word_embeddings": False,
        "torch_dtype": "float32",
    }


def _tokenizer() -> dict[str, object]:
    """Return a tokenizer of bytes: token N is byte N, in the characters that byte-level tokenizers write bytes with."""
    special = [
        {"id": number, "content": text, "special": True}
        | dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
        for number, text in ((BEGIN, "<s>"), (END, "</s>"))
    ]
    bytewise = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    return {
        "version": "1.0",
        "added_tokens": special,
        "pre_tokenizer": bytewise,
        "decoder": bytewise,
        "model": {"type": "BPE", "vocab": {char: byte for byte, char in enumerate(_characters())}, "merges": []},
    }


def _characters() -> list[str]:
    """Return the character of each byte: itself where it is visible in Latin-1, else one from 256 on."""
    visible = {*range(33, 127), *range(161, 173), *range(174, 256)}
    others = iter(range(256, 512))
    return [chr(byte if byte in visible else next(others)) for byte in range(256)]
