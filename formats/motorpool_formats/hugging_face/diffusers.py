"""Pipelines in the layout of diffusers: model_index.json, and a folder for each component."""

from __future__ import annotations

import re
from collections.abc import Iterator

from motorpool_formats.errors import ModelCorruptError, ModelIncompleteError
from motorpool_formats.facts import Component, ModelFacts
from motorpool_formats.hugging_face.documents import Document, find_document, read_document
from motorpool_formats.hugging_face.fingerprint import Fingerprint
from motorpool_formats.hugging_face.folders import Subfolder
from motorpool_formats.hugging_face.quantization import find_quantization
from motorpool_formats.hugging_face.reading import Measured, Spread, measure
from motorpool_formats.hugging_face.tally import Tally
from motorpool_formats.hugging_face.weights import Weights, find_weights
from motorpool_formats.protocols import Folder

INDEX = "model_index.json"

MAX_COMPONENTS = 64

_WEIGHTLESS = re.compile(r"(?:Scheduler|Tokenizer(?:Fast)?|Processor(?:Fast)?|FeatureExtractor|Guider|Guidance)$")
"""Classes of components that are a few settings."""

_SOUND = re.compile(r"Audio|Music|Speech|TTS")


def read_pipeline(folder: Folder, spread: Spread = map) -> ModelFacts:
    """Return the facts of the pipeline in a folder: those of its components together."""
    index = read_document(folder, INDEX)
    pipeline = index.text("_class_name")
    fingerprint = Fingerprint()
    fingerprint.add_document(index)
    components: list[Component] = []
    measured: list[Measured] = []
    files: list[str] = []
    quantized: list[str] = []
    for name, kind in _components(index):
        part = Subfolder(folder, name)
        weights = None if _WEIGHTLESS.search(kind) else _component_weights(part, name, kind)
        if weights is None:
            components.append(Component(name=name, type=kind, weight_bytes=0))
            continue
        config = find_document(part, "config.json") or Document("config.json", {})
        quantization = find_quantization(part, config, config)
        found = measure(part, weights, Tally(quantization=quantization), fingerprint, spread)
        components.append(Component(name=name, type=kind, weight_bytes=found.weight_bytes))
        measured.append(found)
        files.extend(f"{name}/{file}" for file in weights.files)
        if quantization:
            quantized.append(quantization.name)
    if not measured:
        raise ModelIncompleteError(INDEX, "no component that it names has weights", "download the whole repository")
    parameters = [part.parameters for part in measured]
    known = [count for count in parameters if count is not None]
    largest = max(measured, key=lambda part: part.weight_bytes)
    return ModelFacts(
        format="diffusers",
        files=tuple(files),
        file_bytes=sum(part.file_bytes for part in measured),
        digest=fingerprint.text(),
        name=None,
        architecture=pipeline,
        categories=() if pipeline and _SOUND.search(pipeline) else ("image",),
        quantization=quantized[0] if quantized else None,
        chat_template=False,
        parameters=sum(known) if len(known) == len(parameters) else None,
        weight_bytes=sum(part.weight_bytes for part in measured),
        layer_bytes=None,
        nonlayer_bytes=None,
        architectures=() if pipeline is None else (pipeline,),
        dtype=largest.dtype,
        components=tuple(components),
    )


def _components(index: Document) -> Iterator[tuple[str, str]]:
    """Return names and classes of the components; one whose class is null is not used."""
    count = 0
    for name, value in index.values.items():
        if name.startswith("_") or not isinstance(value, list):
            continue
        if len(value) != 2 or not all(part is None or isinstance(part, str) for part in value):
            continue  # a setting of the pipeline that happens to be a list
        count += 1
        if count > MAX_COMPONENTS or "/" in name or name in {"", ".", ".."}:
            what = (
                f"has more than {MAX_COMPONENTS} components"
                if count > MAX_COMPONENTS
                else "names a component with a path"
            )
            raise ModelCorruptError(INDEX, f"it {what}", "download it again")
        kind = Document(INDEX, {"class": value[1]}).text("class")
        if kind is not None:
            yield name, kind


def _component_weights(part: Folder, name: str, kind: str) -> Weights | None:
    weights = find_weights(part)
    if weights is None and (not part.files() or "config.json" in part.files()):
        raise ModelIncompleteError(
            name, f"{INDEX} names this component ({kind}), and its weights are missing", "download the whole repository"
        )
    return weights
