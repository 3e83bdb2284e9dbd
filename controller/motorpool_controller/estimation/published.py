"""The published rule for engines that take a fraction of a device: weights x 1.2 + the framework's footprint.

Source: the project's scheduling rules B3.1, B3.2, B10 (seed 000 has the formula; its 1.2 is that of the Transformer
Math 101 article, "total inference memory"). It is the compatible default: the same models fit the same fleets as under
the published scheduler. What it leaves out, context and concurrency, stands beside it (``itemised``).
"""

from __future__ import annotations

from collections.abc import Sequence

from motorpool_controller.domain.placement import Confidence, Estimate, Item
from motorpool_controller.domain.sizes import GIB, MIB, in_words
from motorpool_controller.estimation.extras import Extras
from motorpool_controller.estimation.unknown import UnknownError
from motorpool_formats.facts import ModelFacts

FACTOR_PERCENT = 120
SPEECH_FACTOR_PERCENT = 300
LLM_FOOTPRINT_BYTES = 2 * GIB
FOOTPRINT_BYTES = 512 * MIB
"""B3.1."""

MEMORY_PERCENT = 10
LEAST_MEMORY_BYTES = 2 * GIB
"""B10: host memory beside a device: a tenth of what is on it, and no less than this."""

IMAGE = "image"
TEXT_TO_SPEECH = "text_to_speech"
LLM = "llm"


def estimate(facts: ModelFacts, categories: Sequence[str], extras: Extras) -> Estimate:
    """Return what the rule says of a model that serves these categories; raise UnknownError where sizes are missing."""
    if IMAGE in categories:
        return _pipeline(facts)
    weights = facts.weight_bytes + extras.weight_bytes
    factor = SPEECH_FACTOR_PERCENT if TEXT_TO_SPEECH in categories else FACTOR_PERCENT
    footprint = LLM_FOOTPRINT_BYTES if not categories or LLM in categories else FOOTPRINT_BYTES
    upper = weights * factor // 100 + footprint
    return Estimate(
        weights=weights,
        activations=upper - footprint - weights,
        runtime=footprint,
        lower=weights,
        upper=upper,
        provenance=(
            f"by rule: {in_words(weights)} of weights{extras.words} x {factor / 100:g}"
            f" + {in_words(footprint)} for the framework; context and concurrency are not in it"
        ),
        confidence=Confidence.LOW,
    )


def memory_beside(upper: int) -> int:
    """Return the host memory beside what is on devices, for backends that say nothing of it (B10)."""
    return max(upper * MEMORY_PERCENT // 100, LEAST_MEMORY_BYTES)


def _pipeline(facts: ModelFacts) -> Estimate:
    """Return the sum of a pipeline's weights, with no factor and no footprint (B3.2)."""
    unread = [component.name for component in facts.components if component.weight_bytes is None]
    if unread:
        raise UnknownError(
            f"the weights of the pipeline's {', '.join(unread)} could not be read", "components.weight_bytes"
        )
    parts = tuple(Item(component.name, component.weight_bytes or 0) for component in facts.components)
    weights = sum(part.size_bytes for part in parts) if parts else facts.weight_bytes
    return Estimate(
        weights=weights,
        lower=weights,
        upper=weights,
        provenance=f"by rule: {in_words(weights)}, the sum of the pipeline's weights",
        confidence=Confidence.LOW,
        items=parts,
    )
