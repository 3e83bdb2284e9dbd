"""What the controller wants of this agent. Field for field the protos' messages, without protobuf."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from motorpool_formats.facts import ModelFacts


@dataclass(frozen=True, slots=True, order=True)
class DesiredVersion:
    """Place of a desired state in time: the controller's epoch first, then the version within it."""

    controller_epoch: int
    version: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSource:
    """A model's source; ``kind`` is ``local_path``, ``hugging_face`` or ``model_scope``."""

    kind: str
    path: str = ""
    repository: str = ""
    file: str = ""
    revision: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class HubFile:
    """A file that lies on a hub; digests in hex, empty where the hub tells none."""

    path: str
    size_bytes: int
    sha256: str = ""
    git_sha1: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Download:
    """What is fetched of a model on a hub, as the controller found it there. ``commit`` names the content."""

    source: ModelSource
    commit: str
    files: tuple[HubFile, ...]

    @property
    def total_bytes(self) -> int:
        """Bytes of all files."""
        return sum(file.size_bytes for file in self.files)

    @property
    def files_id(self) -> str:
        """Its name on a node, by which people know it: the same for the same files of the same content."""
        told = [self.source.kind, self.source.repository, self.commit]
        told += [f"{file.path}\0{file.size_bytes}\0{file.sha256}\0{file.git_sha1}" for file in self.files]
        digest = hashlib.sha256("\n".join(told).encode("utf-8", "surrogatepass")).hexdigest()
        name = _UNTIDY.sub("-", self.source.repository.replace("/", "--"))[:_MOST_NAME_CHARACTERS].strip("-.")
        return f"{name or 'model'}-{digest[:12]}"


_UNTIDY = re.compile(r"[^A-Za-z0-9._-]+")
_MOST_NAME_CHARACTERS = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """One parameter of the engine, parsed by the controller."""

    option: str
    values: tuple[str, ...] = ()
    known: bool = True


@dataclass(frozen=True, slots=True)
class DeviceClaim:
    """Bytes held on one device."""

    device_id: str
    memory_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Definition:
    """A version of a declared backend, as it was when the instance was placed."""

    backend: str
    version: str
    command: tuple[str, ...] = ()
    image: str = ""
    entrypoint: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    api_key_env: str = ""
    health_path: str = ""
    container_port: int | None = None
    start_timeout_seconds: float = 600.0
    stop_grace_seconds: float = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Adapter:
    """A LoRA adapter and the name under which it is served."""

    name: str
    source: ModelSource


@dataclass(frozen=True, slots=True, kw_only=True)
class Speculative:
    """Guessing tokens ahead."""

    algorithm: str
    draft_model: ModelSource | None = None
    draft_tokens: int | None = None
    ngram_min: int | None = None
    ngram_max: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtendedKvCache:
    """A key/value cache that overflows into the claimed host memory."""

    chunk_size: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GangDevice:
    """A device of a member, with its index and its own address on the network of accelerators."""

    device_id: str
    index: int | None = None
    address: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class GangMember:
    """A member of an instance over several nodes; ``ports`` are what it reserved, none before all have."""

    rank: int
    node: str
    address: str
    devices: tuple[GangDevice, ...] = ()
    ports: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Gang:
    """An instance over several nodes, as the member of this ``rank`` is told of it.

    Unless it is to ``run`` it only reserves its ports and looks whether all that it needs is there.
    """

    style: str
    rank: int
    members: tuple[GangMember, ...]
    run: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """What to run. ``digest`` is the controller's over the whole; ``api_key`` is secret. Memory is in bytes.

    ``backend`` is the one whose plugin is asked; where that runs declared ones, ``definition`` is what it is asked for.
    """

    assignment_id: str
    generation: int
    digest: str
    instance: str
    deployment: str
    backend: str
    backend_version: str
    framework: str
    model: ModelSource
    served_model_name: str
    facts: ModelFacts | None = None
    parameters: tuple[Parameter, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    memory_bytes: int = 0
    devices: tuple[DeviceClaim, ...] = ()
    offloaded_layers: int | None = None
    tensor_split: tuple[float, ...] = ()
    memory_fraction: float | None = None
    local_only: bool = False
    api_key: str = ""
    context_length: int | None = None
    parallel: int | None = None
    restart_on_error: bool = True
    trust_remote_code: bool = False
    memory_limit_bytes: int | None = None
    image: str = ""
    command: tuple[str, ...] = ()
    definition: Definition | None = None
    adapters: tuple[Adapter, ...] = ()
    speculative: Speculative | None = None
    extended_kv_cache: ExtendedKvCache | None = None
    parallelism: Mapping[str, int] = field(default_factory=dict)
    gang: Gang | None = None
    packages: tuple[str, ...] = ()
    overcommitted: bool = False
    downloads: tuple[Download, ...] = ()
    trace: str = ""

    @property
    def title(self) -> str:
        """The backend as its users know it."""
        return self.backend if self.definition is None else self.definition.backend


@dataclass(frozen=True, slots=True, kw_only=True)
class Tombstone:
    """The explicit order to stop and remove an assignment, up to this generation."""

    assignment_id: str
    generation: int
    message: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadModel:
    """A question: the headers of the model at this path."""

    query_id: str
    deadline: datetime
    local_path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteFiles:
    """An order that is answered like a question: delete what was fetched of a model, if it is of this etag."""

    query_id: str
    deadline: datetime
    files_id: str
    etag: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LogSubscription:
    """Somebody reads an assignment's log. A negative ``tail_lines`` means all that is kept.

    ``attempt`` is a number, or counts back from the present one, which is 0. Only lines of ``since_time`` and later, or
    of ``since_seconds`` ago. A former answer's ``position`` goes before all of that.
    """

    subscription_id: str
    assignment_id: str
    tail_lines: int = 100
    follow: bool = False
    attempt: int = 0
    since_time: datetime | None = None
    since_seconds: float | None = None
    timestamps: bool = False
    position: str = ""
    timeout_seconds: float = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Desired:
    """Everything the controller wants now, by id."""

    version: DesiredVersion | None = None
    assignments: Mapping[str, Assignment] = field(default_factory=dict)
    tombstones: Mapping[str, Tombstone] = field(default_factory=dict)
    queries: Mapping[str, ReadModel | DeleteFiles] = field(default_factory=dict)
    logs: Mapping[str, LogSubscription] = field(default_factory=dict)
