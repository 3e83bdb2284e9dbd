"""Backends over the API, as the nodes' plugins report them."""

from __future__ import annotations

import grpc

from motorpool import v1
from motorpool_controller.domain.errors import NotFoundError
from motorpool_controller.domain.names import resource_id, shown
from motorpool_controller.services import pages
from motorpool_controller.services.convert.backend import profile_message
from motorpool_controller.services.views import Offer, offer_of, offers
from motorpool_controller.store.store import Store


class BackendService(v1.BackendServiceServicer):
    """Shows backends."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def GetBackend(  # noqa: N802  # gRPC's name
        self,
        request: v1.GetBackendRequest,
        context: grpc.aio.ServicerContext[v1.GetBackendRequest, v1.Backend],
    ) -> v1.Backend:
        """Give one backend, by its name or an alias."""
        wanted = resource_id(request.name, "backends")
        found = offers(self._store.view.nodes, self._store.view.profiles)
        offer = offer_of(found, wanted)
        if offer is None:
            raise NotFoundError(
                "NOT_FOUND",
                f"no node offers {shown(request.name)}; there is {', '.join(sorted(found)) or 'none yet'}, and "
                "`motorpool plugins` shows what became of each node's plugins",
            )
        return _message(offer)

    async def ListBackends(  # noqa: N802  # gRPC's name
        self,
        request: v1.ListBackendsRequest,
        context: grpc.aio.ServicerContext[v1.ListBackendsRequest, v1.ListBackendsResponse],
    ) -> v1.ListBackendsResponse:
        """Give backends by name."""
        view = self._store.view
        rows, token = pages.page(
            offers(view.nodes, view.profiles).values(),
            key=lambda offer: offer.profile.backend,
            scope=("backends", view.cluster_id),
            size=request.page_size,
            token=request.page_token,
        )
        return v1.ListBackendsResponse(backends=[_message(offer) for offer in rows], next_page_token=token)


def _message(offer: Offer) -> v1.Backend:
    return v1.Backend(
        name=f"backends/{offer.profile.backend}", profile=profile_message(offer.profile), nodes=offer.nodes
    )
