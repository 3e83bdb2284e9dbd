"""Models over the API, before anything runs them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import datetime

import grpc

from motorpool import v1
from motorpool_controller.catalog.catalog import Catalog
from motorpool_controller.catalog.hubs import NAMES
from motorpool_controller.domain.errors import (
    DomainError,
    NotFoundError,
    PreconditionError,
    UnavailableError,
)
from motorpool_controller.domain.names import resource_id, shown
from motorpool_controller.domain.specs import check_source
from motorpool_controller.domain.workload import ModelSource, SourceKind
from motorpool_controller.scheduling.snapshot import Reading
from motorpool_controller.services.convert import fields
from motorpool_controller.services.convert.model import source_of
from motorpool_controller.services.inspections import MOST_CONTEXTS, Found, Wish, inspection
from motorpool_controller.services.views import offers
from motorpool_controller.store.live import Live
from motorpool_controller.store.store import Store, utc_now

PROGRESS_SECONDS = 0.2
ANSWER_SECONDS = 70.0
"""Longer than agents read for, so that their own sentence arrives."""

MOST_NODES = 32
"""Nodes that are asked for a path when none is named."""

MOST_READERS = 64
MAX_CONTEXT_LENGTH = (1 << 31) - 1

_REASONS = {"MODEL_UNREADABLE", "MODEL_FORMAT_UNKNOWN", "MODEL_CORRUPT", "MODEL_INCOMPLETE"}


class ModelService(v1.ModelServiceServicer):
    """Looks at models where they lie."""

    def __init__(self, store: Store, live: Live, catalog: Catalog, *, clock: Callable[[], datetime] = utc_now) -> None:
        self._store = store
        self._live = live
        self._catalog = catalog
        self._clock = clock
        self._readers = 0

    async def InspectModel(  # noqa: N802  # gRPC's name
        self,
        request: v1.InspectModelRequest,
        context: grpc.aio.ServicerContext[v1.InspectModelRequest, v1.InspectModelResponse],
    ) -> AsyncIterator[v1.InspectModelResponse]:
        """Read a model's headers, and say what it needs and which backends can run it."""
        source = source_of(request.source, "source")
        check_source(source, "source")
        wish = _wish(request)
        if self._readers >= MOST_READERS:
            raise UnavailableError(
                "BUSY", f"{self._readers} models are being inspected already; try again later", retry_seconds=5.0
            )
        self._readers += 1
        try:
            if source.kind is SourceKind.LOCAL_PATH:
                yield _progress("nodes")
                found = await self._from_nodes(source, request.node)
            else:
                if request.node:
                    raise fields.invalid("node", "a node is asked for a path alone; leave it out for a hub's model")
                look_up = self._catalog.look_up(source)
                shown_last = None
                while not look_up.done:
                    if look_up.spent != shown_last:
                        shown_last = look_up.spent
                        yield _progress(
                            NAMES[source.kind], shown_last.file, shown_last.requests, shown_last.fetched_bytes
                        )
                    await look_up.wait(PROGRESS_SECONDS)
                known = await look_up.result()
                found = Found(
                    source=source,
                    facts=known.facts,
                    read_from=known.endpoint,
                    commit=known.commit,
                    fetched_bytes=known.spent.fetched_bytes,
                )
            view = self._store.view
            yield v1.InspectModelResponse(result=inspection(found, wish, offers(view)))
        finally:
            self._readers -= 1

    async def _from_nodes(self, source: ModelSource, node: str) -> Found:
        """Return what the node says of the path, or the first by name of all nodes that has it."""
        names = [self._in_session(node)] if node else sorted(self._live.connected() & set(self._store.view.nodes))
        if not names:
            raise UnavailableError(
                "NODE_UNREACHABLE",
                "no node is in session, and a path lies on nodes; start an agent, or try again later",
            )
        readings = await asyncio.gather(*(self._ask(name, source.path) for name in names[:MOST_NODES]))
        for name, reading in zip(names, readings, strict=False):
            if reading.facts is not None:
                return Found(source=source, facts=reading.facts, read_from=name)
        raise _none(source.path, dict(zip(names, readings, strict=False)), len(names))

    def _in_session(self, node: str) -> str:
        resource_id(node, "nodes", "node")
        if node not in self._store.view.nodes:
            raise NotFoundError("NOT_FOUND", f"{shown(node)} does not exist; `motorpool nodes` lists those that do")
        if not self._live.is_connected(node):
            raise UnavailableError(
                "NODE_UNREACHABLE", f"{node} has no session now; look at its agent, or try again when it is back"
            )
        return node

    async def _ask(self, node: str, path: str) -> Reading:
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                return await self._live.read(node, path, self._clock())
        except TimeoutError:
            return Reading(
                error_reason="NODE_UNREACHABLE",
                error_message=f"its agent did not answer within {ANSWER_SECONDS:.0f} s; look at its log",
            )


def _wish(request: v1.InspectModelRequest) -> Wish:
    lengths = tuple(sorted(set(request.context_lengths)))
    if len(lengths) > MOST_CONTEXTS:
        raise fields.invalid("context_lengths", f"{len(lengths)} are given, and {MOST_CONTEXTS} is the most")
    if lengths and not 1 <= lengths[0] <= lengths[-1] <= MAX_CONTEXT_LENGTH:
        raise fields.invalid("context_lengths", f"{lengths[0]} is no number of tokens; give positive ones")
    return Wish(backend=request.backend, parameters=tuple(request.parameters), contexts=lengths)


def _progress(asked: str, file: str = "", requests: int = 0, fetched_bytes: int = 0) -> v1.InspectModelResponse:
    return v1.InspectModelResponse(
        progress=v1.InspectionProgress(asked=asked, file=file, requests=requests, fetched_bytes=fetched_bytes)
    )


def _none(path: str, readings: dict[str, Reading], nodes: int) -> DomainError:
    """Return the error of a path that no node can read: a single node's own words, or what most of them say."""
    name, worst = max(readings.items(), key=lambda item: item[1].error_reason != "MODEL_NOT_FOUND")
    more = "" if nodes == 1 else f" (and none of the other {nodes - 1} nodes in session has it)"
    message = f"{name} cannot use {path}: {worst.error_message.rstrip('. ')}{more}"
    if worst.error_reason == "MODEL_NOT_FOUND":
        return NotFoundError("MODEL_NOT_FOUND", message)
    if worst.error_reason == "NODE_UNREACHABLE":
        return UnavailableError("NODE_UNREACHABLE", message)
    return PreconditionError(worst.error_reason if worst.error_reason in _REASONS else "MODEL_UNREADABLE", message)
