"""A backend whose engine is ``engine.py``, and how tests wait."""

from __future__ import annotations

import asyncio
import socket
import sys
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path

from motorpool_agent.reconcile.assignment import Assignment, Desired, ModelSource, Parameter, Tombstone
from motorpool_agent.reconcile.observation import ObservedInstance, State
from motorpool_agent.runtime.context import Timings
from motorpool_agent.runtime.supervisor import Supervisor
from motorpool_sdk.accelerator import Device, Exposure, MemoryKind, Sample
from motorpool_sdk.backend import (
    Finding,
    Launch,
    LaunchRequest,
    MemoryModel,
    Probe,
    Profile,
    Severity,
    Version,
)

ENGINE = Path(__file__).with_name("engine.py")
QUICK = Timings(
    backoff_scale=0.01,
    well_seconds=60.0,
    health_period_seconds=0.2,
    stop_retry_seconds=0.2,
    look_period_seconds=0.05,
    memory_settles_seconds=0.1,
)
DEADLINE_SECONDS = 30.0


class ServerBackends:
    """Offers the backend ``server``. Its parameters become the engine's options; a few are for the backend itself."""

    def __init__(self) -> None:
        self.requests: list[LaunchRequest] = []
        self.cards: list[int | None] = [0, 1]  # a card without an index is a partition
        self.nodes: dict[str, str] = {}  # by card
        self.memory_bytes: int | None = None  # of each card
        self.memory_kind = MemoryKind.DEDICATED
        self.samples: dict[str, Sample] = {}
        self.version = Version(version="1")
        self.rival: socket.socket | None = None
        self.ready = asyncio.Event()
        self.ready.set()
        self.vendors_ready = asyncio.Event()
        self.vendors_ready.set()

    def profile(self, backend: str) -> Profile | None:
        if backend != "server":
            return None
        return Profile(
            backend="server", versions=(self.version,), memory_model=MemoryModel.FIXED, rules="fixed", cpu=True
        )

    def devices(self) -> Mapping[str, Device]:
        cards = [
            Device(
                device_id=f"card-{index}",
                vendor="acme",
                framework="acme",
                index=index,
                memory_bytes=self.memory_bytes,
                memory_kind=self.memory_kind,
            )
            for index in self.cards
        ]
        return {card.device_id: card for card in cards}

    async def measured(self, device_ids: Collection[str]) -> Mapping[str, Sample]:
        return {device: self.samples[device] for device in device_ids if device in self.samples}

    async def expose(self, vendor: str, device_ids: Sequence[str]) -> Exposure:
        if "card-9" in device_ids:
            raise PluginCrashError
        nodes = tuple(self.nodes[card] for card in device_ids if card in self.nodes)
        return Exposure(env={"ACME_VISIBLE": ",".join(device_ids)}, device_nodes=nodes)

    async def wait_ready(self, backend: str = "") -> None:
        await self.ready.wait()
        if not backend:
            await self.vendors_ready.wait()

    async def check(self, backend: str, request: LaunchRequest) -> Sequence[Finding]:
        if _option(request, "refuse") is not None:
            return [Finding(severity=Severity.ERROR, reason="REFUSED", message="the test says no")]
        return [Finding(severity=Severity.NOTE, reason="FINE", message="fine")]

    async def launch(self, backend: str, request: LaunchRequest) -> Launch:
        self.requests.append(request)
        if _option(request, "rival") is not None and len(self.requests) == 1:
            self.rival = socket.create_server(("127.0.0.1", request.port))
        if _option(request, "crash-plugin") is not None:
            raise PluginCrashError
        program = _option(request, "program")
        argv: tuple[str, ...] = () if request.image else (sys.executable, "-I", "-S", str(ENGINE))
        if program is not None and not request.image:
            argv = (program,)
        options = [
            f"--{part.option}" + (f"={part.values[0]}" if part.values else "")
            for part in request.parameters
            if part.option not in {"program", "grace", "start-timeout", "rival"}
        ]
        return Launch(
            image=request.image,
            entrypoint=(program,) if program is not None and request.image else (),
            argv=(*argv, request.listen_address, str(request.port), *options),
            env={"ENGINE_SETTING": "on"},
            secrets={"ENGINE_API_KEY": request.api_key} if request.api_key else {},
            readiness=Probe(
                path="/health",
                models_path="" if _option(request, "models") is None else "/v1/models",
                period_seconds=0.05,
                timeout_seconds=0.5,
            ),
            start_timeout_seconds=float(_option(request, "start-timeout") or 30),
            stop_grace_seconds=float(_option(request, "grace") or 10),
        )


class PluginCrashError(Exception):
    reason = "PLUGIN_CRASHED"

    def __str__(self) -> str:
        return "the plugin of server crashed"


def _option(request: LaunchRequest, name: str) -> str | None:
    for part in request.parameters:
        if part.option == name:
            return part.values[0] if part.values else ""
    return None


def assignment(
    tmp_path: Path,
    assignment_id: str = "a1",
    *,
    generation: int = 1,
    restart: bool = True,
    image: str = "",
    **options: str,
) -> Assignment:
    """An assignment of the backend ``server``; keywords become the engine's options."""
    model = tmp_path / "model.gguf"
    model.touch()
    return Assignment(
        assignment_id=assignment_id,
        generation=generation,
        digest=f"d{generation}",
        instance=f"instances/{assignment_id}",
        deployment="deployments/chat",
        backend="server",
        backend_version="1",
        framework="cpu",
        model=ModelSource(kind="local_path", path=str(model)),
        served_model_name="chat",
        parameters=tuple(
            Parameter(option=name.replace("_", "-"), values=(value,) if value else ())
            for name, value in options.items()
        ),
        memory_bytes=1 << 20,
        local_only=True,
        api_key="s3cret-key",
        restart_on_error=restart,
        image=image,
    )


def desired(*assignments: Assignment, tombstones: Sequence[Tombstone] = ()) -> Desired:
    """A desired state of these assignments and tombstones."""
    return Desired(
        assignments={one.assignment_id: one for one in assignments},
        tombstones={one.assignment_id: one for one in tombstones},
    )


def tombstone(assignment_id: str = "a1", generation: int = 1) -> Tombstone:
    """The order to remove an assignment."""
    return Tombstone(assignment_id=assignment_id, generation=generation, message="deleted")


def logged(file: Path) -> list[str]:
    """What an engine wrote, of its log: each line without the time before it; nothing where there is no log yet."""
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    return [line.partition(" ")[2] for line in lines]


def free_ports(count: int) -> range:
    """A range of ports that nobody listens on now, below the ephemeral ones."""
    start = 20000 + (time.monotonic_ns() // 1000 * 7) % 10000
    for first in range(start, start + 2000):
        if all(_free(port) for port in range(first, first + count)):
            return range(first, first + count)
    raise AssertionError("no free ports")


def _free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


async def until(condition: Callable[[], object], what: str = "") -> None:
    """Wait until a condition holds; fail with ``what`` after the deadline."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"never came true: {what or condition}"
        await asyncio.sleep(0.01)


async def until_state(supervisor: Supervisor, state: State, assignment_id: str = "a1") -> ObservedInstance:
    """Wait until an instance is seen in a state, and return it."""

    def seen() -> bool:
        found = supervisor.observed().get(assignment_id)
        return found is not None and found.state is state

    try:
        await until(seen)
    except AssertionError:
        raise AssertionError(f"not {state}: {supervisor.observed().get(assignment_id)}") from None
    return supervisor.observed()[assignment_id]


async def until_gone(supervisor: Supervisor, assignment_id: str = "a1") -> None:
    """Wait until an instance disappeared."""
    await until(lambda: assignment_id not in supervisor.observed(), f"still {supervisor.observed().get(assignment_id)}")
