"""Which nodes are asked about a model: as many as a placement needs, those with most room first."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from motorpool_controller.scheduling.banks import Bytes
from motorpool_controller.scheduling.columns import Codes, Columns

MARGIN = 32
"""Nodes that are asked beside those that are needed: some have no such model, or no room for it."""
NODES_EACH = 2

Questions = set[tuple[str, str]]


def everyone(columns: Columns, unread: Mapping[str, Codes]) -> Questions:
    """Return the questions to all nodes that have not told of what lies at a path."""
    return {(columns.name_at(slot), path) for path, slots in unread.items() for slot in slots.tolist()}


def as_many_as_needed(columns: Columns, unread: Mapping[str, Codes], waiting: Mapping[str, int]) -> Questions:
    """Return questions to some of those nodes; ``waiting`` is how many instances want what lies at a path.

    Each node that answered and did not end the waiting has another one asked, so that a model that few nodes have is
    found in a few rounds. Those that failed are among them: they are asked again from time to time.
    """
    asked: Questions = set()
    for path, slots in unread.items():
        codes, _ = columns.readings_at(path)
        most = MARGIN + NODES_EACH * waiting[path] + int(np.count_nonzero(codes))
        silent, failed = slots[codes[slots] == 0], slots[codes[slots] > 0]
        chosen = _roomiest(columns, silent)[:most] if len(silent) > most else silent
        asked |= {(columns.name_at(slot), path) for slot in (*chosen.tolist(), *failed.tolist())}
    return asked


def _roomiest(columns: Columns, slots: Codes) -> Codes:
    """Return nodes in the order of what their devices have left, then their hosts; equals by name."""
    left: Bytes = np.zeros(len(columns.host), np.int64)
    for bank in columns.banks.values():
        np.add.at(left, bank.slots, np.maximum(bank.free, 0).sum(axis=0))
    ordered: Codes = slots[np.lexsort((columns.rank[slots], -columns.host[slots], -left[slots]))]
    return ordered
