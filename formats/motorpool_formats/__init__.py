"""Model files read for their facts: GGUF headers now, safetensors headers to come."""

from motorpool_formats.errors import (
    FormatError,
    ModelCorruptError,
    ModelFormatUnknownError,
    ModelIncompleteError,
    ModelNotFoundError,
    ModelUnreadableError,
)
from motorpool_formats.facts import ModelFacts
from motorpool_formats.read import read_model

__all__ = [
    "FormatError",
    "ModelCorruptError",
    "ModelFacts",
    "ModelFormatUnknownError",
    "ModelIncompleteError",
    "ModelNotFoundError",
    "ModelUnreadableError",
    "read_model",
]
