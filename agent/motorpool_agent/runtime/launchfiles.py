"""Files that an engine is told by: written into the instance's folder, and mounted where one in a container looks."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

from motorpool_agent.runtime.errors import LaunchError
from motorpool_sdk.backend import Launch

_FOLDER = "launch"
_MODE, _SECRET_MODE = 0o640, 0o600
_MOST_BYTES = 4 * 1024 * 1024


def folder_of(directory: Path) -> Path:
    """Return where an instance's files lie."""
    return directory / _FOLDER


def write(directory: Path, launch: Launch, model: Path) -> Mapping[str, str]:
    """Write a launch's files below the instance's folder and return what to mount: host path by container path.

    Of a file that goes onto one of the model's, the model's keys are taken, and those of the text win.
    """
    folder = folder_of(directory)
    mounts: dict[str, str] = {}
    for number, file in enumerate(launch.files):
        text = file.text if file.onto is None else _merged(file.text, _within(file.onto, model))
        here = file.path.parent == folder
        if not here and not launch.image:
            raise LaunchError(
                "LAUNCH_INVALID", f"the plugin writes {file.path}, which is not in {folder}; report it there"
            )
        path = file.path if here else folder / f"{number}-{file.path.name}"
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            path.unlink(missing_ok=True)
            # Others may read none of them: engines refuse a configuration that they could.
            mode = _SECRET_MODE if file.secret else _MODE
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
            with os.fdopen(descriptor, "w", encoding="utf-8") as opened:
                opened.write(text)
        except OSError as error:
            raise LaunchError(
                "STATE_UNWRITABLE", f"{path} cannot be written: {error}; free space or permissions"
            ) from error
        mounts[str(file.path)] = str(path)
    return mounts


def _within(path: Path, model: Path) -> Path:
    """Return the path of a file of the model's folder; a plugin names no other."""
    folder = model if model.is_dir() else model.parent
    if ".." in path.parts or folder not in path.parents:
        raise LaunchError("LAUNCH_INVALID", f"the plugin changes {path}, which is not in {folder}; report it there")
    return path


def _merged(text: str, path: Path) -> str:
    try:
        with path.open("rb") as opened:
            content = opened.read(_MOST_BYTES + 1)
        found = json.loads(content) if len(content) <= _MOST_BYTES else None
    except FileNotFoundError:
        found = {}
    except (OSError, ValueError, RecursionError) as error:
        raise LaunchError("MODEL_CORRUPT", f"{path} cannot be read as JSON: {error}; copy the model again") from error
    if not isinstance(found, dict):
        raise LaunchError("MODEL_CORRUPT", f"{path} holds no JSON object below 4 MiB; copy the model again")
    return json.dumps({**found, **json.loads(text)}, indent=2) + "\n"
