"""What nodes fetched of models: messages to what is kept, and back."""

from __future__ import annotations

from datetime import datetime

from motorpool import v1
from motorpool_controller.domain.workload import ModelSource
from motorpool_controller.services.convert import fields
from motorpool_controller.services.convert.model import source_message, source_of
from motorpool_controller.store.files import FilesState, ModelFiles, named

MOST_INSTANCES = 1_000


def files_of(files_id: str, message: v1.ModelFiles, field: str) -> ModelFiles:
    """Return what an agent tells of a model's files."""
    source: ModelSource = source_of(message.source, f"{field}.source")
    return ModelFiles(
        files_id=fields.name(files_id, field),
        source=named(source, fields.word(message.commit, f"{field}.commit")),
        state=fields.required(v1.ModelFilesState, "MODEL_FILES_STATE", message.state, FilesState, f"{field}.state"),
        total_bytes=fields.size(message.total_bytes, f"{field}.total_bytes"),
        done_bytes=fields.size(message.done_bytes, f"{field}.done_bytes"),
        folder=fields.text(message.folder),
        etag=fields.name(message.etag, f"{field}.etag"),
        create_time=_time(message, "create_time", field),
        use_time=_time(message, "use_time", field),
        instances=tuple(fields.text(name) for name in message.instances[:MOST_INSTANCES]),
    )


def _time(message: v1.ModelFiles, name: str, field: str) -> datetime | None:
    return fields.time_of(getattr(message, name), f"{field}.{name}") if message.HasField(name) else None  # type: ignore[arg-type]  # one of its times


def files_message(node: str, files: ModelFiles) -> v1.ModelFiles:
    """Return what a node has of a model as a message."""
    return v1.ModelFiles(
        name=f"{node}/files/{files.files_id}",
        source=source_message(files.source),
        commit=files.source.commit,
        state=fields.number(v1.ModelFilesState, "MODEL_FILES_STATE", files.state),
        total_bytes=files.total_bytes,
        done_bytes=files.done_bytes,
        folder=files.folder,
        create_time=fields.timestamp(files.create_time),
        use_time=fields.timestamp(files.use_time),
        instances=files.instances,
        etag=files.etag,
    )
