"""Buys the node's first certificate with a join token."""

from __future__ import annotations

import asyncio
import logging
import random
from dataclasses import replace
from datetime import UTC

import grpc
import grpc.aio

from motorpool import v1
from motorpool_agent.identity.bundle import checked_bundle
from motorpool_agent.identity.child import answer_of
from motorpool_agent.identity.dial import CallFailure, dial_public, failure_of, split_endpoint
from motorpool_agent.identity.errors import IdentityError, RefusedError, UnreachableError
from motorpool_agent.identity.store import Document, Identity, IdentityStore
from motorpool_agent.identity.token import JoinToken

CALL_TIMEOUT_SECONDS = 20.0
LONGEST_WAIT_SECONDS = 600.0
"""After so long of being told to come again later, it is told to whoever waits for it."""
TURN_CAP_SECONDS = 60.0
_HOPS = 20
"""So often another controller is asked: where nobody leads, until one does."""
log = logging.getLogger(__name__)

_UNREACHABLE_CODES = frozenset({grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED})
_NEXT_STEPS = {
    "TOKEN_INVALID": "make another with `motorpool-controller token join` on the controller",
    "TOKEN_EXPIRED": "make another with `motorpool-controller token join` on the controller",
    "TOKEN_USED_UP": "make another with `motorpool-controller token join` on the controller",
    "NODE_NAME_TAKEN": "give another --node-name, or delete the node first if this machine replaces it",
}


async def enroll(
    store: IdentityStore, *, server: str, token: str, node_id: str, host: v1.Host, agent_version: str, use_proxy: bool
) -> Identity:
    """Return the identity bought from the controller at ``server``, once it is on disk."""
    parsed = JoinToken.parse(token)
    ca_pem = await fetch_ca(server, parsed)
    enrollment_id = store.enrollment_id()
    keys = await answer_of("motorpool_agent.identity.keys", node_id)
    request = v1.EnrollRequest(
        node_id=node_id,
        csr_pem=keys["csr_pem"],
        host=host,
        agent_version=agent_version,
        enrollment_id=enrollment_id,
    )
    response = await _of_leader(ca_pem, request, parsed, server, use_proxy=use_proxy)
    identity = Identity(
        document=Document(
            cluster_id=response.cluster_id,
            node=response.node,
            node_uid=response.node_uid,
            agent_endpoints=tuple(response.agent_endpoints),
            renew_time=response.renew_time.ToDatetime(tzinfo=UTC),
            expire_time=response.expire_time.ToDatetime(tzinfo=UTC),
            enrollment_id=enrollment_id,
        ),
        key_pem=keys["key_pem"],
        certificate_pem=response.certificate_pem,
        # What the token's fingerprint named stays trusted, whatever the answer says; it may name a coming one beside.
        ca_pem=_trusted(ca_pem, response.ca_pem),
    )
    if not identity.document.agent_endpoints or not identity.certificate_pem:
        raise IdentityError(
            f"the controller at {server} answered without a certificate or an agents' endpoint; "
            "look at its log, and at `agent_endpoints` in its configuration"
        )
    store.save(identity)
    return identity


async def fetch_ca(server: str, token: JoinToken) -> str:
    """Return the authority's certificate that the token's fingerprint names, as the server shows it."""
    host, port = split_endpoint(server)
    answer = await answer_of("motorpool_agent.identity.authority", host, str(port), token.fingerprint)
    if "ca_pem" in answer:
        return answer["ca_pem"]
    if "mismatch" in answer:
        raise UnreachableError(
            f"{server} is not the cluster that this join token is for: {answer['mismatch']} "
            f"({token.fingerprint[:16]}…); nothing was sent to it. Check --server, and use a token that this "
            "cluster's `motorpool-controller token join` made"
        )
    raise UnreachableError(
        f"no controller can be reached at {server}: {answer.get('unreachable', 'no answer')}; check --server (the "
        "public listener's host:port), that `motorpool-controller run` is up, and firewalls between"
    )


async def _of_leader(
    ca_pem: str, request: v1.EnrollRequest, token: JoinToken, server: str, *, use_proxy: bool
) -> v1.EnrollResponse:
    """Return the answer of the controller that leads, wherever ``server`` says that it is."""
    asked, hops = server, 0
    while True:
        hops += 1
        async with dial_public(ca_pem, asked, use_proxy=use_proxy) as channel:
            try:
                return await _asked(channel, request, token, asked)
            except _ElsewhereError as error:
                leader = error.failure.leader_public
                if hops == _HOPS:
                    raise _refusal(error.failure, asked, request.node_id) from error
        if not leader:
            await asyncio.sleep(random.uniform(1.0, 2.0))  # noqa: S311  # nobody leads at the moment
        asked = leader[0] if leader else server


class _ElsewhereError(Exception):
    """Another controller leads."""

    def __init__(self, failure: CallFailure) -> None:
        self.failure = failure


async def _asked(
    channel: grpc.aio.Channel, request: v1.EnrollRequest, token: JoinToken, server: str
) -> v1.EnrollResponse:
    """Return the answer; where too many machines enrol at once, when this one's turn has come."""
    stub = v1.EnrollmentServiceStub(channel)
    waited_seconds = 0.0
    while True:
        try:
            return await stub.Enroll(
                request, metadata=(("authorization", f"Bearer {token.text}"),), timeout=CALL_TIMEOUT_SECONDS
            )
        except grpc.aio.AioRpcError as error:
            failure = failure_of(error)
            if failure.not_leader:
                raise _ElsewhereError(failure) from error
            turn_seconds = failure.retry_after_seconds
            if failure.reason != "RATE_LIMITED" or turn_seconds is None or waited_seconds > LONGEST_WAIT_SECONDS:
                raise _refusal(failure, server, request.node_id) from error
        # All who were sent away come again, and some of them are sent away again: not in step, and ever more slowly.
        delay_seconds = min(turn_seconds, TURN_CAP_SECONDS) + random.uniform(0.5, 1.0 + waited_seconds / 2)  # noqa: S311
        log.info("waiting to enrol", extra={"reason": failure.message, "retry_seconds": round(delay_seconds, 1)})
        await asyncio.sleep(delay_seconds)
        waited_seconds += delay_seconds


def _refusal(failure: CallFailure, server: str, node_id: str) -> IdentityError:
    if failure.untrusted:
        return UnreachableError(
            f"the controller at {server} is not of the authority that the token names: {failure.message}; if it was "
            "rotated since the token was made (`motorpool-controller ca status`), make another with "
            "`motorpool-controller token join`: this one is not used up"
        )
    if failure.code in _UNREACHABLE_CODES:
        return UnreachableError(
            f"the controller at {server} did not answer the enrolment: {failure.message}; check that its name or "
            "address stands in its certificate (`motorpool-controller init`), and try again: the token is not used up"
        )
    step = _NEXT_STEPS.get(failure.reason, "see the controller's log")
    shown = f" [{failure.reason}]" if failure.reason else ""
    return RefusedError(
        f"the controller at {server} refused to enrol {node_id}{shown}: {failure.message}; {step}",
        reason=failure.reason,
    )


def _trusted(ca_pem: str, told: str) -> str:
    """Return the authorities that the answer names, if that which the token names is one of them, else that one."""
    try:
        return checked_bundle(told, ca_pem)
    except IdentityError as error:
        log.warning("trusting the token's authority alone", extra={"error": str(error)})
        return ca_pem


def renewed(identity: Identity, key_pem: str, response: v1.RenewResponse) -> Identity:
    """Return the identity with a new key and certificate, and with the authorities to trust from now on."""
    return replace(
        identity,
        key_pem=key_pem,
        certificate_pem=response.certificate_pem,
        # Empty from controllers of before, which cannot rotate their authority.
        ca_pem=checked_bundle(response.ca_pem, identity.ca_pem) if response.ca_pem else identity.ca_pem,
        document=replace(
            identity.document,
            renew_time=response.renew_time.ToDatetime(tzinfo=UTC),
            expire_time=response.expire_time.ToDatetime(tzinfo=UTC),
        ),
    )
