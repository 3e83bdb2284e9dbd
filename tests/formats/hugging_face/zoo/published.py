"""What an entry of the zoo is: a config.json as it was published, and what it says."""

from __future__ import annotations

from dataclasses import dataclass

from motorpool_formats.facts import LayerKind
from motorpool_formats.hugging_face.config import Shape

FULL, SLIDING, NONE = LayerKind.FULL, LayerKind.SLIDING, LayerKind.NONE
RECURRENT, HYBRID = LayerKind.RECURRENT, LayerKind.HYBRID


@dataclass(frozen=True)
class Published:
    """
    A model's name on the hub, what matters of its config.json, and the facts, stated by hand.
    """

    model: str
    config: dict[str, object]
    shape: Shape
    categories: tuple[str, ...] = ("llm",)
