"""The tables of metrics in Markdown pages, and what a page of Prometheus's text has of them."""

from __future__ import annotations

import re
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

_ROW = re.compile(r"\| `(motorpool_\w+)` \| (\w+) \| ([^|]*)\|")
Table = dict[str, tuple[str, frozenset[str]]]


def documented(page: Path) -> Table:
    """Return each metric that a page tells of, with its type and the names of its labels."""
    found: Table = {}
    for name, kind, labels in _ROW.findall(page.read_text(encoding="utf-8")):
        # Each label begins its part; what stands behind it in code, too, are its values.
        parts = [re.match(r"\s*`(\w+)`", part) for part in labels.split(";")]
        found[name] = (kind, frozenset(part[1] for part in parts if part))
    return found


def exposed(text: str) -> Table:
    """Return the same of what is served; a metric without samples has no labels."""
    found: Table = {}
    for family in text_string_to_metric_families(text):
        labels = frozenset(label for sample in family.samples for label in sample.labels) - {"le"}
        name, kind = family.name, family.type
        if kind == "counter":
            name += "_total"
        elif name.endswith("_info"):
            kind = "info"
        if name.startswith("motorpool_"):
            found[name] = (kind, labels)
    return found


def samples(text: str) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """Return what is served by name and labels."""
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
