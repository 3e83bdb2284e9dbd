"""Model files read for their facts, from a disk or a hub, never their weights."""

from motorpool_formats.errors import (
    FormatError,
    ModelCorruptError,
    ModelFormatUnknownError,
    ModelIncompleteError,
    ModelNotFoundError,
    ModelUnreadableError,
)
from motorpool_formats.facts import ModelFacts
from motorpool_formats.read import read_folder, read_model

__all__ = [
    "FormatError",
    "ModelCorruptError",
    "ModelFacts",
    "ModelFormatUnknownError",
    "ModelIncompleteError",
    "ModelNotFoundError",
    "ModelUnreadableError",
    "read_folder",
    "read_model",
]
