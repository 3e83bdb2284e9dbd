"""Speech models that bring no config.json of transformers (the table of vox-box's models)."""

from __future__ import annotations

import struct

import pytest

from motorpool_formats import ModelFormatUnknownError, ModelIncompleteError
from motorpool_formats.facts import Component
from motorpool_formats.hugging_face import read
from tests.formats.hugging_face.folders import MadeFolder, tensor_file

COSYVOICE: dict[str, object] = {
    "campplus.onnx": b"c" * 28,
    "cosyvoice.yaml": b"# a program's own",
    "flow.decoder.estimator.fp32.onnx": b"o" * 500,
    "flow.pt": b"f" * 420,
    "hift.pt": b"h" * 80,
    "llm.llm.fp16.zip": b"z" * 300,
    "llm.pt": b"l" * 1200,
    "speech_tokenizer_v1.onnx": b"s" * 520,
    "spk2info.pt": b"p" * 3,
}
DIA = {
    "data": {
        "audio_bos_value": 1026,
        "audio_eos_value": 1024,
        "audio_length": 3072,
        "audio_pad_value": 1025,
        "channels": 9,
        "delay_pattern": [0, 8, 9],
        "text_length": 1024,
    },
    "model": {"decoder": {"n_layer": 18}, "encoder": {"n_layer": 12}},
    "version": "0.1",
}


def ctranslate2(specification: bytes) -> bytes:
    name = specification + b"\0"
    return struct.pack("<IH", 6, len(name)) + name + b"\3\0\0\0" + b"w" * 1000


def test_reads_faster_whisper() -> None:
    """
    A CTranslate2 model whose specification is Whisper's transcribes.
    """
    content = ctranslate2(b"WhisperSpec")
    facts = read(MadeFolder({"config.json": {"lang_ids": [1]}, "model.bin": content, "tokenizer.json": {}}))

    assert (facts.format, facts.categories, facts.files) == ("ctranslate2", ("speech_to_text",), ("model.bin",))
    assert facts.weight_bytes == len(content)
    assert facts.parameters is None


def test_other_models_of_ctranslate2_are_not_whisper() -> None:
    """
    A translation model in the same file name is read by its config.json, as PyTorch's.
    """
    facts = read(MadeFolder({"config.json": {}, "model.bin": ctranslate2(b"TransformerSpec")}))

    assert (facts.format, facts.categories) == ("pytorch", ())


@pytest.mark.parametrize(("settings", "name"), [("cosyvoice.yaml", "CosyVoice"), ("cosyvoice2.yaml", "CosyVoice2")])
def test_reads_cosyvoice(settings: str, name: str) -> None:
    """
    The parts that CosyVoice loads count, and not those for other runtimes beside them.
    """
    files = {settings if file == "cosyvoice.yaml" else file: content for file, content in COSYVOICE.items()}
    facts = read(MadeFolder(files))

    assert (facts.architecture, facts.categories) == (name, ("text_to_speech",))
    assert facts.weight_bytes == 1200 + 420 + 80 + 28 + 520
    assert Component(name="llm.pt", type="", weight_bytes=1200) in facts.components


def test_says_which_part_of_cosyvoice_is_missing() -> None:
    """
    A part that is not there is named, and why it is needed.
    """
    files = {name: content for name, content in COSYVOICE.items() if name != "flow.pt"}

    with pytest.raises(ModelIncompleteError, match=r"flow\.pt: a model with cosyvoice\.yaml needs this file"):
        read(MadeFolder(files))


def test_reads_funasr() -> None:
    """
    ModelScope's configuration.json tells Paraformer and SenseVoice from others.
    """
    configuration = {"framework": "pytorch", "task": "auto-speech-recognition", "model": {"type": "funasr"}}
    facts = read(MadeFolder({"configuration.json": configuration, "model.pt": b"m" * 900}))

    assert (facts.architecture, facts.categories, facts.weight_bytes) == ("FunASR", ("speech_to_text",), 900)
    with pytest.raises(ModelFormatUnknownError):
        read(MadeFolder({"configuration.json": {"task": "text-generation"}, "model.pt": b"m"}))


def test_reads_dia() -> None:
    """
    Dia is known by its own config.json, and counts once though it is there in two formats.
    """
    weights = tensor_file({"encoder.embedding.weight": ("F32", (10, 10))})
    facts = read(MadeFolder({"config.json": DIA, "dia-v0_1.pth": b"d" * 999, "model.safetensors": weights}))

    assert (facts.architecture, facts.categories, facts.weight_bytes) == ("Dia", ("text_to_speech",), 400)
    assert read(MadeFolder({"config.json": DIA, "dia-v0_1.pth": b"d" * 999})).weight_bytes == 999
