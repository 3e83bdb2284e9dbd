"""The models that vox-box serves, and where: the table of seed 003, which is that of its own README (0.0.21)."""

from __future__ import annotations

import re
from dataclasses import dataclass

ARM = ("arm64", "aarch64")
HEARS, SPEAKS = "speech_to_text", "text_to_speech"


@dataclass(frozen=True, slots=True)
class Family:
    """Models whose folder's name ``pattern`` finds; ``arm`` is whether they run on Linux on ARM, too."""

    title: str
    pattern: re.Pattern[str]
    category: str
    arm: bool


def _family(title: str, pattern: str, category: str, *, arm: bool = True) -> Family:
    return Family(title, re.compile(pattern, re.IGNORECASE), category, arm)


FAMILIES = (
    # Faster-whisper-large-v1 to -v3, medium, small, tiny, each with .en, and faster-distil-whisper-*.
    _family("Faster Whisper", r"faster-?(distil-?)?whisper", HEARS),
    _family("CosyVoice", r"cosyvoice", SPEAKS, arm=False),
    _family("Dia", r"\bdia-\d", SPEAKS, arm=False),
    _family("Bark", r"\bbark\b", SPEAKS),
    # FunASR's.
    _family("Paraformer", r"paraformer", HEARS),
    _family("Conformer", r"\bconformer", HEARS),
    _family("SenseVoice", r"sensevoice", HEARS),
)


def family_of(name: str) -> Family | None:
    """Return the family of a model's folder by its name; None where it tells none, as a folder may have any name."""
    return next((family for family in FAMILIES if family.pattern.search(name)), None)
