"""Measured with xllamacpp 2026.10.11549 (llama.cpp b11549), prompt cache off, on 2026-11-21: resident memory."""

from __future__ import annotations

from dataclasses import replace

import pytest

from motorpool_controller.domain.parameters import parse
from motorpool_controller.domain.placement import Confidence
from motorpool_controller.domain.sizes import MIB
from motorpool_controller.estimation.gguf import GgufEstimate, estimate
from motorpool_controller.estimation.needs import needs_of
from motorpool_formats.facts import ModelFacts
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
    assert unknown.provenance.startswith("unknown: ")


@pytest.mark.parametrize("arguments", [("--mmproj", "/x"), ("-ctk", "q99"), ("--cache-ram", "-1"), ("-ub", "x")])
def test_what_cannot_be_sized_is_unknown(arguments: tuple[str, ...]) -> None:
    """
    A second model, an unknown cache or an unlimited one makes the estimate unknown.
    """
    assert estimated(*arguments).host.upper is None


def test_a_model_divided_by_hand_is_unknown_on_a_device() -> None:
    """
    Options that keep experts or cache in host memory leave the split to the operator's claim.
    """
    divided = estimated("--cpu-moe")

    assert divided.device.upper is None
    assert divided.host.upper == estimated().host.upper


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
