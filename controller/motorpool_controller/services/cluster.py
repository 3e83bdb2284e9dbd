"""The cluster itself."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version

import grpc

from motorpool import v1
from motorpool_controller.security.authorities import Authorities
from motorpool_controller.services.callers import caller
from motorpool_controller.services.roles import role_to_proto
from motorpool_controller.store.store import Store

PROTOCOL_MIN = 1
PROTOCOL_MAX = 1


class ClusterService(v1.ClusterServiceServicer):
    """Tells the cluster's identity."""

    def __init__(self, store: Store, authorities: Authorities, agent_endpoints: Sequence[str]) -> None:
        self._store = store
        self._authorities = authorities
        self._agent_endpoints = tuple(agent_endpoints)
        self._version = version("motorpool-controller")

    async def GetCluster(  # noqa: N802  # gRPC's name
        self,
        request: v1.GetClusterRequest,
        context: grpc.aio.ServicerContext[v1.GetClusterRequest, v1.Cluster],
    ) -> v1.Cluster:
        """Give the cluster, and the caller's role in it."""
        view = self._store.view
        return v1.Cluster(
            cluster_id=view.cluster_id,
            version=self._version,
            controller_epoch=view.controller_epoch,
            revision=view.revision,
            agent_endpoints=self._agent_endpoints,
            protocol_min=PROTOCOL_MIN,
            protocol_max=PROTOCOL_MAX,
            caller_role=role_to_proto(caller().role),
            ca_pem=self._authorities.present().pem,
        )
