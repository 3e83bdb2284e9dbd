"""Templates in declared backends: ``{{name}}`` stands for a value. What they hold is rendered on the node."""

from __future__ import annotations

import re
from collections.abc import Iterable

from motorpool_controller.domain.names import shown

PROVIDED = frozenset({"gpu_count", "gpu_ids", "model_name", "model_path", "node_ip", "port"})
"""Names whose values the node knows; any other is a variable of the deployment's or the version's environment."""

_VARIABLE = re.compile(r"\{\{\s*([A-Za-z_][A-Za-z0-9_]*)\s*\}\}")


def names(texts: Iterable[str]) -> tuple[str, ...]:
    """Return the names that templates use, each once, in the order in which they stand there."""
    return tuple(dict.fromkeys(name for text in texts for name in _VARIABLE.findall(text)))


def malformed(text: str) -> str:
    """Return what is wrong with how a template is written, empty where nothing is."""
    rest = _VARIABLE.sub("", text)
    opened = rest.find("{{")
    if opened < 0:
        return ""
    return (
        f"{shown(rest[opened:])} begins no variable: write {{{{name}}}} with letters, digits and _; two braces as such "
        "go into a file, or into a variable that the deployment sets"
    )
