"""What vLLM loads beside the model: LoRA adapters, and what guesses tokens ahead.

https://docs.vllm.ai/en/stable/features/lora/ ; https://docs.vllm.ai/en/stable/features/speculative_decoding/
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

from motorpool_sdk import Adapter, Speculative

FEATURES = ("lora", "speculative")
RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""What ``--max-lora-rank`` takes, by its own parser."""

METHODS = {"eagle": "eagle", "eagle3": "eagle3", "mtp": "mtp", "ngram": "ngram", "medusa": "medusa"}
"""What deployments call ways to guess tokens, as vLLM names them; others are passed on as they are said."""

_NGRAM_TOKENS = 5
"""How many tokens n-grams guess where nobody says: vLLM takes that number from draft models alone."""


def adapters(wanted: Sequence[Adapter]) -> Iterator[str]:
    """Yield the arguments for LoRA adapters: each is served by its name, all at once."""
    yield from ("--enable-lora", "--max-loras", str(len(wanted)))
    ranks = [adapter.rank for adapter in wanted if adapter.rank is not None]
    if ranks:
        # What is above them all vLLM refuses itself, with its own words.
        yield from ("--max-lora-rank", str(next((rank for rank in RANKS if rank >= max(ranks)), RANKS[-1])))
    yield "--lora-modules"
    # As JSON: names and paths may have an equals sign.
    yield from (json.dumps({"name": adapter.name, "path": str(adapter.path)}) for adapter in wanted)


def speculative(wish: Speculative) -> Iterator[str]:
    """Yield the argument for guessing tokens ahead."""
    method = METHODS.get(wish.algorithm.lower(), wish.algorithm)
    tokens = wish.draft_tokens if wish.draft_tokens is not None or method != "ngram" else _NGRAM_TOKENS
    said = {
        "method": method,
        "model": None if wish.draft_path is None else str(wish.draft_path),
        "num_speculative_tokens": tokens,
        "prompt_lookup_min": wish.ngram_min,
        "prompt_lookup_max": wish.ngram_max,
    }
    yield from ("--speculative-config", json.dumps({name: value for name, value in said.items() if value is not None}))
