"""A small fleet for the tests' controller: what its messages hold, a test can expect."""

from __future__ import annotations

from collections.abc import Sequence

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from motorpool import v1
from tests.cli.controller import Controller

GIB = 1024**3
NOON = Timestamp(seconds=1_760_000_000)  # 2025-10-09 08:53:20 UTC

NODE = v1.Node(
    name="nodes/rack1",
    uid="n-1",
    state=v1.NODE_STATE_READY,
    address="10.0.0.7",
    labels={"zone": "a"},
    host=v1.Host(
        hostname="rack1.example",
        os="linux",
        architecture="amd64",
        kernel="6.1.0",
        cpu_count=64,
        memory_bytes=256 * GIB,
    ),
    agent_version="0.1.0",
    plugins=[
        v1.PluginStatus(
            plugin_id="llama_cpp",
            distribution="motorpool-llama-cpp",
            version="0.1.0",
            kind="backend",
            provides="llama_cpp",
            state=v1.PLUGIN_STATE_READY,
        ),
        v1.PluginStatus(
            plugin_id="nvidia",
            distribution="motorpool-nvidia",
            version="0.1.0",
            kind="accelerator",
            provides="nvidia",
            state=v1.PLUGIN_STATE_QUARANTINED,
            last_error="NVML answers with 999",
        ),
    ],
    executors=[
        v1.ExecutorStatus(executor="docker", works=False, message="it does not answer; start it"),
        v1.ExecutorStatus(executor="process", works=True),
    ],
    usage=v1.NodeUsage(
        memory_available_bytes=200 * GIB,
        cpu_ratio=0.25,
        plugins=[
            v1.PluginUsage(
                plugin_id="nvidia",
                pid=4711,
                resident_bytes=40 << 20,
                open_files=23,
                sample_duration=Duration(nanos=12_000_000),
            )
        ],
    ),
    claimed_memory_bytes=3 * GIB,
    create_time=NOON,
    heartbeat_time=NOON,
    session_epoch=4,
)
DEVICE = v1.Device(
    name="nodes/rack1/devices/GPU-5a1f",
    device_id="GPU-5a1f",
    vendor="nvidia",
    product="NVIDIA H200",
    health=v1.HEALTH_HEALTHY,
    memory=v1.DeviceMemory(kind=v1.MEMORY_KIND_DEDICATED, total_bytes=141 * GIB),
)
BACKEND = v1.Backend(
    name="backends/llama_cpp",
    profile=v1.BackendProfile(
        backend="llama_cpp",
        aliases=["llama-box"],
        versions=[v1.BackendVersion(version="b9512", frameworks=["cpu"])],
        formats=["gguf"],
        start_timeout=Duration(seconds=60),
    ),
    nodes=["nodes/rack1"],
)


def deployment(
    name: str = "smollm2", state: v1.DeploymentState.ValueType = v1.DEPLOYMENT_STATE_AVAILABLE
) -> v1.Deployment:
    return v1.Deployment(
        name=f"deployments/{name}",
        uid=f"d-{name}",
        generation=1,
        spec=v1.DeploymentSpec(
            model=v1.ModelSource(local_path="/models/smollm2.gguf"), replicas=1, parameters=["--ctx-size", "4096"]
        ),
        state=state,
        running_replicas=int(state == v1.DEPLOYMENT_STATE_AVAILABLE),
        facts=v1.ModelFacts(format="gguf", architecture="llama", quantization="Q4_1", context_length=8192),
        estimate=v1.Estimate(
            weights_bytes=90 * 1024**2,
            kv_bytes=180 * 1024**2,
            lower_bytes=250 * 1024**2,
            upper_bytes=GIB // 2,
            provenance="from the file's headers",
        ),
        create_time=NOON,
    )


def instance(
    state: v1.InstanceState.ValueType = v1.INSTANCE_STATE_RUNNING,
    name: str = "smollm2-x7k2p",
    refusals: Sequence[v1.Refusal] = (),
    failure: v1.Failure | None = None,
) -> v1.Instance:
    placed = state is not v1.INSTANCE_STATE_PENDING
    running = state is v1.INSTANCE_STATE_RUNNING
    return v1.Instance(
        name=f"instances/{name}",
        uid=f"i-{name}",
        deployment="deployments/smollm2",
        state=state,
        placement=v1.Placement(
            members=[v1.PlacementMember(node="nodes/rack1", claim=v1.Claim(memory_bytes=GIB // 2))],
            framework="cpu",
            backend_version="b9512",
        )
        if placed
        else None,
        refusals=refusals,
        endpoint="http://10.0.0.7:40000" if running else "",
        launch=v1.RenderedLaunch(
            executor="process",
            argv=["llama-server", "--alias", "my model"],
            env={"LLAMA_API_KEY": "***"},
            ports=[v1.Port(port_name="http", number=40000)],
        )
        if placed
        else None,
        pid=4711 if running else 0,
        start_time=NOON if running else None,
        create_time=NOON,
        first_failure=failure,
        last_failure=failure,
    )


def pair() -> v1.Instance:
    """An instance on two nodes, of which the second is gone."""
    made = instance(v1.INSTANCE_STATE_ERROR, name="smollm2-pair1")
    made.placement.members.add(node="nodes/rack2", rank=1, claim=v1.Claim(memory_bytes=GIB))
    made.placement.style = "mp"
    leader = v1.InstanceMember(node="nodes/rack1", state=v1.INSTANCE_STATE_RUNNING, pid=4711, launch=made.launch)
    follower = v1.InstanceMember(
        node="nodes/rack2",
        rank=1,
        state=v1.INSTANCE_STATE_ERROR,
        state_message="the engine was ended by signal 9",
        ports=[v1.Port(port_name="http", number=40010)],
        launch=v1.RenderedLaunch(argv=["llama-server", "--headless"]),
    )
    made.members.extend([leader, follower])
    return made


TOO_LARGE = v1.Refusal(
    stage="memory",
    reason="MEMORY_SHORT",
    subject="nodes/rack1",
    count=3,
    resource="host memory",
    needed=4 * 1024**4,
    available=200 * GIB,
    holders=["instances/smollm2-x7k2p", "reserved"],
    message="nodes/rack1 has 200 GiB of host memory free, and 4 TiB are needed: deploy with less --memory.",
)
NOT_READ_YET = v1.Refusal(
    stage="facts", reason="MODEL_NOT_READ_YET", count=1, message="The model's headers are being read on nodes/rack1."
)
CRASH = v1.Failure(
    time=NOON,
    reason="EXITED",
    message="It exited with 1 after 0.3 s.",
    exit_code=1,
    log_tail=["loading model", "error: tensor 'blk.0' is missing"],
)


def fill(controller: Controller) -> None:
    """One node with a card, a backend, a deployment that runs, an event and a token."""
    controller.put(v1.Node.FromString(NODE.SerializeToString()))
    controller.devices.append(
        v1.DeviceStatus(
            device=DEVICE,
            usage=v1.DeviceUsage(used_bytes=2 * GIB, utilization_ratio=0.5, temperature_celsius=41.4),
            claimed_bytes=GIB,
        )
    )
    controller.backends.append(BACKEND)
    controller.put(deployment())
    controller.put(instance())
    controller.events = [
        v1.Event(
            name="events/2",
            time=NOON,
            severity=v1.SEVERITY_WARNING,
            reason="NODE_UNREACHABLE",
            subject="nodes/rack1",
            message="Its lease ran out.",
            count=2,
        ),
        v1.Event(
            name="events/1",
            time=NOON,
            severity=v1.SEVERITY_INFO,
            reason="DEPLOYMENT_CREATED",
            subject="deployments/smollm2",
            message="Asked for by admin.",
            count=1,
        ),
    ]
    controller.tokens["tokens/t1"] = v1.Token(
        name="tokens/t1", role=v1.ROLE_JOIN, description="rack 1", create_time=NOON, expire_time=NOON, uses_left=1
    )


INSPECTION = v1.ModelInspection(
    source=v1.ModelSource(
        hugging_face=v1.HuggingFaceSource(repository="o/n", file="*Q4*.gguf", revision="v1"),
    ),
    read_from="https://hub.example",
    commit="c0ffee",
    fetched_bytes=1536 * 1024,
    facts=v1.ModelFacts(
        format="gguf",
        architecture="qwen3moe",
        quantization="Q4_K_M",
        display_name="Qwen3",
        categories=["llm"],
        parameter_count=30_532_122_624,
        weight_bytes=19 * GIB,
        files=["a.gguf"],
        file_bytes=19 * GIB,
        layers=48,
        layer_kinds=[v1.LAYER_KIND_SLIDING] * 40 + [v1.LAYER_KIND_FULL] * 8,
        heads=[32],
        kv_heads=[4],
        experts=128,
        experts_used=8,
        context_length=40_960,
        roles=v1.RoleBytes(embedding=GIB, layers=2 * GIB, experts=16 * GIB, output=10 * 1024**2),
    ),
    backend="llama_cpp",
    estimates=[
        v1.ContextEstimate(
            context_length=8192,
            host=v1.Estimate(
                upper_bytes=20 * GIB,
                lower_bytes=20 * GIB,
                weights_bytes=18 * GIB,
                kv_bytes=GIB,
                activations_bytes=GIB // 2,
                runtime_bytes=GIB // 2,
                confidence=v1.CONFIDENCE_MEDIUM,
            ),
            device=v1.Estimate(upper_bytes=21 * GIB, lower_bytes=19 * GIB),
        ),
        v1.ContextEstimate(
            context_length=40_960,
            host=v1.Estimate(provenance="unknown: --override-tensor divides the model in its own way"),
        ),
    ],
    backends=[
        v1.BackendVerdict(
            backend="llama_cpp",
            fits=True,
            message="it reads gguf and runs qwen3moe",
            nodes=["nodes/a", "nodes/b"],
        ),
        v1.BackendVerdict(
            backend="vllm",
            reason="FORMAT_UNSUPPORTED",
            message="it reads safetensors, and the model is gguf",
            nodes=["nodes/c"],
        ),
    ],
    findings=["something to know"],
)
INSPECTION_STEPS = [
    v1.InspectModelResponse(
        progress=v1.InspectionProgress(asked="the hub", file="a.gguf", requests=3, fetched_bytes=1024)
    ),
    v1.InspectModelResponse(result=INSPECTION),
]
