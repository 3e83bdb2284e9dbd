"""What it costs to know a model on a hub: bytes and requests, against a hub on loopback that counts what it sends."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.figures import Figure
from motorpool_controller.catalog.budget import Budget
from motorpool_controller.catalog.cache import FactsCache
from motorpool_controller.catalog.catalog import Catalog
from motorpool_controller.domain.workload import ModelSource, SourceKind
from tests.hub.clients import hubs_of
from tests.hub.contents import large_gguf
from tests.hub.server import LocalHub

MIB = 1 << 20
WEIGHTS_BYTES = 4 << 30
SIZES = {"small": 32_000, "large": 256_000}
"""Tokens of vocabularies: about the least and the most that models have."""


def measure() -> Sequence[Figure]:
    """Look two models of 4 GiB up, for the first time and again."""
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory() as temporary, LocalHub() as hub:
        for name, tokens in SIZES.items():
            print(f"{tokens} tokens", file=sys.stderr, flush=True)
            content, header_bytes = large_gguf(Path(temporary), tokens=tokens, tensor_bytes=WEIGHTS_BYTES)
            hub.add(f"bench/{name}", {"model.gguf": content})
            figures += _figures(hub, Path(temporary) / name, name, tokens, header_bytes)
    return figures


def _figures(hub: LocalHub, cache: Path, name: str, tokens: int, header_bytes: int) -> list[Figure]:
    source = ModelSource(kind=SourceKind.HUGGING_FACE, repository=f"bench/{name}")
    before = hub.body_bytes, len(hub.seen)
    catalog = Catalog(hubs_of(hub), FactsCache(cache))
    catalog.read(source, Budget(300))
    first = hub.body_bytes - before[0], len(hub.seen) - before[1]
    # As a controller that was started again.
    Catalog(hubs_of(hub), FactsCache(cache)).read(source, Budget(300))
    again = hub.body_bytes - before[0] - first[0]
    what = f"4 GiB of GGUF with {tokens} tokens"
    return [
        Figure(key=f"{name}_header_mib", value=header_bytes / MIB, meaning=f"{what}: its header"),
        Figure(key=f"{name}_fetched_mib", value=first[0] / MIB, meaning="bytes that a first look-up fetches"),
        Figure(key=f"{name}_fetched_over_header", value=first[0] / header_bytes, meaning="fetched / header", aim=3.0),
        Figure(key=f"{name}_requests", value=first[1], meaning="requests, a redirect for each range among them"),
        Figure(key=f"{name}_again_bytes", value=again, meaning="bytes that the next look-up fetches", aim=4_096),
    ]
