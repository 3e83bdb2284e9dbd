"""The interpreter's collector: it looks at little and often, so that nobody waits for it."""

from __future__ import annotations

import asyncio
import gc
from typing import NoReturn

THRESHOLDS = 10_000, 5, 86_400
"""Containers more than before until the young are looked through, how often that until older ones are, and all.

The last counts `collect_young`, too: all are looked through every six hours at most, which takes a second at 10,000
nodes, and frees what was in a cycle and lived for long.
"""
YOUNG_SECONDS = 0.25
"""How often the young are looked through: 4 ms where 500 heartbeats come a second."""


def spare() -> None:
    """Leave alone what was loaded, and look through what is long-lived seldom.

    A fleet is millions of objects without cycles, which die by their counts: a full collection stopped everything for
    half a second at 5,000 nodes and 20,000 instances, and was one in every few thousand placements.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*THRESHOLDS)


async def collect_young() -> NoReturn:
    """Look through the young four times a second, for as long as this runs.

    The interpreter does it where there are more containers than before. What nodes measure takes the place of what they
    measured before, so that there are hardly ever more: what ten to twenty seconds of heartbeats had left was looked
    through in 170 ms with 5,000 agents, in up to 430 with 10,000, and nothing else happened meanwhile.
    """
    while True:
        await asyncio.sleep(YOUNG_SECONDS)
        gc.collect(1)
