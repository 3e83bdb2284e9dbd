"""What config.json leaves out, because the class that reads it knows it: tables by ``model_type``.

Every default is the one documented by that class in transformers (4.57 and 5.23 agree). A default that published models
of the family never rely on is not listed: where it is not certain, it is unknown.
"""

from __future__ import annotations

from collections.abc import Mapping

DEFAULTS: Mapping[str, Mapping[str, int]] = {
    # LLaVA 1.5 gives its language model by name only, and that is a LlamaConfig as it stands.
    "llama": {
        "num_hidden_layers": 32,
        "hidden_size": 4096,
        "intermediate_size": 11008,
        "num_attention_heads": 32,
        "vocab_size": 32000,
        "max_position_embeddings": 2048,
    },
    "mistral": {
        "num_hidden_layers": 32,
        "hidden_size": 4096,
        "intermediate_size": 14336,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "vocab_size": 32000,
        "max_position_embeddings": 131072,
        "sliding_window": 4096,
    },
    # Qwen2-Audio leaves out all but what differs.
    "qwen2": {
        "num_hidden_layers": 32,
        "hidden_size": 4096,
        "intermediate_size": 22016,
        "num_attention_heads": 32,
        "num_key_value_heads": 32,
        "vocab_size": 151936,
        "max_position_embeddings": 32768,
    },
    "gemma": {"head_dim": 256},
    "gemma2": {"head_dim": 256, "sliding_window": 4096},
    # Gemma 3 4B, 12B and 27B give layers, widths and window.
    "gemma3_text": {
        "num_attention_heads": 8,
        "num_key_value_heads": 4,
        "head_dim": 256,
        "vocab_size": 262208,
        "max_position_embeddings": 131072,
        "sliding_window_pattern": 6,
    },
    "gemma3n_text": {"head_dim": 256},
    "gemma4_text": {"head_dim": 256, "global_head_dim": 512},
    "qwen3": {"head_dim": 128},
    "cohere2": {"sliding_window_pattern": 4},
    "falcon": {"max_position_embeddings": 2048},
    "whisper": {"max_target_positions": 448},
    "clip_vision_model": {"num_attention_heads": 12},
    "siglip_vision_model": {"num_attention_heads": 12},
    "pixtral": {"num_attention_heads": 16},
}

FOUR_TIMES_WIDE = frozenset({"bloom", "codegen", "falcon", "gpt2", "gpt_bigcode", "gptj", "mpt"})
"""Feed-forward networks four times as wide as the hidden state where nothing else is said."""

ENCODER_ONLY = frozenset(
    {
        "albert",
        "bert",
        "camembert",
        "clip",
        "deberta",
        "deberta-v2",
        "distilbert",
        "electra",
        "ernie",
        "esm",
        "gte",
        "jina_bert",
        "modernbert",
        "mpnet",
        "neobert",
        "new",
        "nomic_bert",
        "roberta",
        "siglip",
        "siglip2",
        "xlm-roberta",
        "xlm-roberta-xl",
    }
)
"""Every token sees all others, once: no layer keeps anything of a sequence."""

OFFSET_POSITIONS = frozenset({"camembert", "roberta", "xlm-roberta", "xlm-roberta-xl"})
"""Their positions begin after that of the padding token, so that 514 of them are 512 tokens."""

ENCODER_DECODER = frozenset({"bart", "m2m_100", "marian", "mbart", "mt5", "pegasus", "t5", "umt5", "whisper"})

WITHOUT_ATTENTION = frozenset({"falcon_mamba", "mamba", "mamba2"})

KV_HEADS_ARE_HEADS = (
    ENCODER_ONLY
    | ENCODER_DECODER
    | {
        "baichuan",
        "bloom",
        "codegen",
        "cohere",
        "cohere2",
        "dbrx",
        "deepseek",
        "falcon",
        "gpt2",
        "gpt_bigcode",
        "gpt_neo",
        "gpt_neox",
        "gptj",
        "granite",
        "internlm",
        "llama",
        "mpt",
        "olmo",
        "olmo2",
        "opt",
        "persimmon",
        "phi",
        "phi3",
        "qwen",
        "stablelm_epoch",
        "xverse",
    }
)
"""Where nothing is said of heads of keys and values, each head has its own."""

FULL_ATTENTION = frozenset(
    {
        "apertus",
        "arcee",
        "baichuan",
        "bloom",
        "chatglm",
        "codegen",
        "cohere",
        "dbrx",
        "deepseek",
        "deepseek_v2",
        "deepseek_v3",
        "deepseek_v32",
        "ernie4_5",
        "ernie4_5_moe",
        "exaone",
        "falcon",
        "gemma",
        "glm",
        "glm4",
        "glm4_moe",
        "glm4_moe_lite",
        "glm_moe_dsa",
        "gpt2",
        "gpt_bigcode",
        "gpt_neox",
        "gptj",
        "granite",
        "granitemoe",
        "helium",
        "hunyuan_v1_dense",
        "hunyuan_v1_moe",
        "internlm",
        "internlm2",
        "internlm3",
        "kimi_k2",
        "llama",
        "mimo",
        "minicpm",
        "minicpm3",
        "minimax_m2",
        "mpt",
        "nemotron",
        "olmo",
        "olmo2",
        "olmoe",
        "opt",
        "orion",
        "persimmon",
        "phi",
        "qwen",
        "qwen3_vl_text",
        "qwen3_vl_moe_text",
        "seed_oss",
        "smollm3",
        "solar",
        "stablelm",
        "xverse",
    }
)
"""Every layer keeps every token: these families have nothing else."""

WINDOW_IN_EVERY_LAYER = frozenset({"mistral", "ministral", "mixtral", "phi3", "phimoe", "starcoder2"})
"""Where they give a window, it is that of all layers."""

WINDOW_ON_REQUEST = frozenset(
    {
        "qwen2",
        "qwen2_5_omni_text",
        "qwen2_5_vl",
        "qwen2_5_vl_text",
        "qwen2_moe",
        "qwen2_vl",
        "qwen2_vl_text",
        "qwen3",
        "qwen3_moe",
    }
)
"""They give a window always, and use it, from ``max_window_layers`` on, where ``use_sliding_window`` says so."""

EXPERT_AS_WIDE_AS_FEED_FORWARD = frozenset(
    {
        "gpt_oss",
        "granitemoe",
        "granitemoehybrid",
        "grok-1",
        "jamba",
        "llama4_text",
        "minimax",
        "minimax_m1",
        "minimax_m2",
        "minimax_text_01",
        "mixtral",
        "olmoe",
        "phimoe",
    }
)
"""``intermediate_size`` is the width of one expert."""

ONE_SHARED_EXPERT = frozenset({"llama4_text"})
"""One expert sees every token, though no key says so."""
