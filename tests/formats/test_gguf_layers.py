"""What each layer keeps, as llama.cpp decides it for an architecture and its keys."""

from collections.abc import Mapping
from types import MappingProxyType

import pytest

from motorpool_formats import ModelCorruptError, ModelFacts
from motorpool_formats.facts import LatentAttention, LayerKind, RecurrentState
from motorpool_formats.gguf import read_header
from motorpool_formats.gguf_layers import GEMMA3N_LAYERS_WITH_CACHE, WITHOUT_CACHE
from motorpool_formats.gguf_model import model_facts
from tests.formats.gguf_bytes import BOOL, U32, Items, Values, gguf_bytes
from tests.formats.sources import BytesSource

LETTERS = {
    LayerKind.FULL: "F",
    LayerKind.SLIDING: "s",
    LayerKind.RECURRENT: "r",
    LayerKind.HYBRID: "h",
    LayerKind.NONE: "-",
}
WINDOW: Mapping[str, object] = {"attention.sliding_window": 512}


def facts_of(architecture: str, /, layers: int = 8, *, keys: Mapping[str, object] = MappingProxyType({})) -> ModelFacts:
    values: dict[str, object] = {
        "general.architecture": architecture,
        f"{architecture}.block_count": layers,
        f"{architecture}.embedding_length": 64,
        f"{architecture}.attention.head_count": 4,
    }
    values |= {f"{architecture}.{key}": value for key, value in keys.items()}
    typed: Values = values  # type: ignore[assignment]  # what tests give, the builder takes
    return model_facts([read_header(BytesSource(gguf_bytes(typed)))])


def letters(facts: ModelFacts) -> str | None:
    return None if facts.layer_kinds is None else "".join(LETTERS[kind] for kind in facts.layer_kinds)


@pytest.mark.parametrize(
    ("expected", "window", "architecture", "layers", "keys"),
    [
        ("FFFFFFFF", None, "llama", 8, {}),
        ("sFsFsFsF", 512, "gemma2", 8, WINDOW),
        ("sFsFsFsF", 4096, "gemma2", 8, {}),
        ("sssssFss", 512, "gemma3", 8, WINDOW),
        ("FFFFFFFF", None, "gemma3", 8, {}),
        ("FFFFFFFF", None, "gemma3", 8, {"attention.sliding_window": 0}),
        ("sFsFsFsF", 512, "gpt-oss", 8, WINDOW),
        ("sssFsssF", 512, "cohere2", 8, WINDOW),
        ("FsssFsss", 512, "cohere2moe", 8, WINDOW),
        ("FFFFFFFF", None, "exaone4", 8, WINDOW),
        ("sssF" * 16, 4096, "exaone4", 64, {}),
        ("sssFsssF", 8192, "llama4", 8, {}),
        ("sssFsssF", 8192, "llama4", 8, WINDOW),
        ("FFFFFFFF", None, "llama4", 8, {"attention.sliding_window": 0}),
        ("FsssFsss", 4096, "smallthinker", 8, WINDOW),
        ("FFFFFFFF", None, "smallthinker", 8, {}),
        ("sssssssF", 512, "plamo3", 8, WINDOW),
        ("FFFFFFFF", None, "phi3", 8, WINDOW),
        ("FsFsFsFs", 512, "olmo2", 8, {**WINDOW, "attention.sliding_window_pattern": Items(BOOL, [0, 1] * 4)}),
        ("ssFssFss", 512, "olmo2", 8, {**WINDOW, "attention.sliding_window_pattern": 3}),
        ("ssssssss", 512, "olmo2", 8, {**WINDOW, "attention.sliding_window_pattern": 0}),
        ("FFFFFFFF", None, "olmo2", 8, {**WINDOW, "attention.sliding_window_pattern": 1}),
        ("ssFFFFFF", 512, "mimo2", 8, {**WINDOW, "attention.sliding_window_pattern": Items(BOOL, [1, 1])}),
        (None, 512, "mimo2", 8, WINDOW),
        (None, 512, "unheard-of", 8, WINDOW),
        ("FFFFFFFF", None, "unheard-of", 8, {}),
    ],
)
def test_windows_alternate_as_the_engine_says(
    expected: str | None, window: int | None, architecture: str, layers: int, keys: dict[str, object]
) -> None:
    """
    A layer slides where its architecture's period, or the header's own pattern, says so, and else sees everything.
    """
    facts = facts_of(architecture, layers, keys=keys)

    assert (expected, window) == (letters(facts), facts.sliding_window)


@pytest.mark.parametrize(
    ("expected", "architecture", "keys"),
    [
        ("rrrrrrrr", "mamba", {"attention.head_count": 0}),
        ("rrrrrrrr", "rwkv7", {"attention.head_count": 0}),
        ("hhhhhhhh", "falcon-h1", {}),
        ("rrrFrrrF", "qwen3next", {}),
        ("rFrFrFrF", "qwen35", {"full_attention_interval": 2}),
        ("FFrrFFFF", "qwen35moe", {"attention.recurrent_layers": Items(BOOL, [0, 0, 1, 1, 0, 0, 0, 0])}),
        ("rrrrrrrF", "minimax-01", {}),
        ("rrFrrrrF", "jamba", {"attention.head_count_kv": Items(U32, [0, 0, 2, 0, 0, 0, 0, 2])}),
        ("rrFrrrrF", "lfm2", {"attention.head_count_kv": Items(U32, [0, 0, 2, 0, 0, 0, 0, 2])}),
        ("rrsrrrrs", "lfm2", {**WINDOW, "attention.head_count_kv": Items(U32, [0, 0, 2, 0, 0, 0, 0, 2])}),
        (
            "rF-rF-rr",
            "nemotron_h",
            {
                "attention.head_count_kv": Items(U32, [0, 2, 0, 0, 2, 0, 0, 0]),
                "feed_forward_length": Items(U32, [0, 0, 96, 0, 0, 96, 0, 0]),
            },
        ),
        ("FF-FFFFF", "deci", {"attention.head_count_kv": Items(U32, [2, 2, 0, 2, 2, 2, 2, 2])}),
        (None, "unheard-of", {"ssm.state_size": 16}),
        (None, "deepseek4", {}),
    ],
)
def test_states_and_attention_alternate_as_the_engine_says(
    expected: str | None, architecture: str, keys: dict[str, object]
) -> None:
    """
    A layer is recurrent by its architecture, by having no key/value heads, by interval or by list.
    """
    assert expected == letters(facts_of(architecture, keys=keys))


@pytest.mark.parametrize("architecture", sorted(WITHOUT_CACHE))
def test_encoders_keep_nothing(architecture: str) -> None:
    """
    Models that see all their tokens at once keep none.
    """
    assert "--------" == letters(facts_of(architecture))


def test_layers_that_share_a_cache_keep_nothing() -> None:
    """
    Gemma 3n's and Gemma 4's last layers use the caches of earlier ones.
    """
    pattern = {"attention.sliding_window_pattern": Items(BOOL, [1, 1, 0, 1, 1, 0, 1, 0])}

    assert "ssFss---" == letters(facts_of("gemma4", keys={**WINDOW, **pattern, "attention.shared_kv_layers": 3}))
    assert "ssssF" * 4 + "-" * 10 == letters(facts_of("gemma3n", 30, keys=WINDOW))
    assert 20 == GEMMA3N_LAYERS_WITH_CACHE


def test_blocks_that_predict_further_tokens_keep_nothing() -> None:
    """
    Blocks for multi-token prediction come last and are not part of the model's own cache.
    """
    assert "FFFFFFF-" == letters(facts_of("glm4moe", keys={"nextn_predict_layers": 1}))
    assert "FFFFFFFF" == letters(facts_of("graniteswitch", keys={"nextn_predict_layers": 1}))


def test_windowed_heads_may_be_of_another_size() -> None:
    """
    Where layers with a window have other heads, that is told; where they have the same, nothing is.
    """
    other = facts_of("gemma4", keys={"attention.key_length_swa": 32, "attention.value_length_swa": 24})
    same = facts_of("gemma4", keys={"attention.key_length_swa": 16, "attention.value_length_swa": 16})

    assert (32, 24, 16) == (other.sliding_key_length, other.sliding_value_length, other.key_length)
    assert (None, None) == (same.sliding_key_length, same.sliding_value_length)


SSM = {"ssm.conv_kernel": 4, "ssm.inner_size": 128, "ssm.state_size": 16, "ssm.group_count": 2}


@pytest.mark.parametrize(
    ("convolution", "state", "architecture", "keys"),
    [
        (3 * (128 + 2 * 2 * 16), 16 * 128, "mamba2", SSM),
        (3 * 128, 16 * 128, "mamba", SSM),
        (3 * (128 + 2 * 2 * 16), 16 * 128, "falcon-h1", SSM),
        (3 * (128 + 2 * 2 * 16), 16 * 128, "qwen3next", SSM),
        (2 * 64, 64 * 32, "rwkv6", {"wkv.head_size": 32}),
        (1 * 64, 64 * 32, "arwkv7", {"wkv.head_size": 32, "token_shift_count": 1}),
        (64 * 2, 0, "lfm2", {"shortconv.l_cache": 3, "attention.head_count_kv": Items(U32, [0] * 8)}),
        (
            3 * 3 * 4 * 8,
            8 * 8 * 4,
            "kimi-linear",
            {"kda.head_dim": 8, "ssm.conv_kernel": 4, "attention.head_count_kv": Items(U32, [0] * 8)},
        ),
        (0, 16 * 16 * 4, "minimax-01", {}),
    ],
)
def test_state_is_the_engines(convolution: int, state: int, architecture: str, keys: dict[str, object]) -> None:
    """
    A recurrent layer's state has the elements that llama.cpp allocates for a sequence.
    """
    assert RecurrentState(convolution=convolution, state=state) == facts_of(architecture, keys=keys).recurrent


def test_a_state_of_unknown_size_is_none() -> None:
    """
    Without the keys that it follows from, the state is unknown; and a model without recurrent layers has none.
    """
    assert facts_of("mamba2").recurrent is None
    assert facts_of("llama", keys=SSM).recurrent is None


def test_a_state_beyond_counting_is_corrupt() -> None:
    """
    Sizes whose product no message could carry are corrupt.
    """
    most = (1 << 31) - 1
    with pytest.raises(ModelCorruptError, match="recurrent state"):
        facts_of("minimax-01", keys={"attention.key_length": most, "attention.head_count": most})


LATENT = {
    "attention.kv_lora_rank": 512,
    "attention.q_lora_rank": 1536,
    "attention.key_length": 576,
    "attention.value_length": 512,
    "attention.key_length_mla": 192,
    "attention.value_length_mla": 128,
    "attention.head_count_kv": 1,
    "rope.dimension_count": 64,
}


def test_latent_attention_has_its_sizes() -> None:
    """
    DeepSeek's compressed cache holds, for a token and layer, rank and positions: what the key length of the file says.
    """
    facts = facts_of("deepseek2", keys=LATENT)

    latent = LatentAttention(kv_rank=512, rope_dim=64, query_rank=1536, nope_dim=128, value_dim=128)
    assert (latent, 576) == (facts.latent, latent.kv_rank + latent.rope_dim)
    assert (576, 1) == (facts.key_length, facts.kv_heads)


def test_a_file_for_a_full_cache_has_no_latent_attention() -> None:
    """
    Where a file is made for a full cache, the rank alone does not make it compressed.
    """
    old = {key: value for key, value in LATENT.items() if not key.endswith("_mla")}

    assert facts_of("deepseek2", keys=old).latent is None


def test_experts_are_counted() -> None:
    """
    Shared experts, an expert's width, and of what differs by layer the greatest.
    """
    facts = facts_of(
        "deepseek2",
        4,
        keys={
            "expert_count": 64,
            "expert_shared_count": 2,
            "expert_feed_forward_length": 1408,
            "expert_used_count": Items(U32, [0, 6, 8, 6]),
        },
    )

    assert (64, 8, 2, 1408) == (facts.experts, facts.experts_used, facts.experts_shared, facts.expert_feed_forward)
