"""Which files of a repository an engine needs: one model of those that lie there, and nothing twice."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import PurePosixPath

from motorpool_controller.domain.hub_files import HubFile
from motorpool_formats.facts import PROJECTOR, ModelFacts

WEIGHTS = frozenset(
    {
        *(".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".onnx", ".onnx_data", ".gguf", ".ggml", ".h5", ".msgpack"),
        *(".ot", ".tflite", ".npz", ".nemo", ".mlmodel", ".mlpackage", ".engine", ".pdparams", ".zip", ".tar", ".gz"),
    }
)
"""Endings of weights: those of the model that was read are fetched, and none of the same in another form."""

SHOWN = frozenset({".md", ".png", ".jpg", ".jpeg", ".gif", ".webp", ".svg", ".pdf", ".mp4", ".ipynb"})
"""Endings of what people look at."""


def needed(files: Iterable[HubFile], facts: ModelFacts) -> tuple[HubFile, ...]:
    """Return the files to fetch: weights and projectors that the facts name, and what belongs to them."""
    projectors = [each.file for each in facts.companions if each.kind == PROJECTOR]
    named = {*facts.files, *projectors}
    # A GGUF file is a model by itself; the first projector is the one that is loaded.
    if facts.format == "gguf":
        named = {*facts.files, *projectors[:1]}
        return tuple(file for file in files if file.path in named)
    return tuple(file for file in files if file.path in named or _belongs(file.path))


def _belongs(path: str) -> bool:
    """Return whether a file that holds no weights may be read by an engine: configurations, tokenizers, code."""
    place = PurePosixPath(path)
    hidden = any(part.startswith(".") for part in place.parts)
    return not hidden and place.suffix.lower() not in WEIGHTS | SHOWN
