"""Keeps the node's certificate young."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import grpc
import grpc.aio

from motorpool import v1
from motorpool_agent.identity.child import answer_of
from motorpool_agent.identity.dial import ROTATED, dial_agents, failure_of
from motorpool_agent.identity.enrollment import renewed
from motorpool_agent.identity.errors import IdentityError, RefusedError, UnreachableError
from motorpool_agent.identity.store import Identity, IdentityStore

CALL_TIMEOUT_SECONDS = 20.0
# Of the time between half-life and expiry: a fleet enrolled in one minute does not renew in one minute.
_JITTER_SHARE = 0.25
_RETRY_CAP_SECONDS = 600.0
_LONGEST_HASTE_SECONDS = 3_600.0

log = logging.getLogger(__name__)


class Renewal:
    """The current identity, renewed when it is due."""

    def __init__(
        self,
        store: IdentityStore,
        identity: Identity,
        *,
        use_proxy: bool,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        chance: Callable[[], float] = random.random,
    ) -> None:
        self.identity = identity
        self._store = store
        self._use_proxy = use_proxy
        self._renewed: Callable[[], None] | None = None
        self._now = now
        self._chance = chance
        self._failures = 0
        self._renewing = asyncio.Lock()
        self._due = self._due_time(identity)
        self.hastened = asyncio.Event()
        """Set when the next renewal is due earlier than was said."""

    def on_renewed(self, call: Callable[[], None]) -> None:
        """Have this called after each renewal: connections of the old certificate are to be made again."""
        self._renewed = call

    @property
    def expired(self) -> bool:
        """Whether the session no longer takes the certificate; Renew still does, for 30 days."""
        return self._now() >= self.identity.document.expire_time

    def wait_seconds(self) -> float:
        """Return how long until the next renewal is due; 0 when it is."""
        return max(0.0, (self._due - self._now()).total_seconds())

    def hasten(self, within_seconds: float) -> None:
        """Renew within that time, at a moment chosen by chance: the whole fleet was told so."""
        within = timedelta(seconds=min(max(within_seconds, 0.0), _LONGEST_HASTE_SECONDS))
        self._due = min(self._due, self._now() + within * self._chance())
        self.hastened.set()

    async def renew_if_due(self) -> None:
        """Renew the certificate if its time has come; a failure is logged and tried again later."""
        if self.wait_seconds() > 0:
            return
        try:
            await self.renew()
        except (IdentityError, OSError) as error:
            self._failures += 1
            delay_seconds = min(_RETRY_CAP_SECONDS, 2.0 ** min(self._failures, 12)) * (0.5 + self._chance() / 2)
            self._due = self._now() + timedelta(seconds=delay_seconds)
            log.warning(
                "certificate not renewed",
                extra={"error": str(error), "retry_seconds": round(delay_seconds, 1)},
            )

    async def renew(self) -> None:
        """Get a certificate for a new key and put both on disk; while another call does that, wait for it."""
        before = self.identity
        async with self._renewing:
            if self.identity.certificate_pem == before.certificate_pem:
                await self._renew()

    async def relocate(self, endpoints: Sequence[str]) -> None:
        """Have it on disk where the controllers are; what cannot be written holds until the agent ends."""
        async with self._renewing:
            before = self.identity
            if not endpoints or set(endpoints) == set(before.document.agent_endpoints):
                return
            self.identity = replace(before, document=replace(before.document, agent_endpoints=tuple(endpoints)))
            try:
                await asyncio.to_thread(self._store.save, self.identity)
            except OSError as error:
                log.warning("controllers' addresses not recorded", extra={"error": str(error)})
            log.info("controllers told", extra={"endpoints": ",".join(endpoints)})

    async def _renew(self) -> None:
        keys = await answer_of("motorpool_agent.identity.keys", self.identity.document.node.partition("/")[2])
        response = await self._ask(keys["csr_pem"])
        identity = renewed(self.identity, keys["key_pem"], response)
        self._store.save(identity)
        self.identity = identity
        self._failures = 0
        self._due = self._due_time(identity)
        log.info("certificate renewed", extra={"expire_time": identity.document.expire_time.isoformat()})
        if self._renewed is not None:
            self._renewed()

    async def _ask(self, csr_pem: str) -> v1.RenewResponse:
        last: IdentityError = UnreachableError("the identity names no endpoint")
        for endpoint in self.identity.document.agent_endpoints:
            async with dial_agents(self.identity, endpoint, use_proxy=self._use_proxy) as channel:
                stub = v1.AgentServiceStub(channel)
                try:
                    return await stub.Renew(v1.RenewRequest(csr_pem=csr_pem), timeout=CALL_TIMEOUT_SECONDS)
                except grpc.aio.AioRpcError as error:
                    failure = failure_of(error)
            message = (
                f"{endpoint} did not renew the certificate [{failure.reason or failure.code.name}]: {failure.message}"
            )
            if failure.untrusted:
                message += f"; {ROTATED}"
            if failure.code in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED}:
                last = UnreachableError(message)
            else:
                last = RefusedError(message, reason=failure.reason)
        raise last

    def _due_time(self, identity: Identity) -> datetime:
        document = identity.document
        rest = max(document.expire_time - document.renew_time, timedelta())
        return document.renew_time + rest * (_JITTER_SHARE * self._chance())
