"""Requests whose whole launches stand in ``launches/``: a file a request. vLLM's own parser takes each, too."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from motorpool_sdk import ExtendedKvCache, Gang, GangDevice, GangMember, LaunchRequest, Parallelism, Parameter

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


def member(request: LaunchRequest, rank: int) -> LaunchRequest:
    """The same as one member of two nodes is asked."""
    gang = Gang(style="mp", rank=rank, members=MEMBERS, interface="eth1")
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
