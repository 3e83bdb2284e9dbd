"""Facts that hubs gave, by what they are facts of. In memory, and in files that outlive the controller."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import threading
from collections import OrderedDict
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import msgspec

from motorpool_controller.domain.hub_files import HubFile
from motorpool_formats.facts import ModelFacts

KEPT_IN_MEMORY = 256
KEPT_ON_DISK = 2_000
MOST_ENTRY_BYTES = 8 << 20

READERS = f"{version('motorpool-formats')}/2"
"""What read the facts. Raise the number behind the slash when readers come to say something else of the same bytes."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """What facts are of: content that never changes, or (an empty commit) what a revision was when last looked at."""

    hub: str
    endpoint: str
    repository: str
    commit: str = ""
    revision: str = ""
    file: str = ""

    @property
    def name(self) -> str:
        """The name of its file."""
        return hashlib.sha256(msgspec.json.encode(self)).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """What is kept of a key: the facts and what is fetched of it, or the commit that a revision stood for."""

    facts: ModelFacts | None = None
    commit: str = ""
    files: tuple[HubFile, ...] = ()


class _Stored(msgspec.Struct, forbid_unknown_fields=True):
    """One file."""

    readers: str
    key: Key
    digest: str
    entry: msgspec.Raw


class FactsCache:
    """A bounded cache; what cannot be read, or was written by other readers, is a miss. Any thread may use it."""

    def __init__(self, directory: Path | None) -> None:
        self._directory = directory
        self._memory: OrderedDict[Key, Entry] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Key) -> Entry | None:
        """Return what is kept; None when nothing is."""
        with self._lock:
            entry = self._memory.get(key)
            if entry is not None:
                self._memory.move_to_end(key)
                return entry
        entry = self._read(key)
        if entry is not None:
            self._remember(key, entry)
        return entry

    def put(self, key: Key, entry: Entry) -> None:
        """Keep something. A disk that takes nothing costs the next controller a look-up, and nothing else."""
        self._remember(key, entry)
        if self._directory is None:
            return
        body = msgspec.json.encode(entry)
        stored = _Stored(readers=READERS, key=key, digest=_digest(body), entry=msgspec.Raw(body))
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            _replace(self._directory / f"{key.name}.json", msgspec.json.encode(stored))
            self._trim(self._directory)
        except OSError as error:
            log.warning("facts not kept on disk", extra={"directory": self._directory, "error": str(error)})

    def _remember(self, key: Key, entry: Entry) -> None:
        with self._lock:
            self._memory[key] = entry
            self._memory.move_to_end(key)
            while len(self._memory) > KEPT_IN_MEMORY:
                self._memory.popitem(last=False)

    def _read(self, key: Key) -> Entry | None:
        if self._directory is None:
            return None
        path = self._directory / f"{key.name}.json"
        try:
            with path.open("rb") as file:
                written = file.read(MOST_ENTRY_BYTES + 1)
        except OSError:  # most often: it is not there
            return None
        try:
            stored = msgspec.json.decode(written, type=_Stored)
            if (stored.readers, stored.key, stored.digest) == (READERS, key, _digest(bytes(stored.entry))):
                return msgspec.json.decode(stored.entry, type=Entry)
            why = "it is of other readers, of another key, or was changed"
        except (msgspec.DecodeError, msgspec.ValidationError, UnicodeDecodeError, RecursionError) as error:
            why = str(error)
        log.warning("kept facts not used", extra={"file": path, "why": why})
        with contextlib.suppress(OSError):
            path.unlink()
        return None

    def _trim(self, directory: Path) -> None:
        """Delete the files that were written first, once there are too many."""
        with os.scandir(directory) as entries:
            found = [entry for entry in entries if entry.name.endswith(".json")]
        for entry in sorted(found, key=_written)[: max(0, len(found) - KEPT_ON_DISK)]:
            with contextlib.suppress(OSError):
                Path(entry.path).unlink()


def _replace(path: Path, content: bytes) -> None:
    """Write a file that is there whole or not at all."""
    # One name for all writers of a key: what two write at once into it fails its digest, and is a miss.
    beside = path.with_suffix(".tmp")
    beside.write_bytes(content)
    beside.replace(path)


def _written(entry: os.DirEntry[str]) -> int:
    try:
        return entry.stat().st_mtime_ns
    except OSError:  # another one deleted it
        return 0


def _digest(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()
