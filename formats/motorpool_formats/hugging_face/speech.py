"""Speech models that bring no config.json of transformers: faster-whisper, CosyVoice, FunASR, Dia."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from motorpool_formats.errors import ModelIncompleteError
from motorpool_formats.facts import Component, ModelFacts
from motorpool_formats.hugging_face.documents import find_document
from motorpool_formats.hugging_face.fingerprint import Fingerprint
from motorpool_formats.hugging_face.reading import Spread, measure
from motorpool_formats.hugging_face.tally import Tally
from motorpool_formats.hugging_face.weights import Weights, find_weights
from motorpool_formats.protocols import Folder

CTRANSLATE2_MODEL = "model.bin"

_WHISPER_SPECIFICATION = b"WhisperSpec"
_SPECIFICATION_BYTES = 64
"""A CTranslate2 model begins with a version (4 bytes), the length of its specification's name (2) and that name."""

_COSYVOICE = re.compile(r"^cosyvoice(\d?)\.yaml$")
_COSYVOICE_PARTS = ("llm.pt", "flow.pt", "hift.pt", "campplus.onnx")
_COSYVOICE_TOKENIZER = re.compile(r"^speech_tokenizer_v\d+\.onnx$")

_DIA_KEYS = frozenset({"audio_bos_value", "audio_eos_value", "audio_pad_value", "audio_length", "delay_pattern"})
"""What the ``data`` of Dia's own config.json says (vox-box knows it by the same)."""


@dataclass(frozen=True, slots=True)
class _Family:
    name: str
    category: str
    weights: Weights
    parts: tuple[str, ...] = ()
    """Files that are each a model of their own."""


def read_speech(folder: Folder, spread: Spread = map) -> ModelFacts | None:
    """Return the facts of a speech model of these families; None where the folder holds none."""
    family = _faster_whisper(folder) or _cosyvoice(folder) or _funasr(folder) or _dia(folder)
    if family is None:
        return None
    fingerprint = Fingerprint()
    measured = measure(folder, family.weights, Tally(), fingerprint, spread)
    sizes = folder.files()
    files = family.weights.files
    return ModelFacts(
        format=family.weights.format,
        files=files,
        file_bytes=measured.file_bytes,
        digest=fingerprint.text(),
        name=None,
        architecture=family.name,
        categories=(family.category,),
        quantization=None,
        chat_template=False,
        parameters=measured.parameters,
        weight_bytes=measured.weight_bytes,
        layer_bytes=None,
        nonlayer_bytes=None,
        architectures=(family.name,),
        dtype=measured.dtype,
        components=tuple(Component(name=name, type="", weight_bytes=sizes[name]) for name in family.parts),
    )


def _faster_whisper(folder: Folder) -> _Family | None:
    files = folder.files()
    if CTRANSLATE2_MODEL not in files:
        return None
    with folder.open(CTRANSLATE2_MODEL) as source:
        beginning = source.read(0, min(source.size, _SPECIFICATION_BYTES))
    length = int.from_bytes(beginning[4:6], "little")
    if beginning[6 : 6 + length].rstrip(b"\0") != _WHISPER_SPECIFICATION:
        return None
    return _Family("WhisperSpec", "speech_to_text", Weights("ctranslate2", (CTRANSLATE2_MODEL,)))


def _cosyvoice(folder: Folder) -> _Family | None:
    files = folder.files()
    match = next((match for name in sorted(files) if (match := _COSYVOICE.match(name))), None)
    if match is None:
        return None
    tokenizer = [name for name in sorted(files) if _COSYVOICE_TOKENIZER.match(name)][-1:]
    _check_present(files=tuple(files), wanted=_COSYVOICE_PARTS, because=match[0])
    parts = (*_COSYVOICE_PARTS, *tokenizer)
    return _Family(f"CosyVoice{match[1]}", "text_to_speech", Weights("pytorch", parts), parts)


def _funasr(folder: Folder) -> _Family | None:
    """Return Paraformer, SenseVoice and the like, which ModelScope's configuration.json tells from others."""
    configuration = find_document(folder, "configuration.json")
    if configuration is None or configuration.values.get("task") != "auto-speech-recognition":
        return None
    model = configuration.values.get("model")
    if not isinstance(model, dict) or model.get("type") != "funasr":
        return None
    weights = find_weights(folder)
    if weights is None:
        raise ModelIncompleteError("model.pt", "the weights are missing", "download the whole repository")
    return _Family("FunASR", "speech_to_text", weights)


def _dia(folder: Folder) -> _Family | None:
    config = find_document(folder, "config.json")
    data = config and config.values.get("data")
    if not isinstance(data, dict) or not data.keys() >= _DIA_KEYS:
        return None
    weights = find_weights(folder)
    if weights is None:
        raise ModelIncompleteError("dia-v0_1.pth", "the weights are missing", "download the whole repository")
    return _Family("Dia", "text_to_speech", weights)


def _check_present(files: Sequence[str], wanted: Sequence[str], because: str) -> None:
    if missing := [name for name in wanted if name not in files]:
        raise ModelIncompleteError(
            missing[0], f"a model with {because} needs this file, and it is missing", "download the whole repository"
        )
