"""Durable handles: one directory per assignment, whose ``handle.json`` is on disk before anything is executed."""

from __future__ import annotations

import re
import shutil
import stat
from dataclasses import dataclass
from pathlib import Path

import msgspec

from motorpool_agent import failpoints
from motorpool_agent.reconcile.handle import Handle
from motorpool_agent.state import attempts
from motorpool_agent.state.errors import HandleError
from motorpool_agent.state.files import sync_directory, write_durably

FORMAT_VERSION = 1
FILE_NAME = "handle.json"
_TRASH_PREFIX = ".trash-"
_NO_HOLDINGS = frozenset({f".{FILE_NAME}.new", attempts.FILE_NAME, f".{attempts.FILE_NAME}.new"})
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Version:
    version: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _File:
    version: int
    handle: Handle


class Handles:
    """The handles below ``<data-dir>/instances``."""

    def __init__(self, data_dir: Path) -> None:
        self.root = data_dir.absolute() / "instances"

    def directory(self, assignment_id: str) -> Path:
        """Return the directory of an assignment, which need not exist."""
        if not _ID.fullmatch(assignment_id):
            raise HandleError(
                f"assignment id {assignment_id[:80]!r} cannot name a directory; the controller must send letters, "
                "digits, '.', '_' and '-' only, at most 128",
                reason="ASSIGNMENT_INVALID",
            )
        return self.root / assignment_id

    def create(self, assignment_id: str) -> Path:
        """Make an assignment's directory, for the owner only, and return it."""
        directory = self.directory(assignment_id)
        if not directory.is_dir():
            directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            sync_directory(self.root)
            failpoints.reach("directory.made")
        return directory

    def write(self, handle: Handle) -> None:
        """Put a handle on disk; when this returns, no crash loses it."""
        directory = self.create(handle.assignment.assignment_id)
        content = msgspec.json.encode(_File(version=FORMAT_VERSION, handle=handle))
        write_durably(directory / FILE_NAME, content, drafted="handle.drafted")
        failpoints.reach("handle.written")

    def read(self, assignment_id: str) -> Handle:
        """Return a handle; raise ``HandleError`` if it cannot be read, is of another version or of another id."""
        path = self.directory(assignment_id) / FILE_NAME
        try:
            content = path.read_bytes()
            version = msgspec.json.decode(content, type=_Version).version
            if version != FORMAT_VERSION:
                raise HandleError(
                    f"{path} has version {version}, and this agent knows {FORMAT_VERSION}; run the agent that "
                    "wrote it, or remove the instance with `motorpool delete`"
                )
            handle = msgspec.json.decode(content, type=_File).handle
        except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise HandleError(
                f"{path} cannot be read ({error}); its process, if there is one, is left alone until the instance "
                "is removed with `motorpool delete`"
            ) from error
        if handle.assignment.assignment_id != assignment_id:
            raise HandleError(
                f"{path} is the handle of {handle.assignment.assignment_id}; move the directory back to its name"
            )
        return handle

    def read_all(self) -> dict[str, Handle | HandleError]:
        """Return what stands on disk by assignment id, unreadable ones as their error; sweep removed ones' remains."""
        found: dict[str, Handle | HandleError] = {}
        if not self.root.is_dir():
            return found
        for entry in sorted(self.root.iterdir()):
            if entry.name.startswith(_TRASH_PREFIX):
                shutil.rmtree(entry, ignore_errors=True)
            elif _ID.fullmatch(entry.name):
                try:
                    handle = self._read_or_sweep(entry)
                except HandleError as error:
                    found[entry.name] = error
                else:
                    if handle is not None:
                        found[entry.name] = handle
        return found

    def _read_or_sweep(self, directory: Path) -> Handle | None:
        try:
            if not directory.is_dir():
                return None
            if not (directory / FILE_NAME).exists() and _holds_nothing(directory):
                # Made for a launch that never came as far as its handle: nothing was executed.
                shutil.rmtree(directory, ignore_errors=True)
                return None
        except OSError as error:
            raise HandleError(
                f"{directory} cannot be looked at ({error}); let the agent's user read it, then restart the agent"
            ) from error
        return self.read(directory.name)

    def remove(self, assignment_id: str) -> None:
        """Remove an assignment's directory; a crash in between leaves nothing that looks like a handle."""
        directory = self.directory(assignment_id)
        trash = self.root / f"{_TRASH_PREFIX}{assignment_id}"
        shutil.rmtree(trash, ignore_errors=True)
        try:
            directory.rename(trash)
        except FileNotFoundError:
            return
        sync_directory(self.root)
        failpoints.reach("directory.trashed")
        shutil.rmtree(trash, ignore_errors=True)
        failpoints.reach("directory.removed")


def _holds_nothing(directory: Path) -> bool:
    """Whether no launch got as far as leaving something in a directory: only empty folders, locks and drafts."""
    for path in directory.rglob("*"):
        mode = path.lstat().st_mode
        # What is told of tries that executed nothing goes with them.
        if stat.S_ISDIR(mode) or path.name in _NO_HOLDINGS:
            continue
        if not stat.S_ISREG(mode) or path.lstat().st_size:
            return False
    return True
