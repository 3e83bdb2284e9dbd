"""Changes as they happen."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping

import grpc

from motorpool import v1
from motorpool_controller.domain.backends import Offer
from motorpool_controller.domain.event import Event
from motorpool_controller.domain.fleet import Node
from motorpool_controller.domain.names import id_of, resource_id, shown
from motorpool_controller.domain.workload import Deployment, Instance
from motorpool_controller.services import pages
from motorpool_controller.services.convert import fields
from motorpool_controller.services.convert.event import event_message
from motorpool_controller.services.events import is_about, is_of_node, places
from motorpool_controller.services.pages import Position
from motorpool_controller.services.views import backend_view, deployment_view, instance_view, node_view, offers
from motorpool_controller.store.live import Live
from motorpool_controller.store.pending import Change
from motorpool_controller.store.store import Store
from motorpool_controller.store.subscription import Subscription

Row = Node | Deployment | Instance | Event | Offer
KINDS = ("nodes", "deployments", "instances", "events", "backends")


COUNTS_DUE = " +"
"""Behind the place of an instance's change: it was told, and its deployment's counts were not yet."""
BOOKMARK_SECONDS = 60.0
BOOKMARK_CHANGES = 1_000
"""After so many changes that did not match, the reader's token is renewed before they are forgotten."""


class WatchService(v1.WatchServiceServicer):
    """Follows the store for its callers."""

    def __init__(self, store: Store, live: Live, *, bookmark_seconds: float = BOOKMARK_SECONDS) -> None:
        self._store = store
        self._live = live
        self._bookmark_seconds = bookmark_seconds

    async def Watch(  # noqa: N802  # gRPC's name
        self,
        request: v1.WatchRequest,
        context: grpc.aio.ServicerContext[v1.WatchRequest, v1.WatchResponse],
    ) -> AsyncIterator[v1.WatchResponse]:
        """Give every change after the resume token, then go on."""
        watch = _Watch(self._store, self._live, request)
        begin = self._begin(request)
        with self._subscribed(request, begin) as subscription:
            if not request.resume_token:
                for response in watch.everything():
                    yield response
                yield self._bookmark(begin)
            position, passed = begin, 0
            while True:
                try:
                    async with asyncio.timeout(self._bookmark_seconds):
                        change = await anext(subscription)
                except TimeoutError:
                    # Where nothing waits, all there was until now has been passed over.
                    position = Position(self._store.view.revision) if subscription.is_read else position
                    passed = 0
                    yield self._bookmark(position)
                    continue
                except StopAsyncIteration:
                    return
                if change.revision == begin.revision and _place(change) <= begin.within:
                    if begin.within != _place(change) + COUNTS_DUE:
                        continue
                    told = list(watch.counted(change))
                else:
                    told = list(watch.responses(change))
                position = self._after(change, subscription)
                for response in told[:-1]:
                    response.resume_token = self._token(Position(change.revision, _place(change) + COUNTS_DUE))
                    yield response
                for response in told[-1:]:
                    response.resume_token = self._token(position)
                    yield response
                passed = 0 if told else passed + 1
                if passed >= BOOKMARK_CHANGES:
                    passed = 0
                    yield self._bookmark(position)

    def _begin(self, request: v1.WatchRequest) -> Position:
        view = self._store.view
        if not request.resume_token:
            return Position(view.revision)
        return pages.resume_position(view.cluster_id, request.resume_token)

    def _subscribed(self, request: v1.WatchRequest, begin: Position) -> Subscription:
        if not request.resume_token:
            return self._store.subscribe()
        # In the middle of a revision: the whole of it, of which the first part is passed over.
        return self._store.subscribe(begin.revision - bool(begin.within))

    def _after(self, change: Change, subscription: Subscription) -> Position:
        if subscription.is_read:
            return Position(self._store.view.revision)
        return Position(change.revision, _place(change))

    def _bookmark(self, position: Position) -> v1.WatchResponse:
        return v1.WatchResponse(resume_token=self._token(position))

    def _token(self, position: Position) -> str:
        return pages.resume_token(self._store.view.cluster_id, position.revision, position.within)


def _place(change: Change) -> str:
    """Return where a change stands among those of its revision."""
    return f"{change.kind} {change.name}"


class _Watch:
    """One caller's filters, and what it was last told of deployments."""

    def __init__(self, store: Store, live: Live, request: v1.WatchRequest) -> None:
        for kind in request.kinds:
            if kind not in KINDS:
                raise fields.invalid("kinds", f"{shown(kind)} is none of {', '.join(KINDS)}")
        if request.deployment:
            resource_id(request.deployment, "deployments", "deployment")
        if request.node:
            resource_id(request.node, "nodes", "node")
        self._view = store.view
        self._live = live
        self._kinds = frozenset(request.kinds or KINDS)
        self._deployment = request.deployment
        self._node = request.node
        self._told: dict[str, tuple[int, ...]] = {}

    def everything(self) -> Iterator[v1.WatchResponse]:
        """Give all that exists now, in no order of time; a message is made when the one before it was taken."""
        view = self._view
        rows: dict[str, list[Row]] = {
            "nodes": list(view.nodes.values()),
            "deployments": list(view.deployments.values()),
            "instances": list(view.instances.values()),
            "events": list(view.events.values()),
            "backends": [offer for name in view.backends if (offer := offers(view).get(id_of(name))) is not None],
        }
        return self._messages([row for kind, found in rows.items() if kind in self._kinds for row in found])

    def _messages(self, rows: list[Row]) -> Iterator[v1.WatchResponse]:
        for row in rows:
            found = self._message(row)
            if found is not None:
                yield found

    def responses(self, change: Change) -> Iterator[v1.WatchResponse]:
        """Return what a change means to the caller: nothing, one response, or one for the deployment after it."""
        if change.kind in self._kinds:
            found = self._deleted(change) if change.deleted else self._present(change)
            if found is not None:
                yield found
        yield from self.counted(change)

    def _deleted(self, change: Change) -> v1.WatchResponse | None:
        if change.kind == "deployments":
            self._told.pop(change.name, None)
        if self._deployment and not _belongs(change, self._deployment):
            return None
        if self._node and change.kind != "instances" and change.name != self._node:
            return None
        # Events go for want of room; that is no change of theirs.
        return None if change.kind == "events" else v1.WatchResponse(deleted=change.name)

    def _present(self, change: Change) -> v1.WatchResponse | None:
        view = self._view
        if change.kind == "backends":
            row: Row | None = offers(view).get(id_of(change.name))
        else:
            rows: Mapping[str, Mapping[str, Row]] = {
                "nodes": view.nodes,
                "deployments": view.deployments,
                "instances": view.instances,
                "events": view.events,
            }
            row = rows[change.kind].get(change.name)
        return None if row is None else self._message(row)

    def _message(self, row: Row) -> v1.WatchResponse | None:
        """Return a row as the caller sees it; None where it is not what was asked for."""
        if isinstance(row, Deployment):
            return self._deployment_response(row)
        if isinstance(row, Instance):
            theirs = self._deployment in {"", row.deployment} and (not self._node or self._node in places(row))
            return v1.WatchResponse(instance=instance_view(row, self._live)) if theirs else None
        if isinstance(row, Event):
            theirs = is_about(row, self._deployment) and is_of_node(row, self._node, self._view)
            return v1.WatchResponse(event=event_message(row)) if theirs else None
        if self._deployment:
            return None
        if isinstance(row, Node):
            return v1.WatchResponse(node=self._node_view(row)) if self._node in {"", row.name} else None
        return None if self._node else v1.WatchResponse(backend=backend_view(row))

    def _node_view(self, node: Node) -> v1.Node:
        groups = self._view.groups
        return node_view(node, self._live, groups.on_node(node.name).values(), groups.of_deployment)

    def _deployment_response(self, deployment: Deployment) -> v1.WatchResponse | None:
        name = deployment.name
        if self._node or self._deployment not in {"", name}:
            return None
        message = deployment_view(deployment, self._view.groups.tally(name))
        rollout = message.rollout
        counts = (rollout.ready_replicas, rollout.outdated_replicas)
        self._told[name] = (message.state, message.running_replicas, *counts)
        return v1.WatchResponse(deployment=message)

    def counted(self, change: Change) -> Iterator[v1.WatchResponse]:
        """Return the deployment of an instance: how many run stands on it, and its own row does not change then."""
        if change.kind != "instances" or "deployments" not in self._kinds:
            return
        name = f"deployments/{change.name.removeprefix('instances/').rpartition('-')[0]}"
        deployment = self._view.deployments.get(name)
        if deployment is None:
            return
        before = self._told.get(name)
        response = self._deployment_response(deployment)
        if response is not None and before != self._told[name]:
            yield response


def _belongs(change: Change, deployment: str) -> bool:
    if change.kind == "instances":
        return change.name.removeprefix("instances/").rpartition("-")[0] == deployment.removeprefix("deployments/")
    return change.name == deployment
