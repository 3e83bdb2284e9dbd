"""One agent's session: what comes in, what must go out. The servicer carries the bytes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta

from motorpool import v1
from motorpool_controller import metrics
from motorpool_controller.config import Settings
from motorpool_controller.domain.errors import ConflictError, InvalidError, UnavailableError
from motorpool_controller.domain.event import Severity
from motorpool_controller.domain.fleet import NodeUsage
from motorpool_controller.estimation.measured import Seen, grown
from motorpool_controller.services.convert import fields
from motorpool_controller.services.convert.desired import desired_objects
from motorpool_controller.services.convert.node import usage_of
from motorpool_controller.services.desired import Acknowledged, Told
from motorpool_controller.services.observed import Changed, Observed, in_session, keep_peaks, record, revoked
from motorpool_controller.services.trust import TrustNotice
from motorpool_controller.services.whereabouts import Whereabouts
from motorpool_controller.store.bell import Bell
from motorpool_controller.store.live import Live
from motorpool_controller.store.store import Store
from motorpool_controller.store.transaction import Transaction

HAND_OVER = timedelta(seconds=60)
"""How long an agent has for opening the next session before this one is ended."""
NOTICED_SHARE = 0.1
"""By how much another period differs that an agent is told of."""
NOTICED_RETURN_SECONDS = 1.0
"""The same for the time of a fleet's return, at the least."""

log = logging.getLogger(__name__)


class Session:
    """The state of a session after its Welcome. It ends by itself, by its agent, or by ``end``."""

    def __init__(
        self,
        *,
        store: Store,
        live: Live,
        clock: Callable[[], datetime],
        node: str,
        node_uid: str,
        epoch: int,
        agent_instance_id: str,
        told: Told,
        settings: Settings,
        hand_over_time: datetime,
        notice: TrustNotice,
        whereabouts: Whereabouts,
    ) -> None:
        self.node = node
        self.node_uid = node_uid
        self.epoch = epoch
        self.agent_instance_id = agent_instance_id
        self.wake = Bell()
        self._store = store
        self._live = live
        self._clock = clock
        self._told = told
        self._settings = settings
        self._hand_over_time = hand_over_time
        self._notice = notice
        self.whereabouts = whereabouts
        self.hands_over = False
        """Whether the agent was asked to open the next session, which takes this one's place kindly."""
        self.period_seconds = settings.heartbeat_period_seconds(len(store.view.nodes))
        self.return_seconds = settings.return_seconds(len(store.view.nodes))
        self._observed = Observed()
        self._seen = Seen()
        self._acknowledged = Acknowledged()
        self._everything_due = True
        self._resend: str | None = None
        self._resend_asked = False
        self._pings: dict[int, asyncio.Event] = {}
        self._ping_due = False
        self._pace_due = False
        self._last_nonce = 0
        self._ended = False
        self._error: Exception | None = None

    def end(self, error: Exception | None = None) -> None:
        """End the session, with the error that its agent is told; the first reason counts."""
        if not self._ended:
            self._ended = True
            self._error = error
        self.wake.set()

    async def alive(self, seconds: float) -> bool:
        """Ask the agent whether it is there, and return whether it answers in time."""
        self._last_nonce += 1
        nonce = self._last_nonce
        answered = self._pings[nonce] = asyncio.Event()
        self._ping_due = True
        self.wake.set()
        try:
            async with asyncio.timeout(seconds):
                await answered.wait()
        except TimeoutError:
            return False
        finally:
            del self._pings[nonce]
        # `end` answers every ping, so that nobody waits for a session that is over.
        return not self._ended

    def ended(self) -> bool:
        """Return whether it is over; raise why, if there is a reason."""
        view = self._store.view
        row = view.nodes.get(self.node)
        if not self._ended and (row is None or row.uid != self.node_uid):
            self.end(revoked(self.node))
        if not self._ended and self._clock() >= self._hand_over_time + HAND_OVER:
            message = f"session {self.epoch} of {self.node} has lasted for its time; open a new session"
            self.end(UnavailableError("SESSION_AGED", message, retry_seconds=0.0))
        if self._ended:
            for answered in self._pings.values():
                answered.set()
            if self._error is not None:
                raise self._error
        return self._ended

    async def woken(self) -> None:
        """Return when there may be something to say, or it is time for the agent's next session."""
        due = self._hand_over_time + (HAND_OVER if self.hands_over else timedelta())
        # Clocks are rounded differently: woken a trifle before its time, it would wait for no time at all.
        await self.wake.wait((due - self._clock()).total_seconds() + 0.001)

    def outgoing(self) -> Iterator[v1.SessionResponse]:
        """Return what the agent must be told now. Only the latest of everything: nothing queues."""
        if self._ping_due:
            # Whoever answers the last one lives, and that is all that any of them asked.
            self._ping_due = False
            yield v1.SessionResponse(session_epoch=self.epoch, ping=v1.Ping(nonce=self._last_nonce))
        if not self.hands_over and self._clock() >= self._hand_over_time:
            self.hands_over = True
            why = v1.HandOver(message="this session has lasted for its time")
            yield v1.SessionResponse(session_epoch=self.epoch, hand_over=why)
        if self._pace_due:
            self._pace_due = False
            yield v1.SessionResponse(session_epoch=self.epoch, pace=self._pace())
        changed = self.whereabouts.take()
        if changed is not None:
            yield v1.SessionResponse(session_epoch=self.epoch, controllers_changed=changed)
        renew = self._notice.take()
        if renew is not None:
            yield v1.SessionResponse(session_epoch=self.epoch, renew_certificate=renew)
        if self._resend is not None and not self._resend_asked:
            self._resend_asked = True
            yield v1.SessionResponse(session_epoch=self.epoch, resend_observed=v1.ResendObserved(message=self._resend))
        wanted = self._live.wanted(self.node)
        if wanted is None:
            # Not decided yet, right after a start of the controller. An empty desired state would be a lie.
            return
        objects = desired_objects(wanted)
        state = self._told.everything(objects) if self._everything_due else self._told.change(objects)
        self._everything_due = False
        if state is not None:
            yield v1.SessionResponse(session_epoch=self.epoch, desired=state)

    async def receive(self, message: v1.SessionRequest) -> None:
        """Take in one message of the agent."""
        if message.session_epoch != self.epoch:
            raise ConflictError(
                "STALE_EPOCH",
                f"a message of session {message.session_epoch} came in session {self.epoch} of {self.node}; open a new "
                "session",
            )
        kind = message.WhichOneof("message")
        if kind == "heartbeat":
            await self._heartbeat(message.heartbeat)
        elif kind == "observed":
            await self._observe(message.observed)
        elif kind == "desired_ack":
            await self._acknowledge(message.desired_ack)
        elif kind == "pong":
            for nonce, answered in self._pings.items():
                if nonce <= message.pong.nonce:
                    answered.set()
        elif kind == "hello":
            raise InvalidError("FIELD_INVALID", "hello: a session has one Hello; open a new session for another")
        # An unknown kind is of a newer agent, whose features this controller did not welcome: passed over.

    async def _heartbeat(self, heartbeat: v1.Heartbeat) -> None:
        now = self._clock()
        usage = None
        if heartbeat.HasField("usage"):
            try:
                usage = usage_of(heartbeat.usage, now, placed=self._store.view.groups.on_node(self.node))
            except InvalidError as error:
                log.warning("measurement passed over", extra={"node": self.node, "error": error.message})
        self._keep_pace()
        if self._notice.look(len(self._store.view.nodes)):
            self.wake.set()
        if self.whereabouts.look():
            self.wake.set()
        metrics.HEARTBEATS.add()
        self._live.heartbeat(self.node, usage, now)
        if usage is not None:
            await self._learn(usage, now)
        if not self._observed.complete:
            return
        if heartbeat.observed_digest == self._observed.digest:
            self._acknowledged.show()
            self._confirm()
        else:
            self._ask_resend("the digest in the heartbeat is not that of what was received")

    def _keep_pace(self) -> None:
        """Tell the agent another period where the fleet has become so much larger or smaller since."""
        nodes = len(self._store.view.nodes)
        period_seconds, before = self._settings.heartbeat_period_seconds(nodes), self.period_seconds
        return_seconds = self._settings.return_seconds(nodes)
        differs = abs(period_seconds - before) >= NOTICED_SHARE * before
        noticed_seconds = max(NOTICED_RETURN_SECONDS, NOTICED_SHARE * self.return_seconds)
        differs |= abs(return_seconds - self.return_seconds) >= noticed_seconds
        # The longer one until the next heartbeat, which may yet come at the pace of before.
        longest = max(period_seconds, before) if differs else before
        self._live.set_lease(self.node, self.epoch, self._settings.lease_periods * longest)
        if not differs:
            return
        self.period_seconds, self.return_seconds = period_seconds, return_seconds
        self._pace_due = True
        self.wake.set()

    def _pace(self) -> v1.Pace:
        return v1.Pace(
            heartbeat_period=fields.duration(self.period_seconds),
            lease=fields.duration(self._settings.lease_periods * self.period_seconds),
            return_spread=fields.duration(self.return_seconds),
        )

    async def _learn(self, usage: NodeUsage, now: datetime) -> None:
        """Keep what instances were seen to hold, where it is the most so far by a margin."""
        view = self._store.view
        node = view.nodes.get(self.node) if self._seen.raised(usage, view.instances) else None
        if node is not None and grown(node, usage, view.instances, view.peaks, now):
            await self._store.commit(
                lambda tx: keep_peaks(tx, in_session(tx, self.node, self.node_uid, self.epoch), usage)
            )

    async def _observe(self, message: v1.ObservedState) -> None:
        if not message.full and not self._observed.complete:
            self._ask_resend("changes came before the first full state")
            return
        changed = self._observed.take(message)
        await self._store.commit(lambda tx: self._record(tx, changed))
        self._live.show(self.node, self._observed.reports)
        self._live.files.show(self.node, self._observed.files.values())
        for query_id, deleted in changed.deleted:
            self._live.files.answer(self.node, query_id, deleted)
        now = self._clock()
        for query_id, reading in changed.answers:
            self._live.answer(self.node, query_id, reading, now)
        if message.full:
            self._resend = None
            self._resend_asked = False
            self._acknowledged.show()
        self._acknowledged.remove(changed.removed)
        self._confirm()

    def _record(self, tx: Transaction, changed: Changed) -> None:
        record(tx, in_session(tx, self.node, self.node_uid, self.epoch), self._observed, changed)

    async def _acknowledge(self, ack: v1.DesiredAck) -> None:
        if ack.error_reason and not ack.resend:
            reason, message = fields.text(ack.error_reason), fields.text(ack.error_message)

            await self._store.commit(lambda tx: self._refused(tx, f"{reason}: {message}"))
        elif ack.version.controller_epoch == self._store.view.controller_epoch and not ack.resend:
            if self._store.view.nodes[self.node].refused:
                await self._store.commit(lambda tx: self._refused(tx, ""))
            self._acknowledged.accept(min(ack.version.version, self._told.version))
            self._confirm()
            if self._acknowledged.unsure(self._told, self._observed.instances):
                self._ask_resend("is anything left of what was to be removed?")
        if ack.resend:
            self._everything_due = True
            self.wake.set()

    def _refused(self, tx: Transaction, why: str) -> None:
        node = in_session(tx, self.node, self.node_uid, self.epoch)
        if node.refused == why:
            return
        tx.nodes.put(replace(node, refused=why))
        if why:
            tx.event(Severity.WARNING, "DESIRED_REFUSED", self.node, f"the agent refused its desired state: {why}")

    def _confirm(self) -> None:
        self._live.confirm_gone(self.node, self._acknowledged.gone(self._told, self._observed.instances))

    def _ask_resend(self, why: str) -> None:
        # Asked again, should an answer get lost: the next heartbeat comes here again and finds it unanswered.
        self._resend_asked = False
        self._resend = why
        self.wake.set()
