"""What other programs say: every request into the services, and the session both ways."""

from __future__ import annotations

import hashlib

from google.protobuf.message import DecodeError

from motorpool import v1
from motorpool_agent.session.desired import DesiredBook, Proposal
from motorpool_agent.session.observer import Observer
from motorpool_agent.session.protocol import ProtocolError, SessionProtocol
from tests.agent.session.fakes import FixedPlugins, RecordingInstances
from tests.fuzz.controllers import Controller
from tests.fuzz.wire import joined, split

INPUTS_OF_ONE = 500
"""Then a new controller is made, so that what earlier inputs left does not pile up."""
SESSION = "/motorpool.v1.AgentService/Session"


class _Present:
    """The controller of this process, for a while."""

    def __init__(self) -> None:
        self._controller: Controller | None = None
        self._inputs = 0

    def controller(self) -> Controller:
        if self._inputs >= INPUTS_OF_ONE:
            self.close()
        if self._controller is None:
            self._controller, self._inputs = Controller(), 0
        self._inputs += 1
        return self._controller

    def close(self) -> None:
        if self._controller is not None:
            self._controller.close()
            self._controller = None


_PRESENT = _Present()


def close() -> None:
    """Leave no controller behind."""
    _PRESENT.close()


def requests(content: bytes) -> None:
    """Send any bytes as the request of a method, whose name stands before the first newline."""
    controller = _PRESENT.controller()
    name, _, body = content.partition(b"\n")
    methods = [method for method in controller.methods if method != SESSION]
    named = [method for method in methods if method.rpartition("/")[2].encode() == name]
    other = methods[int.from_bytes(hashlib.sha256(name).digest()[:4], "big") % len(methods)]
    controller.call(named[0] if named else other, body)


def session_up(content: bytes) -> None:
    """Send any bytes as the messages of an agent, after a Hello; the first byte leaves that out where it is odd."""
    controller = _PRESENT.controller()
    epoch = controller.next_epoch
    messages = []
    for part in split(content[1:]):
        try:
            message = v1.SessionRequest.FromString(part)
        except DecodeError:
            messages.append(part)
            continue
        if message.session_epoch == 1:  # as corpora have it: the present one
            message.session_epoch = epoch
        messages.append(message.SerializeToString())
    first = [] if content[:1] and content[0] & 1 else [controller.hello()]
    controller.call(SESSION, joined([*first, *messages]))


def session_down(content: bytes) -> None:
    """Take any bytes as the messages of a controller, as the agent does, and answer."""
    instances = RecordingInstances()
    observer = Observer(node="nodes/a", plugins=FixedPlugins(), instances=instances, answers=dict)
    book = DesiredBook(None)
    protocol = SessionProtocol(hello=v1.Hello(node_uid="u"), book=book, observed=observer.objects)
    for part in split(content):
        before = {*instances.running}
        try:
            message = v1.SessionResponse.FromString(part)
            todo = protocol.received(message)
        except (DecodeError, ProtocolError):
            return
        if isinstance(todo, Proposal):
            instances.apply(todo.desired())
            protocol.adopted(todo)
            protocol.observed_changed()
            ended = {each.assignment_id for each in todo.desired().tombstones.values()}
            assert before - {*instances.running} <= ended, "something ended without a tombstone"
        for _ in range(100):
            said = protocol.take()
            if said is None:
                break
            said.SerializeToString()
        else:
            raise AssertionError("the agent answers without end")
