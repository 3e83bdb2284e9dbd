"""Instances over the API."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing
from functools import partial

import grpc

from motorpool import v1
from motorpool_controller.domain.errors import NotFoundError, PreconditionError
from motorpool_controller.domain.names import resource_id, shown
from motorpool_controller.domain.workload import Instance
from motorpool_controller.reconcile.world import Report
from motorpool_controller.services import adoptions, logs, maintenance, pages, strays
from motorpool_controller.services.callers import caller
from motorpool_controller.services.convert.instance import instance_message
from motorpool_controller.services.convert.maintenance import reason_of
from motorpool_controller.services.masks import Reader
from motorpool_controller.services.mutations import check_etag, mutate
from motorpool_controller.services.views import instance_view, show_instance
from motorpool_controller.store.live import Live
from motorpool_controller.store.store import Store
from motorpool_controller.store.transaction import Transaction


class InstanceService(v1.InstanceServiceServicer):
    """Shows instances and their logs."""

    def __init__(self, store: Store, live: Live) -> None:
        self._store = store
        self._live = live

    async def GetInstance(  # noqa: N802  # gRPC's name
        self,
        request: v1.GetInstanceRequest,
        context: grpc.aio.ServicerContext[v1.GetInstanceRequest, v1.Instance],
    ) -> v1.Instance:
        """Give one instance."""
        return instance_view(self._found(request.name), self._live)

    async def ListInstances(  # noqa: N802  # gRPC's name
        self,
        request: v1.ListInstancesRequest,
        context: grpc.aio.ServicerContext[v1.ListInstancesRequest, v1.ListInstancesResponse],
    ) -> v1.ListInstancesResponse:
        """Give instances by name."""
        reader = Reader(request.read_mask, v1.Instance)
        if request.deployment:
            resource_id(request.deployment, "deployments", "deployment")
        if request.node:
            resource_id(request.node, "nodes", "node")
        view = self._store.view
        scope = ("instances", view.cluster_id, request.deployment, request.node)
        if request.deployment or request.node:
            groups = view.groups
            found = groups.on_node(request.node) if request.node else groups.of_deployment(request.deployment)
            rows, token = pages.page(
                [instance for instance in found.values() if request.deployment in {"", instance.deployment}],
                key=lambda instance: instance.name,
                scope=scope,
                size=request.page_size,
                token=request.page_token,
            )
        else:
            rows, token = pages.page_of(
                view.instances, view.instance_names, scope=scope, size=request.page_size, token=request.page_token
            )
        answer = v1.ListInstancesResponse(
            next_page_token=token, resume_token=pages.resume_token(view.cluster_id, view.revision)
        )
        async for instance in pages.in_turns(rows):
            reader.add(answer.instances, partial(show_instance, instance=instance, live=self._live))
        return answer

    async def DrainInstance(  # noqa: N802  # gRPC's name
        self,
        request: v1.DrainInstanceRequest,
        context: grpc.aio.ServicerContext[v1.DrainInstanceRequest, v1.Instance],
    ) -> v1.Instance:
        """Have an instance replaced."""
        resource_id(request.name, "instances")
        deadline = request.deadline_timeout if request.HasField("deadline_timeout") else None
        order = maintenance.order_of(caller().actor, request.reason, deadline)

        def change(tx: Transaction) -> v1.Instance:
            return instance_message(maintenance.drain_instance(tx, _standing(tx, request.name, request.etag), order))

        return await mutate(self._store, request, v1.Instance, change)

    async def UndrainInstance(  # noqa: N802  # gRPC's name
        self,
        request: v1.UndrainInstanceRequest,
        context: grpc.aio.ServicerContext[v1.UndrainInstanceRequest, v1.Instance],
    ) -> v1.Instance:
        """Have an instance stay."""
        resource_id(request.name, "instances")
        actor = caller().actor

        def change(tx: Transaction) -> v1.Instance:
            return instance_message(maintenance.undrain_instance(tx, _standing(tx, request.name, request.etag), actor))

        return await mutate(self._store, request, v1.Instance, change)

    async def ListStrayInstances(  # noqa: N802  # gRPC's name
        self,
        request: v1.ListStrayInstancesRequest,
        context: grpc.aio.ServicerContext[v1.ListStrayInstancesRequest, v1.ListStrayInstancesResponse],
    ) -> v1.ListStrayInstancesResponse:
        """Give what nodes have and no record places there."""
        if request.node:
            resource_id(request.node, "nodes", "node")
        rows, token = pages.page(
            strays.strays(self._store, self._live, request.node),
            key=lambda stray: stray.key,
            scope=("strays", self._store.view.cluster_id, request.node),
            size=request.page_size,
            token=request.page_token,
        )
        return v1.ListStrayInstancesResponse(
            strays=[strays.stray_message(stray) for stray in rows], next_page_token=token
        )

    async def ReleaseStrayInstance(  # noqa: N802  # gRPC's name
        self,
        request: v1.ReleaseStrayInstanceRequest,
        context: grpc.aio.ServicerContext[v1.ReleaseStrayInstanceRequest, v1.StrayInstance],
    ) -> v1.StrayInstance:
        """Have a node end one of those."""
        resource_id(request.node, "nodes", "node")
        reason, actor = reason_of(request.reason), caller().actor

        def change(tx: Transaction) -> v1.StrayInstance:
            return strays.stray_message(
                strays.release(
                    tx,
                    self._told(request.node, request.assignment_id),
                    request.node,
                    request.assignment_id,
                    request.generation,
                    actor,
                    reason,
                )
            )

        return await mutate(self._store, request, v1.StrayInstance, change)

    async def AdoptStrayInstance(  # noqa: N802  # gRPC's name
        self,
        request: v1.AdoptStrayInstanceRequest,
        context: grpc.aio.ServicerContext[v1.AdoptStrayInstanceRequest, v1.Instance],
    ) -> v1.Instance:
        """Take one of those for an instance of its deployment."""
        resource_id(request.node, "nodes", "node")
        if request.deployment:
            resource_id(request.deployment, "deployments", "deployment")
        wish = adoptions.Wish(
            node=request.node,
            assignment_id=request.assignment_id,
            deployment=request.deployment,
            add_replica=request.add_replica,
            reason=reason_of(request.reason),
            generation=request.generation,
            etag=request.etag,
            actor=caller().actor,
        )

        def change(tx: Transaction) -> v1.Instance:
            return instance_message(adoptions.adopt(tx, lambda node: self._told(node, wish.assignment_id), wish))

        return await mutate(self._store, request, v1.Instance, change)

    async def StreamInstanceLogs(  # noqa: N802  # gRPC's name
        self,
        request: v1.StreamInstanceLogsRequest,
        context: grpc.aio.ServicerContext[v1.StreamInstanceLogsRequest, v1.StreamInstanceLogsResponse],
    ) -> AsyncIterator[v1.StreamInstanceLogsResponse]:
        """Give an instance's log."""
        async with aclosing(logs.lines(self._live, self._found(request.name), request)) as batches:
            async for batch in batches:
                yield v1.StreamInstanceLogsResponse(lines=batch.lines, position=batch.position)

    def _told(self, node: str, assignment_id: str) -> Report | None:
        return next((each for each in self._live.reports(node) if each.assignment_id == assignment_id), None)

    def _found(self, name: str) -> Instance:
        resource_id(name, "instances")
        return _there(self._store.view.instances, name)


def _standing(tx: Transaction, name: str, given_etag: str) -> Instance:
    """Return an instance that has a place and is to keep it."""
    instance = _there(tx.instances, name)
    check_etag(name, instance.revision, given_etag)
    if instance.leaves:
        raise PreconditionError("INSTANCE_LEAVES", f"{name} is being removed already: {instance.state_message}")
    if instance.placement is None:
        raise PreconditionError(
            "INSTANCE_NOT_PLACED",
            f"{name} has no place yet, and there is nothing to move; `motorpool explain` says why",
        )
    return instance


def _there(instances: Mapping[str, Instance], name: str) -> Instance:
    instance = instances.get(name)
    if instance is None:
        raise NotFoundError("NOT_FOUND", f"{shown(name)} does not exist; `motorpool instances` lists those that do")
    return instance
