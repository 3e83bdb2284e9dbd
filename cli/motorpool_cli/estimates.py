"""Estimates in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from motorpool_cli import text

if TYPE_CHECKING:
    from motorpool import v1


def summary(estimate: v1.Estimate) -> str:
    """Return what is claimed with its parts, or why it is unknown."""
    if not estimate.HasField("upper_bytes"):
        return estimate.provenance or text.UNKNOWN
    parts = [
        f"{word} {text.size(count)}"
        for word, known, count in (
            ("weights", estimate.HasField("weights_bytes"), estimate.weights_bytes),
            ("kv cache", estimate.HasField("kv_bytes"), estimate.kv_bytes),
            ("activations", estimate.HasField("activations_bytes"), estimate.activations_bytes),
            ("runtime", estimate.HasField("runtime_bytes"), estimate.runtime_bytes),
        )
        if known
    ]
    said = "; ".join(word for word in (", ".join(parts), estimate.provenance) if word)
    return f"{text.size(estimate.upper_bytes)} ({said})"


def items(estimate: v1.Estimate) -> str:
    """Return the second sum, part by part; empty where there is none."""
    if not estimate.items:
        return ""
    parts = ", ".join(f"{item.name} {text.size(item.size_bytes)}" for item in estimate.items)
    return f"{text.size(sum(item.size_bytes for item in estimate.items))} ({parts})"


def measured(estimate: v1.Estimate) -> str:
    """Return the highest that was measured beside the formula's figure; empty where nothing was."""
    if not estimate.HasField("measured_bytes"):
        return ""
    difference = estimate.measured_difference_bytes
    beside = "over" if difference > 0 else "under"
    return f"{text.size(estimate.measured_bytes)} at the most, {text.size(abs(difference))} {beside} the formula"
