"""The session against a controller on a real listener, with real certificates."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc
import pytest

from motorpool import v1
from motorpool_agent.identity.enrollment import enroll
from motorpool_agent.identity.renewal import Renewal
from motorpool_agent.identity.store import IdentityStore
from motorpool_agent.reconcile.assignment import DesiredVersion
from motorpool_agent.session.backoff import Backoff
from motorpool_agent.session.questions import Questions
from motorpool_agent.session.session import NodeReport, Session
from motorpool_agent.state.desired import DesiredRecord
from motorpool_formats import ModelFacts, ModelNotFoundError
from tests.agent.controllers import PATIENCE_SECONDS, RefusalError, TestController, eventually, serving
from tests.agent.session.fakes import FixedPlugins, RecordingInstances, measure
from tests.agent.session.objects import assignment, logs, query, tombstone

FACTS = ModelFacts(
    format="gguf",
    files=("m.gguf",),
    file_bytes=10,
    digest="sha256:1",
    name="m",
    architecture="llama",
    categories=("llm",),
    quantization="Q4_K_M",
    chat_template=True,
    parameters=5,
    weight_bytes=9,
    layer_bytes=(4, 4),
    nonlayer_bytes=1,
    layers=2,
    kv_heads=(1, 2),
)


@dataclass
class Agent:
    """A session with its surroundings, running."""

    controller: TestController
    data_dir: Path
    instances: RecordingInstances = field(default_factory=RecordingInstances)
    plugins: FixedPlugins = field(default_factory=FixedPlugins)
    read: Callable[[Path], ModelFacts] = lambda path: FACTS
    reads: list[Path] = field(default_factory=list)
    delays: list[float] = field(default_factory=list)
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    renewal: Renewal | None = None

    async def build(self) -> Session:
        store = IdentityStore(self.data_dir)
        identity = store.load() or await enroll(
            store,
            server=self.controller.public,
            token=self.controller.authority.token(),
            node_id="alpha",
            host=v1.Host(boot_id="boot"),
            agent_version="0",
            use_proxy=False,
        )
        self.instances.changed = self.changed.set
        self.renewal = Renewal(store, identity, use_proxy=False)
        record = DesiredRecord(self.data_dir)
        session = Session(
            renewal=self.renewal,
            report=NodeReport(
                agent_instance_id="one",
                agent_version="0.1.0",
                host=v1.Host(boot_id="boot"),
                address="127.0.0.1",
                labels={"zone": "a"},
                reserved_memory_bytes=7,
            ),
            instances=self.instances,
            plugins=self.plugins,
            questions=Questions(read=self._reading, notify=self.changed.set),
            measure=measure,
            record=lambda version: record.accept("cluster-1", version),
            accepted=None if record.last is None else record.last.version,
            changed=self.changed,
            backoff=Backoff(lambda: 0.5),
            sleep=self._sleep,
        )
        self.renewal.on_renewed(session.reconnect)
        return session

    async def _sleep(self, seconds: float) -> None:
        self.delays.append(seconds)
        await asyncio.sleep(0.01)

    def _reading(self, path: Path) -> ModelFacts:
        self.reads.append(path)
        return self.read(path)


@contextlib.asynccontextmanager
async def running(agent: Agent) -> AsyncIterator[Agent]:
    session = await agent.build()
    task = asyncio.create_task(session.run())
    try:
        yield agent
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            async with asyncio.timeout(PATIENCE_SECONDS):
                await task


@pytest.fixture
async def controller() -> AsyncIterator[TestController]:
    async with serving(TestController()) as served:
        yield served


@pytest.fixture
async def agent(controller: TestController, tmp_path: Path) -> AsyncIterator[Agent]:
    async with running(Agent(controller, tmp_path)) as built:
        yield built


async def test_hello_says_who_it_is(agent: Agent, controller: TestController) -> None:
    """
    The hello names cluster, node, boot and configuration, and no desired version at first.
    """
    hello = (await controller.next_session()).hello

    assert (hello.cluster_id, hello.node_uid, hello.boot_id) == ("cluster-1", "uid-1", "boot")
    assert (dict(hello.labels), hello.address, hello.reserved.memory_bytes) == ({"zone": "a"}, "127.0.0.1", 7)
    assert (hello.protocol_min, hello.protocol_max) == (1, 1)
    assert not hello.HasField("desired_version")


async def test_an_assignment_is_run_and_shown(agent: Agent, controller: TestController) -> None:
    """
    What the controller wants reaches the supervisor, is acknowledged, and comes back as observed.
    """
    session = await controller.next_session()
    session.desired(1, assignment("a"))

    ack = await session.ack(1)
    state = await session.observed(2)

    assert not ack.error_reason
    assert [each.id for each in state.objects] == ["instance/a"]
    assert agent.instances.applied[0].assignments["a"].model.path == "/models/m.gguf"


async def test_heartbeats_carry_usage(agent: Agent, controller: TestController) -> None:
    """
    Every period there is a heartbeat with host, instances' and devices' figures; a process of ours is named.
    """
    session = await controller.next_session()
    session.desired(1, assignment("a"))
    await session.ack(1)
    beats = sum(each.HasField("heartbeat") for each in session.received)

    usage = (await session.heartbeat(beats + 2)).usage

    assert (usage.memory_used_bytes, usage.memory_instances_bytes) == (1000, 12345)
    assert [(each.instance, each.memory_bytes) for each in usage.instances] == [("instances/a", 12345)]
    assert not usage.HasField("cpu_ratio")
    assert [(each.pid, each.instance) for each in usage.devices[0].processes] == [(4711, "instances/a"), (9, "")]


async def test_a_mismatched_change_gets_everything(agent: Agent, controller: TestController) -> None:
    """
    A delta to another version is answered with resend, and the full state that follows is applied.
    """
    session = await controller.next_session()
    session.desired(5, assignment("a"), after=4)
    assert (await session.ack(5)).resend

    session.desired(6, assignment("a"))

    assert not (await session.ack(6)).error_reason
    assert len(agent.instances.applied) == 1


async def test_a_resend_is_the_whole(agent: Agent, controller: TestController) -> None:
    """
    ResendObserved brings a full state.
    """
    session = await controller.next_session()
    first = await session.observed()

    session.send(resend_observed=v1.ResendObserved(message="digest"))

    again = await session.observed(2)
    assert (again.full, len(again.objects)) == (True, len(first.objects))


async def test_ping_pong(agent: Agent, controller: TestController) -> None:
    """
    A ping is answered.
    """
    session = await controller.next_session()
    session.send(ping=v1.Ping(nonce=99))

    def pong(messages: list[v1.SessionRequest]) -> int | None:
        return next((each.pong.nonce for each in messages if each.HasField("pong")), None)

    assert await session.until(pong) == 99


async def test_a_lost_session_comes_back_and_nothing_stops(agent: Agent, controller: TestController) -> None:
    """
    After the stream broke the agent returns, says what it accepted, and shows everything again.
    """
    session = await controller.next_session()
    session.desired(3, assignment("a"))
    await session.ack(3)
    session.end(RefusalError(grpc.StatusCode.UNAVAILABLE, "", "restarting"))

    again = await controller.next_session()

    assert again.hello.desired_version == v1.DesiredVersion(controller_epoch=1, version=3)
    assert again.hello.agent_instance_id == session.hello.agent_instance_id
    state = await again.observed()
    assert state.full
    assert "instance/a" in {each.id for each in state.objects}
    assert "a" in agent.instances.running


async def test_a_change_still_applies_after_a_reconnect(agent: Agent, controller: TestController) -> None:
    """
    What is held outlives the session: a delta to it is taken in the next one.
    """
    session = await controller.next_session()
    session.desired(1, assignment("a"))
    await session.ack(1)
    session.end()

    again = await controller.next_session()
    again.desired(2, assignment("b"), after=1)

    assert not (await again.ack(2)).error_reason
    assert set(agent.instances.running) == {"a", "b"}


async def test_retry_info_is_honoured(agent: Agent, controller: TestController) -> None:
    """
    A busy controller's delay is waited whole, with jitter on top, and the agent does not give up.
    """
    busy = RefusalError(grpc.StatusCode.UNAVAILABLE, "BUSY", "later", retry_seconds=0.75)
    controller.refuse = lambda hello: busy if len(controller.hellos) < 4 else None
    (await controller.next_session()).end()

    await controller.next_session()

    assert len(controller.hellos) >= 4
    assert all(delay > 0.75 for delay in agent.delays[1:2])


async def test_a_try_without_room_is_made_again_soon(controller: TestController, tmp_path: Path) -> None:
    """
    A controller's gRPC that has too many calls waiting ends one without a reason: the agent comes again within a fifth
    of the time in which the fleet comes back, longer each time, not at its next turn.
    """
    full = RefusalError(grpc.StatusCode.CANCELLED, "")
    controller.refuse = lambda hello: full if 2 <= len(controller.hellos) < 5 else None
    controller.return_seconds = 100
    agent = Agent(controller, tmp_path)
    async with running(agent):
        session = await controller.next_session()
        await session.heartbeat()
        session.end()
        await controller.next_session()

    assert agent.delays == [0.5, 11.0, 21.0, 41.0]


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (grpc.StatusCode.ALREADY_EXISTS, "DUPLICATE_NODE"),
        (grpc.StatusCode.FAILED_PRECONDITION, "WRONG_CLUSTER"),
        (grpc.StatusCode.FAILED_PRECONDITION, "VERSION_UNSUPPORTED"),
        (grpc.StatusCode.UNAUTHENTICATED, "CERTIFICATE_REVOKED"),
    ],
)
async def test_a_refusal_that_stays_is_tried_again_slowly(
    controller: TestController, tmp_path: Path, caplog: pytest.LogCaptureFixture, code: grpc.StatusCode, reason: str
) -> None:
    """
    The agent says what to do, waits near the cap, and comes back; what runs goes on.
    """
    controller.refuse = lambda hello: RefusalError(code, reason) if len(controller.hellos) < 3 else None
    async with running(Agent(controller, tmp_path)) as agent:
        await controller.next_session()

    assert agent.delays[:2] == [15.0, 15.0]
    assert any(getattr(record, "advice", "") for record in caplog.records)


async def test_a_fenced_session_is_opened_anew(agent: Agent, controller: TestController) -> None:
    """
    STALE_EPOCH ends the session and not the agent.
    """
    session = await controller.next_session()
    session.end(RefusalError(grpc.StatusCode.ABORTED, "STALE_EPOCH"))

    again = await controller.next_session()

    assert again.epoch > session.epoch


async def test_an_expired_certificate_is_renewed_at_once(agent: Agent, controller: TestController) -> None:
    """
    CERTIFICATE_EXPIRED leads to Renew, and a session with the new certificate follows without delay.
    """
    session = await controller.next_session()
    session.end(RefusalError(grpc.StatusCode.UNAUTHENTICATED, "CERTIFICATE_EXPIRED"))

    await controller.next_session()

    assert len(controller.renewals) == 1
    assert agent.delays == [0.0]


async def test_a_certificate_known_to_be_expired_is_renewed_first(controller: TestController, tmp_path: Path) -> None:
    """
    After a long weekend the agent renews before it says hello.
    """
    controller.renew_time = datetime.now(UTC) - timedelta(days=4)
    controller.expire_time = datetime.now(UTC) - timedelta(days=3)
    async with running(Agent(controller, tmp_path)):
        await controller.next_session()

    assert len(controller.renewals) == 1


async def test_a_renewal_replaces_the_connection(agent: Agent, controller: TestController) -> None:
    """
    After a renewal the session is handed over at once to one with the new certificate.
    """
    session = await controller.next_session()
    assert agent.renewal is not None
    await agent.renewal.renew()

    again = await controller.next_session()

    assert again.epoch > session.epoch
    assert agent.delays == []


async def test_a_stale_state_is_refused_after_a_restart(controller: TestController, tmp_path: Path) -> None:
    """
    What was accepted is on disk: a new agent refuses anything older.
    """
    async with running(Agent(controller, tmp_path)):
        session = await controller.next_session()
        session.desired(9, assignment("a"))
        await session.ack(9)
    async with running(Agent(controller, tmp_path)) as agent:
        session = await controller.next_session()
        assert session.hello.desired_version.version == 9
        session.desired(8, tombstone("a"))

        ack = await session.ack(8)

    assert ack.error_reason == "DESIRED_STALE"
    assert agent.instances.applied == []


async def test_another_clusters_state_is_refused(controller: TestController, tmp_path: Path) -> None:
    """
    A data directory that belongs to another cluster takes no orders from this one.
    """
    DesiredRecord(tmp_path).accept("cluster-0", DesiredVersion(1, 1))
    async with running(Agent(controller, tmp_path)) as agent:
        session = await controller.next_session()
        session.desired(5, tombstone("a"))

        ack = await session.ack(5)

    assert ack.error_reason == "WRONG_CLUSTER"
    assert agent.instances.applied == []


@pytest.mark.promise("P3")
async def test_a_supervisor_that_trips_costs_a_version(agent: Agent, controller: TestController) -> None:
    """
    A fault while applying is reported as a refusal; the session goes on.
    """
    agent.instances.trip = ZeroDivisionError()
    session = await controller.next_session()
    session.desired(1, assignment("a"))
    assert (await session.ack(1)).error_reason == "INTERNAL"
    agent.instances.trip = None

    session.desired(2, assignment("a"))

    assert not (await session.ack(2)).error_reason


async def test_a_question_is_answered_once(agent: Agent, controller: TestController) -> None:
    """
    The answer is an observed object until the question is withdrawn, and is never made twice.
    """
    session = await controller.next_session()
    session.desired(1, query("q1", "/models/m.gguf"))
    state = await session.observed(2)
    answer = state.objects[0].answer
    session.desired(2, query("q1", "/models/m.gguf"), query("q2", "/models/n.gguf"))
    await session.observed(3)
    session.desired(3, query("q2", "/models/n.gguf"), after=2, removed=("query/q1",))

    gone = await session.observed(4)

    assert (answer.query_id, answer.facts.architecture, list(answer.facts.kv_heads)) == ("q1", "llama", [1, 2])
    assert list(gone.removed) == ["answer/q1"]
    assert [str(path) for path in agent.reads] == ["/models/m.gguf", "/models/n.gguf"]


@pytest.mark.parametrize(
    ("path", "error", "reason"),
    [
        ("/m", ModelNotFoundError("/m", "gone", "look"), "MODEL_NOT_FOUND"),
        ("/m", MemoryError(), "MODEL_UNREADABLE"),
        ("relative", AssertionError("never read"), "MODEL_NOT_FOUND"),
    ],
)
async def test_a_question_that_cannot_be_answered_is_answered_with_why(
    agent: Agent, controller: TestController, path: str, error: Exception, reason: str
) -> None:
    """
    A reader's failure is an answer with reason and words.
    """

    def fail(_: Path) -> ModelFacts:
        raise error

    agent.read = fail
    session = await controller.next_session()
    session.desired(1, query("q1", path))

    answer = (await session.observed(2)).objects[0].answer

    assert (answer.error_reason, bool(answer.error_message), answer.HasField("facts")) == (reason, True, False)


async def test_logs_are_sent_on_a_stream_of_their_own(agent: Agent, controller: TestController) -> None:
    """
    A subscription's stream says that it is there, has the lines, and ends with `end`; it is not served twice.
    """
    agent.instances.texts = [["one", "two \udc80"], ["three"]]
    session = await controller.next_session()
    session.desired(1, assignment("a"))
    session.desired(2, assignment("a"), logs("s", "a"))
    await asyncio.wait_for(controller.log_ended.wait(), PATIENCE_SECONDS)
    session.desired(3, assignment("a"), logs("s", "a"))
    await session.ack(3)

    assert [line for each in controller.log_messages for line in each.lines] == ["one", "two ?", "three"]
    assert [each.end for each in controller.log_messages] == [False, False, False, True]
    assert {each.subscription_id for each in controller.log_messages} == {"s"}


async def test_a_log_that_is_not_there_ends_with_why(agent: Agent, controller: TestController) -> None:
    """
    An unknown assignment's log has no lines: after the stream has said that it is there comes the end, with the reason.
    """
    session = await controller.next_session()
    session.desired(1, logs("s", "nobody"))
    await asyncio.wait_for(controller.log_ended.wait(), PATIENCE_SECONDS)

    assert [list(each.lines) for each in controller.log_messages] == [[], []]
    assert controller.log_messages[-1].end
    assert "nobody" in controller.log_messages[-1].error_message


async def test_a_withdrawn_log_ends(agent: Agent, controller: TestController) -> None:
    """
    Following ends when the subscription is removed.
    """
    agent.instances.texts = [["one"]]
    agent.instances.follow = asyncio.Event()
    session = await controller.next_session()
    session.desired(1, assignment("a"), logs("s", "a", follow=True))
    await asyncio.wait_for(controller.log_arrived.wait(), PATIENCE_SECONDS)

    session.desired(2, after=1, removed=("logs/s",))

    await asyncio.wait_for(controller.log_ended.wait(), PATIENCE_SECONDS)


async def test_a_log_ends_with_its_time(agent: Agent, controller: TestController) -> None:
    """
    A subscription that nobody withdraws ends by itself.
    """
    agent.instances.follow = asyncio.Event()
    session = await controller.next_session()
    session.desired(1, assignment("a"), logs("s", "a", follow=True, seconds=0.2))

    await asyncio.wait_for(controller.log_ended.wait(), PATIENCE_SECONDS)


async def test_every_endpoint_is_tried(controller: TestController, tmp_path: Path) -> None:
    """
    An endpoint that does not answer is passed over without waiting.
    """
    agent = Agent(controller, tmp_path)
    await agent.build()
    store = IdentityStore(tmp_path)
    identity = store.load()
    assert identity is not None
    endpoints = ("127.0.0.1:9", controller.agents)
    store.save(replace(identity, document=replace(identity.document, agent_endpoints=endpoints)))
    async with running(agent):
        await controller.next_session()

    assert agent.delays == []


async def test_the_named_leader_is_asked_at_once(controller: TestController, tmp_path: Path) -> None:
    """
    One that stands by says who leads: the agent goes there without waiting, and keeps what the leader tells of both.
    """
    standby = TestController()
    standby.authority = controller.authority
    away = RefusalError(
        grpc.StatusCode.UNAVAILABLE, "NOT_LEADER", "stands by", 1.0, {"agent_endpoints": controller.agents}
    )
    standby.refuse = lambda hello: away
    async with serving(standby):
        agent = Agent(controller, tmp_path)
        await agent.build()
        store = IdentityStore(tmp_path)
        identity = store.load()
        assert identity is not None
        document = replace(identity.document, agent_endpoints=(standby.agents,))
        store.save(replace(identity, document=document))
        async with running(agent):
            session = await controller.next_session()
            told = (controller.agents, standby.agents)
            session.send(controllers_changed=v1.ControllersChanged(agent_endpoints=[*told, "nonsense"]))
            await eventually(lambda: _endpoints(store) == told)

    assert agent.delays == []
    assert 1 == len(standby.hellos)


async def test_a_controller_without_its_database_is_passed_over(controller: TestController, tmp_path: Path) -> None:
    """
    It may be that one alone which cannot reach the database: the next one is asked without waiting.
    """
    cut_off = TestController()
    cut_off.authority = controller.authority
    away = RefusalError(grpc.StatusCode.UNAVAILABLE, "STORE_UNAVAILABLE", "no database", 1.0)
    cut_off.refuse = lambda hello: away
    async with serving(cut_off):
        agent = Agent(controller, tmp_path)
        await agent.build()
        store = IdentityStore(tmp_path)
        identity = store.load()
        assert identity is not None
        document = replace(identity.document, agent_endpoints=(cut_off.agents, controller.agents))
        store.save(replace(identity, document=document))
        async with running(agent):
            await controller.next_session()

    assert ([], 1) == (agent.delays, len(cut_off.hellos))


def _endpoints(store: IdentityStore) -> tuple[str, ...]:
    found = store.peek()  # its files are the agent's to move
    return () if found is None else found.document.agent_endpoints


async def test_the_controller_may_come_later(tmp_path: Path) -> None:
    """
    An agent that starts before its controller waits for it.
    """
    controller = TestController()
    async with serving(controller):
        agent = Agent(controller, tmp_path)
        await agent.build()
    async with running(agent):
        await eventually(lambda: len(agent.delays) >= 2)
        assert controller.hellos == []


async def test_the_session_ignores_the_proxy(
    controller: TestController, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    https_proxy is for downloads: the session dials directly unless told otherwise.
    """
    agent = Agent(controller, tmp_path)
    await agent.build()
    for name in ("https_proxy", "grpc_proxy", "http_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("no_proxy", "no_grpc_proxy"):
        monkeypatch.delenv(name, raising=False)
    async with running(agent):
        await controller.next_session()

    assert agent.delays == []


@pytest.mark.promise("P3")
async def test_garbage_leaves_instances_alone(agent: Agent, controller: TestController) -> None:
    """
    Whatever the controller mumbles, what runs goes on, and the session answers the next sensible state.
    """
    session = await controller.next_session()
    session.desired(1, assignment("a"))
    await session.ack(1)
    session.send(desired=v1.DesiredState())
    session.send(desired=v1.DesiredState(removed=["assignment/a"]))
    session.send(welcome=v1.Welcome(session_epoch=77))
    session.send(epoch=99, desired=v1.DesiredState(results_in=v1.DesiredVersion(controller_epoch=9, version=9)))
    session.send()
    session.desired(2, v1.DesiredObject(id="tombstone/a"))
    session.desired(3, v1.DesiredObject(id="tombstone/a", assignment=v1.Assignment(assignment_id="a")))
    session.desired(4, assignment("b"), after=1)

    assert not (await session.ack(4)).error_reason
    assert set(agent.instances.running) == {"a", "b"}
