"""Models in the layout of the Hugging Face hub: safetensors, PyTorch, diffusers pipelines, speech models."""

from motorpool_formats.hugging_face.overrides import overridden, parse_overrides
from motorpool_formats.hugging_face.read import read
from motorpool_formats.hugging_face.reading import Spread

__all__ = ["Spread", "overridden", "parse_overrides", "read"]
