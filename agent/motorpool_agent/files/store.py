"""Model files on disk: content by digest, a folder of links a model, and a record that is written last.

``content/NAME`` is whole and was verified, ``content/NAME.part`` is what has come so far; ``folders/ID`` is what
engines are given; ``wanted/ID.json`` says what was begun, ``records/ID.json`` what is complete. It blocks.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import shutil
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from motorpool_agent.reconcile.assignment import Download, HubFile, ModelSource
from motorpool_agent.reconcile.observation import FilesState, ModelFiles
from motorpool_agent.state.directory import DataDirectoryLock
from motorpool_agent.state.errors import ModelFilesError
from motorpool_agent.state.files import sync_directory, write_durably

PART = ".part"
_NO_LINKS = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK, errno.ENOSYS, errno.EXDEV})


class Record(msgspec.Struct, frozen=True):
    """What is wanted or complete of a model; ``etag`` is of this download of it."""

    source: ModelSource
    commit: str
    files: tuple[HubFile, ...]
    create_time: datetime
    etag: str

    @property
    def download(self) -> Download:
        """What it is a record of."""
        return Download(source=self.source, commit=self.commit, files=self.files)

    def contents(self) -> Iterator[tuple[str, HubFile]]:
        """Yield the names under which its content is kept, with the files."""
        files_id = self.download.files_id
        return ((_name(files_id, file), file) for file in self.files)


@dataclass(frozen=True, slots=True)
class Missing:
    """A file that is to be fetched: where it goes, and how much of it is there."""

    file: HubFile
    path: Path
    done_bytes: int

    @property
    def left_bytes(self) -> int:
        """Bytes that are still to come."""
        return self.file.size_bytes - self.done_bytes


class FileStore:
    """A directory of model files, of one agent at a time."""

    def __init__(self, directory: Path) -> None:
        self._root = directory.absolute()
        self._content = self._root / "content"
        self._folders = self._root / "folders"
        self._records = self._root / "records"
        self._wanted = self._root / "wanted"
        self._lock: DataDirectoryLock | None = None

    @property
    def directory(self) -> Path:
        """Where it is."""
        return self._root

    def open(self) -> None:
        """Take the directory; raise a StateError if another agent has it. The kernel's lock ends with the process."""
        self._lock = self._lock or DataDirectoryLock(self._root)
        for folder in (self._content, self._folders, self._records, self._wanted):
            folder.mkdir(exist_ok=True)
        self.sweep()

    def close(self) -> None:
        """Give the directory back."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def free_bytes(self) -> int:
        """Return what this user may still write on the disk."""
        found = os.statvfs(self._root)
        return found.f_bavail * found.f_frsize

    def folder(self, files_id: str) -> Path:
        """Return what engines are given of a model."""
        return self._folders / files_id

    def is_complete(self, download: Download) -> bool:
        """Return whether all of it is there: a record says so, and no file was taken away or cut since."""
        folder = self.folder(download.files_id)
        return _read(self._records / f"{download.files_id}.json") is not None and all(
            _size(folder / file.path) == file.size_bytes for file in download.files
        )

    def begin(self, download: Download) -> list[Missing]:
        """Write down that it is wanted, and return what is to be fetched of it."""
        files_id = download.files_id
        # One whose files were taken away is no record of anything.
        (self._records / f"{files_id}.json").unlink(missing_ok=True)
        if _read(self._wanted / f"{files_id}.json") is None:
            record = Record(
                source=download.source,
                commit=download.commit,
                files=download.files,
                create_time=datetime.now(UTC),
                etag=uuid.uuid4().hex[:12],
            )
            write_durably(self._wanted / f"{files_id}.json", msgspec.json.encode(record), mode=0o644)
        return list(self._missing(download))

    def finish(self, download: Download) -> None:
        """Make its folder of content that is all there, and then its record: last, when the rest is on the disk."""
        files_id = download.files_id
        draft, folder = self._folders / f".{files_id}.new", self.folder(files_id)
        for stale in (draft, folder):
            if stale.exists():
                shutil.rmtree(stale)
        draft.mkdir()
        made = {draft}
        for file in download.files:
            place = draft / file.path
            place.parent.mkdir(parents=True, exist_ok=True)
            made.update(draft / parent for parent in Path(file.path).parents)
            _link(self._content / _name(files_id, file), place)
        for each in made:
            sync_directory(each)
        sync_directory(self._content)
        draft.rename(folder)
        sync_directory(self._folders)
        record = _read(self._wanted / f"{files_id}.json")
        if record is None:
            raise ModelFilesError(f"{self._wanted} lost the record of {files_id} meanwhile; leave that folder alone")
        write_durably(self._records / f"{files_id}.json", msgspec.json.encode(record), mode=0o644)
        (self._wanted / f"{files_id}.json").unlink()

    def used(self, files_id: str) -> None:
        """Note that an instance is launched with it."""
        (self._records / f"{files_id}.used").touch()

    def delete(self, files_id: str, etag: str) -> int:
        """Delete what is there of a model, and return the bytes that came free: what others have too stays."""
        paths = [self._records / f"{files_id}.json", self._wanted / f"{files_id}.json"]
        records = [record for path in paths if (record := _read(path)) is not None]
        if not records:
            return 0
        if etag not in {record.etag for record in records}:
            raise ModelFilesError(
                f"{files_id} was fetched anew since it was listed; list it again", reason="ETAG_MISMATCH"
            )
        before = self.free_bytes()
        # First what says that it is there: killed from here on, what is left over is swept by the next one.
        for path in (*paths, self._records / f"{files_id}.used"):
            path.unlink(missing_ok=True)
        sync_directory(self._records)
        if self.folder(files_id).exists():
            shutil.rmtree(self.folder(files_id))
        freed = self.sweep()
        return freed or max(0, self.free_bytes() - before)

    def sweep(self) -> int:
        """Delete what no record names: remains of deletions and drafts. Return how many bytes those had."""
        named = dict(each for folder in (self._records, self._wanted) for each in self._read_all(folder))
        kept = {name for record in named.values() for name, _ in record.contents()}
        for folder in self._folders.iterdir():
            if folder.name not in named:
                shutil.rmtree(folder, ignore_errors=True)
        freed = 0
        for path in self._content.iterdir():
            found = path.stat()
            if path.name.removesuffix(PART) not in kept and found.st_nlink == 1:
                path.unlink()
                freed += found.st_size
        return freed

    def complete(self) -> dict[str, Record]:
        """Return the records of what is complete, by id. Nothing has to be taken for that."""
        found = self._read_all(self._records)
        return {files_id: record for files_id, record in found if self.is_complete(record.download)}

    def listed(self) -> dict[str, ModelFiles]:
        """Return what is there, by id; what is being fetched is told as a part."""
        found: dict[str, ModelFiles] = {}
        for files_id, record in self._read_all(self._wanted):
            found[files_id] = self._shown(files_id, record, FilesState.PARTIAL)
        for files_id, record in self._read_all(self._records):
            if self.is_complete(record.download):
                found[files_id] = self._shown(files_id, record, FilesState.COMPLETE)
            else:
                found.setdefault(files_id, self._shown(files_id, record, FilesState.PARTIAL))
        return found

    def _shown(self, files_id: str, record: Record, state: FilesState) -> ModelFiles:
        download = record.download
        left = 0 if state is FilesState.COMPLETE else sum(each.left_bytes for each in self._missing(download))
        return ModelFiles(
            files_id=files_id,
            source=record.source,
            commit=record.commit,
            state=state,
            total_bytes=download.total_bytes,
            done_bytes=download.total_bytes - left,
            folder=str(self.folder(files_id)),
            create_time=record.create_time,
            use_time=_time(self._records / f"{files_id}.used"),
            etag=record.etag,
        )

    def _missing(self, download: Download) -> Iterator[Missing]:
        seen: set[str] = set()
        for file in download.files:
            name = _name(download.files_id, file)
            path = self._content / name
            if name not in seen and _size(path) != file.size_bytes:
                here = _size(path.with_name(name + PART))
                yield Missing(file, path, here if here is not None and here <= file.size_bytes else 0)
            seen.add(name)

    def _read_all(self, folder: Path) -> Iterator[tuple[str, Record]]:
        for path in sorted(folder.glob("*.json")):
            record = _read(path)
            if record is not None and record.download.files_id == path.stem:
                yield path.stem, record


def _name(files_id: str, file: HubFile) -> str:
    """Return under which name content is kept: its digest's, and without one that of the file itself."""
    if file.sha256:
        return f"sha256-{file.sha256}"
    if file.git_sha1:
        return f"git-{file.git_sha1}"
    return f"name-{hashlib.sha256(f'{files_id}/{file.path}'.encode('utf-8', 'surrogatepass')).hexdigest()[:40]}"


def _link(content: Path, place: Path) -> None:
    try:
        os.link(content, place)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        # A disk without links: no other model shares it then.
        content.rename(place)


def _read(path: Path) -> Record | None:
    """Return a record; what is not there or cannot be read is none, and is fetched again."""
    with contextlib.suppress(OSError, msgspec.DecodeError, UnicodeDecodeError):
        return msgspec.json.decode(path.read_bytes(), type=Record)
    return None


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None


def _time(path: Path) -> datetime | None:
    try:
        return datetime.fromtimestamp(path.stat().st_mtime, UTC)
    except OSError:
        return None
