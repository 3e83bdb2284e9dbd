"""What an assignment wants of hubs: fetched before its launch, which then is of paths of this node alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from motorpool_agent.reconcile.assignment import Assignment, Download, ModelSource
from motorpool_agent.reconcile.observation import State
from motorpool_agent.runtime.errors import LaunchError
from motorpool_agent.runtime.patience import Say
from motorpool_agent.state.errors import ModelFilesError


class Models(Protocol):
    """Has models of hubs. ``files.downloads.Downloads`` is one; it raises ModelFilesErrors."""

    @property
    def directory(self) -> Path:
        """Where they are kept."""
        ...

    def folder(self, files_id: str) -> Path:
        """Return where one of them is, or would be."""
        ...

    async def fetch(self, download: Download, heard: Callable[[str, int, int], None]) -> Path:
        """Return the folder of a model, once all of it is there."""
        ...


class NoModels:
    """For what runs local paths alone."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def folder(self, files_id: str) -> Path:
        """Return where one would be."""
        return self.directory / files_id

    async def fetch(self, download: Download, heard: Callable[[str, int, int], None]) -> Path:  # a Models
        """Refuse."""
        raise ModelFilesError("no folder for models is set up here", reason="MODEL_SOURCE_UNSUPPORTED")


async def fetched(models: Models, assignment: Assignment, say: Say) -> Assignment:
    """Return the assignment with the place of each download instead of its source; raise ``LaunchError`` without it."""
    places: dict[ModelSource, ModelSource] = {}
    for download in assignment.downloads:

        def heard(message: str, done_bytes: int, total_bytes: int) -> None:
            say(State.DOWNLOADING, message, done_bytes, total_bytes)

        try:
            folder = await models.fetch(download, heard)
        except ModelFilesError as error:
            raise LaunchError(error.reason, str(error)) from error
        places[download.source] = ModelSource(kind="local_path", path=str(folder))
    if not places:
        return assignment
    speculative = assignment.speculative
    if speculative is not None and speculative.draft_model is not None:
        draft = places.get(speculative.draft_model, speculative.draft_model)
        speculative = replace(speculative, draft_model=draft)
    return replace(
        assignment,
        model=places.get(assignment.model, assignment.model),
        adapters=tuple(replace(each, source=places.get(each.source, each.source)) for each in assignment.adapters),
        speculative=speculative,
    )


def users_of(files_id: str, folder: Path, assignments: Sequence[Assignment]) -> list[str]:
    """Return the instances that have a model's files: fetched for them, or deployed by their path here."""
    return [
        each.instance
        for each in assignments
        if any(download.files_id == files_id for download in each.downloads)
        or any(Path(path).is_relative_to(folder) for path in _paths(each))
    ]


def _paths(assignment: Assignment) -> Iterator[str]:
    draft = None if assignment.speculative is None else assignment.speculative.draft_model
    for source in (
        assignment.model,
        *(each.source for each in assignment.adapters),
        *([] if draft is None else [draft]),
    ):
        if source.kind == "local_path":
            # A file or a glob in the folder may follow a colon.
            yield source.path.partition(":")[0]
