"""The loop: wake, read, decide, write, tell the nodes."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime, timedelta

from motorpool_controller import metrics
from motorpool_controller.catalog.catalog import Catalog
from motorpool_controller.config import Settings
from motorpool_controller.domain.errors import OutOfRangeError
from motorpool_controller.domain.fleet import NodeState
from motorpool_controller.domain.groups import nodes_of
from motorpool_controller.loops.models import Models
from motorpool_controller.loops.placements import trace_placement
from motorpool_controller.reconcile.agenda import Agenda, Changes
from motorpool_controller.reconcile.decide import decide
from motorpool_controller.reconcile.desired import desired_of
from motorpool_controller.reconcile.observe import happened, observe
from motorpool_controller.reconcile.world import Decision, World
from motorpool_controller.scheduling.snapshot import Touched
from motorpool_controller.store.errors import StoreError
from motorpool_controller.store.live import Live
from motorpool_controller.store.pending import Change
from motorpool_controller.store.store import Store, utc_now
from motorpool_controller.store.subscription import Subscription
from motorpool_controller.store.transaction import Transaction

LONGEST_SLEEP = timedelta(hours=1)
RETRY_SECONDS = (1.0, 30.0)
LONG_SECONDS = 0.01
REST_SHARE = 9.0
LONGEST_REST_SECONDS = 2.0
"""A decision that takes long, places nothing and asks for nothing is followed by a rest of so many times that. A fleet
of ten thousand that comes back gives cause for one all the time, and meanwhile nobody is let in.
"""
# A decision takes milliseconds, and its commit as long as a database may be silent: what takes so long never ends.
STALLED_SECONDS = 300.0


log = logging.getLogger(__name__)


class Reconciler:
    """Moves the fleet toward the wishes, whenever something happened or is due."""

    def __init__(
        self, store: Store, live: Live, catalog: Catalog, settings: Settings, *, clock: Callable[[], datetime] = utc_now
    ) -> None:
        self._store = store
        self._models = Models(catalog, live, clock=clock)
        self._live = live
        self._settings = settings
        self._clock = clock
        self._nodes_of: dict[str, tuple[str, ...]] = {}
        self._returned: frozenset[str] = frozenset()
        self._suspect: frozenset[str] = frozenset()
        self._affected: set[str] = set()
        self._retry_seconds = 0.0
        self._agenda = Agenda()
        self._touched: defaultdict[str, set[str]] = defaultdict(set)
        self._began: float | None = None
        self._decision_ns = 0, 0
        self._rested = 0.0
        """When the rest after the last decision is over, on the loop's clock."""

    def stalled(self) -> str:
        """Return what does not go on any more, empty where all does."""
        seconds = 0.0 if self._began is None else time.monotonic() - self._began
        return f"a decision was begun {seconds:.0f} s ago" if seconds > STALLED_SECONDS else ""

    async def run(self) -> None:
        """Run until cancelled, or until the store takes nothing any more."""
        try:
            while True:
                with self._store.subscribe() as changes, contextlib.suppress(OutOfRangeError):
                    self._load()
                    while True:
                        due = await self._guarded_pass(changes)
                        await self._sleep(changes, due)
        finally:
            await self._models.close()

    async def _guarded_pass(self, changes: Subscription) -> datetime:
        try:
            self._began = time.monotonic()
            try:
                due = await self._pass(changes)
            finally:
                self._began = None
        except (StoreError, OutOfRangeError):
            raise
        except Exception:
            # A fault in deciding must not take the API down with it: nodes go on with what they were told.
            self._retry_seconds = min(max(RETRY_SECONDS[0], 2 * self._retry_seconds), RETRY_SECONDS[1])
            metrics.DECISION_FAILURES.add()
            log.exception("decision failed", extra={"retry_seconds": self._retry_seconds})
            self._agenda = Agenda()  # how far it had followed nobody knows
            await asyncio.sleep(self._retry_seconds)
            return self._clock()
        self._retry_seconds = 0.0
        return due

    async def _pass(self, changes: Subscription) -> datetime:
        """Decide, record, and tell; return when to do so again."""
        rest_seconds = self._rested - asyncio.get_running_loop().time()
        if rest_seconds > 0:
            await asyncio.sleep(rest_seconds)
        self._live.changed.clear()
        self._affected |= self._follow(changes.take())
        decision = await self._store.commit(self._decide)
        _count(decision)
        self._affected |= self._follow(changes.take())
        while self._affected:
            self._tell(self._affected.pop())
        self._trace(decision)
        now = self._clock()
        ask_again = self._live.ask(decision.questions, now)
        look_again = self._models.need(decision.look_ups, now)
        self._returned = frozenset(node.name for node in decision.put_nodes if node.state is NodeState.READY)
        if self._touched:
            # What was just recorded may allow more, and others may have written while this was.
            return now
        lease_end = self._live.next_lease_end(now)
        times = [time for time in (decision.wake_at, ask_again, look_again, lease_end) if time is not None]
        return min([now + LONGEST_SLEEP, *times])

    def _decide(self, tx: Transaction) -> Decision:
        self._catch_up(tx)
        clock = asyncio.get_running_loop().time
        began, began_ns = clock(), time.time_ns()
        decision = decide(self._world(tx), tx.now, _fresh_ids())
        seconds = clock() - began
        metrics.DECISION_SECONDS.observe(seconds)
        self._decision_ns = began_ns, time.time_ns()
        in_vain = seconds > LONG_SECONDS and not _placements(decision) and not decision.questions
        self._rested = clock() + min(REST_SHARE * seconds, LONGEST_REST_SECONDS) if in_vain else 0.0
        for node in decision.put_nodes:
            tx.nodes.put(node)
        for deployment in decision.put_deployments:
            tx.deployments.put(deployment)
        for name in decision.delete_deployments:
            tx.deployments.delete(name)
        for instance in decision.put_instances:
            tx.instances.put(instance)
        for name in decision.delete_instances:
            tx.instances.delete(name)
        for event in decision.events:
            tx.event(event.severity, event.reason, event.subject, event.message)
        return decision

    def _catch_up(self, tx: Transaction) -> None:
        """Take what agents reported before their nodes counted as ready again."""
        for name in self._returned:
            node = tx.nodes.get(name)
            for report in () if node is None else self._live.reports(name):
                instance = next(
                    (each for each in tx.instances_on(name).values() if each.uid == report.assignment_id), None
                )
                if node is None or instance is None:
                    continue
                after = observe(instance, report, node, tx.now)
                if after is not instance:
                    tx.instances.put(after)
                    event = happened(instance, after)
                    if event is not None:
                        tx.event(event.severity, event.reason, event.subject, event.message)

    def _world(self, tx: Transaction) -> World:
        live, nodes = self._live.take_changes(), tx.nodes.merged()
        suspect = frozenset(name for name in self._live.suspects(nodes) if nodes[name].state is NodeState.READY)
        suspected, self._suspect = self._suspect, suspect
        told = Changes(
            rows=Touched(
                nodes=tx.nodes.touched | self._touched["nodes"] | (suspect ^ suspected),
                instances=tx.instances.touched | self._touched["instances"],
                usage=live.usage,
                readings=live.readings,
            ),
            deployments=tx.deployments.touched | self._touched["deployments"],
            leases=live.leases,
        )
        self._touched.clear()
        changes = told if self._agenda.begun else None
        lease_seconds = self._settings.lease_seconds(len(nodes))
        looked = changes is None or changes.nodes_due
        over = self._live.leases_over(nodes, lease_seconds=lease_seconds) if looked else ()
        return World(
            nodes=nodes,
            deployments=tx.deployments.merged(),
            instances=tx.instances.merged(),
            profiles=tx.profiles.merged(),
            connected=self._live.connected(),
            lease_end=self._live.lease_end(
                nodes if changes is None else {*self._agenda.roll.lost, *over}, lease_seconds=lease_seconds, now=tx.now
            ),
            suspect=suspect,
            readings=self._live.readings,
            models=self._live.models,
            files=self._live.files.complete,
            usage=self._live.settled_usage,
            peaks=tx.peaks.merged(),
            declared=tx.backends.merged(),
            agenda=self._agenda,
            changes=changes,
            gone=self._gone(tx),
            gone_on=self._gone_on(tx),
            settings=self._settings.reconcile,
        )

    def _trace(self, decision: Decision) -> None:
        """Tell how those came by a place that belong to a trace: they were placed, recorded, and their nodes told."""
        placed = {event.subject for event in decision.events if event.reason == "INSTANCE_PLACED"}
        for instance in decision.put_instances:
            deployment = self._store.view.deployments.get(instance.deployment)
            if instance.name in placed and instance.assignment is not None and deployment is not None:
                trace_placement(instance, instance.assignment, deployment.trace, *self._decision_ns)

    def _gone_on(self, tx: Transaction) -> dict[str, frozenset[str]]:
        return {node: uids for node, uids in self._live.gone.items() if tx.nodes.get(node) is not None}

    def _gone(self, tx: Transaction) -> frozenset[str]:
        """Return the uids of instances of which nothing is left on any of their nodes."""
        nodes = self._gone_on(tx)
        return frozenset(
            instance.uid
            for node in nodes
            for instance in tx.instances_on(node).values()
            if all(instance.uid in nodes.get(other, ()) for other in nodes_of(instance))
        )

    def _load(self) -> None:
        """Look at everything there is."""
        self._nodes_of.clear()
        self._touched.clear()
        self._agenda = Agenda()
        view = self._store.view
        for name in view.instances:
            self._index(name)
        for node in view.nodes:
            self._tell(node)

    def _follow(self, changes: Iterable[Change]) -> set[str]:
        """Return the nodes whose desired state may have changed."""
        affected: set[str] = set()
        for change in changes:
            if change.kind != "events":
                self._touched[change.kind].add(change.name)
            if change.kind == "instances":
                affected |= self._index(change.name)
            elif change.kind == "nodes":
                affected.add(change.name)
        return affected

    def _index(self, name: str) -> set[str]:
        instance = self._store.view.instances.get(name)
        before = self._nodes_of.pop(name, ())
        after = () if instance is None else nodes_of(instance)
        if after:
            self._nodes_of[name] = after
        return {*before, *after}

    def _tell(self, node: str) -> None:
        view = self._store.view
        if node not in view.nodes:
            return
        world = World(
            nodes=view.nodes,
            deployments=view.deployments,
            # Of this node only: the answer is the same, and a fleet has many others.
            instances=view.groups.on_node(node),
            profiles=view.profiles,
            connected=frozenset(),
            lease_end={},
            agenda=self._agenda,  # the answer does without, and one of its own takes longer to make than that
        )
        self._live.want(node, desired_of(node, world))

    async def _sleep(self, changes: Subscription, due: datetime) -> None:
        """Return when something may have to be decided."""
        seconds = max(0.0, (due - self._clock()).total_seconds())
        waits = [
            asyncio.create_task(self._live.changed.wait(), name="something live changed"),
            asyncio.create_task(changes.wait(), name="something stored changed"),
        ]
        try:
            await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
            await asyncio.wait(waits)


def _placements(decision: Decision) -> int:
    """Return how many instances were given a place."""
    return sum(1 for event in decision.events if event.reason == "INSTANCE_PLACED")


def _count(decision: Decision) -> None:
    """Count what came of it, once it is recorded."""
    metrics.PLACEMENTS.add(by=_placements(decision))
    for instance in decision.put_instances:
        if instance.placement is None:
            for reason in {refusal.reason for refusal in instance.refusals}:
                metrics.REFUSALS.add(reason)


def _fresh_ids() -> Iterator[str]:
    while True:
        yield uuid.uuid4().hex
