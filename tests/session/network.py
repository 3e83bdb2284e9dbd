"""Streams between agents and a controller, with all that happens to streams.

A stream is ordered, and that is all: it may stand still in either direction, break after any message, be noticed as
broken by one side long before the other, linger with messages under way, and be dialled again by whoever recorded it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
import grpc.aio

from motorpool import v1
from tests.session.loops import Clock, Mailbox

WINDOW = 64
"""Messages that a stream takes which the other side has not read."""
KEEPALIVE_SECONDS = 30.0
"""After so long without an answer a side gives a stream up, as ``dial`` and ``server`` tell gRPC to."""


class Stream:
    """One session's stream. Upward is from the agent to the controller."""

    def __init__(self, node: str, certificate: str) -> None:
        self.node = node
        self.certificate = certificate
        self.up: deque[bytes] = deque()
        self.down: deque[bytes] = deque()
        self.at_controller: Mailbox[bytes] = Mailbox()
        self.at_agent: Mailbox[bytes] = Mailbox()
        self.flows_up = self.flows_down = True
        self.broken = False
        """Nothing written from now on arrives; what is under way upward still may."""
        self.agent_error: grpc.aio.AioRpcError | None = None
        self.agent_done = False
        self.controller_done = False
        self.drained_up: Mailbox[None] = Mailbox()
        self.drained_down: Mailbox[None] = Mailbox()
        """Woken whenever the other side took something."""
        self.said: list[bytes] = []
        """All that the agent wrote, for who dials it again."""
        self.welcomed = False
        self.swallows = 0
        """Which of the agent's next changes gets lost, 0 for none: no stream does that; digests are there for it."""
        self.handler: asyncio.Task[None] | None = None
        self.ended_by_controller: Callable[[], None] | None = None
        self.give_up_at: float | None = None

    @property
    def open(self) -> bool:
        return not (self.broken or self.agent_done or self.controller_done)

    def flow(self) -> bool:
        """Deliver what is under way; return whether there was anything."""
        moved = False
        while self.flows_up and self.up and not self.controller_done:
            self.at_controller.put(self.up.popleft())
            moved = True
        while self.flows_down and self.down and not self.agent_done:
            self.at_agent.put(self.down.popleft())
            moved = True
        if self.ended_by_controller is not None and self.flows_down and not self.down:
            tell, self.ended_by_controller = self.ended_by_controller, None
            tell()
            moved = True
        return moved

    @property
    def unread_up(self) -> int:
        return len(self.up) + len(self.at_controller)

    @property
    def unread_down(self) -> int:
        return len(self.down) + len(self.at_agent)

    # --- the agent's end

    def write_up(self, message: bytes) -> None:
        self.said.append(message)
        counts = self.swallows > 0 and _is_change(message)
        self.swallows -= counts
        if not (counts and self.swallows == 0) and not self.broken:
            self.up.append(message)
            self.at_controller.wake()

    def agent_sees(self, error: grpc.aio.AioRpcError | None) -> None:
        """The agent's end is over: the controller ended it, or it broke."""
        if not self.agent_done:
            self.agent_done, self.agent_error = True, error
            self.at_agent.wake()
            self.drained_up.wake()

    def agent_leaves(self) -> None:
        """The agent hangs up."""
        self.agent_done = True
        if not self.broken:
            self.controller_sees_end()

    # --- the controller's end

    def write_down(self, message: bytes) -> None:
        self.welcomed = True
        if not self.broken:
            self.down.append(message)

    def controller_sees_end(self) -> None:
        """Messages that arrived are lost with the call, as in gRPC: its handler is cancelled."""
        if self.controller_done:
            return
        self.controller_done = True
        if self.handler is not None and not self.handler.done():
            self.handler.get_loop().call_soon(self.handler.cancel)


def _is_change(message: bytes) -> bool:
    request = v1.SessionRequest.FromString(message)
    return request.HasField("observed") and not request.observed.full


def lost(message: str = "connection lost") -> grpc.aio.AioRpcError:
    return grpc.aio.AioRpcError(grpc.StatusCode.UNAVAILABLE, grpc.aio.Metadata(), grpc.aio.Metadata(), details=message)


class Call:
    """The agent's half of a stream, as gRPC's client has it."""

    def __init__(self, stream: Stream, serialize: Callable[[Any], bytes], parse: Callable[[bytes], Any]) -> None:
        self._stream = stream
        self._serialize = serialize
        self._parse = parse

    async def read(self) -> Any:
        while not len(self._stream.at_agent):
            if self._stream.agent_done:
                if self._stream.agent_error is not None:
                    raise self._stream.agent_error
                return grpc.aio.EOF
            await self._stream.at_agent.changed()
        self._stream.drained_down.wake()
        return self._parse(self._stream.at_agent.take())

    async def write(self, message: Any) -> None:
        stream = self._stream
        while stream.unread_up >= WINDOW and not stream.agent_done:
            await stream.drained_up.changed()
        if stream.agent_done:
            raise stream.agent_error or asyncio.InvalidStateError("the call is over")
        stream.write_up(self._serialize(message))
        await asyncio.sleep(0)

    def cancel(self) -> bool:
        self._stream.agent_leaves()
        return True

    def add_done_callback(self, _done: Callable[[Any], None]) -> None:
        """Whoever asks how the call ended hears nothing earlier: no status of ours takes the place of a server's."""


class Channel:
    """What an agent dials: it opens streams to whichever controller answers now."""

    def __init__(self, open_stream: Callable[[], Stream]) -> None:
        self._open = open_stream
        self._streams: list[Stream] = []

    def stream_stream(
        self, _method: str, *, request_serializer: Any, response_deserializer: Any, **_: object
    ) -> Callable[[], Call]:
        def call() -> Call:
            stream = self._open()
            self._streams.append(stream)
            return Call(stream, request_serializer, response_deserializer)

        return call

    def unary_unary(self, *_: object, **__: object) -> None:
        """Renewals are not dialled here."""

    def stream_unary(self, *_: object, **__: object) -> None:
        """Nor are logs."""

    async def close(self) -> None:
        for stream in self._streams:
            stream.agent_leaves()


class Network:
    """All streams there are, and which nodes reach the controller."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.streams: list[Stream] = []
        self.recorded: dict[str, list[Stream]] = {}
        self.cut_off: set[str] = set()
        self.answer: Callable[[Stream], None] | None = None
        """Has the controller serve a stream; None while none is up."""

    def dial(self, node: str, certificate: str) -> Stream:
        """Open a stream; one that cannot be opened is broken from the start."""
        stream = Stream(node, certificate)
        if self.answer is None or node in self.cut_off:
            stream.broken = True
            stream.controller_done = True
            stream.agent_sees(lost("connection refused"))
            return stream
        self.streams.append(stream)
        self.recorded.setdefault(node, []).append(stream)
        self.answer(stream)
        return stream

    def flow(self) -> bool:
        """Deliver everything that flows; return whether there was anything."""
        moved = False
        for stream in self.streams:
            moved = stream.flow() or moved
        self.streams = [each for each in self.streams if not (each.agent_done and each.controller_done)]
        return moved

    def of(self, node: str) -> list[Stream]:
        return [each for each in self.streams if each.node == node]

    def break_stream(self, stream: Stream, *, agent_sees: bool, controller_sees: bool, keep: int = 0) -> None:
        """Break a stream; of what is under way the first few messages still come, upward while it lingers."""
        stream.broken = True
        for _ in range(min(keep, len(stream.down))):
            stream.at_agent.put(stream.down.popleft())
        while len(stream.up) > keep:
            stream.up.pop()
        stream.down.clear()
        stream.ended_by_controller = None
        stream.give_up_at = self._clock.seconds + KEEPALIVE_SECONDS
        if agent_sees:
            stream.agent_sees(lost())
        if controller_sees:
            stream.controller_sees_end()

    def cut(self, node: str) -> None:
        """Have nothing of a node come through any more; both sides find that out by themselves."""
        self.cut_off.add(node)
        for stream in self.of(node):
            self.break_stream(stream, agent_sees=False, controller_sees=False)

    def heal(self) -> None:
        """Have everything flow again."""
        self.cut_off.clear()
        for stream in self.streams:
            stream.flows_up = stream.flows_down = True

    def repeat(self, node: str, which: int, count: int) -> None:
        """Dial once more and say what an earlier stream began with, as a broken proxy might."""
        said = self.recorded.get(node, [])
        if self.answer is None or not said:
            return
        before = said[which % len(said)]
        stream = Stream(node, before.certificate)
        stream.up.extend(before.said[:count])
        stream.agent_done = True
        stream.give_up_at = self._clock.seconds + KEEPALIVE_SECONDS
        self.streams.append(stream)
        self.answer(stream)

    def controller_died(self) -> None:
        """Its streams are reset."""
        self.answer = None
        for stream in self.streams:
            stream.broken = True
            stream.controller_done = True
            stream.agent_sees(lost("connection reset"))

    def agent_died(self, streams: list[Stream], *, machine_too: bool) -> None:
        """Streams of a process that is gone: reset by its kernel, or silent where that is gone, too."""
        for stream in streams:
            stream.agent_done = True
            self.break_stream(stream, agent_sees=True, controller_sees=not machine_too)

    def next_time(self) -> float | None:
        return min((each.give_up_at for each in self.streams if each.give_up_at is not None), default=None)

    def give_up(self) -> None:
        """Have both sides notice streams that were silent for too long."""
        for stream in self.streams:
            if stream.give_up_at is not None and stream.give_up_at <= self._clock.seconds:
                stream.agent_sees(lost("keepalive"))
                stream.controller_sees_end()


async def requests(stream: Stream, parse: Callable[[bytes], Any]) -> AsyncIterator[Any]:
    """What the controller's handler reads."""
    while True:
        while len(stream.at_controller):
            stream.drained_up.wake()
            yield parse(stream.at_controller.take())
        await stream.at_controller.changed()
