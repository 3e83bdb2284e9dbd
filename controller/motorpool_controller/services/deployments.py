"""Deployments over the API."""

from __future__ import annotations

import secrets
import uuid
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

import grpc

from motorpool import v1
from motorpool_controller.catalog.catalog import Catalog
from motorpool_controller.domain.errors import AlreadyExistsError, NotFoundError
from motorpool_controller.domain.event import Severity
from motorpool_controller.domain.groups import Tally
from motorpool_controller.domain.names import check_deployment_id, deployment_name, id_of, resource_id, shown
from motorpool_controller.domain.rollouts import restored
from motorpool_controller.domain.specs import check_spec, revised
from motorpool_controller.domain.workload import Deployment, DeploymentSpec, InstanceState
from motorpool_controller.scheduling.columns import Columns
from motorpool_controller.services import pages
from motorpool_controller.services.choices import Choice, choose
from motorpool_controller.services.convert import fields
from motorpool_controller.services.convert.deployment import deployment_message
from motorpool_controller.services.convert.spec import spec_message, spec_of
from motorpool_controller.services.explanations import explanation
from motorpool_controller.services.masks import masked
from motorpool_controller.services.mutations import check_etag, mutate
from motorpool_controller.services.plans import Planner
from motorpool_controller.services.traced import traced
from motorpool_controller.services.views import deployment_view, offer_of, offers, revision_views
from motorpool_controller.store.live import Live
from motorpool_controller.store.store import Store, utc_now
from motorpool_controller.store.transaction import Transaction

KEY_BYTES = 24


class DeploymentService(v1.DeploymentServiceServicer):
    """Takes wishes, and shows what became of them."""

    def __init__(self, store: Store, live: Live, catalog: Catalog, *, clock: Callable[[], datetime] = utc_now) -> None:
        self._store = store
        self._live = live
        self._clock = clock
        # Of the fleet as it was at the last question: to follow what changed since takes far less than to begin anew.
        self._columns = Columns()
        self._planner = Planner(store, live, catalog, self._columns, clock=clock)

    async def CreateDeployment(  # noqa: N802  # gRPC's name
        self,
        request: v1.CreateDeploymentRequest,
        context: grpc.aio.ServicerContext[v1.CreateDeploymentRequest, v1.Deployment],
    ) -> v1.Deployment:
        """Create a deployment; its instances follow."""
        name = deployment_name(check_deployment_id(request.deployment_id))
        spec = spec_of(request.deployment.spec)
        check_spec(spec)
        # Made here, and not in the change: what is stored must not depend on how often it is run.
        uid, key = uuid.uuid4().hex, secrets.token_urlsafe(KEY_BYTES)
        trace = traced(context, "CreateDeployment")

        def change(tx: Transaction) -> v1.Deployment:
            before = tx.deployments.get(name)
            if before is not None:
                going = " and is being deleted; try again when it is gone"
                stands = "; choose another name, or change it with `motorpool update`"
                raise AlreadyExistsError(
                    "ALREADY_EXISTS", f"{name} exists already{going if before.delete_time else stands}"
                )
            choice = _chosen(tx, spec)
            deployment = tx.deployments.put(
                Deployment(
                    name=name,
                    uid=uid,
                    spec=choice.spec,
                    create_time=tx.now,
                    # Also for a backend that checks none today: the key is only sent to one that does.
                    api_key=key,
                    findings=choice.findings,
                    trace=trace.place,
                )
            )
            tx.event(
                Severity.INFO,
                "DEPLOYMENT_CREATED",
                name,
                f"{name} wishes for {spec.replicas} instance{'' if spec.replicas == 1 else 's'}.",
            )
            return _message(tx, deployment)

        self._read_anew(spec)
        with trace.span(name):
            return await mutate(self._store, request, v1.Deployment, change)

    async def GetDeployment(  # noqa: N802  # gRPC's name
        self,
        request: v1.GetDeploymentRequest,
        context: grpc.aio.ServicerContext[v1.GetDeploymentRequest, v1.Deployment],
    ) -> v1.Deployment:
        """Give one deployment."""
        return deployment_view(self._found(request.name), self._store.view.groups.tally(request.name))

    async def ListDeployments(  # noqa: N802  # gRPC's name
        self,
        request: v1.ListDeploymentsRequest,
        context: grpc.aio.ServicerContext[v1.ListDeploymentsRequest, v1.ListDeploymentsResponse],
    ) -> v1.ListDeploymentsResponse:
        """Give deployments by name."""
        view = self._store.view
        rows, token = pages.page_of(
            view.deployments,
            view.deployment_names,
            scope=("deployments", view.cluster_id),
            size=request.page_size,
            token=request.page_token,
        )
        answer = v1.ListDeploymentsResponse(
            next_page_token=token, resume_token=pages.resume_token(view.cluster_id, view.revision)
        )
        async for row in pages.in_turns(rows):
            answer.deployments.append(deployment_view(row, view.groups.tally(row.name)))
        return answer

    async def UpdateDeployment(  # noqa: N802  # gRPC's name
        self,
        request: v1.UpdateDeploymentRequest,
        context: grpc.aio.ServicerContext[v1.UpdateDeploymentRequest, v1.Deployment],
    ) -> v1.Deployment:
        """Change the spec."""
        name = request.deployment.name
        resource_id(name, "deployments", "deployment.name")
        trace = traced(context, "UpdateDeployment")

        def change(tx: Transaction) -> v1.Deployment:
            before = _standing(tx, name)
            check_etag(name, before.revision, request.deployment.etag)
            present = v1.Deployment(spec=spec_message(before.spec))
            spec = spec_of(masked(request.update_mask, request.deployment, present, below="spec").spec)
            check_spec(spec)
            choice = _chosen(tx, spec)
            return _message(tx, _changed(tx, before, choice, trace.place))

        standing = self._store.view.deployments.get(name)
        if standing is not None:
            self._read_anew(standing.spec)
        with trace.span(name):
            return await mutate(self._store, request, v1.Deployment, change)

    async def ListDeploymentRevisions(  # noqa: N802  # gRPC's name
        self,
        request: v1.ListDeploymentRevisionsRequest,
        context: grpc.aio.ServicerContext[v1.ListDeploymentRevisionsRequest, v1.ListDeploymentRevisionsResponse],
    ) -> v1.ListDeploymentRevisionsResponse:
        """Give the present spec and those before it that are kept."""
        deployment = self._found(request.name)
        tally = self._store.view.groups.tally(deployment.name)
        return v1.ListDeploymentRevisionsResponse(revisions=revision_views(deployment, tally))

    async def RollbackDeployment(  # noqa: N802  # gRPC's name
        self,
        request: v1.RollbackDeploymentRequest,
        context: grpc.aio.ServicerContext[v1.RollbackDeploymentRequest, v1.Deployment],
    ) -> v1.Deployment:
        """Return to a former spec."""
        resource_id(request.name, "deployments")
        number = fields.size(request.revision, "revision") or None
        trace = traced(context, "RollbackDeployment")

        def change(tx: Transaction) -> v1.Deployment:
            before = _standing(tx, request.name)
            check_etag(request.name, before.revision, request.etag)
            choice = _chosen(tx, restored(before, number))
            return _message(tx, _changed(tx, before, choice, trace.place))

        standing = self._store.view.deployments.get(request.name)
        if standing is not None:
            self._read_anew(standing.spec)
        with trace.span(request.name):
            return await mutate(self._store, request, v1.Deployment, change)

    async def DeleteDeployment(  # noqa: N802  # gRPC's name
        self,
        request: v1.DeleteDeploymentRequest,
        context: grpc.aio.ServicerContext[v1.DeleteDeploymentRequest, v1.Deployment],
    ) -> v1.Deployment:
        """Stop the instances, then forget the deployment."""
        resource_id(request.name, "deployments")

        def change(tx: Transaction) -> v1.Deployment:
            before = tx.deployments.get(request.name)
            if before is None:
                raise _not_found(request.name)
            check_etag(request.name, before.revision, request.etag)
            if before.delete_time is not None:
                return _message(tx, before)
            tx.event(
                Severity.INFO,
                "DEPLOYMENT_DELETING",
                request.name,
                f"{request.name} was deleted; its instances are stopped.",
            )
            return _message(tx, tx.deployments.put(replace(before, delete_time=tx.now)))

        return await mutate(self._store, request, v1.Deployment, change)

    async def ExplainDeployment(  # noqa: N802  # gRPC's name
        self,
        request: v1.ExplainDeploymentRequest,
        context: grpc.aio.ServicerContext[v1.ExplainDeploymentRequest, v1.ExplainDeploymentResponse],
    ) -> v1.ExplainDeploymentResponse:
        """Say why every instance is where it is, or nowhere."""
        return explanation(self._found(request.name), self._store.view, self._live, self._columns)

    async def PlanDeployment(  # noqa: N802  # gRPC's name
        self,
        request: v1.PlanDeploymentRequest,
        context: grpc.aio.ServicerContext[v1.PlanDeploymentRequest, v1.PlanDeploymentResponse],
    ) -> v1.PlanDeploymentResponse:
        """Say what would become of a deployment now."""
        return await self._planner.plan(request)

    async def PlanDeployments(  # noqa: N802  # gRPC's name
        self,
        request: v1.PlanDeploymentsRequest,
        context: grpc.aio.ServicerContext[v1.PlanDeploymentsRequest, v1.PlanDeploymentsResponse],
    ) -> v1.PlanDeploymentsResponse:
        """Say what would become of several deployments, placed one after the other."""
        return await self._planner.plan_all(request)

    async def GetDeploymentCredentials(  # noqa: N802  # gRPC's name
        self,
        request: v1.GetDeploymentCredentialsRequest,
        context: grpc.aio.ServicerContext[v1.GetDeploymentCredentialsRequest, v1.DeploymentCredentials],
    ) -> v1.DeploymentCredentials:
        """Give what a client needs to send requests."""
        deployment = self._found(request.name)
        view = self._store.view
        instances = [each for each in view.groups.of_deployment(deployment.name).values() if not each.leaves]
        assigned = [each.assignment for each in instances if each.assignment is not None]
        if assigned:
            checks = any(assignment.api_key for assignment in assigned)
        else:
            offer = offer_of(offers(view), deployment.spec.backend)
            checks = offer is None or offer.profile.api_key
        return v1.DeploymentCredentials(
            endpoints=sorted(
                each.endpoint for each in instances if each.state is InstanceState.RUNNING and each.endpoint
            ),
            api_key=deployment.api_key if checks else "",
            served_model_name=deployment.spec.served_model_name or id_of(deployment.name),
        )

    def _found(self, name: str) -> Deployment:
        resource_id(name, "deployments")
        deployment = self._store.view.deployments.get(name)
        if deployment is None:
            raise _not_found(name)
        return deployment

    def _read_anew(self, spec: DeploymentSpec) -> None:
        if spec.model.path:
            self._live.forget_stale_readings(spec.model.path, self._clock())


def _chosen(tx: Transaction, spec: DeploymentSpec) -> Choice:
    return choose(spec, offers(tx))


def _changed(tx: Transaction, before: Deployment, choice: Choice, trace: str) -> Deployment:
    deployment = revised(before, choice.spec, tx.now)
    if deployment is before:
        return before
    name, generation, revision = before.name, deployment.generation, deployment.template_generation
    back = f": it is back at revision {revision}" if revision not in {generation, before.template_generation} else ""
    tx.event(Severity.INFO, "DEPLOYMENT_UPDATED", name, f"{name} has generation {generation} now{back}.")
    return tx.deployments.put(replace(deployment, findings=choice.findings, trace=trace))


def _message(tx: Transaction, deployment: Deployment) -> v1.Deployment:
    return deployment_message(deployment, Tally(tx.instances_of(deployment.name).values()))


def _standing(tx: Transaction, name: str) -> Deployment:
    deployment = tx.deployments.get(name)
    if deployment is None:
        raise _not_found(name)
    if deployment.delete_time is not None:
        raise NotFoundError("NOT_FOUND", f"{name} is being deleted, and cannot be changed any more; create another")
    return deployment


def _not_found(name: str) -> NotFoundError:
    return NotFoundError("NOT_FOUND", f"{shown(name)} does not exist; `motorpool deployments` lists those that do")
