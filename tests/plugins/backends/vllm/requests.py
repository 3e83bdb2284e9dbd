"""Requests whose whole launches stand in ``launches/``: a file a request. vLLM's own parser takes each, too."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from motorpool_sdk import (
    Adapter,
    ExtendedKvCache,
    Gang,
    GangDevice,
    GangMember,
    LaunchRequest,
    Parallelism,
    Parameter,
    Speculative,
)

ONE = LaunchRequest(
    backend_version="0.32.0",
    framework="cuda",
    model_path=Path("/models/qwen3-8b"),
    served_model_name="qwen",
    listen_address="127.0.0.93",
    port=40093,
    executable="/opt/vllm/bin/vllm",
    api_key="sesame",
    device_ids=("GPU-a",),
    device_indexes=(0,),
    device_memory_bytes=(72 * 2**30,),
    memory_fraction=0.9,
    context_length=8192,
    cpu_count=16,
    cpus=tuple(range(16)),
    categories=("llm",),
)
SEVERAL = replace(
    ONE,
    device_ids=("GPU-a", "GPU-b", "GPU-c", "GPU-d"),
    device_indexes=(0, 1, 2, 3),
    parallelism=Parallelism(tensor=4),
)
CONTAINER = replace(ONE, executable="", image="vllm/vllm-openai:v0.32.0", listen_address="0.0.0.0")
CPU = replace(
    ONE,
    backend_version="0.32.0+cpu",
    framework="cpu",
    device_ids=(),
    device_indexes=(),
    device_memory_bytes=(),
    memory_fraction=None,
    memory_bytes=21 * 2**30,
)

MEMBERS = tuple(
    GangMember(
        rank=rank,
        node=f"nodes/{node}",
        address=f"10.7.0.{rank + 1}",
        devices=tuple(GangDevice(device_id=f"GPU-{rank}-{index}", index=index) for index in range(4)),
        ports={"http": 24000, **({} if rank else {"master": 24001, "dp_rpc": 24002})},
    )
    for rank, node in enumerate("ab")
)
TWO_NODES = replace(SEVERAL, parallelism=Parallelism(tensor=4, pipeline=2))
PARALLEL = Parameter(option="tensor-parallel-size", values=("2",))
GANGS: Mapping[str, LaunchRequest] = {
    "two-nodes": TWO_NODES,
    "two-nodes-container": replace(TWO_NODES, executable="", image="vllm/vllm-openai:v0.32.0"),
    "two-nodes-cann": replace(
        TWO_NODES,
        backend_version="0.23.0-ascend",
        framework="cann",
        executable="",
        image="quay.io/ascend/vllm-ascend:v0.23.0",
    ),
    "two-nodes-cpu": replace(CPU, parameters=(PARALLEL, Parameter(option="nnodes", values=("2",)))),
    "two-nodes-data-parallel": replace(
        SEVERAL,
        parallelism=Parallelism(),
        parameters=(
            Parameter(option="tensor-parallel-size", values=("4",)),
            Parameter(option="data-parallel-size", values=("2",)),
            Parameter(option="distributed-executor-backend", values=("mp",)),
        ),
    ),
    "two-nodes-embedding": replace(TWO_NODES, categories=("embedding",), memory_fraction=None, context_length=None),
}

_EVERY = ("node_manager", "object_manager", "runtime_env", "metrics", "agent_http", "agent_grpc", "worker")
RAY_PORTS = (
    {name: 24000 + number for number, name in enumerate(("http", "gcs", "client", "dashboard", "dp_rpc", *_EVERY))},
    {name: 25000 + number for number, name in enumerate(("http", *_EVERY))},
)
RAY_PARTS = {"python": "3.12.11", "ray": "2.60.0"}
BY_RAY: Mapping[str, LaunchRequest] = {
    f"ray-{name}": replace(
        request, parameters=(*request.parameters, Parameter(option="distributed-executor-backend", values=("ray",)))
    )
    for name, request in {
        "cuda": TWO_NODES,
        "container": replace(TWO_NODES, executable="", image="vllm/vllm-openai:v0.32.0"),
        "container-command": replace(
            TWO_NODES, executable="", image="vllm/vllm-openai:v0.32.0", command=("python3", "-m", "vllm", "serve")
        ),
        "rocm": replace(
            TWO_NODES,
            backend_version="0.32.0-rocm",
            framework="rocm",
            executable="",
            image="vllm/vllm-openai-rocm:v0.32.0",
        ),
        "cann": GANGS["two-nodes-cann"],
        "musa": replace(TWO_NODES, backend_version="0.9.2", framework="musa"),
        "dtk": replace(TWO_NODES, backend_version="0.18.1", framework="dtk"),
        "maca": replace(TWO_NODES, backend_version="0.21.0", framework="maca"),
        "corex": replace(TWO_NODES, backend_version="0.8.3", framework="corex"),
        "data-parallel": replace(
            SEVERAL,
            parallelism=Parallelism(),
            parameters=(
                Parameter(option="tensor-parallel-size", values=("4",)),
                Parameter(option="data-parallel-size", values=("2",)),
            ),
        ),
        "without-a-key": replace(TWO_NODES, api_key=""),
    }.items()
}


def member(request: LaunchRequest, rank: int) -> LaunchRequest:
    """The same as one member of two nodes is asked."""
    return _asked(request, Gang(style="mp", rank=rank, members=MEMBERS, interface="eth1"))


def ray_member(request: LaunchRequest, rank: int, parts: Mapping[str, str] = RAY_PARTS) -> LaunchRequest:
    """The same as one of two nodes of a Ray cluster is asked."""
    members = tuple(
        replace(each, ports=RAY_PORTS[each.rank], parts=parts if each.rank == rank else {}) for each in MEMBERS
    )
    return _asked(request, Gang(style="ray", rank=rank, members=members, interface="eth1"))


def _asked(request: LaunchRequest, gang: Gang) -> LaunchRequest:
    return replace(request, gang=gang, listen_address=gang.own.address, port=gang.own.ports["http"])


GOLDEN: Mapping[str, LaunchRequest] = {
    "one-device": ONE,
    "several-devices": SEVERAL,
    "host-cache": replace(SEVERAL, extended_kv_cache=ExtendedKvCache(memory_bytes=80 * 2**30)),
    "cpu": CPU,
    "cpu-parallel": replace(CPU, parameters=(Parameter(option="tensor-parallel-size", values=("2",)),)),
    "container": CONTAINER,
    "container-command": replace(CONTAINER, command=("python3", "-m", "vllm.entrypoints.cli.main", "serve")),
    # A model that embeds takes no fraction unless its class generates, too.
    "embedding": replace(ONE, categories=("embedding",), memory_fraction=None, context_length=None),
    "reranker": replace(ONE, categories=("reranker",), model_path=Path("/models/qwen3-reranker"), memory_fraction=0.3),
    "embedding-before-0.10.1": replace(ONE, backend_version="0.9.2", categories=("embedding",), context_length=None),
    "remote-code": replace(ONE, trust_remote_code=True, api_key=""),
    "parameters": replace(
        SEVERAL,
        memory_fraction=0.85,
        parameters=(
            Parameter(option="gpu-memory-utilization", values=("0.85",)),
            Parameter(option="pipeline-parallel-size", values=("2",)),
            Parameter(option="tensor-parallel-size", values=("2",)),
            Parameter(option="hf-overrides", values=('{"rope_scaling": {"factor": 2.0}}',)),
            Parameter(option="limit-mm-per-prompt", values=('{"image": 4}',)),
            Parameter(option="lora-modules", values=("a=/models/a", "b=/models/b")),
            Parameter(option="no-enable-prefix-caching"),
            Parameter(option="kv-cache-dtype", values=("fp8",)),
        ),
        parallelism=Parallelism(),
    ),
    **{f"{name}-rank-{rank}": member(request, rank) for name, request in GANGS.items() for rank in (0, 1)},
    "lora": replace(
        ONE,
        adapters=(
            Adapter(name="law", path=Path("/models/law"), rank=24),
            Adapter(name="med=1", path=Path("/models/a=b")),
        ),
    ),
    "draft-model": replace(
        ONE, speculative=Speculative(algorithm="eagle3", draft_path=Path("/models/eagle"), draft_tokens=3)
    ),
    "ngram": replace(ONE, speculative=Speculative(algorithm="ngram", ngram_min=2, ngram_max=4)),
    **{f"{name}-rank-{rank}": ray_member(request, rank) for name, request in BY_RAY.items() for rank in (0, 1)},
    # The same command for every vendor: what differs is what vLLM was built for, and the image.
    "rocm": replace(
        SEVERAL, backend_version="0.32.0-rocm", framework="rocm", executable="", image="vllm/vllm-openai-rocm:v0.32.0"
    ),
    "cann": replace(
        SEVERAL,
        backend_version="0.23.0-ascend",
        framework="cann",
        executable="",
        image="quay.io/ascend/vllm-ascend:v0.23.0",
    ),
    "musa": replace(ONE, backend_version="0.9.2", framework="musa"),
    "dtk": replace(ONE, backend_version="0.18.1", framework="dtk"),
    "maca": replace(SEVERAL, backend_version="0.21.0", framework="maca"),
    "corex": replace(ONE, backend_version="0.8.3", framework="corex"),
}
