"""What a backend plugin says and is asked: profile, launch request, launch. Pure data and one protocol."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from motorpool_sdk.failures import KnownFailure
from motorpool_sdk.gang import DistributedStyle, Gang, Parallelism


class MemoryModel(StrEnum):
    """How a backend takes memory; names the controller's selector."""

    FRACTION = "fraction"
    LAYERS = "layers"
    FIXED = "fixed"


class OptionKind(StrEnum):
    """What kind of value an option takes."""

    FLAG = "flag"
    STRING = "string"
    INTEGER = "integer"
    NUMBER = "number"
    JSON = "json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """One option of the engine's command line.

    ``name`` and ``aliases`` carry no dashes. A ``system_owned`` option is set by Motorpool, and refused when a user
    sets it. ``meaning`` is what scheduling takes from it: ``context_length``, ``parallel``, ``gpu_layers``, …;
    ``config_overrides`` is JSON that changes the model's config.json, ``projector`` the file of a tower for pictures
    and sound, and an option ``no_projector`` says that without it the one beside the model is loaded.

    What its value may be: at ``least``, at ``most``, more than ``above``, a ``multiple_of``, a ``power_of_two``, or one
    of ``choices``, which are compared as they are written. It has to stay ``below`` the value of the option named
    there, each by its ``default`` where the user gives none, and is not given beside those that it ``excludes``. What
    is outside is refused when the deployment is made.
    """

    name: str
    aliases: tuple[str, ...] = ()
    kind: OptionKind = OptionKind.STRING
    system_owned: bool = False
    meaning: str = ""
    least: float | None = None
    most: float | None = None
    above: float | None = None
    multiple_of: int = 0
    power_of_two: bool = False
    choices: tuple[str, ...] = ()
    default: str = ""
    below: str = ""
    excludes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """An environment that the agent makes for an engine below its data directory, apart from its own.

    ``requirements`` are exact, as pip takes them. ``files`` maps a file name to its text; they are written into the
    environment's ``files`` folder, so that upgrading the plugin changes no engine that stands.
    """

    requirements: tuple[str, ...]
    files: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """One version of the backend that this node can run.

    ``least_runtimes`` are the least versions of a framework's runtime that it needs, e.g. ``{"cuda": "12.8"}``: of what
    devices' ``runtime_version`` tells, for cuda the driver's level of CUDA. A device that tells none is not refused.
    ``parts`` are versions of what it consists of, e.g. ``{"python": "3.11.7"}``, where they are known: members of an
    instance over several nodes are compared by them (``DistributedStyle.alike``).
    """

    version: str
    frameworks: tuple[str, ...] = ("cpu",)
    executors: tuple[str, ...] = ("process",)
    operating_systems: tuple[str, ...] = ()
    architectures: tuple[str, ...] = ()
    image: str = ""
    executable: str = ""
    environment: Environment | None = None
    least_runtimes: Mapping[str, str] = field(default_factory=dict)
    parts: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """What scheduling knows of a backend on a node; see ``BackendProfile`` in the protos. Durations are in seconds.

    A profile that ``runs_declared`` has no versions: its plugin launches the definitions that requests carry.
    ``distributed_styles`` are the ways in which it spans nodes, the preferred one first; none for one node only.
    ``failures`` are ways in which the engine fails that its log shows, the more certain first; the agent knows of those
    that engines have in common.
    ``features`` are wishes of a deployment that its launches carry out: ``lora``, ``speculative``. An engine that is
    told by files has ``closed_options``: a parameter that is none of them is refused, and not passed on as written.
    ``most_devices`` is how many one instance uses at most, 0 for any number.
    """

    backend: str
    versions: tuple[Version, ...]
    memory_model: MemoryModel
    rules: str
    aliases: tuple[str, ...] = ()
    fraction_option: str = ""
    fraction_default: float | None = None
    formats: tuple[str, ...] = ()
    architectures: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    distributed_styles: tuple[DistributedStyle, ...] = ()
    options: tuple[Option, ...] = ()
    health_path: str = ""
    metrics_path: str = ""
    api_key: bool = False
    cpu: bool = False
    start_timeout_seconds: float = 600.0
    stop_grace_seconds: float = 30.0
    runs_declared: bool = False
    failures: tuple[KnownFailure, ...] = ()
    features: tuple[str, ...] = ()
    closed_options: bool = False
    most_devices: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Definition:
    """A version of a backend that was declared to the controller, for a plugin whose profile says ``runs_declared``.

    In ``command``, ``entrypoint`` and the values of ``env``, ``{{name}}`` stands for a value; ``DeclaredVersion`` in
    the protos says which. Without an ``image``, ``command`` is the whole command line.
    """

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
class Parameter:
    """One parameter, parsed by the controller.

    ``option`` is canonical, without dashes, when ``known``; else as written.
    """

    option: str
    values: tuple[str, ...] = ()
    known: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Adapter:
    """A LoRA adapter: the name under which it is served, and its folder on this node; the ``rank`` that it says."""

    name: str
    path: Path
    rank: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Speculative:
    """Guessing tokens ahead: ``eagle3``, ``mtp``, ``ngram``, …, as the deployment says it; None is the engine's own."""

    algorithm: str
    draft_path: Path | None = None
    draft_tokens: int | None = None
    ngram_min: int | None = None
    ngram_max: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtendedKvCache:
    """A key/value cache that overflows into host memory: so many bytes of it were claimed on this node."""

    memory_bytes: int
    chunk_size: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchRequest:
    """Everything a backend needs to say how an assignment is launched. Sizes are in bytes.

    ``engine_dir`` is where the version's environment stands (``engine_dir/bin/python``, ``engine_dir/files``), or None
    where the version has none; ``executable`` is the version's program, empty where it has none. ``api_key`` is secret:
    it belongs into ``Launch.secrets``, never into ``argv``. ``image`` is what it is to run in, empty for a process.
    ``projectors`` are the files of towers for pictures and sound that lie beside the model: of those the first is to be
    loaded where the parameters do not say otherwise, and memory was claimed for it if the backend's options have the
    meaning ``no_projector``.
    ``cpus`` are the numbers of the processors that it may run on, ``cpu_count`` how many they are.
    ``categories`` are what the model's headers say that it is for (``llm``, ``embedding``, …), if they say anything.
    ``definition`` is what to run where the backend is a declared one, and ``env`` then what the deployment sets, for
    its templates; the agent hands those variables over by itself.
    ``gang`` is there where this is one member of an instance over several nodes: devices and memory are this node's
    part, ``port`` is this member's own, and ``listen_address`` the node's even in a container, as that shares the
    host's network. ``parallelism`` is what the placement decided, alone or in a gang.
    ``files_dir`` is a folder for the launch's own files, under the same path for a process and in a container.
    """

    backend_version: str
    framework: str
    model_path: Path
    served_model_name: str
    listen_address: str
    port: int
    engine_dir: Path | None = None
    executable: str = ""
    parameters: tuple[Parameter, ...] = ()
    api_key: str = ""
    device_ids: tuple[str, ...] = ()
    device_indexes: tuple[int, ...] = ()
    memory_bytes: int = 0
    device_memory_bytes: tuple[int, ...] = ()
    offloaded_layers: int | None = None
    tensor_split: tuple[float, ...] = ()
    memory_fraction: float | None = None
    context_length: int | None = None
    parallel: int | None = None
    cpu_count: int = 1
    cpus: tuple[int, ...] = ()
    trust_remote_code: bool = False
    image: str = ""
    command: tuple[str, ...] = ()
    projectors: tuple[Path, ...] = ()
    categories: tuple[str, ...] = ()
    definition: Definition | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    gang: Gang | None = None
    parallelism: Parallelism = field(default_factory=Parallelism)
    adapters: tuple[Adapter, ...] = ()
    speculative: Speculative | None = None
    extended_kv_cache: ExtendedKvCache | None = None
    files_dir: Path = Path("/run/motorpool")


@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchFile:
    """A file that an engine reads: the agent writes it before the launch.

    ``path`` is where the engine looks: in a container anywhere, mounted there read-only; else, and in a container too,
    right below the request's ``files_dir``. With ``onto``, a file of the model on the node, ``text`` is a JSON object,
    and what is written is that file's object with its keys set: the model itself stays as it is. A ``secret`` one is
    the engine's own user's alone; keys belong there or into ``Launch.secrets``.
    """

    path: Path
    text: str = field(repr=False)
    onto: Path | None = None
    secret: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """How the agent learns that an engine is ready: GET ``path`` on its port answers 200.

    With a ``models_path``, too, that is a list of models as OpenAI's API has it, and names what the request serves.
    """

    path: str
    models_path: str = ""
    period_seconds: float = 0.2
    timeout_seconds: float = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class InferenceProbe:
    """The least request that only an engine which computes answers: POST ``body``, JSON, to ``path``, and status 200.

    The agent adds the API key. It asks the leader of a gang before it counts as running, and again from time to time:
    an engine's health says nothing of the members that it depends on. Three that fail in a row end it:
    ``timeout_seconds`` is longer than a busy engine lets a request wait.
    """

    path: str
    body: str
    timeout_seconds: float = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """How to launch an engine: an argument list, never a shell string, and never carried out by the plugin.

    ``secrets`` are environment variables like ``env`` that are never shown. ``start_timeout_seconds`` runs from exec to
    ready; ``stop_grace_seconds`` from TERM to KILL.

    Where the request names an ``image``, a backend that can be run in one returns it; ``argv`` are then the arguments
    of the image's own entrypoint, or of ``entrypoint`` if that is given, and the engine listens on the request's
    address and port inside the container, or on ``container_port`` where it cannot be told. A backend that cannot
    leaves ``image`` empty, and is not launched. ``files`` are for engines that are told by files.

    ``serves`` is False for a member of a gang that listens for no requests: it is ready as long as its process lives.
    """

    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, str] = field(default_factory=dict)
    image: str = ""
    entrypoint: tuple[str, ...] = ()
    working_directory: Path | None = None
    readiness: Probe | None = None
    inference: InferenceProbe | None = None
    serves: bool = True
    container_port: int | None = None
    start_timeout_seconds: float = 600.0
    stop_grace_seconds: float = 30.0
    files: tuple[LaunchFile, ...] = ()


class Severity(StrEnum):
    """Whether a finding stops a launch."""

    NOTE = "note"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One remark of a backend's check: a stable ``reason`` and a sentence that says what to do."""

    severity: Severity
    reason: str
    message: str


class BackendPlugin(Protocol):
    """What a backend plugin registers.

    All three methods are pure but for looking at the node in ``profile`` (is a program installed?). None starts the
    engine. Each call runs in the plugin's own process, with a deadline.
    """

    def profile(self) -> Profile:
        """Return what the controller schedules with. Called at start, and again when the node's engines change."""
        ...

    def check(self, request: LaunchRequest) -> Sequence[Finding]:
        """Return what speaks against launching ``request``; an error finding stops it."""
        ...

    def launch(self, request: LaunchRequest) -> Launch:
        """Return how to launch ``request``."""
        ...
