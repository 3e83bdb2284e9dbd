"""Fetches files in a process of its own: ``python -I -m motorpool_agent.files.child``, the request on standard input.

The first line is the request; the rest of the input never comes: it ends when the agent does, however that dies, and
then this process ends at once. A line of JSON on standard output says how far it is; the last one, how it ended.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from pathlib import Path

import msgspec

from motorpool_agent.files.http import FetchError, Hub, opener
from motorpool_agent.files.transfer import Transfer

REPORT_SECONDS = 0.5
AT_ONCE = 4
PART = ".part"


class Wanted(msgspec.Struct, frozen=True):
    """A file to be fetched into ``path``."""

    url: str
    title: str
    path: str
    size_bytes: int
    sha256: str = ""
    git_sha1: str = ""


class Request(msgspec.Struct, frozen=True):
    """What is to be fetched, and of whom. It holds the token, so it goes where neither `ps` nor the disk shows it."""

    hub: Hub
    files: tuple[Wanted, ...]


class Progress(msgspec.Struct, frozen=True):
    """How far it is: bytes of these files that are there. ``end`` is "" until the last, then "whole" or "failed"."""

    done_bytes: int
    message: str = ""
    end: str = ""
    reason: str = ""


def main() -> int:
    """Fetch, and return 0 once all is whole."""
    request = msgspec.json.decode(sys.stdin.buffer.readline(), type=Request)
    threading.Thread(target=_leash, daemon=True).start()
    director = opener()
    transfers = [
        Transfer(
            hub=request.hub,
            url=file.url,
            title=file.title,
            path=Path(file.path),
            part=Path(file.path + PART),
            size_bytes=file.size_bytes,
            sha256=file.sha256,
            git_sha1=file.git_sha1,
            opener=director,
        )
        for file in request.files
    ]
    pool = ThreadPoolExecutor(AT_ONCE)
    # The largest first: the many small ones then fill what is left of the time.
    ordered = sorted(transfers, key=lambda each: -each.size_bytes)
    running = [pool.submit(each.run) for each in ordered]
    while True:
        done, going = wait(running, timeout=REPORT_SECONDS, return_when=FIRST_EXCEPTION)
        failed = next((error for each in running if each in done and (error := each.exception())), None)
        if failed is not None or not going:
            break
        _tell(Progress(_done(transfers), next((each.message for each in ordered if each.message), "")))
    return _end(transfers, running, failed)


def _end(transfers: Sequence[Transfer], running: Sequence[Future[None]], failed: BaseException | None) -> int:
    for each in running:
        each.cancel()
    if failed is None:
        _sync_folders(transfers)
        _tell(Progress(_done(transfers), end="whole"))
        return 0
    reason = failed.reason if isinstance(failed, FetchError) else "HOST_ERROR"
    _tell(Progress(_done(transfers), message=str(failed), end="failed", reason=reason))
    # Not after the other threads, which may wait for a hub for long: what they have is on the disk.
    os._exit(1)


def _sync_folders(transfers: Sequence[Transfer]) -> None:
    for folder in {each.path.parent for each in transfers}:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        os.fsync(descriptor)
        os.close(descriptor)


def _done(transfers: Sequence[Transfer]) -> int:
    return sum(each.done_bytes for each in transfers)


def _tell(progress: Progress) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(progress) + b"\n")
    sys.stdout.buffer.flush()


def _leash() -> None:
    """End this process with the agent. The descriptor itself: a lock of the buffer would hold up the exit."""
    while os.read(0, 4096):
        pass
    os._exit(3)


if __name__ == "__main__":
    sys.exit(main())
