"""How people write where a model lies, in one word, and back.

| | |
|---|---|
| `/models/qwen3.gguf`, `/models/qwen3` | a file or a folder on the nodes |
| `/models/qwen3:*Q4_K_M*` | of a file or glob in such a folder; a path that exists as it is written comes first |
| `Qwen/Qwen3-8B`, `hf:Qwen/Qwen3-8B` | a repository of the Hugging Face hub |
| `ms:Qwen/Qwen3-8B` | one of ModelScope |
| `hf:Qwen/Qwen3-8B-GGUF:*Q4_K_M*.gguf@v2` | of a file or glob in it, at a branch, tag or commit |
"""

from __future__ import annotations

import re

from motorpool.v1.model_pb2 import HuggingFaceSource, ModelScopeSource, ModelSource

_REPOSITORY = re.compile(
    r"(?:(?P<hub>[A-Za-z]+):)?(?P<repository>[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9][A-Za-z0-9._-]*)"
    r"(?::(?P<file>[^@:]+))?(?:@(?P<revision>[^@]+))?"
)
_SCHEME = re.compile(r"[A-Za-z]+://")
_HUBS = {"hf", "ms"}
_FILE_ENDINGS = (".gguf", ".safetensors", ".bin", ".pt", ".pth", ".onnx")


class SourceError(ValueError):
    """A word that names no place where a model could lie: what is wrong with it, and how it is written."""


def parse_source(text: str) -> ModelSource:
    """Return where a model lies; raise SourceError for what no model can be named by."""
    if text.startswith("/"):
        return ModelSource(local_path=text)
    if _SCHEME.match(text):
        raise SourceError(
            f"{text} is an address, and hubs are named in the controller's settings alone; write hf:OWNER/NAME, "
            "ms:OWNER/NAME or an absolute path"
        )
    found = _REPOSITORY.fullmatch(text)
    if found is None:
        raise SourceError(
            f"{text or 'nothing'} names no model; write an absolute path as the nodes see it (/models/m.gguf), or "
            "hf:OWNER/NAME or ms:OWNER/NAME, with :FILE and @REVISION where they matter"
        )
    if found["hub"] is None and found["repository"].endswith(_FILE_ENDINGS):
        raise SourceError(
            f"{text} looks like a path that is not absolute; nodes have no common directory to start from, so begin "
            f"with /, or write hf:{text} if it is a repository"
        )
    hub, repository = found["hub"] or "hf", found["repository"]
    file, revision = found["file"] or "", found["revision"] or ""
    if hub not in _HUBS:
        raise SourceError(f"{hub}: is no hub; there are hf: (Hugging Face) and ms: (ModelScope)")
    if hub == "ms":
        return ModelSource(model_scope=ModelScopeSource(model_id=repository, file_path=file, revision=revision))
    return ModelSource(hugging_face=HuggingFaceSource(repository=repository, file=file, revision=revision))


def source_text(source: ModelSource) -> str:
    """Return the word that ``parse_source`` takes; empty for a source that names nothing."""
    match source.WhichOneof("source"):
        case "local_path":
            return source.local_path
        case "hugging_face":
            hub = source.hugging_face
            return _joined("hf", hub.repository, hub.file, hub.revision)
        case "model_scope":
            scope = source.model_scope
            return _joined("ms", scope.model_id, scope.file_path, scope.revision)
        case _:
            return ""


def _joined(hub: str, repository: str, file: str, revision: str) -> str:
    return f"{hub}:{repository}{f':{file}' if file else ''}{f'@{revision}' if revision else ''}"
