"""Templates of declared backends: ``{{name}}`` becomes a value, in one pass; what a value holds is not looked at."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

_VARIABLE = re.compile(r"\{\{\s*([A-Za-z_][A-Za-z0-9_]*)\s*\}\}")


def render(text: str, values: Mapping[str, str]) -> str:
    """Return a template with its variables' values; each must be there."""
    return _VARIABLE.sub(lambda found: values[found[1]], text)


def names(texts: Iterable[str]) -> tuple[str, ...]:
    """Return the names of the variables in templates, each once, in their order."""
    return tuple(dict.fromkeys(name for text in texts for name in _VARIABLE.findall(text)))
