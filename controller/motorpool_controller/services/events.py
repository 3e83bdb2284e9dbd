"""Events over the API."""

from __future__ import annotations

import grpc

from motorpool import v1
from motorpool_controller.domain.event import Event
from motorpool_controller.domain.groups import nodes_of
from motorpool_controller.domain.names import id_of, resource_id
from motorpool_controller.domain.workload import Instance
from motorpool_controller.services import pages
from motorpool_controller.services.convert.event import event_message
from motorpool_controller.store.store import Store
from motorpool_controller.store.view import View


class EventService(v1.EventServiceServicer):
    """Shows what happened."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def ListEvents(  # noqa: N802  # gRPC's name
        self,
        request: v1.ListEventsRequest,
        context: grpc.aio.ServicerContext[v1.ListEventsRequest, v1.ListEventsResponse],
    ) -> v1.ListEventsResponse:
        """Give events, the latest first."""
        view = self._store.view
        if request.node:
            resource_id(request.node, "nodes", "node")
        rows, token = pages.page(
            [
                event
                for event in view.events.values()
                if is_about(event, request.subject) and is_of_node(event, request.node, view)
            ],
            # An event that happens again gets a new revision, and with it a new place.
            key=lambda event: f"{event.revision:020} {event.name}",
            scope=("events", view.cluster_id, request.subject, *([request.node] if request.node else [])),
            size=request.page_size,
            token=request.page_token,
            descending=True,
        )
        return v1.ListEventsResponse(
            events=[event_message(event) for event in rows],
            next_page_token=token,
            resume_token=pages.resume_token(view.cluster_id, view.revision),
        )


def is_about(event: Event, subject: str) -> bool:
    """Return whether an event is about a resource, or about an instance, gone ones too, of a deployment."""
    if not subject or event.subject == subject:
        return True
    collection, _, deployment_id = subject.partition("/")
    # An instance's name is its deployment's and a suffix without dashes.
    return (
        collection == "deployments"
        and event.subject.startswith("instances/")
        and id_of(event.subject).rpartition("-")[0] == deployment_id
    )


def is_of_node(event: Event, node: str, view: View) -> bool:
    """Return whether an event is about a node, or about an instance that is placed there; of "", every one is."""
    if node in {"", event.subject}:
        return True
    instance = view.instances.get(event.subject)
    return instance is not None and node in places(instance)


def places(instance: Instance) -> frozenset[str]:
    """Return the nodes of an instance, also those that have nothing of it any more."""
    gang = () if instance.gang is None else instance.gang.members
    return frozenset({*nodes_of(instance), *(member.node for member in gang)})
