"""Which files of a repository are fetched."""

from __future__ import annotations

from dataclasses import replace

import pytest

from motorpool_controller.catalog.needed import needed
from motorpool_controller.domain.hub_files import HubFile
from motorpool_formats.facts import Companion, ModelFacts
from tests.controller.fleets import SMOLLM2


def facts_of(form: str, files: tuple[str, ...], *companions: str) -> ModelFacts:
    beside = tuple(Companion(kind="projector", file=name, file_bytes=1) for name in companions)
    return replace(SMOLLM2, format=form, files=files, companions=beside)


def chosen(facts: ModelFacts, *names: str) -> list[str]:
    return [file.path for file in needed([HubFile(path=name, size_bytes=1) for name in names], facts)]


def test_of_a_repository_of_quantisations_one_is_fetched() -> None:
    """
    All its parts and the projector that is loaded with it; no other quantisation, no projector beside, no text.
    """
    parts = ("Q4/m-00001-of-00002.gguf", "Q4/m-00002-of-00002.gguf")
    facts = facts_of("gguf", parts, "mmproj-F16.gguf", "mmproj-F32.gguf")

    found = chosen(
        facts,
        *(*parts, "Q8/m.gguf", "mmproj-F16.gguf", "mmproj-F32.gguf"),
        *("README.md", "config.json"),
    )

    assert [*parts, "mmproj-F16.gguf"] == found


@pytest.mark.parametrize(
    ("name", "fetched"),
    [
        *(("config.json", True), ("tokenizer.model", True), ("merges.txt", True), ("chat_template.jinja", True)),
        *(("modeling_x.py", True), ("model.safetensors.index.json", True), ("model-00002-of-00002.safetensors", True)),
        *(("pytorch_model.bin", False), ("consolidated.safetensors", False), ("original/consolidated.00.pth", False)),
        *(("onnx/model.onnx", False), ("model-q4.gguf", False), ("README.md", False), ("figure.png", False)),
        *((".gitattributes", False), (".cache/x.json", False), ("LICENSE", True)),
    ],
)
def test_of_weights_in_several_forms_one_is_fetched(name: str, *, fetched: bool) -> None:
    """
    The weights that were read, and what is no weight, picture or text about the model.
    """
    facts = facts_of("safetensors", ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"))

    assert ([name] if fetched else []) == chosen(facts, name)
