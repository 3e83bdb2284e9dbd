"""What is known of backends without a node that offers them: whose rules estimates follow, and what changes facts."""

from __future__ import annotations

from collections.abc import Mapping

from motorpool_controller.domain.fleet import MemoryModel, Option, OptionKind, Profile
from motorpool_controller.estimation.launched import LOADED_PROJECTOR, NO_PROJECTOR, OVERRIDES
from motorpool_controller.services.views import Offer

CONTEXT = "context_length"


def _known(
    backend: str, memory_model: MemoryModel, rules: str, formats: tuple[str, ...], options: tuple[Option, ...] = ()
) -> Offer:
    profile = Profile(
        backend=backend, versions=(), memory_model=memory_model, rules=rules, formats=formats, options=options
    )
    return Offer(profile, ())


def _context(name: str, *aliases: str) -> Option:
    return Option(name=name, aliases=aliases, kind=OptionKind.INTEGER, meaning=CONTEXT)


def _overrides(name: str) -> Option:
    return Option(name=name, kind=OptionKind.JSON, meaning=OVERRIDES)


_PROJECTOR = (
    Option(name="mmproj", aliases=("mm",), meaning=LOADED_PROJECTOR),
    Option(name="no-mmproj", aliases=("no-mmproj-auto",), kind=OptionKind.FLAG, meaning=NO_PROJECTOR),
)

KNOWN: Mapping[str, Offer] = {
    "llama_cpp": _known("llama_cpp", MemoryModel.LAYERS, "gguf", ("gguf",), (_context("ctx-size", "c"), *_PROJECTOR)),
    "sglang": _known(
        "sglang",
        MemoryModel.FRACTION,
        "sglang",
        ("safetensors", "diffusers"),
        (_context("context-length"), _overrides("json-model-override-args")),
    ),
    "vllm": _known(
        "vllm",
        MemoryModel.FRACTION,
        "vllm",
        ("safetensors", "pytorch"),
        (_context("max-model-len"), _overrides("hf-overrides")),
    ),
    "vox_box": _known("vox_box", MemoryModel.FIXED, "fixed", ()),
}
"""By name. A node's own profile comes before."""
