"""Downloads: one for all who want the same, in a child process, and nothing deleted that somebody has."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

import msgspec

from motorpool_agent import metrics
from motorpool_agent.files.child import Progress, Request, Wanted
from motorpool_agent.files.hubs import Hubs
from motorpool_agent.files.store import FileStore, Missing
from motorpool_agent.reconcile.assignment import Download
from motorpool_agent.reconcile.observation import FilesState, ModelFiles
from motorpool_agent.state.errors import DataDirectoryError, ModelFilesError

AT_ONCE = 3
_LAST_LINES = 8
_GIB = 1 << 30
# The child gets what it needs on its standard input, and imports nothing from elsewhere.
_LEFT_OUT = frozenset({"HF_TOKEN", "MODELSCOPE_API_TOKEN", "PYTHONPATH", "PYTHONHOME", "PYTHONSTARTUP"})

Heard = Callable[[str, int, int], None]
"""Is told what is being done, the bytes that are there, and those wished."""

_Result = TypeVar("_Result")

log = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class _Going:
    """A download under way: who waits for it, and what of it the disk has still to take."""

    download: Download
    heard: list[Heard] = field(default_factory=list)
    task: asyncio.Task[None] | None = None
    message: str = ""
    left_bytes: int = 0
    promised: bool = False

    def tell(self, message: str, left_bytes: int) -> None:
        metrics.DOWNLOADED.add(by=max(0, self.left_bytes - left_bytes))
        self.message, self.left_bytes = message, left_bytes
        for heard in self.heard:
            heard(message, self.download.total_bytes - left_bytes, self.download.total_bytes)


class Downloads:
    """The model files of this node.

    ``reserved_bytes`` of the disk stay free; ``notify`` is called, in the loop, whenever ``known`` changed.
    """

    def __init__(self, store: FileStore, hubs: Hubs, *, reserved_bytes: int, notify: Callable[[], None]) -> None:
        self._store = store
        self._hubs = hubs
        self._reserved_bytes = reserved_bytes
        self._notify = notify
        self._going: dict[str, _Going] = {}
        self._known: Mapping[str, ModelFiles] = {}
        self._open = False
        self._turns = asyncio.Semaphore(AT_ONCE)
        self._disk = asyncio.Lock()
        """Held by who changes what records say: folders are made and swept one at a time."""

    async def open(self) -> None:
        """Take the directory and look what is in it. One that cannot be had costs downloads, and not the agent."""
        try:
            await self._opened()
        except ModelFilesError as error:
            log.warning("models cannot be kept: %s", error)

    async def close(self) -> None:
        """End what is under way; it goes on where it was, some other time."""
        tasks = [going.task for going in self._going.values() if going.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._store.close()

    @property
    def directory(self) -> Path:
        """Where models are kept."""
        return self._store.directory

    def folder(self, files_id: str) -> Path:
        """Return where a model is, or would be."""
        return self._store.folder(files_id)

    @property
    def known(self) -> Mapping[str, ModelFiles]:
        """What is there of models, by id."""
        return {
            files_id: replace(files, state=FilesState.DOWNLOADING) if files_id in self._going else files
            for files_id, files in self._known.items()
        }

    async def fetch(self, download: Download, heard: Heard) -> Path:
        """Return the folder of a model once all of it is there; raise ModelFilesError if it cannot be had.

        Who waits last ends the download by being cancelled; what has come stays.
        """
        files_id = download.files_id
        await self._opened()
        if not await self._on_disk(lambda: self._store.is_complete(download)):
            await self._join(download, heard)
        await asyncio.to_thread(self._store.used, files_id)
        await self._look()
        return self._store.folder(files_id)

    async def delete(self, files_id: str, etag: str, users: Callable[[], Sequence[str]]) -> int:
        """Delete what is there of a model that nobody uses; return the bytes that came free."""

        def delete() -> int:
            # Whoever comes to use it now looks for it after this.
            if who := users() or (["a download"] if files_id in self._going else []):
                raise ModelFilesError(f"{files_id} stays: {', '.join(who)} has it", reason="FILES_IN_USE")
            return self._store.delete(files_id, etag)

        await self._opened()
        try:
            freed = await self._on_disk(delete)
        except OSError as error:
            raise ModelFilesError(
                f"{files_id} cannot be deleted: {error}; see to the folder {self._store.directory}",
                reason="FILES_NOT_DELETED",
            ) from error
        log.info("model files deleted", extra={"files": files_id, "freed_bytes": freed})
        await self._look()
        return freed

    async def _opened(self) -> None:
        """Take the directory, unless that is done."""
        try:
            if not self._open:
                await self._on_disk(self._store.open)
                self._open = True
                await self._look()
        except (OSError, DataDirectoryError) as error:
            raise ModelFilesError(
                f"models are kept in {self._store.directory} (model_dir), which cannot be used: {error}",
                reason="HOST_ERROR",
            ) from error

    async def _join(self, download: Download, heard: Heard) -> None:
        files_id = download.files_id
        going = self._going.get(files_id)
        if going is None:
            going = self._going[files_id] = _Going(download, left_bytes=download.total_bytes)
            going.task = asyncio.create_task(self._run(going), name=f"download {files_id}")
            going.task.add_done_callback(lambda _: self._landed(files_id))
        elif going.message:
            heard(going.message, download.total_bytes - going.left_bytes, download.total_bytes)
        going.heard.append(heard)
        assert going.task is not None  # noqa: S101  # set above
        try:
            await asyncio.shield(going.task)
        except asyncio.CancelledError:
            if going.task.cancelled():
                raise ModelFilesError(f"the download of {files_id} was ended", reason="DOWNLOAD_ENDED") from None
            raise
        finally:
            going.heard.remove(heard)
            if not going.heard and not going.task.done():
                going.task.cancel()
                await asyncio.wait({going.task})

    def _landed(self, files_id: str) -> None:
        self._going.pop(files_id, None)
        self._notify()

    async def _run(self, going: _Going) -> None:
        title = going.download.source.repository
        if self._turns.locked():
            going.tell(f"{title} waits for its turn: {AT_ONCE} models are being downloaded", going.left_bytes)
        try:
            async with self._turns:
                missing = await self._on_disk(lambda: self._store.begin(going.download))
                await self._look()
                self._room_for(going, missing)
                going.tell(f"downloading {title}", going.left_bytes)
                if missing:
                    await self._fetch(going, missing)
                await self._on_disk(lambda: self._store.finish(going.download))
        except OSError as error:
            raise ModelFilesError(f"{self._store.directory}: {error}; see to that disk", reason="HOST_ERROR") from error
        finally:
            await self._look()
        log.info("model files complete", extra={"files": going.download.files_id})

    def _room_for(self, going: _Going, missing: Sequence[Missing]) -> None:
        """Raise if the disk has no room for what is to come beside what others are still to bring, and the reserve."""
        left = sum(each.left_bytes for each in missing)
        others = sum(each.left_bytes for each in self._going.values() if each is not going and each.promised)
        free = self._store.free_bytes()
        short = left + others + self._reserved_bytes - free
        going.left_bytes = left
        if left and short > 0:
            promised = f", {_gib(others)} of it promised to other downloads" if others else ""
            raise ModelFilesError(
                f"{going.download.source.repository} needs {_gib(left)} more in {self._store.directory}, where "
                f"{_gib(free)} are free{promised}, and {_gib(self._reserved_bytes)} stay so (reserved_disk): "
                f"{_gib(short)} are missing; `motorpool files prune` makes room, or another disk does (model_dir)",
                reason="DISK_FULL",
            )
        going.promised = True

    async def _fetch(self, going: _Going, missing: Sequence[Missing]) -> None:
        download = going.download
        request = Request(
            hub=self._hubs.hub(download),
            files=tuple(
                Wanted(
                    url=self._hubs.url(download, each.file),
                    title=each.file.path,
                    path=str(each.path),
                    size_bytes=each.file.size_bytes,
                    sha256=each.file.sha256,
                    git_sha1=each.file.git_sha1,
                )
                for each in missing
            ),
        )
        total = sum(each.file.size_bytes for each in missing)
        last = Progress(0, message="it told nothing", end="failed", reason="DOWNLOAD_FAILED")
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-I", "-m", "motorpool_agent.files.child"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={name: value for name, value in os.environ.items() if name not in _LEFT_OUT},
            start_new_session=True,
        )
        complaints: deque[str] = deque(maxlen=_LAST_LINES)
        assert process.stdin and process.stdout and process.stderr  # noqa: S101, PT018  # they are PIPEs
        listening = asyncio.create_task(_listen(process.stderr, complaints))
        try:
            process.stdin.write(msgspec.json.encode(request) + b"\n")
            with contextlib.suppress(ConnectionError):
                await process.stdin.drain()
            async for line in process.stdout:
                last = msgspec.json.decode(line, type=Progress)
                words = f"downloading {download.source.repository}"
                going.tell(last.message or words, total - last.done_bytes)
            await process.wait()
            await listening
        except (msgspec.DecodeError, ValueError) as error:
            complaints.append(str(error))
        finally:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                await process.wait()
            process.stdin.close()
            listening.cancel()
        if last.end == "whole":
            return
        if last.end == "failed" and last.reason != "DOWNLOAD_FAILED":
            raise ModelFilesError(f"{download.source.repository}: {last.message}", reason=last.reason)
        raise ModelFilesError(
            f"the download of {download.source.repository} ended with status {process.returncode}: "
            f"{' | '.join(complaints) or 'no output'}; it goes on where it was",
            reason="DOWNLOAD_FAILED",
        )

    async def _on_disk(self, work: Callable[[], _Result]) -> _Result:
        """Return what is done in a thread, alone; who is cancelled meanwhile waits for it all the same."""
        async with self._disk:
            task = asyncio.ensure_future(asyncio.to_thread(work))
            try:
                return await asyncio.shield(task)
            except asyncio.CancelledError:
                await asyncio.wait({task})
                raise

    async def _look(self) -> None:
        self._known = await asyncio.to_thread(self._store.listed)
        self._notify()


async def _listen(stream: asyncio.StreamReader, complaints: deque[str]) -> None:
    async for raw in stream:
        if line := raw.decode(errors="replace").strip()[:300]:
            complaints.append(line)


def _gib(size_bytes: int) -> str:
    return f"{size_bytes / _GIB:.2f} GiB"
