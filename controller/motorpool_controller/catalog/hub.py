"""What every hub can be asked, and how a question is asked again when it fails for now."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Protocol, TypeVar

from motorpool_controller.catalog.budget import RETRY_SECONDS, Budget
from motorpool_controller.catalog.remote import Fetch, RemoteFolder
from motorpool_controller.domain.errors import UnavailableError
from motorpool_controller.domain.hub_files import HubFile

T = TypeVar("T")

MOST_WAIT_SECONDS = 15.0
"""How long a busy hub may have us wait before another try; one that wants more is reported, with when to come back."""

MOST_BREAKS = 5
"""How often one read may be broken off before it is given up, though each time something came."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Revision:
    """One revision of a repository: what lies in it, and how to read that.

    ``name`` is what errors call it after the repository. ``commit`` names the content, and never comes to mean another.
    """

    name: str
    commit: str
    files: tuple[HubFile, ...]
    fetch: Fetch

    @property
    def folder(self) -> RemoteFolder:
        """Its files."""
        return RemoteFolder(self.name, {file.path: file.size_bytes for file in self.files}, self.fetch)


class Hub(Protocol):
    """A place that has repositories. Blocks; raises DomainErrors that say what to do."""

    @property
    def endpoint(self) -> str:
        """Its address: the only host that is asked, and what it redirects to."""

    @property
    def offline(self) -> bool:
        """Whether it must not be asked."""

    def pinned(self, revision: str) -> bool:
        """Whether a revision names a commit, which never comes to mean another content."""

    def find(self, repository: str, revision: str, budget: Budget) -> Revision:
        """Return what lies in a repository at a revision; an empty one is the hub's default."""

    def close(self) -> None:
        """Let its connections go."""


def persistently(ask: Callable[[], T], budget: Budget) -> T:
    """Return what ``ask`` gives; what fails for now is asked again, if the hub allows it soon and time remains."""
    for pause in budget.pauses():
        try:
            return ask()
        except UnavailableError as fault:
            wished = fault.retry_seconds if fault.reason == "HUB_BUSY" and fault.retry_seconds else pause
            if fault.reason not in _PASSING or wished > MOST_WAIT_SECONDS or not budget.wait(wished):
                raise
    return ask()


_PASSING = {"HUB_BUSY", "HUB_FAILED", "HUB_UNREACHABLE"}


def whole(ask: Callable[[int, int], bytes], budget: Budget, offset: int, count: int) -> bytes:
    """Return ``count`` bytes from ``offset``; where the hub breaks off, the rest is asked for, and not all of it again.

    ``ask`` takes an offset and a count, and returns at least one byte or raises.
    """
    pieces: list[bytes] = []
    have = 0
    breaks = 0
    while have < count:
        piece = persistently(partial(ask, offset + have, count - have), budget)
        pieces.append(piece)
        have += len(piece)
        if have < count:
            breaks += 1
            if not piece or breaks > MOST_BREAKS:
                raise UnavailableError(
                    "HUB_UNREACHABLE",
                    f"the hub broke off its answer {breaks} times, {have} bytes of {count} into it; try again later",
                    retry_seconds=RETRY_SECONDS,
                )
    return b"".join(pieces)
