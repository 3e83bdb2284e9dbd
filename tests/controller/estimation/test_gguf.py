"""Measured with xllamacpp 2026.10.11549 (llama.cpp b11549), prompt cache off, on 2026-11-21: resident memory."""

from __future__ import annotations

from dataclasses import replace

import pytest

from motorpool_controller.domain.parameters import parse
from motorpool_controller.domain.placement import Confidence
from motorpool_controller.domain.sizes import MIB
from motorpool_controller.estimation.gguf import GgufEstimate, estimate
from motorpool_controller.estimation.needs import needs_of
from motorpool_formats.facts import Companion, LatentAttention, LayerKind, ModelFacts, RecurrentState, RoleBytes
from tests.controller.fleets import OPTIONS, SMOLLM2, profile, spec

RESIDENT_MIB = 348
"""SmolLM2-135M, 8192 tokens of context, after a prompt of 6001 tokens."""


def estimated(*arguments: str, facts: ModelFacts = SMOLLM2) -> GgufEstimate:
    return estimate(facts, OPTIONS, parse(arguments, OPTIONS))


def test_the_claim_covers_the_engine_and_is_not_absurd() -> None:
    """
    What is claimed is at least what the engine was seen to hold, and less than twice that.
    """
    upper = estimated().host.upper

    assert upper is not None
    assert RESIDENT_MIB * MIB <= upper <= 2 * RESIDENT_MIB * MIB


def test_the_cache_is_what_the_engine_says() -> None:
    """
    The key/value cache of 8192 tokens is the 180 MiB that llama.cpp logs.
    """
    assert estimated().host.kv == 180 * MIB


@pytest.mark.parametrize(
    ("arguments", "mebibytes"),
    [
        (("-c", "4096"), 90.0),
        (("-c", "4097"), 90.0 + 180 / 32),
        (("-ctk", "q8_0"), 90 + 90 * 34 / 64),
        (("--cache_type_k=q8_0", "--cache-type-v", "q4_0"), 90 * 34 / 64 + 90 * 18 / 64),
        (("-c", "8192", "-np", "4"), 180.0),
    ],
)
def test_the_cache_follows_the_parameters(arguments: tuple[str, ...], mebibytes: float) -> None:
    """
    Context, kind of cache and slots change the cache as they do in the engine.
    """
    assert estimated(*arguments).host.kv == mebibytes * MIB


def test_the_default_context_is_8192_or_less() -> None:
    """
    A model made for less gets less; one made for more gets 8192; 0 asks for all it was made for.
    """
    long = replace(SMOLLM2, context_length=131_072)

    assert estimated(facts=long).context_length == 8_192
    assert estimated(facts=replace(SMOLLM2, context_length=2_048)).context_length == 2_048
    assert estimated("-c", "0", facts=long).context_length == 131_072


@pytest.mark.parametrize("field", ["layers", "kv_heads", "heads", "hidden_size", "vocab_size", "key_length"])
def test_an_unknown_is_never_a_number(field: str) -> None:
    """
    Where the headers do not tell, the estimate is unknown, and says what is missing (A14).
    """
    unknown = estimated(facts=replace(SMOLLM2, **{field: None})).host  # type: ignore[arg-type]  # parametrised

    assert unknown.upper is None
    assert unknown.missing == (field,)
    assert unknown.provenance.startswith("unknown: ")


@pytest.mark.parametrize("arguments", [("--mmproj", "/x"), ("-ctk", "q99"), ("--cache-ram", "-1"), ("-ub", "x")])
def test_what_cannot_be_sized_is_unknown(arguments: tuple[str, ...]) -> None:
    """
    A second model, an unknown cache or an unlimited one makes the estimate unknown.
    """
    assert estimated(*arguments).host.upper is None


def test_a_model_divided_by_hand_is_unknown_on_a_device() -> None:
    """
    Options that place tensors by name leave the split to the operator's claim.
    """
    divided = estimated("--override-tensor", "exps=CPU")

    assert divided.device.upper is None
    assert divided.device.missing == ("--override-tensor",)
    assert divided.host.upper == estimated().host.upper


def test_experts_that_are_not_told_apart_are_unknown_on_a_device() -> None:
    """
    Experts can be kept in host memory by estimate only where the headers tell their bytes; a dense model has none.
    """
    mixture = replace(SMOLLM2, experts=8, experts_used=2)

    assert estimated("--cpu-moe", facts=mixture).device.missing == ("layer_expert_bytes",)
    assert estimated("--cpu-moe").device.upper == estimated().device.upper


def test_older_servers_make_room_for_more_logits() -> None:
    """
    Servers that tell no build, or one from before the change, reserve logits for a whole batch; so do embeddings.
    """

    def activations(*arguments: str, versions: tuple[str, ...] = ()) -> int | None:
        wide = replace(SMOLLM2, vocab_size=200_000)
        return estimate(wide, OPTIONS, parse(arguments, OPTIONS), versions).host.activations

    few = activations(versions=("xllamacpp-2026.10.11549", "b11434"))
    many = activations("--embeddings")

    assert few == activations()
    assert few is not None
    assert many is not None
    assert many - few > 200_000 * 400 * 4
    assert activations(versions=("b9000",)) == activations(versions=("1.0",)) == activations(versions=("b11434", "b1"))
    assert activations(versions=("1.0",)) == many - 576 * 4  # its results are logits alone


def test_a_state_and_a_cache_may_be_in_one_layer() -> None:
    """
    A hybrid layer has both; a recurrent one a state for each slot, whatever the context.
    """
    state = RecurrentState(convolution=100, state=900)
    hybrid = replace(SMOLLM2, layer_kinds=(LayerKind.HYBRID,) * 30, recurrent=state)
    recurrent = replace(SMOLLM2, layer_kinds=(LayerKind.RECURRENT,) * 30, recurrent=state)

    assert estimated(facts=hybrid).host.kv == 180 * MIB + 30 * 1000 * 4
    assert estimated("-np", "3", "-c", "999", facts=recurrent).host.kv == 3 * 30 * 1000 * 4


def test_latent_attention_caches_one_vector() -> None:
    """
    512 + 64 elements a token and layer, whatever the heads are.
    """
    latent = replace(SMOLLM2, latent=LatentAttention(kv_rank=512, rope_dim=64, nope_dim=128))

    assert estimated(facts=latent).host.kv == 30 * 8192 * 576 * 2


def test_windowed_layers_may_have_heads_of_their_own() -> None:
    """
    Key and value widths of windowed layers count where they differ.
    """
    kinds = (LayerKind.SLIDING,) * 10 + (LayerKind.FULL,) * 20
    facts = replace(SMOLLM2, layer_kinds=kinds, sliding_window=500, sliding_key_length=32, sliding_value_length=16)

    # 500 + a batch of 512 is padded to 1024 cells.
    assert estimated(facts=facts).host.kv == (20 * 8192 * 128 + 10 * 1024 * 48) * 3 * 2


def test_shared_embeddings_in_four_bits_are_there_twice() -> None:
    """
    Processors multiply by another layout of Q4_0 than they look up; of Q8_0 they use one.
    """
    elements = 576 * 49_152

    def weights(bytes_of_32: int) -> int | None:
        embedding = elements // 32 * bytes_of_32
        return estimated(
            facts=replace(
                SMOLLM2,
                weight_bytes=30 * 2_216_448 + embedding,
                nonlayer_bytes=embedding,
                roles=RoleBytes(embedding=embedding, layers=30 * 2_216_448),
            )
        ).host.weights

    assert weights(34) == 30 * 2_216_448 + elements // 32 * 34
    assert weights(18) == 30 * 2_216_448 + 2 * elements // 32 * 18


def test_adapters_count_where_they_were_read() -> None:
    """
    --lora adds the bytes of the file of that name, and is unknown without it.
    """
    adapted = replace(SMOLLM2, companions=(Companion(kind="adapter", file="a.gguf", file_bytes=9, weight_bytes=7),))
    with_one, without = estimated("--lora", "/l/a.gguf", facts=adapted), estimated(facts=adapted)

    assert with_one.host.weights == (without.host.weights or 0) + 7
    assert with_one.device.weights == (without.device.weights or 0) + 7
    assert estimated("--lora", "/l/b.gguf", facts=adapted).host.missing == ("--lora",)


def test_the_prompt_cache_is_claimed() -> None:
    """
    Memory that the server may keep old prompts in counts.
    """
    more, less = estimated("--cache-ram", "1024").host.upper, estimated().host.upper

    assert more is not None
    assert less is not None
    assert more - less == 1024 * MIB


def test_a_window_is_respected_where_the_layers_are_known() -> None:
    """
    Gemma 3 keeps its window in five of six layers; the window of an unknown architecture is not trusted.
    """
    gemma = replace(SMOLLM2, architecture="gemma3", sliding_window=512)
    full, windowed = estimated().host.kv, estimated(facts=gemma).host.kv

    assert windowed == (5 * 8192 + 25 * 1024) * 3 * 128 * 2
    assert full == estimated(facts=replace(gemma, architecture="new")).host.kv
    assert full == estimated("--swa-full", facts=gemma).host.kv


def test_layers_without_attention_have_no_cache() -> None:
    """
    A hybrid model's cache counts the layers that have one.
    """
    hybrid = replace(SMOLLM2, kv_heads=(3,) * 10 + (0,) * 20)
    kv = estimated(facts=hybrid).host.kv

    assert kv is not None
    assert 60 * MIB < kv < 80 * MIB


def test_a_claim_by_hand_wins() -> None:
    """
    An operator's figure stands, with high confidence, also where nothing is known.
    """
    needs = needs_of(replace(SMOLLM2, layers=None), profile(), (), spec(claim_memory_bytes=5 * MIB))

    assert (needs.host.upper, needs.host.confidence) == (5 * MIB, Confidence.HIGH)
    assert needs.device.upper is None
    assert needs_of(None, profile(), (), spec(claim_memory_bytes=1)).host.upper == 1


def test_parts_add_up() -> None:
    """
    The upper bound is the sum of its parts, the lower one what cannot be saved.
    """
    host = estimated().host
    parts = (host.weights, host.kv, host.activations, host.runtime)

    assert None not in parts
    assert host.upper == sum(part for part in parts if part is not None)
    assert host.lower == SMOLLM2.weight_bytes + 180 * MIB
