"""Many agents that say no more than hello, and come again when they are told to."""

from __future__ import annotations

from collections import Counter

from motorpool import v1
from motorpool_agent.identity.dial import failure_of
from motorpool_agent.identity.store import Identity
from tests.session import template
from tests.session.network import Stream
from tests.session.world import World


class Crowd:
    """Nodes that dial all at once. ``waits`` is how long each that was sent away is to wait, from when it was."""

    def __init__(self, world: World, count: int) -> None:
        assert world.controller is not None
        self._world = world
        token_id = template.join_token(world.controller)
        names = [f"nodes/crowd-{number}" for number in range(count)]
        self._identities = {name: template.enrol(world.controller, name, token_id) for name in names}
        self._streams: dict[str, Stream] = {}
        self._due: dict[str, float] = {}
        self.waits: dict[str, float] = {}
        self.tries: Counter[str] = Counter()
        self.welcomed = 0

    def dial(self) -> None:
        """Everybody dials."""
        for identity in self._identities.values():
            self._dial(identity)
        self._hear()

    def pass_time(self, seconds: float) -> None:
        """Let time pass; those whose turn it is dial again."""
        self._world.pass_time(seconds)
        for name, due in list(self._due.items()):
            if due <= self._world.clock.seconds:
                del self._due[name], self.waits[name]
                self._dial(self._identities[name])
        self._hear()

    def _dial(self, identity: Identity) -> None:
        node = identity.document.node
        self.tries[node] += 1
        stream = self._streams[node] = self._world.network.dial(node, identity.certificate_pem)
        hello = v1.Hello(
            cluster_id=identity.document.cluster_id,
            node_uid=identity.document.node_uid,
            agent_instance_id=node.removeprefix("nodes/"),
            protocol_min=1,
            protocol_max=1,
        )
        stream.write_up(v1.SessionRequest(hello=hello).SerializeToString())

    def _hear(self) -> None:
        self._world.rest()
        for node, stream in list(self._streams.items()):
            if len(stream.at_agent):
                assert v1.SessionResponse.FromString(stream.at_agent.take()).HasField("welcome")
                self.welcomed += 1
                del self._streams[node]
            elif stream.agent_error is not None:
                failure = failure_of(stream.agent_error)
                assert ("BUSY", True) == (failure.reason, failure.retry_after_seconds is not None), failure
                self.waits[node] = failure.retry_after_seconds or 0.0
                self._due[node] = self._world.clock.seconds + self.waits[node]
                del self._streams[node]
