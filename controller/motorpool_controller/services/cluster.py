"""The cluster itself."""

from __future__ import annotations

from dataclasses import replace
from importlib.metadata import version

import grpc

from motorpool import v1
from motorpool_controller.domain.controllers import Controller, Standing
from motorpool_controller.security.authorities import Authorities
from motorpool_controller.services.callers import caller
from motorpool_controller.services.convert.fields import timestamp
from motorpool_controller.services.roles import role_to_proto
from motorpool_controller.store.store import Store

PROTOCOL_MIN = 1
PROTOCOL_MAX = 1


class ClusterService(v1.ClusterServiceServicer):
    """Tells the cluster's identity."""

    def __init__(self, store: Store, authorities: Authorities, me: Controller) -> None:
        self._store = store
        self._authorities = authorities
        self._me = me
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
            agent_endpoints=self._me.agent_endpoints,
            protocol_min=PROTOCOL_MIN,
            protocol_max=PROTOCOL_MAX,
            caller_role=role_to_proto(caller().role),
            ca_pem=self._authorities.present().pem,
            controllers=[_message(each) for each in self._standings()],
        )

    def _standings(self) -> list[Standing]:
        found = self._store.standings or [
            Standing(controller=replace(self._me, lead_time=self._me.start_time), leads=True, present=True)
        ]
        return sorted(found, key=lambda each: (not each.leads, not each.present, each.controller.name))


def _message(standing: Standing) -> v1.Controller:
    one = standing.controller
    return v1.Controller(
        public_endpoints=one.public_endpoints,
        agent_endpoints=one.agent_endpoints,
        version=one.version,
        start_time=timestamp(one.start_time),
        leads=standing.leads,
        lead_time=timestamp(one.lead_time) if standing.leads and one.lead_time else None,
        present=standing.present,
    )
