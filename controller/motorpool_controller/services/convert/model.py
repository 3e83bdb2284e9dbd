"""Where models come from."""

from __future__ import annotations

from motorpool import v1
from motorpool_controller.domain.workload import ModelSource, SourceKind
from motorpool_controller.services.convert import fields


def source_message(source: ModelSource) -> v1.ModelSource:
    """Return a model's source as a message."""
    if source.kind is SourceKind.LOCAL_PATH:
        return v1.ModelSource(local_path=source.path)
    if source.kind is SourceKind.HUGGING_FACE:
        return v1.ModelSource(
            hugging_face=v1.HuggingFaceSource(repository=source.repository, file=source.file, revision=source.revision)
        )
    return v1.ModelSource(
        model_scope=v1.ModelScopeSource(model_id=source.repository, file_path=source.file, revision=source.revision)
    )


def source_of(message: v1.ModelSource, field: str) -> ModelSource:
    """Return a message's source; what it may say is for ``specs.check_spec``."""
    given = message.WhichOneof("source")
    if given == "local_path":
        return ModelSource(kind=SourceKind.LOCAL_PATH, path=message.local_path)
    if given == "hugging_face":
        hub = message.hugging_face
        return ModelSource(
            kind=SourceKind.HUGGING_FACE, repository=hub.repository, file=hub.file, revision=hub.revision
        )
    if given == "model_scope":
        scope = message.model_scope
        return ModelSource(
            kind=SourceKind.MODEL_SCOPE,
            repository=scope.model_id,
            file=scope.file_path,
            revision=scope.revision,
        )
    raise fields.invalid(field, "no model is named; give local_path, hugging_face or model_scope")
