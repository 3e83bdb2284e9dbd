"""Changes as they happen."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import grpc

from motorpool import v1
from motorpool_controller.domain.fleet import Node
from motorpool_controller.domain.names import id_of, resource_id
from motorpool_controller.services import pages
from motorpool_controller.services.convert import fields
from motorpool_controller.services.convert.event import event_message
from motorpool_controller.services.events import is_about
from motorpool_controller.services.views import backend_view, deployment_view, instance_view, node_view, offers
from motorpool_controller.store.live import Live
from motorpool_controller.store.pending import Change
from motorpool_controller.store.store import Store
from motorpool_controller.store.subscription import Subscription

KINDS = ("nodes", "deployments", "instances", "events", "backends")


class WatchService(v1.WatchServiceServicer):
    """Follows the store for its callers."""

    def __init__(self, store: Store, live: Live) -> None:
        self._store = store
        self._live = live

    async def Watch(  # noqa: N802  # gRPC's name
        self,
        request: v1.WatchRequest,
        context: grpc.aio.ServicerContext[v1.WatchRequest, v1.WatchResponse],
    ) -> AsyncIterator[v1.WatchResponse]:
        """Give every change after the resume token, then go on."""
        watch = _Watch(self._store, self._live, request)
        view = self._store.view
        if request.resume_token:
            subscription = self._store.subscribe(pages.resume_revision(view.cluster_id, request.resume_token))
        else:
            subscription = self._store.subscribe()
        with subscription:
            if not request.resume_token:
                revision = view.revision
                for response in watch.everything():
                    yield response
                yield v1.WatchResponse(resume_token=pages.resume_token(view.cluster_id, revision))
            async for change in subscription:
                for response in watch.responses(change):
                    response.resume_token = self._token(subscription)
                    yield response

    def _token(self, subscription: Subscription) -> str:
        return pages.resume_token(self._store.view.cluster_id, subscription.resume_revision)


class _Watch:
    """One caller's filters, and what it was last told of deployments."""

    def __init__(self, store: Store, live: Live, request: v1.WatchRequest) -> None:
        for kind in request.kinds:
            if kind not in KINDS:
                raise fields.invalid("kinds", f"{kind!r} is none of {', '.join(KINDS)}")
        if request.deployment:
            resource_id(request.deployment, "deployments", "deployment")
        self._view = store.view
        self._live = live
        self._kinds = frozenset(request.kinds or KINDS)
        self._deployment = request.deployment
        self._told: dict[str, tuple[int, ...]] = {}

    def everything(self) -> list[v1.WatchResponse]:
        """Return all that exists, in no order of time."""
        rows = {
            "nodes": self._view.nodes,
            "deployments": self._view.deployments,
            "instances": self._view.instances,
            "events": self._view.events,
            "backends": self._view.backends,
        }
        changes = [Change(0, kind, name) for kind, names in rows.items() if kind in self._kinds for name in names]
        return [response for change in changes for response in self.responses(change)]

    def responses(self, change: Change) -> Iterator[v1.WatchResponse]:
        """Return what a change means to the caller: nothing, one response, or one for the deployment beside it."""
        if change.kind in self._kinds:
            found = self._deleted(change) if change.deleted else self._present(change)
            if found is not None:
                yield found
        if change.kind == "instances" and "deployments" in self._kinds:
            # How many instances run stands on the deployment, whose own row does not change with it.
            yield from self._counted(change)

    def _deleted(self, change: Change) -> v1.WatchResponse | None:
        if change.kind == "deployments":
            self._told.pop(change.name, None)
        if self._deployment and not _belongs(change, self._deployment):
            return None
        # Events go for want of room; that is no change of theirs.
        return None if change.kind == "events" else v1.WatchResponse(deleted=change.name)

    def _present(self, change: Change) -> v1.WatchResponse | None:
        view = self._view
        if change.kind == "nodes":
            node = view.nodes.get(change.name)
            if node is None or self._deployment:
                return None
            return v1.WatchResponse(node=self._node(node))
        if change.kind == "deployments":
            return self._deployment_response(change.name)
        if change.kind == "instances":
            instance = view.instances.get(change.name)
            if instance is None or self._deployment not in {"", instance.deployment}:
                return None
            return v1.WatchResponse(instance=instance_view(instance))
        if change.kind == "backends":
            return self._backend_response(change.name)
        event = view.events.get(change.name)
        if event is None or not is_about(event, self._deployment):
            return None
        return v1.WatchResponse(event=event_message(event))

    def _node(self, node: Node) -> v1.Node:
        groups = self._view.groups
        return node_view(node, self._live, groups.on_node(node.name).values(), groups.of_deployment)

    def _backend_response(self, name: str) -> v1.WatchResponse | None:
        offer = None if self._deployment else offers(self._view).get(id_of(name))
        return None if offer is None else v1.WatchResponse(backend=backend_view(offer))

    def _deployment_response(self, name: str) -> v1.WatchResponse | None:
        deployment = self._view.deployments.get(name)
        if deployment is None or self._deployment not in {"", name}:
            return None
        message = deployment_view(deployment, self._view.groups.tally(name))
        rollout = message.rollout
        counts = (rollout.ready_replicas, rollout.outdated_replicas)
        self._told[name] = (message.state, message.running_replicas, *counts)
        return v1.WatchResponse(deployment=message)

    def _counted(self, change: Change) -> Iterator[v1.WatchResponse]:
        name = f"deployments/{change.name.removeprefix('instances/').rpartition('-')[0]}"
        before = self._told.get(name)
        response = self._deployment_response(name)
        if response is not None and before != self._told[name]:
            yield response


def _belongs(change: Change, deployment: str) -> bool:
    if change.kind == "instances":
        return change.name.removeprefix("instances/").rpartition("-")[0] == deployment.removeprefix("deployments/")
    return change.name == deployment
