"""Agents that are nothing but their sessions: many in one process, each with a TLS connection of its own.

``python -m benchmarks.scale_agents FLEET.json`` reads orders, a line of JSON each, on stdin, and answers each with a
line on stdout (see ``Crowd.obey``). An agent dials, says hello, shows eight devices, sends heartbeats at the pace that
the controller tells, acknowledges what is desired, answers questions about models, and "runs" what it is assigned: it
says so at once, and goes on saying so over every session. Its waits after a session ended are a real agent's.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time
import uuid
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import NoReturn

import grpc

from benchmarks.raw_echo import METHOD
from benchmarks.scale_messages import Node, answered, observed
from motorpool import v1
from motorpool_agent.convert.observed import digest_over
from motorpool_agent.identity.bundle import fingerprints
from motorpool_agent.identity.dial import dial_agents, failure_of
from motorpool_agent.identity.ending import CallEnding
from motorpool_agent.identity.store import Document, Identity
from motorpool_agent.session.backoff import Backoff
from motorpool_controller.garbage import collect_young, spare

SESSION = "/motorpool.v1.AgentService/Session"
STABLE_SECONDS = 30.0
WELCOME_SECONDS = 20.0
Call = grpc.aio.StreamStreamCall[bytes, bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """What all agents of a process have in common."""

    cluster_id: str
    endpoint: str
    ca_pem: str
    profile: v1.BackendProfile
    facts: v1.ModelFacts


class Tally:
    """What happened to a process's agents so far."""

    def __init__(self) -> None:
        self.heartbeats = 0
        self.echoes = 0
        self.opened = 0
        self.ordered_away = 0
        """Assignments that a tombstone ended."""
        self.assigned = 0
        self.endings = Counter[str]()
        self.last_known = 0.0
        """When an agent last became known: its heartbeat followed its full state in a new session."""


class Agent:
    """One agent. What it runs outlives its sessions."""

    def __init__(self, fleet: Fleet, tally: Tally, given: Mapping[str, str], number: int) -> None:
        self._fleet = fleet
        self._tally = tally
        expiry = datetime.max.replace(tzinfo=UTC)
        self._identity = Identity(
            document=Document(
                cluster_id=fleet.cluster_id,
                node=given["node"],
                node_uid=given["uid"],
                agent_endpoints=(fleet.endpoint,),
                renew_time=expiry,
                expire_time=expiry,
                enrollment_id="",
            ),
            key_pem=given["key"],
            certificate_pem=given["certificate"],
            ca_pem=fleet.ca_pem,
        )
        self._instance_id = uuid.uuid4().hex
        self._node = Node(given["node"], number)
        self._pool = given["pool"]
        self._objects = self._node.objects(fleet.profile)
        self._wishes: dict[str, v1.DesiredObject] = {}
        self._version = v1.DesiredVersion()
        self._backoff = Backoff()
        self._beats: list[bytes] = []
        self._turn = number
        self.period_seconds = 0.0
        self.connected = False
        self.known = False

    @property
    def running(self) -> int:
        """How many instances it runs."""
        return sum(name.startswith("instance/") for name in self._objects)

    async def live(self, after_seconds: float) -> None:
        """Be in session from then on, again and again, as an agent is."""
        await asyncio.sleep(after_seconds)
        while True:
            began = time.monotonic()
            retry_seconds: float | None = None
            turned_away = False
            try:
                await self._converse()
            except grpc.aio.AioRpcError as error:
                failure = failure_of(error)
                retry_seconds = failure.retry_after_seconds
                turned_away = failure.turned_away and not self.connected
                self._tally.endings[failure.reason or failure.code.name] += 1
            except TimeoutError:
                self._tally.endings["no welcome"] += 1
            except (asyncio.InvalidStateError, ConnectionResetError):
                self._tally.endings["closed"] += 1
            if self.connected and time.monotonic() - began > STABLE_SECONDS:
                self._backoff.reset()
            self.connected = self.known = False
            again = self._backoff
            await asyncio.sleep(again.again_seconds() if turned_away else again.delay_seconds(retry_seconds))

    async def _converse(self) -> None:
        async with dial_agents(self._identity, self._fleet.endpoint, use_proxy=False) as channel:
            call: Call = channel.stream_stream(SESSION)()  # bytes: no serializers
            said = CallEnding(call)
            try:
                await self._converse_in(call)
            except grpc.aio.AioRpcError as error:
                raise await said.of(error) from None
            finally:
                call.cancel()

    async def _converse_in(self, call: Call) -> NoReturn:
        speaking = asyncio.Lock()
        async with asyncio.timeout(WELCOME_SECONDS):
            await call.write(v1.SessionRequest(hello=self._hello()).SerializeToString())
            first = await _read(call)
        epoch = first.session_epoch
        self.period_seconds = first.welcome.heartbeat_period.ToTimedelta().total_seconds()
        self._backoff.spread(first.welcome.return_spread.ToTimedelta().total_seconds())
        self.connected = True
        self._tally.opened += 1
        self._beats.clear()
        async with speaking:
            await self._show_all(call, epoch)
        beating = asyncio.create_task(self._beat(call, epoch, speaking))
        try:
            while True:
                message = await _read(call)
                async with speaking:
                    await self._take(call, epoch, message)
        finally:
            beating.cancel()

    async def _beat(self, call: Call, epoch: int, speaking: asyncio.Lock) -> None:
        share = random.random()
        try:
            while True:
                async with speaking:
                    if not self._beats:
                        digest = digest_over({name: each.digest for name, each in self._objects.items()})
                        self._beats = self._node.heartbeats(epoch, digest, self._assignments())
                    self._turn += 1
                    await call.write(self._beats[self._turn % len(self._beats)])
                self._tally.heartbeats += 1
                if not self.known:
                    self.known = True
                    self._tally.last_known = time.monotonic()
                await asyncio.sleep(share * self.period_seconds)
                share = 1.0
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
            return  # the reader learns how it ended

    async def _take(self, call: Call, epoch: int, message: v1.SessionResponse) -> None:
        kind = message.WhichOneof("message")
        if kind == "desired":
            await self._apply(call, epoch, message.desired)
        elif kind == "resend_observed":
            await self._show_all(call, epoch)
        elif kind == "pace":
            self.period_seconds = message.pace.heartbeat_period.ToTimedelta().total_seconds()
            self._backoff.spread(message.pace.return_spread.ToTimedelta().total_seconds())
        elif kind == "ping":
            pong = v1.Pong(nonce=message.ping.nonce)
            await call.write(v1.SessionRequest(session_epoch=epoch, pong=pong).SerializeToString())

    async def _apply(self, call: Call, epoch: int, state: v1.DesiredState) -> None:
        if state.HasField("applies_to") and state.applies_to != self._version:
            await self._acknowledge(call, epoch, v1.DesiredAck(version=state.results_in, resend=True))
            return
        if not state.HasField("applies_to"):
            self._wishes.clear()
        self._wishes |= {item.id: item for item in state.objects}
        for name in state.removed:
            self._wishes.pop(name, None)
        self._version = state.results_in
        new, gone = self._carry_out()
        if new or gone:
            self._beats.clear()
            delta = v1.ObservedState(objects=new, removed=gone)
            await call.write(v1.SessionRequest(session_epoch=epoch, observed=delta).SerializeToString())
        await self._acknowledge(call, epoch, v1.DesiredAck(version=state.results_in))

    def _carry_out(self) -> tuple[list[v1.ObservedObject], list[str]]:
        """Do what is wished; return what is new to show, and what is gone."""
        new: list[v1.ObservedObject] = []
        gone: list[str] = []
        for name, item in list(self._wishes.items()):
            kind, _, identifier = name.partition("/")
            if kind == "tombstone":
                self._wishes.pop(f"assignment/{identifier}", None)
                if self._objects.pop(f"instance/{identifier}", None) is not None:
                    self._tally.ordered_away += 1
                    gone.append(f"instance/{identifier}")
            elif kind == "assignment" and f"instance/{identifier}" not in self._objects:
                self._tally.assigned += 1
                new.append(observed(f"instance/{identifier}", self._node.run(item.assignment)))
            elif kind == "query" and f"answer/{identifier}" not in self._objects:
                new.append(observed(f"answer/{identifier}", answered(item.query, self._fleet.facts)))
        for name in [each for each in self._objects if each.startswith("answer/")]:
            if f"query/{name.removeprefix('answer/')}" not in self._wishes:
                del self._objects[name]
                gone.append(name)
        self._objects |= {each.id: each for each in new}
        return new, gone

    def _assignments(self) -> list[v1.Assignment]:
        return [item.assignment for name, item in self._wishes.items() if name.startswith("assignment/")]

    async def _show_all(self, call: Call, epoch: int) -> None:
        full = v1.ObservedState(full=True, objects=list(self._objects.values()))
        await call.write(v1.SessionRequest(session_epoch=epoch, observed=full).SerializeToString())

    async def _acknowledge(self, call: Call, epoch: int, ack: v1.DesiredAck) -> None:
        await call.write(v1.SessionRequest(session_epoch=epoch, desired_ack=ack).SerializeToString())

    def _hello(self) -> v1.Hello:
        return v1.Hello(
            cluster_id=self._fleet.cluster_id,
            node_uid=self._identity.document.node_uid,
            boot_id="boot",
            agent_instance_id=self._instance_id,
            agent_version="0.1.0",
            protocol_min=1,
            protocol_max=1,
            desired_version=self._version,
            host=self._node.host(),
            labels={"pool": self._pool},
            address="127.0.0.1",
            trusted_authorities=fingerprints(self._fleet.ca_pem),
        )

    async def echo(self, endpoint: str, period_seconds: float, opened: asyncio.Semaphore) -> None:
        """Send what heartbeats were, this often, to a server that sends them back; dial again where that fails."""
        beats = self._beats or self._node.heartbeats(1, "0" * 64, self._assignments())
        while True:
            try:
                await self._echo(endpoint, period_seconds, opened, beats)
            except (grpc.aio.AioRpcError, asyncio.InvalidStateError) as error:
                self._tally.endings[type(error).__name__] += 1
            await asyncio.sleep(self._backoff.delay_seconds())

    async def _echo(
        self, endpoint: str, period_seconds: float, opened: asyncio.Semaphore, beats: Sequence[bytes]
    ) -> None:
        async with dial_agents(self._identity, endpoint, use_proxy=False) as channel:
            call: Call = channel.stream_stream(METHOD)()  # bytes: no serializers
            try:
                async with opened:
                    await call.write(b"up")
                    await call.read()
                self.connected = True
                share = random.random()
                while True:
                    self._turn += 1
                    await call.write(beats[self._turn % len(beats)])
                    await call.read()
                    self._tally.echoes += 1
                    await asyncio.sleep(share * period_seconds)
                    share = 1.0
            finally:
                self.connected = False
                call.cancel()


class Crowd:
    """The agents of this process, and what its parent may order."""

    def __init__(self, fleet: Fleet, given: list[Mapping[str, str]], first: int) -> None:
        self._tally = Tally()
        self._agents = [Agent(fleet, self._tally, each, first + index) for index, each in enumerate(given)]
        self._tasks: set[asyncio.Task[None]] = set()

    async def obey(self, order: Mapping[str, str]) -> Mapping[str, object]:
        """Carry out an order: ``live``, ``leave``, ``echo`` or ``tell``; return how things stand."""
        what = order["do"]
        if what in {"leave", "echo"}:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            self._tasks.clear()
        if what == "live":
            within_seconds = float(order["within_seconds"])
            count = len(self._agents)
            self._tasks = {
                asyncio.create_task(each.live(within_seconds * index / count))
                for index, each in enumerate(self._agents)
            }
        elif what == "echo":
            # As many at once as a server is reached by without its queue of connections overflowing.
            opened = asyncio.Semaphore(64)
            where, period_seconds = order["endpoint"], float(order["period_seconds"])
            self._tasks = {asyncio.create_task(each.echo(where, period_seconds, opened)) for each in self._agents}
        return self._state()

    def _state(self) -> Mapping[str, object]:
        tally = self._tally
        failed = [task for task in self._tasks if task.done() and not task.cancelled() and task.exception() is not None]
        return {
            "connected": sum(each.connected for each in self._agents),
            "known": sum(each.known for each in self._agents),
            "running": sum(each.running for each in self._agents),
            "period_seconds": max((each.period_seconds for each in self._agents), default=0.0),
            "heartbeats": tally.heartbeats,
            "echoes": tally.echoes,
            "opened": tally.opened,
            "assigned": tally.assigned,
            "ordered_away": tally.ordered_away,
            "last_known": tally.last_known,
            "endings": dict(tally.endings),
            "failed": [repr(task.exception()) for task in failed[:3]],
        }


async def _read(call: Call) -> v1.SessionResponse:
    message = await call.read()
    if not isinstance(message, bytes):
        raise ConnectionResetError("the controller ended the session without a status")
    return v1.SessionResponse.FromString(message)


async def _serve(given: str) -> None:
    document = json.loads(given)
    fleet = Fleet(
        cluster_id=document["cluster_id"],
        endpoint=document["endpoint"],
        ca_pem=document["ca_pem"],
        profile=v1.BackendProfile.FromString(bytes.fromhex(document["profile"])),
        facts=v1.ModelFacts.FromString(bytes.fromhex(document["facts"])),
    )
    crowd = Crowd(fleet, document["agents"], document["first"])
    spare()
    collecting = asyncio.create_task(collect_young())  # an agent of its own does not wait for thousands of others
    orders = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(orders), sys.stdin)
    async for line in orders:
        print(json.dumps(await crowd.obey(json.loads(line))), flush=True)
    # Its parent is gone, or done.
    collecting.cancel()
    await crowd.obey({"do": "leave"})


if __name__ == "__main__":
    asyncio.run(_serve(Path(sys.argv[1]).read_text(encoding="utf-8")))
