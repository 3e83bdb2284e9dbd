"""What nodes in session fetched of models, and orders to delete some of it. Volatile, as all that only nodes know."""

from __future__ import annotations

import asyncio
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum

from motorpool_controller.domain.workload import ModelSource

ANSWER_WITHIN = timedelta(seconds=60)


class FilesState(StrEnum):
    """How much of a model is on a node."""

    COMPLETE = "complete"
    DOWNLOADING = "downloading"
    PARTIAL = "partial"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFiles:
    """What a node fetched of a model: the proto's message. ``source`` is pinned."""

    files_id: str
    source: ModelSource
    state: FilesState
    total_bytes: int
    done_bytes: int
    folder: str
    etag: str
    create_time: datetime | None = None
    use_time: datetime | None = None
    instances: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class FileOrder:
    """Asks a node to delete what it fetched of a model."""

    query_id: str
    files_id: str
    etag: str
    deadline: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Deleted:
    """A node's answer: what came free, or why nothing did."""

    freed_bytes: int = 0
    error_reason: str = ""
    error_message: str = ""


@dataclass(slots=True)
class _Order:
    order: FileOrder
    done: asyncio.Future[Deleted] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class NodeFiles:
    """Model files by node, as their agents last told, and the orders that are under way.

    ``wake`` has a node told what it is to do.
    """

    def __init__(self, wake: Callable[[str], None]) -> None:
        self._wake = wake
        self._told: dict[str, Mapping[str, ModelFiles]] = {}
        self._orders: defaultdict[str, dict[str, _Order]] = defaultdict(dict)
        self._complete: Mapping[ModelSource, frozenset[str]] | None = None

    def show(self, node: str, files: Iterable[ModelFiles]) -> None:
        """These are all that a node has."""
        told = {each.files_id: each for each in files}
        if self._told.get(node, {}) != told:
            self._told[node] = told
            self._complete = None

    def forget(self, node: str) -> None:
        """The node's session ended, or it was deleted: nobody knows what it has."""
        if self._told.pop(node, None):
            self._complete = None
        for each in self._orders.pop(node, {}).values():
            if not each.done.done():
                message = f"{node} left its session before it answered; list its files again"
                each.done.set_result(Deleted(error_reason="NODE_UNREACHABLE", error_message=message))

    def of(self, node: str) -> Mapping[str, ModelFiles]:
        """Return what a node has, by id."""
        return self._told.get(node, {})

    @property
    def complete(self) -> Mapping[ModelSource, frozenset[str]]:
        """The nodes that have all of a model, by its pinned source."""
        if self._complete is None:
            found: defaultdict[ModelSource, set[str]] = defaultdict(set)
            for node, files in self._told.items():
                for each in files.values():
                    if each.state is FilesState.COMPLETE:
                        found[each.source].add(node)
            self._complete = {source: frozenset(nodes) for source, nodes in found.items()}
        return self._complete

    def orders(self, node: str) -> tuple[FileOrder, ...]:
        """Return what a node is to delete."""
        return tuple(each.order for each in self._orders.get(node, {}).values())

    async def delete(self, node: str, files_id: str, etag: str, now: datetime) -> Deleted:
        """Have a node delete what it fetched of a model, and return what it answers."""
        query_id = uuid.uuid4().hex
        order = FileOrder(query_id=query_id, files_id=files_id, etag=etag, deadline=now + ANSWER_WITHIN)
        made = self._orders[node][query_id] = _Order(order)
        self._wake(node)
        try:
            async with asyncio.timeout(ANSWER_WITHIN.total_seconds()):
                return await made.done
        except TimeoutError:
            return Deleted(error_reason="NODE_UNREACHABLE", error_message=f"{node} did not answer in time")
        finally:
            self._orders[node].pop(query_id, None)
            if not self._orders[node]:
                del self._orders[node]
            self._wake(node)

    def answer(self, node: str, query_id: str, deleted: Deleted) -> None:
        """Take a node's answer."""
        order = self._orders.get(node, {}).get(query_id)
        if order is not None and not order.done.done():
            order.done.set_result(deleted)


def named(source: ModelSource, commit: str) -> ModelSource:
    """Return a source that a node told of as the controller pins it."""
    return replace(source, commit=commit)
