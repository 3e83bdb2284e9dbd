"""Backends over the API: those that nodes' plugins report, and those that an operator declares."""

from __future__ import annotations

import grpc
from google.protobuf.empty_pb2 import Empty

from motorpool import v1
from motorpool_controller.domain.backends import answers_to, normal
from motorpool_controller.domain.declaration_faults import declaration_faults, name_faults
from motorpool_controller.domain.declarations import Declaration, DeclaredBackend, profile_of
from motorpool_controller.domain.errors import AlreadyExistsError, NotFoundError, PreconditionError
from motorpool_controller.domain.event import Severity
from motorpool_controller.domain.faults import refuse
from motorpool_controller.domain.names import backend_name, id_of, resource_id, shown
from motorpool_controller.services import pages
from motorpool_controller.services.callers import caller
from motorpool_controller.services.convert.declaration import declaration_message, declaration_of
from motorpool_controller.services.masks import masked
from motorpool_controller.services.mutations import check_etag, mutate
from motorpool_controller.services.views import backend_message, backend_view, offer_of, offers, reported
from motorpool_controller.store.store import Store
from motorpool_controller.store.transaction import Transaction

SHOWN_USERS = 10


class BackendService(v1.BackendServiceServicer):
    """Shows backends, and takes declarations."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def CreateBackend(  # noqa: N802  # gRPC's name
        self,
        request: v1.CreateBackendRequest,
        context: grpc.aio.ServicerContext[v1.CreateBackendRequest, v1.Backend],
    ) -> v1.Backend:
        """Declare a backend."""
        declaration = declaration_of(request.backend.declaration)
        name, by = backend_name(request.backend_id), caller().token_id

        def change(tx: Transaction) -> v1.Backend:
            if name in tx.backends:
                raise AlreadyExistsError(
                    "ALREADY_EXISTS", f"{name} is declared already; choose another name, or update it"
                )
            return _declare(tx, name, declaration, by)

        return await mutate(self._store, request, v1.Backend, change)

    async def GetBackend(  # noqa: N802  # gRPC's name
        self,
        request: v1.GetBackendRequest,
        context: grpc.aio.ServicerContext[v1.GetBackendRequest, v1.Backend],
    ) -> v1.Backend:
        """Give one backend, by its name or an alias."""
        wanted = resource_id(request.name, "backends")
        found = offers(self._store.view)
        offer = offer_of(found, wanted)
        if offer is None:
            raise NotFoundError(
                "NOT_FOUND",
                f"no node offers {shown(request.name)}, and nobody declared it; there is "
                f"{', '.join(sorted(found)) or 'none yet'}, and `motorpool plugins` shows what became of each node's "
                "plugins",
            )
        return backend_view(offer)

    async def ListBackends(  # noqa: N802  # gRPC's name
        self,
        request: v1.ListBackendsRequest,
        context: grpc.aio.ServicerContext[v1.ListBackendsRequest, v1.ListBackendsResponse],
    ) -> v1.ListBackendsResponse:
        """Give backends by name."""
        view = self._store.view
        rows, token = pages.page(
            offers(view).values(),
            key=lambda offer: offer.profile.backend,
            scope=("backends", view.cluster_id),
            size=request.page_size,
            token=request.page_token,
        )
        return v1.ListBackendsResponse(
            backends=[backend_view(offer) for offer in rows],
            next_page_token=token,
            resume_token=pages.resume_token(view.cluster_id, view.revision),
        )

    async def UpdateBackend(  # noqa: N802  # gRPC's name
        self,
        request: v1.UpdateBackendRequest,
        context: grpc.aio.ServicerContext[v1.UpdateBackendRequest, v1.Backend],
    ) -> v1.Backend:
        """Change a declaration, or make it."""
        name, by = request.backend.name, caller().token_id
        resource_id(name, "backends", "backend.name")

        def change(tx: Transaction) -> v1.Backend:
            before = tx.backends.get(name)
            present = v1.Backend()
            if before is None and not request.allow_missing:
                raise _not_declared(tx, name)
            if before is not None:
                check_etag(name, before.revision, request.backend.etag)
                present.declaration.CopyFrom(declaration_message(before.declaration, masked=False))
            changed = masked(request.update_mask, request.backend, present, below="declaration")
            return _declare(tx, name, declaration_of(changed.declaration), by)

        return await mutate(self._store, request, v1.Backend, change)

    async def DeleteBackend(  # noqa: N802  # gRPC's name
        self,
        request: v1.DeleteBackendRequest,
        context: grpc.aio.ServicerContext[v1.DeleteBackendRequest, Empty],
    ) -> Empty:
        """Forget a declaration that nobody uses."""
        resource_id(request.name, "backends")
        by = caller().token_id

        def change(tx: Transaction) -> Empty:
            before = tx.backends.get(request.name)
            if before is None:
                raise _not_declared(tx, request.name)
            check_etag(request.name, before.revision, request.etag)
            users = _users(tx, before)
            if users:
                more = f" and {len(users) - SHOWN_USERS} more" if len(users) > SHOWN_USERS else ""
                raise PreconditionError(
                    "BACKEND_IN_USE",
                    f"{request.name} is used by {', '.join(users[:SHOWN_USERS])}{more}; delete them, or move them to "
                    "another backend, first",
                    metadata={"deployments": ",".join(users[:SHOWN_USERS])},
                )
            tx.backends.delete(request.name)
            tx.event(Severity.WARNING, "BACKEND_DELETED", request.name, f"{request.name} was forgotten{_whose(by)}.")
            return Empty()

        return await mutate(self._store, request, Empty, change)


def _declare(tx: Transaction, name: str, declaration: Declaration, by: str) -> v1.Backend:
    backend, before = id_of(name), tx.backends.get(name)
    refuse([*declaration_faults(backend, declaration), *name_faults(backend, declaration, _taken(tx, name))])
    if before is None or before.declaration != declaration:
        made = tx.now if before is None else before.create_time
        tx.backends.put(DeclaredBackend(name=name, declaration=declaration, create_time=made, update_time=tx.now))
        versions = ", ".join(version.version for version in declaration.versions)
        reason, what = ("BACKEND_DECLARED", "was declared") if before is None else ("BACKEND_CHANGED", "was changed")
        tx.event(Severity.INFO, reason, name, f"{name} {what}{_whose(by)}: versions {versions}.")
    return backend_message(offers(tx)[backend], masked=False)


def _taken(tx: Transaction, but: str) -> dict[str, str]:
    """Return whose each name is, by the name as names are compared."""
    taken: dict[str, str] = {}
    for offer in reported(tx).values():
        for name in (offer.profile.backend, *offer.profile.aliases):
            taken[normal(name)] = f"a name of {offer.profile.backend}, which the plugin of {offer.nodes[0]} serves"
    for other in tx.backends.values():
        if other.name != but:
            for name in (other.backend, *other.declaration.aliases):
                taken[normal(name)] = f"a name of {other.name}, which is declared"
    return taken


def _users(tx: Transaction, backend: DeclaredBackend) -> list[str]:
    """Return the deployments that say a backend's name, or have an instance on it."""
    profile = profile_of(backend)
    placed = {
        instance.deployment
        for instance in tx.instances.values()
        if instance.placement is not None and instance.placement.backend == backend.backend
    }
    return sorted(
        name
        for name, deployment in tx.deployments.items()
        if name in placed or (deployment.spec.backend and answers_to(profile, deployment.spec.backend))
    )


def _not_declared(tx: Transaction, name: str) -> NotFoundError | PreconditionError:
    offer = offer_of(reported(tx), id_of(name))
    if offer is None:
        return NotFoundError("NOT_FOUND", f"{shown(name)} is not declared; `motorpool backends` lists what there is")
    return PreconditionError(
        "BACKEND_NOT_DECLARED",
        f"{name} is not declared, but served by the plugin of {offer.nodes[0]}; uninstall or block that plugin there",
    )


def _whose(token_id: str) -> str:
    return f" by the holder of token {token_id}" if token_id else ""
