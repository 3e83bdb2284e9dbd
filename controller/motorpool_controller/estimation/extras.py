"""Weights that an engine loads beside the model: LoRA adapters and a draft model."""

from __future__ import annotations

from dataclasses import dataclass

from motorpool_controller.domain.sizes import in_words
from motorpool_controller.domain.workload import DeploymentSpec
from motorpool_controller.estimation.unknown import UnknownError
from motorpool_formats.facts import Companion, ModelFacts


@dataclass(frozen=True, slots=True, kw_only=True)
class Extras:
    """Bytes of adapters and of a draft."""

    adapters: int = 0
    draft: int = 0

    @property
    def weight_bytes(self) -> int:
        """Return both."""
        return self.adapters + self.draft

    @property
    def words(self) -> str:
        """Return what is among the weights, for people; empty where nothing is."""
        named = [
            f"{in_words(size)} of {what}"
            for what, size in (("adapters", self.adapters), ("a draft model", self.draft))
            if size
        ]
        return f" (with {' and '.join(named)})" if named else ""


def extras_of(facts: ModelFacts, spec: DeploymentSpec) -> Extras:
    """Return what the spec wants beside the model; raise UnknownError where a size has not been read.

    The catalog puts what it read of adapters and drafts among the facts' companions.
    """
    adapters = [companion for companion in facts.companions if companion.kind == "adapter"]
    if len(adapters) < len(spec.lora_adapters):
        raise UnknownError("the sizes of the LoRA adapters have not been read", "companions.adapter")
    wants_draft = spec.speculative is not None and spec.speculative.draft_model is not None
    drafts = [companion for companion in facts.companions if companion.kind == "draft"]
    if wants_draft and not drafts:
        raise UnknownError("the size of the draft model has not been read", "companions.draft")
    return Extras(
        adapters=sum(_size(adapter) for adapter in adapters) if spec.lora_adapters else 0,
        draft=sum(_size(draft) for draft in drafts) if wants_draft else 0,
    )


def _size(companion: Companion) -> int:
    return companion.file_bytes if companion.weight_bytes is None else companion.weight_bytes
