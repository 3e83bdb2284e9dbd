"""Deployments and instances, and the legal moves of an instance's state. All memory is in bytes; an unknown is None."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from motorpool_controller.domain.attempts import Attempt, Failure
from motorpool_controller.domain.declarations import Definition
from motorpool_controller.domain.fleet import Drain, StartOrder
from motorpool_controller.domain.hub_files import HubModel
from motorpool_controller.domain.placement import Claim, Estimate, Placement, Refusal
from motorpool_formats.facts import ModelFacts


class SourceKind(StrEnum):
    """Where a model comes from."""

    LOCAL_PATH = "local_path"
    HUGGING_FACE = "hugging_face"
    MODEL_SCOPE = "model_scope"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSource:
    """A model's source: a path on the nodes, or a repository with an optional file and revision.

    A ``commit`` is of sources that the controller pinned (``domain.pinning``), and of no spec.
    """

    kind: SourceKind
    path: str = ""
    repository: str = ""
    file: str = ""
    revision: str = ""
    commit: str = ""

    @property
    def place(self) -> str:
        """What tells its answers from others': the path, or what no path is."""
        return self.path or f"{self.kind}:{self.repository}@{self.commit or self.revision}:{self.file}"


class Strategy(StrEnum):
    """How equal nodes are told apart."""

    SPREAD = "spread"
    BINPACK = "binpack"


class RolloutStrategy(StrEnum):
    """What gives way to an instance of a changed spec: nothing before it is ready; or an old one, for want of room."""

    SURGE = "surge"
    REPLACE = "replace"


class Exposure(StrEnum):
    """Who can reach the instances: the network at the node's address, or the node's loopback."""

    NODE = "node"
    LOCAL = "local"


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtendedKvCache:
    """A key/value cache that overflows into host memory."""

    enabled: bool = False
    memory_ratio: float | None = None
    memory_bytes: int | None = None
    chunk_size: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Speculative:
    """Guessing tokens ahead."""

    algorithm: str
    draft_model: ModelSource | None = None
    draft_tokens: int | None = None
    ngram_min: int | None = None
    ngram_max: int | None = None


@dataclass(frozen=True, slots=True)
class LoraAdapter:
    """A LoRA adapter and the name under which it is served."""

    adapter: str
    source: ModelSource


@dataclass(frozen=True, slots=True, kw_only=True)
class DeploymentSpec:
    """The wish. Field for field the proto's ``DeploymentSpec``; defaults are applied when it is made."""

    model: ModelSource
    replicas: int = 1
    categories: tuple[str, ...] = ()
    backend: str = ""
    backend_version: str = ""
    parameters: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    image: str = ""
    command: tuple[str, ...] = ()
    strategy: Strategy = Strategy.SPREAD
    match_labels: Mapping[str, str] = field(default_factory=dict)
    devices: tuple[str, ...] = ()
    devices_per_instance: int = 0
    cpu_offloading: bool | None = None
    distributed: bool | None = None
    exposure: Exposure = Exposure.NODE
    restart_on_error: bool = True
    reschedule_after_seconds: float = 300.0
    claim_memory_bytes: int | None = None
    claim_device_memory_bytes: int | None = None
    allow_overcommit: bool = False
    extended_kv_cache: ExtendedKvCache | None = None
    speculative: Speculative | None = None
    lora_adapters: tuple[LoraAdapter, ...] = ()
    trust_remote_code: bool = False
    served_model_name: str = ""
    packages: tuple[str, ...] = ()
    rollout_strategy: RolloutStrategy = RolloutStrategy.SURGE
    drain_seconds: float | None = None


class RolloutState(StrEnum):
    """How far the change from one spec to another has come."""

    PROGRESSING = "progressing"
    NO_ROOM = "no_room"
    FAILED = "failed"
    COMPLETE = "complete"
    UNPLACEABLE = "unplaceable"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollout:
    """The latest change of what instances are made from; ``message`` says why it does not go on, if it does not."""

    state: RolloutState
    state_time: datetime
    message: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Former:
    """A spec that a deployment had, and the generation and time by which it got it."""

    template_generation: int
    spec: DeploymentSpec
    create_time: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """A deployment. ``name`` is full (``deployments/a``); ``api_key`` is secret and never leaves by a reader's call.

    ``template_generation`` is the generation by which its instances are made of what they are: those of another one are
    replaced. ``former`` are specs that it had, the one before last. ``specs.revised`` keeps all of them. ``hub_models``
    are what the spec's sources on hubs were found to be: looked up once, and the same for all its instances. ``trace``
    is the place of the call that last changed it (``domain.traces``).
    """

    name: str
    uid: str
    spec: DeploymentSpec
    create_time: datetime
    generation: int = 1
    api_key: str = ""
    facts: ModelFacts | None = None
    estimate: Estimate | None = None
    delete_time: datetime | None = None
    findings: tuple[str, ...] = ()
    template_generation: int = 1
    template_time: datetime | None = None
    former: tuple[Former, ...] = ()
    rollout: Rollout | None = None
    hub_models: tuple[tuple[ModelSource, HubModel], ...] = ()
    trace: str = ""
    revision: int = 0


class InstanceState(StrEnum):
    """What an instance is doing."""

    PENDING = "pending"
    SCHEDULED = "scheduled"
    DOWNLOADING = "downloading"
    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"
    ERROR = "error"
    UNREACHABLE = "unreachable"
    QUARANTINED = "quarantined"


@dataclass(frozen=True, slots=True, kw_only=True)
class RenderedLaunch:
    """The launch command as the agent runs it; secrets are masked before they reach the controller."""

    executor: str
    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    image: str = ""
    ports: Mapping[str, int] = field(default_factory=dict)
    listen_address: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """One parameter of the engine. ``option`` is canonical, without dashes, when ``known``; else as written."""

    option: str
    values: tuple[str, ...] = ()
    known: bool = True


class GangPhase(StrEnum):
    """How far a member of a distributed instance is told to go: all reserve before any runs."""

    RESERVE = "reserve"
    RUN = "run"


@dataclass(frozen=True, slots=True, kw_only=True)
class GangDevice:
    """A device of a member, with its index and its own address on the network of accelerators."""

    device_id: str
    index: int | None = None
    address: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class GangMember:
    """A member as every other one is told of it; ``ports`` are what it reserved."""

    rank: int
    node: str
    address: str
    devices: tuple[GangDevice, ...] = ()
    ports: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """What to run; made when the instance is placed, and the same ever after.

    No later change of spec, profile, declaration or facts reaches an instance that stands. ``backend`` is the one whose
    plugin is asked, ``definition`` what it is to run where that was declared. ``api_key`` is secret, and empty where
    the backend checks none. Values that scheduling took from parameters stand in their own fields, and not in
    ``parameters``. Of an instance over several nodes this is the leader's; what members are told is made of it and of
    the instance's ``gang`` (``reconcile.gangs.member_assignment``).
    """

    assignment_id: str
    generation: int
    instance: str
    deployment: str
    backend: str
    backend_version: str
    framework: str
    model: ModelSource
    served_model_name: str
    claim: Claim
    facts: ModelFacts | None = None
    parameters: tuple[Parameter, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    offloaded_layers: int | None = None
    tensor_split: tuple[float, ...] = ()
    memory_fraction: float | None = None
    exposure: Exposure = Exposure.NODE
    api_key: str = field(default="", repr=False)
    context_length: int | None = None
    parallel: int | None = None
    restart_on_error: bool = True
    trust_remote_code: bool = False
    memory_limit_bytes: int | None = None
    image: str = ""
    command: tuple[str, ...] = ()
    definition: Definition | None = None
    lora_adapters: tuple[LoraAdapter, ...] = ()
    speculative: Speculative | None = None
    extended_kv_cache: ExtendedKvCache | None = None
    packages: tuple[str, ...] = ()
    overcommitted: bool = False
    parallelism: Mapping[str, int] = field(default_factory=dict)
    rank: int = 0
    gang: tuple[GangMember, ...] = ()
    gang_style: str = ""
    gang_phase: GangPhase | None = None
    downloads: tuple[tuple[ModelSource, HubModel], ...] = ()
    trace: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberRun:
    """What one member of a distributed instance is told, and what its agent last said of it in this generation.

    ``ports`` are those that it reserved; none while it has not. ``parts`` are versions of what has to be the same on
    all of them, told with the ports.
    """

    node: str
    rank: int
    told: GangPhase = GangPhase.RESERVE
    state: InstanceState = InstanceState.SCHEDULED
    message: str = ""
    ports: Mapping[str, int] = field(default_factory=dict)
    parts: Mapping[str, str] = field(default_factory=dict)
    launch: RenderedLaunch | None = None
    pid: int = 0
    pid_start_ticks: int = 0
    start_time: datetime | None = None
    failure: Failure | None = None
    adopted: bool = False
    attempt: int = 0
    attempts: tuple[Attempt, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Gang:
    """The members of a distributed instance, by rank, and the order in which they start.

    After a failure nothing is started before ``retry_time``; ``halted``: nor after it. ``running_time`` is since when
    all of them run.
    """

    members: tuple[MemberRun, ...]
    order: StartOrder = StartOrder.TOGETHER
    retry_time: datetime | None = None
    halted: bool = False
    running_time: datetime | None = None

    @property
    def reserving(self) -> bool:
        """Whether some member is not told to run yet."""
        return any(member.told is GangPhase.RESERVE for member in self.members)


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """One running copy, wished or real. ``name`` is full (``instances/a-x7k2p``); ``uid`` is its assignment's id.

    ``template_generation`` is its deployment's when it was made, 0 where that was not kept yet. It stays until its node
    has reported that nothing of it is left. ``stop_time`` is when its node was told to stop it, ``stop_reason`` says
    why; before, from ``drain_time`` on, callers of one that served go elsewhere. A pending instance has no placement
    and at least one refusal; a placed one has its ``assignment``, and over several nodes
    a ``gang``: its state then is that of all members together. ``drain`` is set where an operator has it replaced.
    """

    name: str
    uid: str
    deployment: str
    deployment_generation: int
    create_time: datetime
    state_time: datetime
    generation: int = 1
    state: InstanceState = InstanceState.PENDING
    state_message: str = ""
    placement: Placement | None = None
    refusals: tuple[Refusal, ...] = ()
    launch: RenderedLaunch | None = None
    endpoint: str = ""
    pid: int = 0
    pid_start_ticks: int = 0
    start_time: datetime | None = None
    restart_count: int = 0
    first_failure: Failure | None = None
    last_failure: Failure | None = None
    next_try_time: datetime | None = None
    adopted: bool = False
    drain_time: datetime | None = None
    stop_time: datetime | None = None
    stop_reason: str = ""
    assignment: Assignment | None = None
    template_generation: int = 0
    gang: Gang | None = None
    drain: Drain | None = None
    attempt: int = 0
    attempts: tuple[Attempt, ...] = ()
    revision: int = 0

    @property
    def leaves(self) -> bool:
        """Whether its removal is decided."""
        return self.stop_time is not None or self.drain_time is not None
