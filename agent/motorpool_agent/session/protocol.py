"""One session without I/O: messages in, what to do out; what is to be sent is taken one message at a time.

Nothing queues: each kind of message has one place, where the latest wins. What is sent is made when it is taken, so
that a slow controller gets fewer and newer messages, and the agent's memory stays what its state takes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from google.protobuf.duration_pb2 import Duration

from motorpool import v1
from motorpool_agent.convert.desired import seconds_of
from motorpool_agent.convert.observed import digest_over
from motorpool_agent.session.desired import DesiredBook, Proposal

PROTOCOL_MIN = 1
PROTOCOL_MAX = 1
_LONGEST_RETURN_SECONDS = 300.0
_DEFAULT_HEARTBEAT_SECONDS = 10.0
_HEARTBEAT_SECONDS = (0.05, 300.0)
_MAX_ACKS = 64


class ProtocolError(Exception):
    """The controller said something that ends this session; another one may go better."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Welcomed:
    """The session is open."""

    session_epoch: int
    heartbeat_seconds: float
    controller_version: str
    agent_endpoints: tuple[str, ...] = ()
    return_seconds: float = 0.0
    """Over how long the fleet's agents spread their return; 0 where that is not told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Relocated:
    """The controllers are elsewhere than they were."""

    agent_endpoints: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Paced:
    """Heartbeats are sent at another pace from now on, and a return is spread over another time."""

    heartbeat_seconds: float
    return_seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RenewalDue:
    """The certificate is to be renewed within so many seconds: whom to trust has changed."""

    within_seconds: float


class HandOver:
    """The next session is to be opened; this one lasts until that one is welcomed."""


Todo = Welcomed | Proposal | Paced | Relocated | RenewalDue | HandOver


class SessionProtocol:
    """The agent's half of one session.

    ``observed`` returns all observed objects by id; it is asked whenever something is to be sent of them.
    """

    def __init__(
        self, *, hello: v1.Hello, book: DesiredBook, observed: Callable[[], Mapping[str, v1.ObservedObject]]
    ) -> None:
        self._book = book
        self._observed = observed
        self._hello: v1.Hello | None = hello
        self._epoch: int | None = None
        self._pong: int | None = None
        self._full = False
        self._changed = False
        self._acks: dict[tuple[int, int], v1.DesiredAck] = {}
        self._usage: v1.NodeUsage | None = None
        self._sent: dict[str, str] = {}
        self.dropped = 0

    def received(self, message: v1.SessionResponse) -> Todo | None:
        """Take a message in; return what is to be done. A ProtocolError ends the session."""
        kind = message.WhichOneof("message")
        if self._epoch is None:
            if kind != "welcome":
                raise ProtocolError(f"the controller's first message is {kind or 'of an unknown kind'}, not a welcome")
            return self._welcomed(message)
        if message.session_epoch != self._epoch or kind in {None, "welcome"}:
            # Another session's, or of a kind that a later controller knows: this one goes on without it.
            self.dropped += 1
            return None
        match kind:
            case "ping":
                self._pong = message.ping.nonce
            case "resend_observed":
                self._full = True
            case "hand_over":
                return HandOver()
            case "renew_certificate":
                within_seconds = seconds_of(message.renew_certificate.within)
                return RenewalDue(within_seconds=within_seconds if math.isfinite(within_seconds) else 0.0)
            case "controllers_changed":
                return Relocated(agent_endpoints=tuple(message.controllers_changed.agent_endpoints))
            case "pace":
                pace = message.pace
                return Paced(
                    heartbeat_seconds=_heartbeat_seconds(pace.heartbeat_period),
                    return_seconds=_return_seconds(pace.return_spread),
                )
            case "desired":
                verdict = self._book.consider(message.desired)
                if isinstance(verdict, Proposal):
                    return verdict
                self._acknowledge(verdict)
        return None

    def adopted(self, proposal: Proposal) -> None:
        """Acknowledge a proposal that was recorded and applied."""
        self._acknowledge(self._book.adopt(proposal))

    def refused(self, proposal: Proposal, reason: str, message: str) -> None:
        """Refuse a proposal that could not be recorded or applied."""
        self._acknowledge(self._book.refuse(proposal, reason, message))

    def observed_changed(self) -> None:
        """Send what changed, at the next opportunity."""
        self._changed = True

    def heartbeat(self, usage: v1.NodeUsage) -> None:
        """Send a heartbeat with these measurements, at the next opportunity."""
        self._usage = usage

    def take(self) -> v1.SessionRequest | None:
        """Return the next message to send; None when there is nothing to say."""
        if self._hello is not None:
            hello, self._hello = self._hello, None
            return v1.SessionRequest(hello=hello)
        if self._epoch is None:
            return None
        if self._pong is not None:
            pong, self._pong = v1.Pong(nonce=self._pong), None
            return v1.SessionRequest(session_epoch=self._epoch, pong=pong)
        # Before the acknowledgement: whoever reads that a version holds can already see what it made.
        if self._full or self._changed:
            state = self._take_observed()
            if state is not None:
                return v1.SessionRequest(session_epoch=self._epoch, observed=state)
        if self._acks:
            ack = self._acks.pop(next(iter(self._acks)))
            return v1.SessionRequest(session_epoch=self._epoch, desired_ack=ack)
        if self._usage is not None:
            usage, self._usage = self._usage, None
            beat = v1.Heartbeat(observed_digest=digest_over(self._sent), usage=usage)
            return v1.SessionRequest(session_epoch=self._epoch, heartbeat=beat)
        return None

    def _welcomed(self, message: v1.SessionResponse) -> Welcomed:
        welcome = message.welcome
        if welcome.session_epoch < 1:
            raise ProtocolError("the controller's welcome carries no session epoch")
        if not PROTOCOL_MIN <= welcome.protocol <= PROTOCOL_MAX:
            raise ProtocolError(
                f"the controller chose protocol {welcome.protocol}, and this agent speaks {PROTOCOL_MIN} to "
                f"{PROTOCOL_MAX}; run versions that are at most two apart"
            )
        self._epoch = welcome.session_epoch
        self._full = True
        return Welcomed(
            session_epoch=welcome.session_epoch,
            heartbeat_seconds=_heartbeat_seconds(welcome.heartbeat_period),
            controller_version=welcome.controller_version,
            agent_endpoints=tuple(welcome.agent_endpoints),
            return_seconds=_return_seconds(welcome.return_spread),
        )

    def _acknowledge(self, ack: v1.DesiredAck) -> None:
        key = (ack.version.controller_epoch, ack.version.version)
        self._acks.pop(key, None)
        if len(self._acks) >= _MAX_ACKS:
            # The controller is not reading; the newest answers are the ones it can use.
            del self._acks[next(iter(self._acks))]
        self._acks[key] = ack

    def _take_observed(self) -> v1.ObservedState | None:
        objects = self._observed()
        full, self._full, self._changed = self._full, False, False
        before = {} if full else self._sent
        changed = [each for object_id, each in objects.items() if before.get(object_id) != each.digest]
        removed = [object_id for object_id in before if object_id not in objects]
        self._sent = {object_id: each.digest for object_id, each in objects.items()}
        if not full and not changed and not removed:
            return None
        return v1.ObservedState(full=full, objects=changed, removed=removed)


def _heartbeat_seconds(period: Duration) -> float:
    seconds = seconds_of(period)
    shortest, longest = _HEARTBEAT_SECONDS
    usable = math.isfinite(seconds) and seconds > 0
    return min(longest, max(shortest, seconds)) if usable else _DEFAULT_HEARTBEAT_SECONDS


def _return_seconds(spread: Duration) -> float:
    seconds = seconds_of(spread)
    return min(_LONGEST_RETURN_SECONDS, seconds) if math.isfinite(seconds) and seconds > 0 else 0.0
