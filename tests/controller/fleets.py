"""Small fleets for tests of what decides."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from motorpool_controller.domain.fleet import (
    BackendVersion,
    Device,
    DeviceUsage,
    Health,
    Host,
    MemoryKind,
    MemoryModel,
    Node,
    NodeState,
    NodeUsage,
    Option,
    OptionKind,
    Profile,
)
from motorpool_controller.domain.placement import Claim, DeviceClaim, Member, Placement
from motorpool_controller.domain.sizes import GIB
from motorpool_controller.domain.workload import (
    Assignment,
    Deployment,
    DeploymentSpec,
    Instance,
    InstanceState,
    ModelSource,
    SourceKind,
)
from motorpool_controller.reconcile.world import Decision, World
from motorpool_controller.scheduling.snapshot import Reading, Request, Snapshot
from motorpool_formats.facts import ModelFacts

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
PATH = "/models/smollm2.gguf"
DIGEST = "sha256:profile"

SMOLLM2 = ModelFacts(
    format="gguf",
    files=("SmolLM2-135M-Instruct.Q4_1.gguf",),
    file_bytes=98_362_432,
    digest="sha256:smollm2",
    name="Smollm2 135M",
    architecture="llama",
    categories=("llm",),
    quantization="Q4_1",
    chat_template=True,
    parameters=134_515_008,
    weight_bytes=96_576_768,
    layer_bytes=(2_216_448,) * 30,
    nonlayer_bytes=30_083_328,
    layers=30,
    hidden_size=576,
    feed_forward=1536,
    heads=9,
    kv_heads=3,
    key_length=64,
    value_length=64,
    vocab_size=49_152,
    context_length=8_192,
)

OPTIONS = (
    Option(name="ctx-size", aliases=("c",), kind=OptionKind.INTEGER, meaning="context_length"),
    Option(name="parallel", aliases=("np",), kind=OptionKind.INTEGER, meaning="parallel"),
    Option(name="gpu-layers", aliases=("ngl", "n-gpu-layers"), meaning="gpu_layers"),
    Option(name="cache-type-k", aliases=("ctk",)),
    Option(name="cache-type-v", aliases=("ctv",)),
    Option(name="metrics", kind=OptionKind.FLAG),
    Option(name="temp", kind=OptionKind.NUMBER),
    Option(name="chat-template-kwargs", kind=OptionKind.JSON),
    Option(name="port", kind=OptionKind.INTEGER, system_owned=True),
    Option(name="model", aliases=("m",), system_owned=True),
)


def profile(**changes: Any) -> Profile:
    return replace(
        Profile(
            backend="llama_cpp",
            aliases=("llama-box", "llama.cpp"),
            versions=(BackendVersion(version="1.0", frameworks=("cpu", "cuda"), architectures=("amd64",)),),
            memory_model=MemoryModel.LAYERS,
            rules="gguf",
            formats=("gguf",),
            options=OPTIONS,
            api_key=True,
            cpu=True,
        ),
        **changes,
    )


def node(name: str = "a", *, memory: int | None = 8 * GIB, devices: Iterable[Device] = (), **changes: Any) -> Node:
    return replace(
        Node(
            name=f"nodes/{name}",
            uid=f"uid-{name}",
            enrollment_id=f"enrollment-{name}",
            create_time=NOW - timedelta(days=1),
            state=NodeState.READY,
            state_time=NOW - timedelta(hours=1),
            address=f"{name}.example",
            host=Host(os="linux", architecture="amd64", memory_bytes=memory, cpu_count=8),
            devices=tuple(devices),
            profiles={"llama_cpp": DIGEST},
        ),
        **changes,
    )


def device(device_id: str = "GPU-0", memory: int | None = 24 * GIB, **changes: Any) -> Device:
    return replace(
        Device(
            device_id=device_id,
            vendor="nvidia",
            framework="cuda",
            index=0,
            memory_kind=MemoryKind.DEDICATED,
            memory_bytes=memory,
            health=Health.HEALTHY,
        ),
        **changes,
    )


def usage(of: Node, *, foreign: int = 0, own: int | None = 0, device_foreign: int = 0) -> NodeUsage:
    total = of.host.memory_bytes
    used = foreign + (own or 0)
    return NodeUsage(
        measure_time=NOW,
        memory_used_bytes=used,
        memory_available_bytes=None if total is None else total - used,
        memory_own_bytes=own,
        devices=tuple(
            DeviceUsage(device_id=each.device_id, used_bytes=device_foreign, own_bytes=0) for each in of.devices
        ),
    )


def spec(**changes: Any) -> DeploymentSpec:
    return replace(DeploymentSpec(model=ModelSource(kind=SourceKind.LOCAL_PATH, path=PATH)), **changes)


def request(name: str = "chat-1", **changes: Any) -> Request:
    return Request(name=f"instances/{name}", deployment="deployments/chat", spec=spec(**changes))


def snapshot(*nodes: Node, facts: ModelFacts = SMOLLM2, **changes: Any) -> Snapshot:
    return replace(
        Snapshot(
            nodes={each.name: each for each in nodes},
            profiles={DIGEST: profile()},
            usage={each.name: usage(each) for each in nodes},
            readings={(each.name, PATH): Reading(facts=facts) for each in nodes},
        ),
        **changes,
    )


def deployment(name: str = "chat", **changes: Any) -> Deployment:
    wish = changes.pop("spec", None) or spec(
        **{key: changes.pop(key) for key in list(changes) if key in DeploymentSpec.__dataclass_fields__}
    )
    return replace(
        Deployment(
            name=f"deployments/{name}",
            uid=f"uid-{name}",
            spec=wish,
            create_time=NOW - timedelta(hours=2),
            api_key="sk-secret",
        ),
        **changes,
    )


def placed(name: str = "chat-1", *, on: str = "a", memory: int = GIB, device_id: str = "", **changes: Any) -> Instance:
    claim = Claim(memory_bytes=memory)
    if device_id:
        claim = Claim(devices=(DeviceClaim(device_id, memory),))
    wish = spec()
    full = f"instances/{name}"
    parent = changes.get("deployment", "deployments/chat")
    return replace(
        Instance(
            name=full,
            uid=f"uid-{name}",
            deployment=parent,
            deployment_generation=1,
            create_time=NOW - timedelta(hours=1),
            state_time=NOW - timedelta(minutes=50),
            state=InstanceState.RUNNING,
            placement=Placement(
                members=(Member(node=f"nodes/{on}", claim=claim),),
                framework="cuda" if device_id else "cpu",
                backend="llama_cpp",
                backend_version="1.0",
            ),
            assignment=Assignment(
                assignment_id=f"uid-{name}",
                generation=1,
                instance=full,
                deployment=parent,
                backend="llama_cpp",
                backend_version="1.0",
                framework="cpu",
                model=wish.model,
                served_model_name="chat",
                claim=claim,
            ),
        ),
        **changes,
    )


def world(
    nodes: Iterable[Node] = (),
    deployments: Iterable[Deployment] = (),
    instances: Iterable[Instance] = (),
    **changes: Any,
) -> World:
    nodes = list(nodes)
    return replace(
        World(
            nodes={each.name: each for each in nodes},
            deployments={each.name: each for each in deployments},
            instances={each.name: each for each in instances},
            profiles={DIGEST: profile()},
            connected=frozenset(each.name for each in nodes if each.state is NodeState.READY),
            lease_end={each.name: NOW + timedelta(seconds=40) for each in nodes},
            readings={(each.name, PATH): Reading(facts=SMOLLM2) for each in nodes},
            usage={each.name: usage(each) for each in nodes},
        ),
        **changes,
    )


def applied(before: World, decision: Decision) -> World:
    """Return the world after its records were changed as decided."""
    instances = dict(before.instances) | {each.name: each for each in decision.put_instances}
    deployments = dict(before.deployments) | {each.name: each for each in decision.put_deployments}
    for name in decision.delete_instances:
        del instances[name]
    for name in decision.delete_deployments:
        del deployments[name]
    return replace(
        before,
        nodes=dict(before.nodes) | {each.name: each for each in decision.put_nodes},
        instances=instances,
        deployments=deployments,
    )


def ids() -> Iterator[str]:
    number = 0
    while True:
        number += 1
        yield f"{number:08x}"[::-1]
