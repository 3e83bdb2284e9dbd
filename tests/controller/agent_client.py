"""A scripted agent: it speaks the real protocol over a real connection, and does what the test tells it."""

from __future__ import annotations

import asyncio
import hashlib
import uuid
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

import grpc
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from google.protobuf.message import Message

from motorpool import v1
from motorpool_agent.identity.ending import CallEnding
from motorpool_controller.security.authority import key_pem
from motorpool_controller.services.roles import Role
from tests.controller.clusters import WAIT_SECONDS, Cluster, until

GIB = 1 << 30
T = TypeVar("T")

FACTS = v1.ModelFacts(
    format="gguf",
    architecture="llama",
    categories=["llm"],
    quantization="Q4_K_M",
    layers=30,
    hidden_size=576,
    heads=[9],
    kv_heads=[3],
    key_length=64,
    value_length=64,
    vocabulary_size=49_152,
    context_length=8_192,
    parameter_count=134_515_008,
    weight_bytes=96_576_768,
    nonlayer_bytes=30_083_328,
    layer_bytes=[2_216_448] * 30,
    file_bytes=98_362_432,
    digest="sha256:m",
)

PROFILE = v1.BackendProfile(
    backend="llama_cpp",
    aliases=["llama-box"],
    versions=[v1.BackendVersion(version="1.0", frameworks=["cpu"], executors=["process"])],
    memory_model=v1.MEMORY_MODEL_LAYERS,
    rules="gguf",
    formats=["gguf"],
    categories=["llm"],
    options=[
        v1.BackendOption(option="ctx-size", aliases=["c"], kind=v1.OPTION_KIND_INTEGER, meaning="context_length"),
        v1.BackendOption(option="port", kind=v1.OPTION_KIND_INTEGER, system_owned=True),
    ],
    api_key=True,
    cpu=True,
)


class Agent:
    """One machine's agent. Its identity outlives its sessions; ``instance_id`` is its process."""

    def __init__(self, cluster: Cluster, name: str = "a") -> None:
        self.cluster = cluster
        self.name = f"nodes/{name}"
        self.instance_id = uuid.uuid4().hex
        self.boot_id = uuid.uuid4().hex
        self.enrollment_id = uuid.uuid4().hex
        self.memory_bytes = 16 * GIB
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.uid = ""
        self.certificate = ""
        self.objects: dict[str, v1.ObservedObject] = {}

    def csr(self) -> str:
        request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(self.key, hashes.SHA256())
        return request.public_bytes(Encoding.PEM).decode()

    async def enrol(self) -> None:
        answer = await self.cluster.enrollment.Enroll(
            v1.EnrollRequest(
                node_id=self.name.removeprefix("nodes/"), csr_pem=self.csr(), enrollment_id=self.enrollment_id
            ),
            metadata=await self.cluster.token(Role.JOIN),
        )
        self.uid = answer.node_uid
        self.certificate = answer.certificate_pem

    def channel(self) -> grpc.aio.Channel:
        return grpc.aio.secure_channel(
            self.cluster.agents_target,
            grpc.ssl_channel_credentials(
                self.cluster.authority.pem.encode(), key_pem(self.key), self.certificate.encode()
            ),
            options=[("grpc.use_local_subchannel_pool", 1)],
        )

    def hello(self, **changes: Any) -> v1.Hello:
        return v1.Hello(
            **{
                "cluster_id": self.cluster.store.view.cluster_id,
                "node_uid": self.uid,
                "boot_id": self.boot_id,
                "agent_instance_id": self.instance_id,
                "agent_version": "0.1.0",
                "protocol_min": 1,
                "protocol_max": 1,
                "host": v1.Host(
                    hostname="host", os="linux", architecture="amd64", cpu_count=8, memory_bytes=self.memory_bytes
                ),
                "address": "127.0.0.1",
                **changes,
            }
        )

    def show(self, *bodies: Message) -> None:
        """Have these among what is observed."""
        for body in bodies:
            item = observed(body)
            self.objects[item.id] = item

    def session(self) -> Session:
        return Session(self)

    async def joined(self) -> Session:
        """Enrol and open a session that has shown the CPU backend and idle memory."""
        await self.enrol()
        self.show(PROFILE)
        return await self.opened()

    async def opened(self) -> Session:
        session = self.session()
        await session.open()
        await session.send_full()
        await session.heartbeat()
        return session


class Session:
    """One session, driven step by step."""

    def __init__(self, agent: Agent) -> None:
        self.agent = agent
        self.channel = agent.channel()
        self.call = v1.AgentServiceStub(self.channel).Session()
        self._said = CallEnding(self.call)
        self.epoch = 0
        self.welcome = v1.Welcome()
        self.desired: dict[str, v1.DesiredObject] = {}
        self.version = v1.DesiredVersion()
        self.states: list[v1.DesiredState] = []
        self.resends = 0
        self.answer_pings = True
        self.renewals: list[v1.RenewCertificate] = []

    async def open(self, **changes: Any) -> v1.Welcome:
        await self._told(self.call.write(v1.SessionRequest(hello=self.agent.hello(**changes))))
        message = await self.read()
        assert message.WhichOneof("message") == "welcome"
        self.epoch = message.session_epoch
        self.welcome = message.welcome
        return message.welcome

    async def read(self) -> v1.SessionResponse:
        """Return the next message, having acted on it as an agent does."""
        async with asyncio.timeout(WAIT_SECONDS):
            message = await self._told(self.call.read())
        assert isinstance(message, v1.SessionResponse), "the controller ended the session"
        kind = message.WhichOneof("message")
        if kind == "desired":
            await self._apply(message.desired)
        elif kind == "resend_observed":
            self.resends += 1
            await self.send_full()
        elif kind == "renew_certificate":
            self.renewals.append(message.renew_certificate)
        elif kind == "ping" and self.answer_pings:
            await self.send(pong=v1.Pong(nonce=message.ping.nonce))
        return message

    async def read_until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(WAIT_SECONDS):
            while not condition():
                await self.read()

    async def send(self, epoch: int | None = None, **message: Any) -> None:
        epoch = self.epoch if epoch is None else epoch
        await self._told(self.call.write(v1.SessionRequest(session_epoch=epoch, **message)))

    async def _told(self, doing: Awaitable[T]) -> T:
        """Return what was waited for; where the session ended instead, raise what the controller said."""
        try:
            return await doing
        except grpc.aio.AioRpcError as error:
            raise await self._said.of(error) from None

    async def send_full(self) -> None:
        await self.send(observed=v1.ObservedState(full=True, objects=list(self.agent.objects.values())))

    async def change(self, *bodies: Message, removed: list[str] | None = None) -> None:
        """Show some new or changed objects, and that others are gone."""
        self.agent.show(*bodies)
        for name in removed or []:
            self.agent.objects.pop(name, None)
        await self.send(observed=v1.ObservedState(objects=[observed(body) for body in bodies], removed=removed or []))

    async def heartbeat(
        self,
        *,
        digest: str | None = None,
        available_bytes: int | None = None,
        instances: Sequence[v1.InstanceUsage] = (),
        resources: Sequence[v1.ResourceUsage] = (),
    ) -> None:
        available = self.agent.memory_bytes if available_bytes is None else available_bytes
        await self.send(
            heartbeat=v1.Heartbeat(
                observed_digest=digest_over(self.agent.objects) if digest is None else digest,
                usage=v1.NodeUsage(
                    memory_used_bytes=self.agent.memory_bytes - available,
                    memory_available_bytes=available,
                    memory_instances_bytes=0,
                    instances=instances,
                    resources=resources,
                ),
            )
        )

    async def answer(self, facts: v1.ModelFacts | None = None, *, error: str = "") -> v1.Query:
        """Wait for a question and answer it."""
        await self.read_until(lambda: self.of("query"))
        (item,) = self.of("query")
        await self.change(
            v1.QueryAnswer(query_id=item.query.query_id, facts=facts, error_reason=error, error_message=error and "no")
        )
        return item.query

    async def assignment(self) -> v1.Assignment:
        """Wait for the one assignment."""
        await self.read_until(lambda: self.of("assignment"))
        (item,) = self.of("assignment")
        return item.assignment

    async def tombstone(self) -> v1.Tombstone:
        """Wait for the one tombstone."""
        await self.read_until(lambda: self.of("tombstone"))
        (item,) = self.of("tombstone")
        return item.tombstone

    def of(self, kind: str) -> list[v1.DesiredObject]:
        return [item for name, item in sorted(self.desired.items()) if name.startswith(f"{kind}/")]

    async def error(self) -> grpc.aio.AioRpcError:
        """Return how the controller ended the session."""
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                while isinstance(await self.call.read(), v1.SessionResponse):
                    pass
        except grpc.aio.AioRpcError as error:
            return error
        raise AssertionError("the session ended without an error")

    async def close(self) -> None:
        """Hang up, and wait until the controller has noticed."""
        await self.channel.close()
        live = self.agent.cluster.live
        await until(lambda: not live.is_connected(self.agent.name))

    async def barrier(self) -> None:
        """Return when the controller has taken in everything sent before."""
        resends = self.resends
        await self.heartbeat(digest="of nothing")
        await self.read_until(lambda: self.resends > resends)

    async def _apply(self, state: v1.DesiredState) -> None:
        self.states.append(state)
        if state.HasField("applies_to"):
            if state.applies_to != self.version:
                await self.send(desired_ack=v1.DesiredAck(version=state.results_in, resend=True))
                return
        else:
            self.desired.clear()
        for item in state.objects:
            self.desired[item.id] = item
            if item.id.startswith("tombstone/"):
                self.desired.pop(f"assignment/{item.tombstone.assignment_id}", None)
        for name in state.removed:
            assert not name.startswith("assignment/")
            self.desired.pop(name, None)
        self.version = state.results_in
        await self.send(desired_ack=v1.DesiredAck(version=state.results_in))


def running_instance(assignment: v1.Assignment, /, **changes: Any) -> v1.ObservedInstance:
    return v1.ObservedInstance(
        **{
            "assignment_id": assignment.assignment_id,
            "generation": assignment.generation,
            "instance": assignment.instance,
            "state": v1.INSTANCE_STATE_RUNNING,
            "pid": 4242,
            "pid_start_ticks": 1,
            "launch": v1.RenderedLaunch(
                executor="process",
                argv=["server"],
                ports=[v1.Port(port_name="http", number=40_000)],
                listen_address="127.0.0.1",
            ),
            **changes,
        }
    )


def observed(body: Message) -> v1.ObservedObject:
    digest = hashlib.sha256(body.SerializeToString(deterministic=True)).hexdigest()
    if isinstance(body, v1.BackendProfile):
        return v1.ObservedObject(id=f"profile/{body.backend}", digest=digest, profile=body)
    if isinstance(body, v1.Device):
        return v1.ObservedObject(id=f"device/{body.device_id}", digest=digest, device=body)
    if isinstance(body, v1.PluginStatus):
        return v1.ObservedObject(id=f"plugin/{body.plugin_id}", digest=digest, plugin=body)
    if isinstance(body, v1.QueryAnswer):
        return v1.ObservedObject(id=f"answer/{body.query_id}", digest=digest, answer=body)
    if isinstance(body, v1.ExecutorStatus):
        return v1.ObservedObject(id=f"executor/{body.executor}", digest=digest, executor=body)
    if isinstance(body, v1.NodeCondition):
        return v1.ObservedObject(id=f"condition/{body.condition}", digest=digest, condition=body)
    if isinstance(body, v1.ModelFiles):
        return v1.ObservedObject(id=f"files/{body.folder.rpartition('/')[2]}", digest=digest, files=body)
    assert isinstance(body, v1.ObservedInstance)
    return v1.ObservedObject(id=f"instance/{body.assignment_id}", digest=digest, instance=body)


def digest_over(objects: dict[str, v1.ObservedObject]) -> str:
    lines = "".join(f"{name} {objects[name].digest}\n" for name in sorted(objects))
    return hashlib.sha256(lines.encode()).hexdigest()
