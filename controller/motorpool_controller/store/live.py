"""What is true now and never stored: who is in session, what agents measure and answer, what they are to be told."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from motorpool_controller.domain.fleet import NodeUsage
from motorpool_controller.domain.workload import ModelSource
from motorpool_controller.reconcile.desired import DesiredOfNode
from motorpool_controller.reconcile.world import Report
from motorpool_controller.scheduling.snapshot import Reading
from motorpool_controller.store.bell import Bell
from motorpool_controller.store.files import FileOrder, NodeFiles
from motorpool_controller.store.noticing import memory_of, notable
from motorpool_controller.store.questions import Question, Questions
from motorpool_controller.store.taps import LogRequest, LogTap

SILENT_SHARE = 0.5
"""Of a lease; without a heartbeat for so long a node is suspect."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Everything one node is to be told."""

    desired: DesiredOfNode
    questions: tuple[Question, ...] = ()
    file_orders: tuple[FileOrder, ...] = ()
    logs: tuple[LogRequest, ...] = ()


@dataclass(frozen=True, slots=True)
class LiveChanges:
    """What changed: whether sessions did or a lease may have run out, whose usage, and which readings."""

    leases: bool
    usage: frozenset[str]
    readings: frozenset[tuple[str, str]]


@dataclass(slots=True)
class _Node:
    """One node's state."""

    wake: Bell | None = None
    session_epoch: int = 0
    lease_seconds: float = 0.0
    heartbeat: float | None = None
    heartbeat_time: datetime | None = None
    usage: NodeUsage | None = None
    desired: DesiredOfNode | None = None
    reports: tuple[Report, ...] = ()


class Live:
    """Volatile state by full name of node. ``changed`` is set when there may be something new to decide."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.changed = asyncio.Event()
        self._clock = clock
        self._start = clock()
        self._nodes: dict[str, _Node] = {}
        self._settled: dict[str, NodeUsage] = {}
        self._questions = Questions()
        self._models: dict[ModelSource, Reading] = {}
        self._taps: dict[str, LogTap] = {}
        self.files = NodeFiles(self._wake)
        self._measured: set[str] = set()
        self._sessions_touched = True
        self._next_end = -math.inf
        self._gone: dict[str, frozenset[str]] = {}
        self._connected: frozenset[str] | None = None
        self._suspects: tuple[int, frozenset[str]] | None = None
        """Of how many nodes these are; None once a session began, ended, or was heard from again."""
        self._next_silence = -math.inf

    # --- sessions

    def connect(self, node: str, *, session_epoch: int, lease_seconds: float, wake: Bell, now: datetime) -> None:
        """A session began. ``wake`` is set whenever the node is to be told something new, or was deleted."""
        state = self._node(node)
        state.wake = wake
        state.session_epoch = session_epoch
        state.lease_seconds = lease_seconds
        self._gone.pop(node, None)
        state.reports = ()
        self._beat(state, now)
        self._sessions_touched = True
        self._connected = self._suspects = None
        self.changed.set()

    def disconnect(self, node: str, session_epoch: int) -> None:
        """A session ended, unless a later one replaced it. The lease runs on."""
        state = self._nodes.get(node)
        if state is None or state.session_epoch != session_epoch:
            return
        state.wake = None
        self.files.forget(node)
        self._connected = self._suspects = None
        for tap in [tap for tap in self._taps.values() if tap.node == node and not tap.dialled.is_set()]:
            tap.end(f"the agent of {node} left its session; try again when the node is back")
        self.changed.set()

    def heartbeat(self, node: str, usage: NodeUsage | None, now: datetime) -> None:
        """The agent is alive, and measured this."""
        state = self._node(node)
        if state.heartbeat is None or state.heartbeat + state.lease_seconds <= self._clock():
            # It may count as lost, and is not.
            self._sessions_touched = True
            self.changed.set()
        if self._is_silent(state):
            self._suspects = None
            self.changed.set()  # it takes work again
        self._beat(state, now)
        if usage is None:
            return
        state.usage = usage
        before = self._settled.get(node)
        if before is None or notable(before, usage):
            self._settled[node] = memory_of(usage)
            self._measured.add(node)
            self.changed.set()

    def set_lease(self, node: str, session_epoch: int, lease_seconds: float) -> None:
        """How long the node counts as alive after a heartbeat of this session, from the next one on."""
        state = self._nodes.get(node)
        if state is not None and state.session_epoch == session_epoch:
            state.lease_seconds = lease_seconds
            self._suspects = None

    def show(self, node: str, reports: Iterable[Report]) -> None:
        """These are all the reports of the node's instances, kept for when the node counts as ready again."""
        self._node(node).reports = tuple(reports)

    def reports(self, node: str) -> tuple[Report, ...]:
        """Return what the node's agent last said of its instances."""
        state = self._nodes.get(node)
        return () if state is None else state.reports

    def forget(self, node: str) -> None:
        """The node was deleted; its session is woken to find that out."""
        state = self._nodes.pop(node, None)
        self.files.forget(node)
        self._settled.pop(node, None)
        self._measured.add(node)
        self._sessions_touched = True
        self._connected = self._suspects = None
        self._gone.pop(node, None)
        self._questions.forget_node(node)
        for tap in [tap for tap in self._taps.values() if tap.node == node]:
            tap.end(f"{node} was deleted")
        if state is not None and state.wake is not None:
            state.wake.set()
        self.changed.set()

    def is_connected(self, node: str) -> bool:
        """Return whether the node has a session."""
        state = self._nodes.get(node)
        return state is not None and state.wake is not None

    def connected(self) -> frozenset[str]:
        """Return the nodes that have a session."""
        if self._connected is None:
            self._connected = frozenset(name for name, state in self._nodes.items() if state.wake is not None)
        return self._connected

    def suspicion(self, node: str) -> str:
        """Return why a node that counts as ready may be lost, empty where it may not: no session, or no heartbeat."""
        state = self._nodes.get(node)
        if state is None or state.heartbeat is None:
            return "It has not been heard from since the controller started."
        if state.wake is None:
            return "It has no session; it counts as lost when its lease is over."
        if not self._is_silent(state):
            return ""
        seconds = self._clock() - state.heartbeat
        return f"Its last heartbeat was {seconds:.0f} s ago; it counts as lost after {state.lease_seconds:.0f} s."

    def suspects(self, nodes: Collection[str]) -> frozenset[str]:
        """Return those of these nodes, all there are, that have no session, or missed half a lease's heartbeats.

        They are looked for when a session changed, or one of those that were heard may have fallen silent since.
        """
        elapsed = self._clock()
        if self._suspects is None or self._suspects[0] != len(nodes) or elapsed >= self._next_silence:
            found = {name for name in nodes if name not in self._nodes}
            following = math.inf
            for name, state in self._nodes.items():
                silence = _silence(state)
                if state.wake is None or silence <= elapsed:
                    found.add(name)
                elif silence < following:
                    following = silence
            self._next_silence = following
            self._suspects = (len(nodes), frozenset(found.intersection(nodes)))
        return self._suspects[1]

    def lease_end(self, nodes: Iterable[str], *, lease_seconds: float, now: datetime) -> dict[str, datetime]:
        """Return when each node counts as lost. One not heard of since the start gets a lease from there.

        Counted on the monotonic clock: no correction of the time of day loses a node.
        """
        elapsed, unheard = self._clock(), self._start + lease_seconds
        return {name: now + timedelta(seconds=self._end(name, unheard) - elapsed) for name in nodes}

    def leases_over(self, nodes: Iterable[str], *, lease_seconds: float) -> list[str]:
        """Return those of these nodes, all there are, whose lease is over; when the next one is, is known from then."""
        elapsed, unheard, following = self._clock(), self._start + lease_seconds, math.inf
        over: list[str] = []
        for name in nodes:
            end = self._end(name, unheard)
            if end <= elapsed:
                over.append(name)
            elif end < following:
                following = end
        self._next_end = following
        return over

    def _end(self, node: str, unheard: float) -> float:
        state = self._nodes.get(node)
        return unheard if state is None or state.heartbeat is None else state.heartbeat + state.lease_seconds

    def next_lease_end(self, now: datetime) -> datetime | None:
        """Return when the first lease may run out after those that ``leases_over`` last found; None for never."""
        if math.isinf(self._next_end):
            return None
        # A trifle later: clocks are rounded differently, and who came too early would come again and again.
        return now + timedelta(seconds=self._next_end - self._clock() + 0.001)

    def take_changes(self) -> LiveChanges:
        """Return what changed since this was last called."""
        leases = self._sessions_touched or self._clock() >= self._next_end
        changes = LiveChanges(leases, frozenset(self._measured), frozenset(self._questions.touched))
        self._measured.clear()
        self._questions.touched.clear()
        self._sessions_touched = False
        return changes

    def usage(self, node: str) -> NodeUsage | None:
        """Return the last measurement of a node."""
        state = self._nodes.get(node)
        return None if state is None else state.usage

    def heartbeat_time(self, node: str) -> datetime | None:
        """Return when a node was last heard of, since the controller started."""
        state = self._nodes.get(node)
        return None if state is None else state.heartbeat_time

    @property
    def settled_usage(self) -> Mapping[str, NodeUsage]:
        """The measurements to decide by: they follow the last ones only in steps that matter.

        Otherwise the breathing of a machine at rest would rewrite the refusals of whatever waits for it.
        """
        return self._settled

    # --- what nodes are to be told

    def want(self, node: str, desired: DesiredOfNode) -> None:
        """Set what a node is to run and to remove."""
        state = self._node(node)
        if state.desired != desired:
            state.desired = desired
            self._wake(node)

    def wanted(self, node: str) -> Wanted | None:
        """Return everything a node is to be told; None before it was decided, when it must be told nothing at all."""
        state = self._nodes.get(node)
        if state is None or state.desired is None:
            return None
        return Wanted(
            desired=state.desired,
            questions=self._questions.of(node),
            file_orders=self.files.orders(node),
            logs=tuple(tap.request for tap in self._taps.values() if tap.node == node),
        )

    def confirm_gone(self, node: str, uids: frozenset[str]) -> None:
        """Of these instances the node reports nothing any more, though it took their tombstones."""
        if self._gone.get(node, frozenset()) != uids:
            self._gone[node] = uids
            self.changed.set()
        if not uids:
            self._gone.pop(node, None)

    @property
    def gone(self) -> Mapping[str, frozenset[str]]:
        """The uids of the instances of which nothing is left on a node, by node; only where there are any."""
        return self._gone

    # --- questions

    @property
    def readings(self) -> Mapping[tuple[str, str], Reading]:
        """Answers about models by (node, path)."""
        return self._questions.readings

    def ask(self, needed: Collection[tuple[str, str]], now: datetime) -> datetime | None:
        """Ask these questions, each once, and again when it is time; return when to call this again."""
        for node in self._questions.need(needed, now):
            self._wake(node)
        if self._questions.touched:
            self.changed.set()  # some have not answered in time
        return self._questions.next_time(needed)

    async def read(self, node: str, path: str, now: datetime) -> Reading:
        """Return what a node's agent says of a path: asked for this caller, unless facts were read just now."""
        key = (node, path)
        waiting = self._questions.wait(key, now)
        self._wake(node)
        try:
            return await waiting
        finally:
            self._questions.leave(key, waiting)
            self.changed.set()

    def answer(self, node: str, query_id: str, reading: Reading, now: datetime) -> None:
        """Take an agent's answer."""
        if self._questions.answer(node, query_id, reading, now):
            self._wake(node)
            self.changed.set()

    def forget_stale_readings(self, path: str, now: datetime) -> None:
        """Have a path read again that was not read just now."""
        self._questions.forget_stale(path, now)

    # --- models on hubs

    @property
    def models(self) -> Mapping[ModelSource, Reading]:
        """What look-ups of deployments' models came to, by source."""
        return self._models

    def learn_model(self, source: ModelSource, reading: Reading) -> None:
        """Take what a look-up came to."""
        self._models[source] = reading
        self.changed.set()

    def forget_model(self, source: ModelSource) -> None:
        """Forget a model that no deployment waits for."""
        self._models.pop(source, None)

    # --- logs

    def tap(self, node: str, request: LogRequest) -> LogTap:
        """Subscribe to an assignment's log; ``untap`` ends it."""
        tap = LogTap(node, request)
        self._taps[request.subscription_id] = tap
        self._wake(node)
        return tap

    def untap(self, tap: LogTap) -> None:
        """End a subscription."""
        tap.leave()
        if self._taps.pop(tap.request.subscription_id, None) is not None:
            self._wake(tap.node)

    def find_tap(self, subscription_id: str) -> LogTap | None:
        """Return a subscription that somebody reads."""
        return self._taps.get(subscription_id)

    @property
    def tap_count(self) -> int:
        """How many subscriptions there are."""
        return len(self._taps)

    def _node(self, node: str) -> _Node:
        return self._nodes.setdefault(node, _Node())

    def _is_silent(self, state: _Node) -> bool:
        return self._clock() >= _silence(state)

    def _beat(self, state: _Node, now: datetime) -> None:
        state.heartbeat = self._clock()
        state.heartbeat_time = now

    def _wake(self, node: str) -> None:
        state = self._nodes.get(node)
        if state is not None and state.wake is not None:
            state.wake.set()


def _silence(state: _Node) -> float:
    """Return when a node without another heartbeat becomes suspect."""
    return -math.inf if state.heartbeat is None else state.heartbeat + SILENT_SHARE * state.lease_seconds
