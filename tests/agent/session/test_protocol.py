"""One session without I/O."""

from __future__ import annotations

import contextlib
import hashlib
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st

from motorpool import v1
from motorpool_agent.reconcile.assignment import DesiredVersion
from motorpool_agent.session.desired import DesiredBook, Proposal
from motorpool_agent.session.observer import Observer
from motorpool_agent.session.protocol import HandOver, Paced, ProtocolError, RenewalDue, SessionProtocol, Todo, Welcomed
from tests.agent.session.fakes import FixedPlugins, RecordingInstances
from tests.agent.session.objects import assignment, change, everything, logs, query, tombstone


class Talk:
    """A protocol with its surroundings, and short words for what happens to it."""

    def __init__(self) -> None:
        self.instances = RecordingInstances()
        self.plugins = FixedPlugins()
        self.observer = Observer(node="nodes/alpha", plugins=self.plugins, instances=self.instances, answers=dict)
        self.book = DesiredBook(None)
        self.protocol = SessionProtocol(hello=v1.Hello(node_uid="u"), book=self.book, observed=self.observer.objects)

    def opened(self) -> Talk:
        self.hears(welcome=v1.Welcome(session_epoch=7, protocol=1))
        self.says()
        return self

    def hears(self, *, epoch: int = 7, **message: Any) -> Todo | None:
        todo = self.protocol.received(v1.SessionResponse(session_epoch=epoch, **message))
        if isinstance(todo, Proposal):
            self.instances.apply(todo.desired())
            self.protocol.adopted(todo)
            self.protocol.observed_changed()
        return todo

    def says(self) -> list[v1.SessionRequest]:
        said = []
        while (message := self.protocol.take()) is not None:
            said.append(message)
        return said


def kinds(messages: list[v1.SessionRequest]) -> list[str | None]:
    return [message.WhichOneof("message") for message in messages]


def test_hello_comes_first_and_alone() -> None:
    """
    Before the welcome there is a hello, and nothing else.
    """
    talk = Talk()
    talk.protocol.heartbeat(v1.NodeUsage())
    talk.protocol.observed_changed()

    said = talk.says()

    assert kinds(said) == ["hello"]
    assert said[0].session_epoch == 0


def test_everything_observed_follows_the_welcome() -> None:
    """
    The welcome is answered with the full observed state, under the session's epoch.
    """
    talk = Talk()
    talk.says()

    talk.hears(welcome=v1.Welcome(session_epoch=7, protocol=1))
    said = talk.says()

    assert kinds(said) == ["observed"]
    assert said[0].session_epoch == 7
    assert said[0].observed.full
    assert {each.id for each in said[0].observed.objects} == {"device/GPU-1", "plugin/llama_cpp", "profile/llama_cpp"}


def test_changes_coalesce() -> None:
    """
    However often something changed before it could be sent, its last state is sent once.
    """
    talk = Talk().opened()
    for version in range(1, 6):
        talk.hears(desired=everything(version, assignment("a", generation=version)))

    said = talk.says()

    states = [message.observed for message in said if message.HasField("observed")]
    assert len(states) == 1
    assert [(each.id, each.instance.generation) for each in states[0].objects] == [("instance/a", 5)]
    assert not states[0].full


def test_what_is_gone_is_named() -> None:
    """
    An object that disappeared is in `removed`, once.
    """
    talk = Talk().opened()
    talk.hears(desired=everything(1, assignment("a")))
    talk.says()

    talk.hears(desired=change(2, tombstone("a"), after=1))
    said = talk.says()

    assert kinds(said) == ["observed", "desired_ack"]
    assert list(said[0].observed.removed) == ["instance/a"]
    talk.protocol.observed_changed()
    assert talk.says() == []


def test_an_acknowledged_version_is_already_visible() -> None:
    """
    The observed instance is sent before the acknowledgement of the version that made it.
    """
    talk = Talk().opened()

    talk.hears(desired=everything(1, assignment("a")))

    assert kinds(talk.says()) == ["observed", "desired_ack"]


def test_the_heartbeats_digest_is_over_what_was_sent() -> None:
    r"""
    The digest is the hex SHA-256 of the lines "{id} {digest}\n", sorted by id.
    """
    talk = Talk().opened()
    talk.protocol.heartbeat(v1.NodeUsage(memory_used_bytes=5))

    beat = talk.says()[0].heartbeat

    pairs = sorted((each.id, each.digest) for each in talk.observer.objects().values())
    lines = "".join(f"{name} {digest}\n" for name, digest in pairs)
    assert beat.observed_digest == hashlib.sha256(lines.encode()).hexdigest()
    assert beat.usage.memory_used_bytes == 5


def test_only_the_last_heartbeat_is_sent() -> None:
    """
    Heartbeats that could not be sent in time do not pile up.
    """
    talk = Talk().opened()
    for used in range(3):
        talk.protocol.heartbeat(v1.NodeUsage(memory_used_bytes=used))

    said = talk.says()

    assert [message.heartbeat.usage.memory_used_bytes for message in said] == [2]


def test_a_wish_for_everything_is_granted() -> None:
    """
    ResendObserved brings the full state, though nothing changed.
    """
    talk = Talk().opened()

    talk.hears(resend_observed=v1.ResendObserved())

    said = talk.says()
    assert kinds(said) == ["observed"]
    assert said[0].observed.full
    assert len(said[0].observed.objects) == 3


def test_a_ping_is_answered_before_anything_else() -> None:
    """
    The controller waits two seconds for a pong: it does not stand behind state.
    """
    talk = Talk().opened()
    talk.hears(desired=everything(1, assignment("a")))
    talk.hears(ping=v1.Ping(nonce=42))

    said = talk.says()

    assert kinds(said)[0] == "pong"
    assert said[0].pong.nonce == 42


def test_another_epochs_messages_are_dropped() -> None:
    """
    What another session of this node was told does not count here.
    """
    talk = Talk().opened()

    talk.hears(epoch=6, desired=everything(1, assignment("a")))

    assert talk.says() == []
    assert talk.instances.applied == []
    assert talk.protocol.dropped == 1


def test_a_refusal_after_an_acceptance_hides_neither() -> None:
    """
    Acknowledgements of different versions do not replace each other.
    """
    talk = Talk().opened()
    talk.hears(desired=everything(7))
    talk.hears(desired=everything(3))

    acks = [message.desired_ack for message in talk.says() if message.HasField("desired_ack")]

    assert [(ack.version.version, ack.error_reason) for ack in acks] == [(7, ""), (3, "DESIRED_STALE")]


def test_acknowledgements_are_bounded() -> None:
    """
    A controller that sends and never reads costs a bounded number of answers, the newest.
    """
    talk = Talk().opened()
    for version in range(1, 1001):
        talk.hears(desired=everything(version))

    versions = [message.desired_ack.version.version for message in talk.says() if message.HasField("desired_ack")]

    assert versions == list(range(937, 1001))


@pytest.mark.parametrize(
    "first",
    [
        v1.SessionResponse(),
        v1.SessionResponse(ping=v1.Ping()),
        v1.SessionResponse(welcome=v1.Welcome(protocol=1)),
        v1.SessionResponse(welcome=v1.Welcome(session_epoch=1, protocol=9)),
    ],
)
def test_a_wrong_first_message_ends_the_session(first: v1.SessionResponse) -> None:
    """
    Without a usable welcome there is no session.
    """
    with pytest.raises(ProtocolError):
        Talk().protocol.received(first)


@pytest.mark.parametrize(
    ("period", "seconds"),
    [(Duration(seconds=10), 10), (Duration(), 10), (Duration(seconds=-5), 10), (Duration(seconds=10**9), 300)],
)
def test_the_heartbeat_period_stays_sensible(period: Duration, seconds: float) -> None:
    """
    A period that makes no sense is replaced by one that does.
    """
    welcomed = Talk().hears(welcome=v1.Welcome(session_epoch=1, protocol=1, heartbeat_period=period))

    assert isinstance(welcomed, Welcomed)
    assert welcomed.heartbeat_seconds == seconds


def test_a_version_that_could_not_be_recorded_is_not_held() -> None:
    """
    A refused proposal leaves the book as it was.
    """
    talk = Talk().opened()
    todo = talk.protocol.received(v1.SessionResponse(session_epoch=7, desired=everything(1)))
    assert isinstance(todo, Proposal)

    talk.protocol.refused(todo, "STATE_UNWRITABLE", "disk full")

    ack = talk.says()[0].desired_ack
    assert (ack.error_reason, ack.error_message) == ("STATE_UNWRITABLE", "disk full")
    assert talk.book.accepted is None


_IDS = st.sampled_from(["a", "b", ""])
_OBJECTS = st.one_of(
    st.builds(assignment, _IDS, st.integers(-1, 3)),
    st.builds(tombstone, _IDS, st.integers(-1, 3)),
    st.builds(query, _IDS, st.sampled_from(["/m", "", "m"])),
    st.builds(logs, _IDS, _IDS),
    st.binary(max_size=40).map(lambda data: _parsed(v1.DesiredObject, data)),
)
_VERSIONS = st.builds(v1.DesiredVersion, controller_epoch=st.integers(-1, 3), version=st.integers(-1, 4))
_STATES = st.builds(
    v1.DesiredState,
    results_in=_VERSIONS,
    applies_to=st.one_of(st.none(), _VERSIONS),
    objects=st.lists(_OBJECTS, max_size=3),
    removed=st.lists(
        st.sampled_from(["assignment/a", "assignment/b", "tombstone/a", "query/a", "logs/a", "?"]), max_size=2
    ),
)
_RESPONSES = st.one_of(
    st.builds(v1.SessionResponse, session_epoch=st.sampled_from([7, 7, 7, 6]), desired=_STATES),
    st.builds(v1.SessionResponse, session_epoch=st.just(7), ping=st.builds(v1.Ping, nonce=st.integers(-9, 9))),
    st.builds(v1.SessionResponse, session_epoch=st.just(7), resend_observed=st.just(v1.ResendObserved())),
    st.builds(v1.SessionResponse, session_epoch=st.just(7), welcome=st.just(v1.Welcome(session_epoch=9))),
    st.binary(max_size=60).map(lambda data: _parsed(v1.SessionResponse, data)),
)


def _parsed(kind: type[v1.SessionResponse | v1.DesiredObject], data: bytes) -> object:
    message = kind()
    with contextlib.suppress(DecodeError):
        message.ParseFromString(data)
    return message


@pytest.mark.promise("P3")
@pytest.mark.promise("P9")
@given(st.lists(_RESPONSES, max_size=12))
def test_nothing_the_controller_says_removes_without_a_tombstone(responses: list[v1.SessionResponse]) -> None:
    """
    Whatever sequence of messages comes: only a tombstone of this session's epoch ends an assignment, versions never
    go back, and the protocol stays alive.
    """
    talk = Talk().opened()
    ordered: set[tuple[str, int]] = set()
    last: DesiredVersion | None = None
    for response in responses:
        if response.session_epoch == 7 and response.HasField("desired"):
            ordered |= {
                (each.tombstone.assignment_id, each.tombstone.generation)
                for each in response.desired.objects
                if each.HasField("tombstone")
            }
        before = dict(talk.instances.running)
        todo = talk.protocol.received(response)
        if isinstance(todo, Proposal):
            desired = todo.desired()
            assert last is None or todo.version >= last
            last = todo.version
            talk.instances.apply(desired)
            talk.protocol.adopted(todo)
            for tomb in desired.tombstones.values():
                assert (tomb.assignment_id, tomb.generation) in ordered
        for gone in before.keys() - talk.instances.running.keys():
            assert any(gone == assignment_id for assignment_id, _ in ordered)
        talk.says()


@pytest.mark.parametrize(("told", "seconds"), [(Duration(seconds=25), 25.0), (Duration(seconds=-1), 10.0)])
def test_another_pace(told: Duration, seconds: float) -> None:
    """
    A pace within bounds is kept from now on; nonsense becomes the usual one.
    """
    todo = Talk().opened().hears(pace=v1.Pace(heartbeat_period=told))

    assert Paced(heartbeat_seconds=seconds) == todo


@pytest.mark.parametrize(
    ("told", "seconds"),
    [(Duration(seconds=50), 50.0), (Duration(), 0.0), (Duration(seconds=-1), 0.0), (Duration(seconds=9_999), 300.0)],
)
def test_the_time_of_the_fleets_return(told: Duration, seconds: float) -> None:
    """
    The welcome and each pace say over how long the fleet comes back; nonsense is nothing, and a day is minutes.
    """
    paced = Talk().opened().hears(pace=v1.Pace(heartbeat_period=Duration(seconds=10), return_spread=told))

    assert Paced(heartbeat_seconds=10.0, return_seconds=seconds) == paced


def test_hand_over_is_asked() -> None:
    """
    The wish for the next session is handed on; in this one nothing is said about it.
    """
    talk = Talk().opened()

    assert isinstance(talk.hears(hand_over=v1.HandOver()), HandOver)
    assert [] == talk.says()


def test_a_renewal_is_due_within_a_time() -> None:
    """
    Whom to trust changed: the session says within which time to renew, and goes on.
    """
    talk = Talk().opened()

    due = talk.hears(renew_certificate=v1.RenewCertificate(within=Duration(seconds=5)))

    assert isinstance(due, RenewalDue)
    assert due.within_seconds == 5.0
    assert talk.says() == []
