"""Places in a trace, as W3C's `traceparent` writes them; empty for none. What follows is worked out, not drawn.

So the span that caused something can be named before it ended, by whoever decides and by who was restarted meanwhile.
"""

from __future__ import annotations

import hashlib
import re

_FORM = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-.{0,64})?")
_SAMPLED = 1


def read(text: str) -> str:
    """Return the place that a stranger's text names, "" where it is none."""
    found = _FORM.fullmatch(text)
    if found is None or (text.startswith("00-") and found[4]):
        return ""
    return f"00-{found[1]}-{found[2]}-{int(found[3], 16) & _SAMPLED:02x}"


def sampled(place: str) -> bool:
    """Whether the spans of a place are kept."""
    return place.endswith(f"{_SAMPLED:02x}")


def child(place: str, *words: str) -> str:
    """Return the place below another one that these words name, always the same."""
    if not place:
        return ""
    span_id = hashlib.sha256("\0".join((place, *words)).encode()).hexdigest()[:16]
    return f"{place[:36]}{span_id}{place[52:]}"


def trace_id(place: str) -> str:
    """Return the trace's id, "" of none."""
    return place[3:35]


def span_id(place: str) -> str:
    """Return the span's id, "" of none."""
    return place[36:52]
