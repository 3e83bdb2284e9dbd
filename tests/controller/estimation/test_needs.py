"""Rules of engines other than llama.cpp, with the sums written out."""

from __future__ import annotations

from dataclasses import replace

import pytest

from motorpool_controller.domain.parameters import parse
from motorpool_controller.domain.placement import Confidence, Item
from motorpool_controller.domain.sizes import GIB, MIB
from motorpool_controller.domain.workload import LoraAdapter, ModelSource, SourceKind, Speculative
from motorpool_controller.estimation.needs import Needs, needs_of
from motorpool_formats.facts import Companion, Component, LatentAttention, LayerKind, ModelFacts, RecurrentState
from tests.controller.fleets import OPTIONS, profile, spec
from tests.models.facts import EVERYTHING

HUB = ModelSource(kind=SourceKind.HUGGING_FACE, repository="a/b")

QWEN = replace(
    EVERYTHING,
    categories=("llm",),
    quantization=None,
    weight_bytes=1_000_000_001,
    layers=28,
    hidden_size=1024,
    feed_forward=3072,
    heads=16,
    kv_heads=8,
    key_length=128,
    value_length=128,
    vocab_size=151_936,
    context_length=40_960,
    dtype="bfloat16",
    layer_kinds=None,
    sliding_key_length=None,
    sliding_value_length=None,
    latent=None,
    recurrent=None,
    experts=None,
    experts_shared=None,
    expert_feed_forward=None,
    layer_bytes=None,
    layer_expert_bytes=None,
    companions=(),
    components=(),
    roles=None,
)
"""A dense model of 28 layers, all of whose attention is full."""


def needs(rules: str, facts: ModelFacts = QWEN, *arguments: str, **wish: object) -> Needs:
    return needs_of(facts, profile(rules=rules), parse(arguments, OPTIONS), spec(**wish))


def items(found: Needs) -> dict[str, int]:
    return {item.name: item.size_bytes for item in found.device.items}


@pytest.mark.parametrize(
    ("most", "arguments", "stated"),
    [
        (40_960, (), 8_192),
        (4_096, (), None),
        (None, (), None),
        (40_960, ("-c", "32768"), 32_768),
        (4_096, ("-c", "512"), 512),
    ],
)
def test_a_launch_states_a_context_where_the_model_allows_more(
    most: int | None, arguments: tuple[str, ...], stated: int | None
) -> None:
    """
    The user's context, else 8,192 tokens of a model made for more; what a shorter one is made for, its engine knows.
    """
    assert stated == needs("vllm", replace(QWEN, context_length=most), *arguments).context_length


@pytest.mark.parametrize("rules", ["vllm", "sglang", "generic_fraction", "fixed"])
def test_the_published_rule_is_the_default(rules: str) -> None:
    """
    Weights x 1.2, rounded down, and 2 GiB for a language model (B3.1).
    """
    device = needs(rules).device

    assert device.upper == 1_200_000_001 + 2 * GIB
    assert (device.weights, device.runtime) == (1_000_000_001, 2 * GIB)
    assert device.upper == sum(part or 0 for part in (device.weights, device.activations, device.runtime))
    assert (device.lower, device.confidence) == (1_000_000_001, Confidence.LOW)


@pytest.mark.parametrize(
    ("categories", "upper"),
    [
        (("embedding",), 1_200_000_001 + 512 * MIB),
        (("reranker", "llm"), 1_200_000_001 + 2 * GIB),
        (("text_to_speech",), 3_000_000_003 + 512 * MIB),
        (("speech_to_text",), 1_200_000_001 + 512 * MIB),
        ((), 1_200_000_001 + 2 * GIB),
    ],
)
def test_factor_and_footprint_follow_the_category(categories: tuple[str, ...], upper: int) -> None:
    """
    512 MiB where no language model is meant, three times the weights for speech (B3.1); the wish's categories win.
    """
    assert needs("vllm", replace(QWEN, categories=categories)).device.upper == upper
    assert needs("vllm", QWEN, categories=categories or ("llm",)).device.upper == upper


def test_a_pipeline_is_the_sum_of_its_weights() -> None:
    """
    Diffusion has neither factor nor footprint (B3.2); a part that could not be read leaves it unknown.
    """
    parts = (Component(name="unet", type="U", weight_bytes=700), Component(name="vae", type="V", weight_bytes=300))
    pipeline = replace(QWEN, categories=("image",), components=parts)
    torn = replace(pipeline, components=(*parts, Component(name="text_encoder", type="T")))

    assert needs("sglang", pipeline).device.upper == 1000
    assert needs("sglang", pipeline).device.items == (Item("unet", 700), Item("vae", 300))
    assert needs("sglang", torn).device.upper is None
    assert needs("sglang", torn).device.missing == ("components.weight_bytes",)
    assert "text_encoder" in needs("sglang", torn).device.provenance


def test_adapters_and_drafts_are_weights() -> None:
    """
    LoRA weights and a draft's count as the model's do, and are unknown until they have been read.
    """
    wish = {
        "lora_adapters": (LoraAdapter("x", HUB),),
        "speculative": Speculative(algorithm="eagle3", draft_model=HUB),
    }
    read = replace(
        QWEN,
        companions=(
            Companion(kind="adapter", file="a", file_bytes=60, weight_bytes=50),
            Companion(kind="draft", file="d", file_bytes=150),
        ),
    )

    assert needs("vllm", read, **wish).device.upper == (1_000_000_001 + 200) * 120 // 100 + 2 * GIB
    assert needs("vllm", read).device.upper == 1_200_000_001 + 2 * GIB
    assert needs("vllm", QWEN, **wish).device.missing == ("companions.adapter",)
    assert items(needs("vllm", read, **wish))["adapters"] == 50
    assert items(needs("vllm", read, **wish))["draft model"] == 150


def test_the_itemised_sum_has_context_and_concurrency() -> None:
    """
    Cache of 8 heads' keys and values of 128 in two bytes, 28 layers, 4096 tokens, three requests; the batch's peak is
    two rows of the hidden width beside gate, up and their product.
    """
    parts = items(needs("vllm", QWEN, "-c", "4096", "-np", "3"))

    assert parts == {
        "weights": 1_000_000_001,
        "key/value cache": 3 * 4096 * 28 * 8 * (128 + 128) * 2,
        "activations": 8192 * (2 * 1024 + 3 * 3072) * 2,
        "framework": 2 * GIB,
    }


@pytest.mark.parametrize(
    ("facts", "cache"),
    [
        (replace(QWEN, kv_heads=16), 8192 * 28 * 16 * 256 * 2),
        (replace(QWEN, kv_heads=1), 8192 * 28 * 1 * 256 * 2),
        (replace(QWEN, latent=LatentAttention(kv_rank=512, rope_dim=64)), 8192 * 28 * 576 * 2),
        (
            replace(QWEN, sliding_window=1024, layer_kinds=(LayerKind.SLIDING,) * 24 + (LayerKind.FULL,) * 4),
            (24 * 1024 + 4 * 8192) * 8 * 256 * 2,
        ),
        (replace(QWEN, layer_kinds=(LayerKind.NONE,) * 20 + (LayerKind.FULL,) * 8), 8192 * 8 * 8 * 256 * 2),
        (replace(QWEN, dtype="float32"), 8192 * 28 * 8 * 256 * 4),
    ],
    ids=["MHA", "MQA", "MLA", "windowed", "shared", "float32"],
)
def test_the_cache_follows_the_architecture(facts: ModelFacts, cache: int) -> None:
    """
    Multi-head, multi-query, latent and windowed attention, and layers without a cache of their own.
    """
    assert items(needs("vllm", facts))["key/value cache"] == cache


def test_a_recurrent_layer_has_a_state() -> None:
    """
    A state is for each request, of any length.
    """
    facts = replace(
        QWEN,
        layer_kinds=(LayerKind.RECURRENT,) * 20 + (LayerKind.FULL,) * 8,
        recurrent=RecurrentState(convolution=24, state=1000),
    )

    assert items(needs("vllm", facts, "-np", "2"))["recurrent state"] == 2 * 20 * 1024 * 4


def test_a_quantised_cache_takes_less() -> None:
    """
    --kv-cache-dtype fp8 halves it.
    """
    assert items(needs("vllm", QWEN, "--kv-cache-dtype", "fp8"))["key/value cache"] == 8192 * 28 * 8 * 256


def test_without_an_itemised_sum_the_rule_still_stands() -> None:
    """
    Facts that the sum lacks are named beside the claim, which needs weights alone.
    """
    device = needs("vllm", replace(QWEN, heads=None)).device

    assert device.upper == 1_200_000_001 + 2 * GIB
    assert device.items == ()
    assert "attention heads" in device.provenance


def test_backends_that_say_nothing_of_memory_get_a_tenth_of_the_host() -> None:
    """
    Host memory beside a device is a tenth of what is on it, and at least 2 GiB (B10).
    """
    assert needs("fixed").beside == 2 * GIB
    assert needs("fixed", replace(QWEN, weight_bytes=100 * GIB)).beside == (100 * GIB * 120 // 100 + 2 * GIB) // 10


def test_an_unknown_model_needs_a_claim_by_hand() -> None:
    """
    A model that could not be read is never estimated (A14), and a backend without a rule takes what it is given.
    """
    unread = needs_of(None, profile(rules="vllm"), (), spec())

    assert (unread.device.upper, unread.device.missing) == (None, ("facts",))
    assert needs("strange").device.missing == ("claim",)
    assert needs_of(None, profile(rules="vllm"), (), spec(claim_device_memory_bytes=5)).device.upper == 5


@pytest.mark.parametrize(("rules", "said"), [("fixed", "as claimed"), ("vllm", "given by hand")])
def test_a_claim_that_a_declaration_may_have_made_is_not_said_to_be_the_users(rules: str, said: str) -> None:
    """
    The spec that is estimated has the claims of its declared backend already.
    """
    found = needs_of(None, profile(rules=rules), (), spec(claim_device_memory_bytes=5))

    assert said == found.device.provenance


def test_a_claim_by_hand_leaves_nothing_to_divide() -> None:
    """
    Where the bytes on a device were given by hand, no number of layers tells anything.
    """
    gguf = replace(QWEN, format="gguf", layer_bytes=(1,) * 28, nonlayer_bytes=1)

    assert needs("gguf", gguf).offload is not None
    assert needs("gguf", gguf, claim_device_memory_bytes=GIB).offload is None


def test_mindie_adds_cache_and_compute() -> None:
    """
    3 GiB, weights, a cache of 8192 tokens and 200 blocks of 128 to compute in, without a factor (B8.2).
    """
    width = 2 * 8 * 128
    found = needs("mindie")

    assert found.device.kv == width * 28 * 8192 * 2
    assert found.device.activations == 200 * 128 * 28 * width * 2
    assert found.device.upper == 3 * GIB + 1_000_000_001 + width * 28 * 8192 * 2 + 200 * 128 * 28 * width * 2
    assert (found.beside, found.host.upper) == (512 * MIB, None)


@pytest.mark.parametrize(
    ("facts", "arguments", "kv"),
    [
        (QWEN, ("--max-seq-len", "100"), 2048 * 28 * 100 * 2),
        (QWEN, ("--kv-quant-type", "c8"), 2048 * 28 * 8192),
        (replace(QWEN, kv_heads=1), (), 256 * 28 * 8192 * 2),
        (replace(QWEN, context_length=512), (), 2048 * 28 * 512 * 2),
        (replace(QWEN, latent=LatentAttention(kv_rank=512, rope_dim=64, nope_dim=128)), (), 192 * 28 * 8192 * 2),
    ],
    ids=["length", "c8", "MQA", "short", "A10"],
)
def test_mindie_caches_by_architecture(facts: ModelFacts, arguments: tuple[str, ...], kv: int) -> None:
    """
    Length and quantisation are the parameters', widths the architecture's; latent attention is nope + rope (A10).
    """
    assert needs("mindie", facts, *arguments).device.kv == kv


def test_mindie_swaps_to_host_memory_when_asked() -> None:
    """
    --cpu-mem-size is host memory in GiB, and nothing where preemption is off (B8.1, A28).
    """
    assert needs("mindie", QWEN, "--cpu-mem-size", "5").beside == 512 * MIB + 5 * GIB
    assert needs("mindie", QWEN, "--cpu-mem-size", "5", "--max-preempt-count", "0").beside == 512 * MIB


def test_mindie_without_layers_is_unknown() -> None:
    """
    What the sum lacks is named.
    """
    assert needs("mindie", replace(QWEN, layers=None)).device.missing == ("layers",)
