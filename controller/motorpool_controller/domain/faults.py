"""Everything that is wrong with what a caller wrote, told at once: a field and a sentence each."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise

from motorpool_controller.domain.errors import InvalidError

MOST_BYTES = 1_300
"""An error travels in the trailer of its answer, which gRPC bounds to 8 KiB: twice in words, and once encoded."""

Fault = tuple[str, str]


def refuse(faults: Iterable[Fault]) -> None:
    """Raise FIELD_INVALID with every fault, each with its field, if there is any; machines find them apart."""
    found = list(dict.fromkeys(faults))
    if not found:
        return
    told = _fitting(found)
    if len(told) < len(found):
        told.append(("", f"and {len(found) - len(told)} more, told when these are mended"))
    fields = list(dict.fromkeys(field for field, _ in told if field))
    raise InvalidError(
        "FIELD_INVALID",
        "; ".join(f"{field}: {message}" if field else message for field, message in told),
        metadata={"field": fields[0], "fields": ",".join(fields)},
        violations=told,
    )


def of_part(error: InvalidError, part: str) -> InvalidError:
    """Return the same of a part of what was given: its fields are below ``part``."""
    field = error.metadata.get("field", "")
    said = error.violations or ([(field, error.message.removeprefix(f"{field}: "))] if field else [])
    violations = [(f"{part}.{field}" if field else part, message) for field, message in said]
    fields = list(dict.fromkeys(field for field, _ in violations)) or [part]
    return InvalidError(
        error.reason,
        f"{part}: {error.message}",
        metadata={**error.metadata, "field": fields[0], "fields": ",".join(fields)},
        violations=violations,
    )


def _fitting(faults: Sequence[Fault]) -> list[Fault]:
    told, left = list(faults[:1]), MOST_BYTES
    for before, fault in pairwise(faults):
        left -= sum(len(text.encode()) for text in before)
        if left < sum(len(text.encode()) for text in fault):
            break
        told.append(fault)
    return told
