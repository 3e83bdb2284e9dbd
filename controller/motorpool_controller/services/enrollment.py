"""How a machine becomes a node."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from dataclasses import replace

import grpc

from motorpool import v1
from motorpool_controller.domain.controllers import Controller, agents_endpoints
from motorpool_controller.domain.errors import AlreadyExistsError, RateLimitedError
from motorpool_controller.domain.event import Severity
from motorpool_controller.domain.fleet import Host, Node
from motorpool_controller.domain.names import check_node_id, node_name
from motorpool_controller.security.authorities import Authorities
from motorpool_controller.security.authority import AgentCertificate
from motorpool_controller.services.authentication import check_not_banned
from motorpool_controller.services.callers import address_of, caller, site_of
from motorpool_controller.services.certificates import give_certificate
from motorpool_controller.services.convert.fields import invalid, timestamp
from motorpool_controller.services.convert.node import host_of
from motorpool_controller.services.rates import Rate, Rates
from motorpool_controller.store.store import Store
from motorpool_controller.store.transaction import Transaction

BURST_SECONDS = 20.0
SHARE_OF_ONE = 0.25
"""What may enrol at once, in seconds of the rate, and how much of both comes from one address."""
_TEXT_LENGTH = 256


class EnrollmentService(v1.EnrollmentServiceServicer):
    """Gives the holder of a join token a certificate for its machine."""

    def __init__(
        self,
        store: Store,
        authorities: Authorities,
        me: Controller,
        *,
        per_second: float = 20.0,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._rates = enrolment_rates(per_second)
        self._monotonic = monotonic
        self._store = store
        self._authorities = authorities
        self._me = me

    async def Enroll(  # noqa: N802  # gRPC's name
        self,
        request: v1.EnrollRequest,
        context: grpc.aio.ServicerContext[v1.EnrollRequest, v1.EnrollResponse],
    ) -> v1.EnrollResponse:
        """Give a certificate and count the token's use with the node that it makes, or do neither."""
        self._check_rate(site_of(address_of(context.peer())))
        name = node_name(check_node_id(request.node_id))
        host = _checked_host(request)
        token_id = caller().token_id
        before = self._store.view.nodes.get(name)
        paid = before is not None and await self._store.beside(self._store.tokens.was_used_for, token_id, before.uid)
        paid_uid = before.uid if before is not None and paid else None

        # One look: who trusts a new authority has a certificate of it.
        trust = self._authorities.present()

        def enroll(tx: Transaction) -> tuple[str, AgentCertificate]:
            node = tx.nodes.get(name)
            if node is None:
                node = Node(name=name, uid=str(uuid.uuid4()), enrollment_id=request.enrollment_id, create_time=tx.now)
                tx.event(Severity.INFO, "NODE_ENROLLED", name, f"{name} enrolled with tokens/{token_id}")
            else:
                _check_same_machine(node, request)
                check_not_banned(node)
                tx.event(
                    Severity.WARNING,
                    "NODE_ENROLLED_AGAIN",
                    name,
                    f"{name} enrolled again with tokens/{token_id}; its earlier certificates were revoked",
                )
            if node.uid != paid_uid:
                tx.use_token(token_id, node.uid)
            node = replace(node, host=host or node.host, agent_version=request.agent_version)
            return node.uid, give_certificate(tx, trust.signing, node, request.csr_pem, revoke=True)

        uid, certificate = await self._store.commit(enroll, alone=True, caller=True)
        return v1.EnrollResponse(
            cluster_id=self._store.view.cluster_id,
            node=name,
            node_uid=uid,
            certificate_pem=certificate.pem,
            ca_pem=trust.pem,
            agent_endpoints=agents_endpoints(self._me, self._store.standings),
            renew_time=timestamp(certificate.renew_time),
            expire_time=timestamp(certificate.expire_time),
        )

    def _check_rate(self, site: str) -> None:
        wait_seconds = self._rates.wait_seconds(site, self._monotonic())
        if wait_seconds > 0:
            raise RateLimitedError(
                "RATE_LIMITED",
                f"more machines enrol from {site}, or in all, than are let in at once; the token is not used up, and "
                f"the next one from there is let in after {wait_seconds:.1f} s",
                retry_seconds=wait_seconds,
            )
        self._rates.count(site, self._monotonic())


def enrolment_rates(per_second: float) -> Rates:
    """Return how many machines enrol: each costs a signature and a write."""
    burst = max(4.0, BURST_SECONDS * per_second)
    return Rates(Rate(int(SHARE_OF_ONE * burst), SHARE_OF_ONE * per_second), Rate(int(burst), per_second))


def _checked_host(request: v1.EnrollRequest) -> Host | None:
    for field, value in (("enrollment_id", request.enrollment_id), ("agent_version", request.agent_version)):
        if len(value) > _TEXT_LENGTH:
            raise invalid(field, f"it has {len(value)} characters; at most {_TEXT_LENGTH} are allowed")
    if not request.enrollment_id:
        raise invalid("enrollment_id", "it is empty; the machine makes one once and keeps it, e.g. a UUID")
    return host_of(request.host) if request.HasField("host") else None


def _check_same_machine(node: Node, request: v1.EnrollRequest) -> None:
    if node.enrollment_id != request.enrollment_id:
        raise AlreadyExistsError(
            "NODE_NAME_TAKEN",
            f"another machine enrolled as {node.name} at {node.create_time:%Y-%m-%d %H:%M} UTC; give this one another "
            f"name with --node-name, or, if that machine is gone for good, delete {node.name} first",
            metadata={"name": node.name},
        )
