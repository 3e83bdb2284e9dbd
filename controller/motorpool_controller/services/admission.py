"""Who gets a session: one agent a node, one epoch a session."""

from __future__ import annotations

import asyncio
import logging
import random
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime, timedelta

from motorpool import v1
from motorpool_controller.config import Settings
from motorpool_controller.domain.controllers import Controller
from motorpool_controller.domain.errors import (
    AlreadyExistsError,
    ConflictError,
    PreconditionError,
    UnavailableError,
)
from motorpool_controller.domain.event import Severity
from motorpool_controller.security.authorities import Authorities
from motorpool_controller.services.authentication import check_not_banned
from motorpool_controller.services.callers import Caller
from motorpool_controller.services.cluster import PROTOCOL_MAX, PROTOCOL_MIN
from motorpool_controller.services.convert import fields
from motorpool_controller.services.convert.node import host_of, reserved_of
from motorpool_controller.services.desired import Told
from motorpool_controller.services.observed import revoked
from motorpool_controller.services.sessions import Session
from motorpool_controller.services.trust import TrustNotice, trusted_of
from motorpool_controller.services.whereabouts import Whereabouts
from motorpool_controller.store.live import Live
from motorpool_controller.store.store import Store
from motorpool_controller.store.transaction import Transaction

PING_SECONDS = 2.0
TURN_SECONDS = 1.0
"""In which so many hellos are taken to be admitted as may be at once, before it was seen how fast they are."""
LONGEST_TURN_SECONDS = 60.0
LINE_SECONDS = 10.0
"""How long those who stand in line may have to wait: half of what agents give a Welcome."""
_LEAST_EACH_SECONDS = 0.001
_NEW_SHARE = 0.1

log = logging.getLogger(__name__)


class Admission:
    """Admits sessions, and knows the present one of each node."""

    def __init__(
        self,
        store: Store,
        live: Live,
        settings: Settings,
        authorities: Authorities,
        clock: Callable[[], datetime],
        me: Controller,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._chance = chance
        self._next_turn = 0.0
        self._store = store
        self._live = live
        self._settings = settings
        self._authorities = authorities
        self._clock = clock
        self._me = me
        self._admitting = asyncio.Semaphore(settings.hellos_at_once)
        self._line = 0
        """How many wait until they are admitted."""
        self._each_seconds = TURN_SECONDS / settings.hellos_at_once
        """What one more behind it in line costs a newcomer: how fast those before were admitted."""
        self._last_end = 0.0
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._sessions: dict[str, Session] = {}
        self._told: dict[str, Told] = {}

    async def admit(self, hello: v1.Hello, caller: Caller) -> Session:
        """Return the new session of a node; the one before it, if any, is over."""
        self._check(hello, caller)
        # One newcomer of a node at a time: two that race would both find the same predecessor.
        async with self._slot(), self._locks[caller.node]:
            return await self._replace(hello, caller)

    def leave(self, session: Session) -> None:
        """The session is over."""
        if self._sessions.get(session.node) is session:
            del self._sessions[session.node]
        self._live.disconnect(session.node, session.epoch)

    def _check(self, hello: v1.Hello, caller: Caller) -> None:
        cluster_id = self._store.view.cluster_id
        if hello.cluster_id != cluster_id:
            raise PreconditionError(
                "WRONG_CLUSTER",
                f"this is cluster {cluster_id}, and the agent enrolled in {hello.cluster_id or 'none'}; point it to "
                "its own controller, or enrol it here under a new data directory",
            )
        if hello.node_uid != caller.node_uid:
            raise fields.invalid(
                "hello.node_uid", "it is not the node of the certificate; the agent's data directory mixes two nodes"
            )
        if not hello.protocol_min <= PROTOCOL_MAX or not hello.protocol_max >= PROTOCOL_MIN:
            raise PreconditionError(
                "VERSION_UNSUPPORTED",
                f"the agent speaks protocols {hello.protocol_min} to {hello.protocol_max}, this controller "
                f"{PROTOCOL_MIN} to {PROTOCOL_MAX}; upgrade the older of the two",
            )
        fields.name(hello.agent_instance_id, "hello.agent_instance_id")

    @asynccontextmanager
    async def _slot(self) -> AsyncIterator[None]:
        """Wait in line, or raise where that would take too long: who is sent away has to shake hands once more."""
        if self._line * self._each_seconds > LINE_SECONDS:
            raise self._busy()
        clock = asyncio.get_running_loop().time
        self._line += 1
        try:
            async with asyncio.timeout(1.5 * LINE_SECONDS):
                await self._admitting.acquire()
        except TimeoutError:
            raise self._busy() from None
        finally:
            self._line -= 1
        began = clock()
        try:
            yield
        finally:
            self._admitting.release()
            self._learn(began, clock())

    def _learn(self, began: float, now: float) -> None:
        """Take in how long an admission took, or since the one before where they came one upon the other."""
        seconds = now - max(began, self._last_end)
        self._last_end = now
        self._each_seconds += _NEW_SHARE * (max(seconds, _LEAST_EACH_SECONDS) - self._each_seconds)

    def _busy(self) -> UnavailableError:
        return UnavailableError(
            "BUSY",
            f"{self._line} agents wait to be admitted already; this one's turn comes soon",
            retry_seconds=self._turn(),
        )

    def _hand_over_time(self, caller: Caller) -> datetime:
        """Return when a session is handed over: in the last quarter of its time, so that no fleet moves in step."""
        share = 0.75 + 0.25 * self._chance()
        due = self._clock() + timedelta(seconds=share * self._settings.session_max_age_seconds)
        return due if caller.session_end is None else min(due, caller.session_end)

    def _turn(self) -> float:
        """Return the seconds until the turn of one more agent: behind those that were sent away before it."""
        now = asyncio.get_running_loop().time()
        first = max(now + TURN_SECONDS, self._next_turn)
        turn = min(first, now + LONGEST_TURN_SECONDS)
        self._next_turn = turn + self._each_seconds
        return turn - now

    async def _replace(self, hello: v1.Hello, caller: Caller) -> Session:
        before = self._sessions.get(caller.node)
        if (
            before is not None
            and before.agent_instance_id != hello.agent_instance_id
            and await before.alive(PING_SECONDS)
        ):
            await self._store.commit(lambda tx: _duplicate(tx, caller.node, hello))
            raise AlreadyExistsError(
                "DUPLICATE_NODE",
                f"another agent that is alive holds {caller.node}; stop one of the two, and give each machine a data "
                "directory of its own (was a disk cloned?)",
            )
        epoch = await self._store.commit(lambda tx: _enter(tx, caller, hello))
        if before is not None:
            same = before.hands_over and before.agent_instance_id == hello.agent_instance_id
            before.end(
                None
                if same
                else ConflictError(
                    "STALE_EPOCH",
                    f"session {before.epoch} of {caller.node} was replaced by session {epoch}; open a new session",
                )
            )
        # The epoch before may have been another controller's start, whose versions mean nothing here.
        told = self._told.setdefault(caller.node_uid, Told(self._store.view.controller_epoch))
        session = Session(
            store=self._store,
            live=self._live,
            clock=self._clock,
            node=caller.node,
            node_uid=caller.node_uid,
            epoch=epoch,
            agent_instance_id=hello.agent_instance_id,
            told=told,
            settings=self._settings,
            hand_over_time=self._hand_over_time(caller),
            notice=TrustNotice(self._authorities, hello.trusted_authorities, self._settings.enrolments_per_second),
            whereabouts=Whereabouts(self._store, self._me),
        )
        self._sessions[caller.node] = session
        self._live.connect(
            caller.node,
            session_epoch=epoch,
            lease_seconds=self._settings.lease_periods * session.period_seconds,
            wake=session.wake,
            now=self._clock(),
        )
        log.info("session opened", extra={"node": caller.node, "session_epoch": epoch})
        return session


def _enter(tx: Transaction, caller: Caller, hello: v1.Hello) -> int:
    node = tx.nodes.get(caller.node)
    if node is None or node.uid != caller.node_uid:
        raise revoked(caller.node)
    check_not_banned(node)
    entered = replace(
        node,
        session_epoch=node.session_epoch + 1,
        host=host_of(hello.host, "hello.host"),
        agent_labels=fields.words(hello.labels, "hello.labels"),
        address=fields.word(hello.address, "hello.address"),
        reserved=reserved_of(hello.reserved, "hello.reserved"),
        trusted_authorities=trusted_of(hello.trusted_authorities),
        agent_version=fields.word(hello.agent_version, "hello.agent_version"),
    )
    return tx.nodes.put(entered).session_epoch


def _duplicate(tx: Transaction, node: str, hello: v1.Hello) -> None:
    tx.event(
        Severity.WARNING,
        "DUPLICATE_NODE",
        node,
        f"a second agent (host {fields.text(hello.host.hostname) or 'unknown'}) tried to open a session for {node}, "
        "whose first is alive; stop one of the two, and give each machine a data directory of its own",
    )
