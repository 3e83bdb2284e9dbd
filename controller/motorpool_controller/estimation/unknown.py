"""What cannot be told, and what is missing to tell it. An unknown is never a number (A14)."""

from __future__ import annotations

from collections.abc import Mapping

from motorpool_controller.domain.placement import Estimate


class UnknownError(Exception):
    """A part of a sum is not known. ``missing`` names fields of ModelFacts and options; the text is for people."""

    def __init__(self, text: str, *missing: str) -> None:
        super().__init__(text)
        self.text = text
        self.missing = missing


def required(facts: Mapping[str, tuple[str, object]]) -> None:
    """Raise UnknownError for those of the facts (field → words, value) that are None."""
    missing = {field: words for field, (words, value) in facts.items() if value is None}
    if missing:
        raise UnknownError(f"the model's headers do not tell its {', '.join(missing.values())}", *missing)


def unknown(text: str, missing: tuple[str, ...], weights: int | None = None) -> Estimate:
    """Return the estimate that is none, and says why."""
    return Estimate(weights=weights, provenance=f"unknown: {text}", missing=missing)
