"""Nodes and their devices over the API."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import grpc
from google.protobuf.empty_pb2 import Empty

from motorpool import v1
from motorpool_controller.domain.errors import NotFoundError, PreconditionError
from motorpool_controller.domain.event import Severity
from motorpool_controller.domain.fleet import Device, Node
from motorpool_controller.domain.maintenance import WHOLE
from motorpool_controller.domain.names import device_name, resource_id, shown
from motorpool_controller.services import maintenance, pages
from motorpool_controller.services.callers import caller
from motorpool_controller.services.convert import fields
from motorpool_controller.services.convert.device import show_device_usage
from motorpool_controller.services.masks import Reader
from motorpool_controller.services.mutations import check_etag, mutate
from motorpool_controller.services.views import claimed_on, device_view, node_view, show_node
from motorpool_controller.store.live import Live
from motorpool_controller.store.store import Store
from motorpool_controller.store.transaction import Transaction

ALL_NODES = "nodes/-"
_CHANGEABLE = ("labels", "cordoned")


class NodeService(v1.NodeServiceServicer):
    """Shows, labels, cordons, bans and forgets nodes."""

    def __init__(self, store: Store, live: Live) -> None:
        self._store = store
        self._live = live

    async def GetNode(  # noqa: N802  # gRPC's name
        self, request: v1.GetNodeRequest, context: grpc.aio.ServicerContext[v1.GetNodeRequest, v1.Node]
    ) -> v1.Node:
        """Give one node."""
        resource_id(request.name, "nodes")
        view = self._store.view
        node = view.nodes.get(request.name)
        if node is None:
            raise _not_found(request.name)
        return node_view(node, self._live, view.groups.on_node(node.name).values(), view.groups.of_deployment)

    async def ListNodes(  # noqa: N802  # gRPC's name
        self,
        request: v1.ListNodesRequest,
        context: grpc.aio.ServicerContext[v1.ListNodesRequest, v1.ListNodesResponse],
    ) -> v1.ListNodesResponse:
        """Give nodes by name."""
        reader = Reader(request.read_mask, v1.Node)
        view = self._store.view
        rows, token = pages.page_of(
            view.nodes,
            view.node_names,
            scope=("nodes", view.cluster_id),
            size=request.page_size,
            token=request.page_token,
        )
        answer = v1.ListNodesResponse(
            next_page_token=token, resume_token=pages.resume_token(view.cluster_id, view.revision)
        )
        async for node in pages.in_turns(rows):
            there = view.groups.on_node(node.name).values()
            reader.add(
                answer.nodes,
                partial(show_node, node=node, live=self._live, instances=there, of=view.groups.of_deployment),
            )
        return answer

    async def UpdateNode(  # noqa: N802  # gRPC's name
        self, request: v1.UpdateNodeRequest, context: grpc.aio.ServicerContext[v1.UpdateNodeRequest, v1.Node]
    ) -> v1.Node:
        """Change labels or cordoned."""
        resource_id(request.node.name, "nodes", "node.name")
        wrong = [path for path in request.update_mask.paths if path not in _CHANGEABLE]
        if wrong or not request.update_mask.paths:
            given = shown(wrong[0]) if wrong else "nothing"
            raise fields.invalid("update_mask", f"{given} cannot be changed; name {' or '.join(_CHANGEABLE)}")
        labels = fields.words(request.node.labels, "node.labels")
        actor = caller().actor

        def change(tx: Transaction) -> v1.Node:
            node = _found(tx, request.node.name)
            check_etag(node.name, node.revision, request.node.etag)
            changed = node
            if "labels" in request.update_mask.paths:
                # A label as the agent has it is the agent's, who may change it.
                own = {key: value for key, value in labels.items() if node.agent_labels.get(key) != value}
                changed = replace(changed, operator_labels=own)
            changed = tx.nodes.put(changed)
            if "cordoned" in request.update_mask.paths and node.cordoned != request.node.cordoned:
                place = maintenance.Place(node.name, WHOLE)
                if request.node.cordoned:
                    changed = maintenance.cordon(tx, changed, place, maintenance.order_of(actor, ""))
                else:
                    changed = maintenance.uncordon(tx, changed, place, actor)
            return self._message(tx, changed)

        return await mutate(self._store, request, v1.Node, change)

    async def CordonNode(  # noqa: N802  # gRPC's name
        self, request: v1.CordonNodeRequest, context: grpc.aio.ServicerContext[v1.CordonNodeRequest, v1.Node]
    ) -> v1.Node:
        """Have nothing new placed on a node or device."""
        place, order = maintenance.place_of(request.name), maintenance.order_of(caller().actor, request.reason)

        def change(tx: Transaction) -> v1.Node:
            node = _found(tx, place.node)
            check_etag(node.name, node.revision, request.etag)
            return self._message(tx, maintenance.cordon(tx, node, place, order))

        return await mutate(self._store, request, v1.Node, change)

    async def UncordonNode(  # noqa: N802  # gRPC's name
        self, request: v1.UncordonNodeRequest, context: grpc.aio.ServicerContext[v1.UncordonNodeRequest, v1.Node]
    ) -> v1.Node:
        """Have a node or device take work again."""
        place, actor = maintenance.place_of(request.name), caller().actor

        def change(tx: Transaction) -> v1.Node:
            node = _found(tx, place.node)
            check_etag(node.name, node.revision, request.etag)
            return self._message(tx, maintenance.uncordon(tx, node, place, actor))

        return await mutate(self._store, request, v1.Node, change)

    async def DrainNode(  # noqa: N802  # gRPC's name
        self, request: v1.DrainNodeRequest, context: grpc.aio.ServicerContext[v1.DrainNodeRequest, v1.Node]
    ) -> v1.Node:
        """Move the instances of a node or device away."""
        deadline = request.deadline_timeout if request.HasField("deadline_timeout") else None
        place = maintenance.place_of(request.name)
        order = maintenance.order_of(caller().actor, request.reason, deadline)

        def change(tx: Transaction) -> v1.Node:
            node = _found(tx, place.node)
            check_etag(node.name, node.revision, request.etag)
            return self._message(tx, maintenance.drain(tx, node, place, order))

        return await mutate(self._store, request, v1.Node, change)

    async def BanNode(  # noqa: N802  # gRPC's name
        self, request: v1.BanNodeRequest, context: grpc.aio.ServicerContext[v1.BanNodeRequest, v1.Node]
    ) -> v1.Node:
        """Have a node's certificates count for nothing."""
        resource_id(request.name, "nodes")
        order = maintenance.order_of(caller().actor, request.reason)

        def change(tx: Transaction) -> v1.Node:
            node = _found(tx, request.name)
            check_etag(node.name, node.revision, request.etag)
            return self._message(tx, maintenance.ban(tx, node, order))

        return await mutate(self._store, request, v1.Node, change)

    async def UnbanNode(  # noqa: N802  # gRPC's name
        self, request: v1.UnbanNodeRequest, context: grpc.aio.ServicerContext[v1.UnbanNodeRequest, v1.Node]
    ) -> v1.Node:
        """Have a node's certificates count again."""
        resource_id(request.name, "nodes")
        actor = caller().actor

        def change(tx: Transaction) -> v1.Node:
            node = _found(tx, request.name)
            check_etag(node.name, node.revision, request.etag)
            return self._message(tx, maintenance.unban(tx, node, actor))

        return await mutate(self._store, request, v1.Node, change)

    async def DeleteNode(  # noqa: N802  # gRPC's name
        self, request: v1.DeleteNodeRequest, context: grpc.aio.ServicerContext[v1.DeleteNodeRequest, Empty]
    ) -> Empty:
        """Forget a node and revoke its certificate."""
        resource_id(request.name, "nodes")

        def change(tx: Transaction) -> Empty:
            node = _found(tx, request.name)
            check_etag(node.name, node.revision, request.etag)
            held = list(tx.instances_on(node.name).values())
            if held and not request.force:
                raise PreconditionError(
                    "NODE_NOT_EMPTY",
                    f"{node.name} has {len(held)} instances, {held[0].name} among them; cordon it and delete them "
                    "first, or delete it with force, which forgets them without stopping them",
                )
            for instance in held:
                tx.instances.delete(instance.name)
                tx.event(
                    Severity.WARNING,
                    "INSTANCE_FORGOTTEN",
                    instance.name,
                    f"{node.name} was deleted with force; what runs there was not stopped",
                )
            tx.nodes.delete(node.name)
            tx.event(
                Severity.WARNING,
                "NODE_DELETED",
                node.name,
                "its certificate is revoked; enrol it again to have it back",
            )
            return Empty()

        answer = await mutate(self._store, request, Empty, change)
        if request.name not in self._store.view.nodes:
            self._live.forget(request.name)
        return answer

    async def ListDevices(  # noqa: N802  # gRPC's name
        self,
        request: v1.ListDevicesRequest,
        context: grpc.aio.ServicerContext[v1.ListDevicesRequest, v1.ListDevicesResponse],
    ) -> v1.ListDevicesResponse:
        """Give devices by name."""
        resource_id(request.parent, "nodes", "parent")
        view = self._store.view
        if request.parent != ALL_NODES and request.parent not in view.nodes:
            raise _not_found(request.parent)
        scope = ("devices", view.cluster_id, request.parent)
        after, size = pages.place_of(request.page_token, scope), pages.page_size(request.page_size)
        names = view.node_names if request.parent == ALL_NODES else [request.parent]
        rows, token = pages.page(
            _devices_after(after, [view.nodes[name] for name in names], size),
            key=lambda row: device_name(row[0].name, row[1].device_id),
            scope=scope,
            size=size,
            token=request.page_token,
        )
        answer = v1.ListDevicesResponse(next_page_token=token)
        async for node, device in pages.in_turns(rows):
            there, usage = view.groups.on_node(node.name).values(), self._live.usage(node.name)
            status = answer.devices.add(
                device=device_view(node, device, there, view.groups.of_deployment),
                claimed_bytes=claimed_on(node.name, there).devices.get(device.device_id, 0),
            )
            for measured in () if usage is None else usage.devices:
                if measured.device_id == device.device_id:
                    show_device_usage(status.usage, measured)
        return answer

    def _message(self, tx: Transaction, node: Node) -> v1.Node:
        return node_view(node, self._live, tx.instances_on(node.name).values(), tx.instances_of)


def _devices_after(after: str, nodes: Sequence[Node], count: int) -> list[tuple[Node, Device]]:
    """Return devices whose names follow a name, of as many nodes as have more than so many; no others are looked at."""
    ordered = sorted(nodes, key=_head)
    found: list[tuple[Node, Device]] = []
    for node in ordered[max(0, bisect_right(ordered, after, key=_head) - 1) :]:
        found += [(node, device) for device in node.devices if device_name(node.name, device.device_id) > after]
        if len(found) > count:
            break
    return found


def _head(node: Node) -> str:
    """Return what the names of a node's devices begin with: they do not always follow each other as nodes' do."""
    return f"{node.name}/"


def _found(tx: Transaction, name: str) -> Node:
    node = tx.nodes.get(name)
    if node is None:
        raise _not_found(name)
    return node


def _not_found(name: str) -> NotFoundError:
    return NotFoundError("NOT_FOUND", f"{shown(name)} does not exist; `motorpool nodes` lists those that do")
