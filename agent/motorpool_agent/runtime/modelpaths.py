"""Where on this node the files are that an engine loads: the model, and what goes with it."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

from motorpool_agent.reconcile.assignment import Assignment, ModelSource
from motorpool_agent.runtime.errors import LaunchError
from motorpool_formats.places import place_of
from motorpool_sdk.backend import Adapter, ExtendedKvCache, Speculative

_ADAPTER_CONFIG = "adapter_config.json"
_MOST_BYTES = 1 << 20


def model_path(assignment: Assignment) -> Path:
    """Return the path that the engine is given; raise ``LaunchError`` if it is not there or may not be read."""
    path = _existing(assignment, assignment.model)
    # An engine for GGUF wants a file: the facts tell which of the folder's, and which part of a model comes first.
    if assignment.facts is not None and assignment.facts.format == "gguf":
        folder = path if path.is_dir() else path.parent
        first = _file_below(folder, assignment.facts.files)
        _check_parts(folder, assignment.facts.files)
        return first
    if assignment.facts is not None and path.is_dir():
        _check_parts(path, assignment.facts.files)
    return path


def _check_parts(folder: Path, files: Sequence[str]) -> None:
    """Raise ``LaunchError`` where a part of the model is gone since it was read, or may not be read."""
    missing = [file for file in files if _below(folder, Path(file)) is None]
    if missing:
        raise LaunchError(
            "MODEL_INCOMPLETE",
            f"{folder} has {len(files) - len(missing)} of the model's {len(files)} files: {missing[0]} is not there "
            "any more; copy it there again",
        )
    for file in files:
        if not os.access(folder / file, os.R_OK):
            raise LaunchError("MODEL_UNREADABLE", _unreadable(folder / file))


def projector_paths(assignment: Assignment, model: Path) -> tuple[Path, ...]:
    """Return the projectors that were read beside the model, the one to load first; those that are gone are left out.

    Their names are, as the model's own is, relative to the folder that was read.
    """
    facts = assignment.facts
    if facts is None or not facts.projectors:
        return ()
    folder = model
    for _ in Path(facts.files[0]).parts:
        folder = folder.parent
    files = (Path(each.file) for each in facts.projectors)
    return tuple(path for file in files if (path := _below(folder, file)) is not None)


def companion_paths(assignment: Assignment, model: Path) -> tuple[Path, ...]:
    """Return every file that is loaded with the model: projectors, and what adapters and a draft consist of."""
    drafts = () if assignment.speculative is None else (assignment.speculative.draft_model,)
    sources = [*(each.source for each in assignment.adapters), *drafts]
    folders = [_existing(assignment, source) for source in sources if source is not None]
    files = [file for folder in folders for file in (folder.iterdir() if folder.is_dir() else [folder])]
    return (*projector_paths(assignment, model), *(file for file in files if file.is_file()))


def adapters_of(assignment: Assignment) -> tuple[Adapter, ...]:
    """Return the LoRA adapters with their places here; raise ``LaunchError`` where one is missing."""
    found = [(each.name, _existing(assignment, each.source)) for each in assignment.adapters]
    return tuple(Adapter(name=name, path=path, rank=_rank(path)) for name, path in found)


def _rank(adapter: Path) -> int | None:
    """Return the rank that an adapter's own file says; None where it says none."""
    try:
        with (adapter / _ADAPTER_CONFIG).open("rb") as file:
            said = json.loads(file.read(_MOST_BYTES)).get("r")
    except (OSError, ValueError, AttributeError, RecursionError):
        return None
    return said if isinstance(said, int) and not isinstance(said, bool) and said > 0 else None


def speculative_of(assignment: Assignment) -> Speculative | None:
    """Return how tokens are guessed ahead, the draft model with its place here; raise ``LaunchError`` without it."""
    wish = assignment.speculative
    if wish is None:
        return None
    return Speculative(
        algorithm=wish.algorithm,
        draft_path=None if wish.draft_model is None else _existing(assignment, wish.draft_model),
        draft_tokens=wish.draft_tokens,
        ngram_min=wish.ngram_min,
        ngram_max=wish.ngram_max,
    )


def kv_cache_of(assignment: Assignment) -> ExtendedKvCache | None:
    """Return the cache in host memory: as large as what was claimed of it for that."""
    if assignment.extended_kv_cache is None:
        return None
    return ExtendedKvCache(memory_bytes=assignment.memory_bytes, chunk_size=assignment.extended_kv_cache.chunk_size)


def _existing(assignment: Assignment, source: ModelSource) -> Path:
    if source.kind != "local_path":
        raise LaunchError(
            "MODEL_SOURCE_UNSUPPORTED",
            f"this agent runs models from local paths, and {assignment.deployment} has {source.kind}; "
            "copy the model to the node and deploy it by its path",
            final=True,
        )
    path, _ = place_of(Path(source.path))
    if not path.is_absolute():
        raise LaunchError("MODEL_NOT_FOUND", f"{path} is not an absolute path on this node", final=True)
    try:
        path.stat()
    except PermissionError as error:
        raise LaunchError("MODEL_UNREADABLE", _unreadable(path)) from error
    except (OSError, ValueError) as error:
        raise LaunchError(
            "MODEL_NOT_FOUND", f"{path} does not exist on this node; copy it there, or correct the deployment's path"
        ) from error
    if not os.access(path, os.R_OK):
        raise LaunchError("MODEL_UNREADABLE", _unreadable(path))
    return path


def _file_below(folder: Path, files: Sequence[str]) -> Path:
    first = Path(files[0] if files else "")
    path = _below(folder, first)
    if path is None:
        raise LaunchError(
            "MODEL_NOT_FOUND",
            f"{folder} holds no model file {str(first)!r} any more; deploy the path of the file itself",
        )
    return path


def _below(folder: Path, file: Path) -> Path | None:
    """Return the path of a file in a folder; None where it is not there, or would lie outside."""
    if file.is_absolute() or ".." in file.parts or not (folder / file).is_file():
        return None
    return folder / file


def _unreadable(path: Path) -> str:
    return f"{path} may not be read by the agent's user (uid {os.getuid()}); give it read permission"
