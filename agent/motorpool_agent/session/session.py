"""Keeps the node in session with its controller for as long as the agent runs."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

from motorpool import v1
from motorpool_agent import metrics
from motorpool_agent.convert.desired import version_message
from motorpool_agent.convert.inventory import usage_message
from motorpool_agent.identity.bundle import fingerprints
from motorpool_agent.identity.dial import ROTATED, dial_agents
from motorpool_agent.identity.errors import IdentityError, RefusedError
from motorpool_agent.identity.renewal import Renewal
from motorpool_agent.inventory import HostUsage
from motorpool_agent.inventory.strangers import stranger
from motorpool_agent.reconcile.assignment import DesiredVersion
from motorpool_agent.session.backoff import Backoff
from motorpool_agent.session.connection import Connection, Ending
from motorpool_agent.session.conversation import Conversation
from motorpool_agent.session.desired import DesiredBook, Proposal
from motorpool_agent.session.logs import LogSender
from motorpool_agent.session.observer import Observer
from motorpool_agent.session.protocol import PROTOCOL_MAX, PROTOCOL_MIN, SessionProtocol
from motorpool_agent.session.questions import Questions
from motorpool_agent.session.remains import Remains
from motorpool_agent.session.route import Route
from motorpool_agent.session.seams import Care, Dial, Instances, Models, Plugins
from motorpool_agent.state.errors import StateError

if TYPE_CHECKING:
    from motorpool_agent.session.logs import AsyncStub

# A session shorter than this is no success that starts the back-off anew.
_STABLE_SECONDS = 30.0
_RENEWAL_CHECK_SECONDS = 60.0
# Far longer than a heartbeat's period, a back-off or a vendor's slow answers: what takes so long never ends.
_STALLED_SECONDS = 300.0
_NOT_LEADER = "NOT_LEADER"
# It may be this controller alone that cannot reach the database: another one may lead since.
_STORE_UNAVAILABLE = "STORE_UNAVAILABLE"
# Refusals that time alone does not mend, and what an operator can do.
_ADVICE = {
    "CERTIFICATE_REVOKED": (
        "the node was deleted or its certificate revoked: enrol again with a new join token and an empty --data-dir"
    ),
    "NODE_BANNED": "an administrator banned this node: what runs goes on, and it is tried again from time to time",
    "DUPLICATE_NODE": "another agent runs with this node's identity: stop one of them; each needs its own --data-dir",
    "VERSION_UNSUPPORTED": "agent and controller are more than two versions apart: upgrade the older one",
    "WRONG_CLUSTER": "this node enrolled in another cluster: point it there, or enrol again with an empty --data-dir",
}

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeReport:
    """What the agent says of itself when it opens a session."""

    agent_instance_id: str
    agent_version: str
    host: v1.Host
    address: str
    labels: Mapping[str, str] = field(default_factory=dict)
    reserved_memory_bytes: int = 0
    reserved_device_memory_bytes: int = 0


class Session:
    """The node's session: connects, comes back, and carries wishes down and observations up.

    ``changed`` is set by whoever has something new to show. ``record`` puts an accepted version on disk and raises a
    StateError for one that must not be accepted; ``accepted`` is the last one recorded.
    """

    def __init__(
        self,
        *,
        renewal: Renewal,
        report: NodeReport,
        instances: Instances,
        plugins: Plugins,
        questions: Questions,
        measure: Callable[[], HostUsage],
        care: Care | None = None,
        record: Callable[[DesiredVersion], None],
        accepted: DesiredVersion | None,
        changed: asyncio.Event,
        use_proxy: bool = False,
        backoff: Backoff | None = None,
        dial: Dial = dial_agents,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        models: Models | None = None,
    ) -> None:
        self._renewal = renewal
        self._report = report
        self._instances = instances
        self._plugins = plugins
        self._questions = questions
        self._measure = measure
        self._care = care
        self._record = record
        self._changed = changed
        self._use_proxy = use_proxy
        self._dial = dial
        self._backoff = backoff or Backoff()
        self._sleep = sleep
        self._book = DesiredBook(accepted)
        self._observer = Observer(
            node=renewal.identity.document.node,
            plugins=plugins,
            instances=instances,
            answers=questions.answers,
            conditions=lambda: {} if care is None else care.conditions,
            models=models,
        )
        self._remains = Remains(self._observer.instance_of, stranger)
        self._conversation: Conversation | None = None
        self._route = Route()
        self._accepting = asyncio.Lock()
        self._logs = LogSender(instances=instances, stub=self._stub)
        self._turned = time.monotonic()

    async def run(self) -> None:
        """Stay in session until cancelled; instances are left as they are."""
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._keep_renewed())
                tasks.create_task(self._tell_changes())
                while True:
                    delay_seconds = await self._converse()
                    await self._sleep(delay_seconds)
        finally:
            await self._logs.close()
            await self._questions.close()

    def stalled(self) -> str:
        """Return what does not go on any more, empty where all does: measuring in session, and dialling without."""
        seconds = time.monotonic() - self._turned
        return f"no heartbeat and no attempt at a session for {seconds:.0f} s" if seconds > _STALLED_SECONDS else ""

    @property
    def is_open(self) -> bool:
        """Whether the node is in session."""
        connection = None if self._conversation is None else self._conversation.connection
        return connection is not None and connection.welcomed.is_set()

    def reconnect(self) -> None:
        """Hand the session over to a new one, as after a renewal; there is no gap between them."""
        if self._conversation is not None:
            self._conversation.hand_over()

    async def _converse(self) -> float:
        """Hold one session; return how long to wait before the next one."""
        self._turned = time.monotonic()
        if self._renewal.expired and not await self._renew():
            return self._backoff.delay_seconds()
        ending = Ending(message="the identity names no endpoint")
        standing_by: Ending | None = None
        self._route.begin()
        while (endpoint := self._route.next(self._renewal.identity.document.agent_endpoints)) is not None:
            ending = await self._converse_with(endpoint)
            away = ending.unreachable or ending.reason == _STORE_UNAVAILABLE
            if away:
                self._route.failed(endpoint)
            elif ending.reason == _NOT_LEADER:
                standing_by = ending
                self._route.named(ending.leader)
                if ending.welcomed and ending.leader:
                    # It led until now, and says who does: there at once, with a round of its own.
                    self._route.begin()
                    continue
            if ending.welcomed or not (away or ending.reason == _NOT_LEADER):
                return await self._delay_after(ending)
            log.debug("controller does not lead here", extra={"endpoint": endpoint, "error": ending.message})
        return await self._delay_after(standing_by or ending)

    async def _converse_with(self, endpoint: str) -> Ending:
        self._conversation = Conversation(partial(self._connect, endpoint), self._pause)
        clock = asyncio.get_running_loop().time
        began = clock()
        try:
            ending = await self._conversation.hold()
        finally:
            self._conversation = None
        if ending.welcomed:
            self._route.welcomed(endpoint)
        if ending.welcomed and clock() - began > _STABLE_SECONDS:
            self._backoff.reset()
        return ending

    def _connect(self, endpoint: str) -> Connection:
        protocol = SessionProtocol(hello=self._hello(), book=self._book, observed=self._observer.objects)
        return Connection(
            self._renewal.identity,
            endpoint,
            protocol=protocol,
            accept=lambda proposal: self._accept(proposal, protocol),
            usage=self._usage,
            hasten=self._renewal.hasten,
            relocate=self._renewal.relocate,
            spread=self._backoff.spread,
            dial=self._dial,
            use_proxy=self._use_proxy,
        )

    async def _pause(self, ending: Ending) -> None:
        """Wait before the next try to hand the session over."""
        log.debug("session not handed over yet", extra={"error": ending.message})
        await self._sleep(self._backoff.delay_seconds(ending.retry_after_seconds))

    async def _delay_after(self, ending: Ending) -> float:
        if ending.reason == "CERTIFICATE_EXPIRED" and await self._renew():
            return 0.0
        reason = ending.reason or (
            "UNREACHABLE" if ending.unreachable else "TURNED_AWAY" if ending.turned_away else "NONE"
        )
        metrics.SESSIONS_ENDED.add(reason)
        advice = ROTATED if ending.untrusted else _ADVICE.get(ending.reason)
        if ending.reason == _NOT_LEADER:
            delay_seconds = self._backoff.soon_seconds(ending.retry_after_seconds)
        elif advice is not None:
            delay_seconds = self._backoff.longest_seconds(ending.retry_after_seconds)
        elif ending.turned_away:
            delay_seconds = self._backoff.again_seconds()
        else:
            delay_seconds = self._backoff.delay_seconds(ending.retry_after_seconds)
        log.log(
            logging.WARNING if advice is None else logging.ERROR,
            "session ended",
            extra={
                "reason": reason,
                "error": ending.message,
                "retry_seconds": round(delay_seconds, 1),
                **({} if advice is None else {"advice": advice}),
            },
        )
        return delay_seconds

    async def _renew(self) -> bool:
        try:
            await self._renewal.renew()
        except (IdentityError, OSError) as error:
            reason = error.reason if isinstance(error, RefusedError) else ""
            log.error(  # noqa: TRY400  # its message says it all
                "certificate expired and not renewed",
                extra={"error": str(error), "advice": _ADVICE.get(reason, "tried again; instances run on")},
            )
            return False
        return True

    async def _keep_renewed(self) -> None:
        while True:
            # In short steps: the wall clock may be set, and machines sleep.
            self._renewal.hastened.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(self._renewal.wait_seconds(), _RENEWAL_CHECK_SECONDS)):
                    await self._renewal.hastened.wait()
            await self._renewal.renew_if_due()

    async def _tell_changes(self) -> None:
        """Have every connection look at what there is to show: while sessions change hands there are two."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            if self._conversation is not None:
                self._conversation.changed()

    async def _accept(self, proposal: Proposal, protocol: SessionProtocol) -> None:
        # One at a time: while sessions change hands, two of them bring wishes.
        async with self._accepting:
            await self._take(proposal, protocol)

    async def _take(self, proposal: Proposal, protocol: SessionProtocol) -> None:
        desired = proposal.desired()
        try:
            await asyncio.to_thread(self._record, proposal.version)
            self._instances.apply(desired)
        except StateError as error:
            log.warning("desired state refused", extra={"reason": error.reason, "error": str(error)})
            protocol.refused(proposal, error.reason, str(error))
            return
        except OSError as error:
            log.error("desired state not recorded", extra={"error": str(error)})  # noqa: TRY400  # as above
            protocol.refused(
                proposal, "STATE_UNWRITABLE", f"the agent cannot write its data directory: {error}; free some space"
            )
            return
        except Exception as error:
            # P3: an order that our own code trips over costs this version, and no instance its agent.
            log.exception("desired state not applied")
            protocol.refused(proposal, "INTERNAL", f"{type(error).__name__}; see the agent's log")
            return
        protocol.adopted(proposal)
        self._questions.update(desired.queries)
        self._logs.update(desired.logs)

    async def _usage(self) -> v1.NodeUsage:
        self._turned = time.monotonic()
        if self._care is not None:
            await self._care.look()
        samples = await self._plugins.sample()
        metrics.HEARTBEAT_SECONDS.observe(time.monotonic() - self._turned)
        remains = self._remains.look(samples, self._instances.on_devices(), time.monotonic())
        return usage_message(
            self._measure(),
            samples,
            plugins=self._plugins.processes(),
            instances=self._instances.memory_used(),
            instance_of=self._observer.instance_of,
            remains=remains,
            resources=() if self._care is None else self._care.resources,
            now=datetime.now(UTC),
        )

    def _stub(self) -> AsyncStub | None:
        connection = None if self._conversation is None else self._conversation.connection
        return None if connection is None else connection.stub

    def _hello(self) -> v1.Hello:
        report, document = self._report, self._renewal.identity.document
        accepted = self._book.accepted
        return v1.Hello(
            cluster_id=document.cluster_id,
            trusted_authorities=fingerprints(self._renewal.identity.ca_pem),
            node_uid=document.node_uid,
            boot_id=report.host.boot_id,
            agent_instance_id=report.agent_instance_id,
            agent_version=report.agent_version,
            protocol_min=PROTOCOL_MIN,
            protocol_max=PROTOCOL_MAX,
            desired_version=None if accepted is None else version_message(accepted),
            host=report.host,
            labels=report.labels,
            address=report.address,
            reserved=v1.Reserved(
                memory_bytes=report.reserved_memory_bytes,
                device_memory_bytes=report.reserved_device_memory_bytes,
            ),
        )
