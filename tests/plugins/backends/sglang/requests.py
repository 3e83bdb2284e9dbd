"""Requests whose whole launches stand in ``launches/``: a file a request."""

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
    backend_version="0.5.23",
    framework="cuda",
    model_path=Path("/models/qwen3-8b"),
    served_model_name="qwen",
    listen_address="127.0.0.93",
    port=40093,
    executable="/opt/sglang/bin/sglang",
    api_key="sesame",
    device_ids=("GPU-a",),
    device_indexes=(0,),
    device_memory_bytes=(67 * 2**30,),
    memory_fraction=0.836,
    context_length=8192,
    cpu_count=16,
    categories=("llm",),
    files_dir=Path("/var/lib/motorpool/instances/a1/launch"),
)
SEVERAL = replace(ONE, device_ids=("GPU-a", "GPU-b", "GPU-c", "GPU-d"), device_indexes=(0, 1, 2, 3))
CONTAINER = replace(ONE, executable="", image="lmsysorg/sglang:v0.5.23", listen_address="0.0.0.0")
ASCEND = replace(
    SEVERAL,
    backend_version="0.5.14-ascend",
    framework="cann",
    executable="",
    image="quay.io/ascend/sglang:v0.5.14-cann9.0.0-910b",
    listen_address="0.0.0.0",
    memory_fraction=0.769,
)
CACHE = ExtendedKvCache(memory_bytes=80 * 10**9)
PICTURES = replace(
    SEVERAL,
    model_path=Path("/models/qwen-image"),
    served_model_name="paint",
    categories=("image",),
    memory_fraction=None,
    context_length=None,
)

MEMBERS = tuple(
    GangMember(
        rank=rank,
        node=f"nodes/{node}",
        address=f"10.7.0.{rank + 1}",
        devices=tuple(GangDevice(device_id=f"GPU-{node}{index}", index=index) for index in range(4)),
        ports={"http": 40093, "rendezvous": 40100} if rank == 0 else {"http": 40093},
    )
    for rank, node in enumerate("ab")
)
LEADER = replace(
    SEVERAL,
    listen_address="10.7.0.1",
    gang=Gang(style="nnodes", rank=0, members=MEMBERS, interface="bond0"),
    parallelism=Parallelism(tensor=4, pipeline=2),
)
FOLLOWER = replace(
    LEADER, listen_address="10.7.0.2", gang=Gang(style="nnodes", rank=1, members=MEMBERS, interface="eth1")
)

GOLDEN: Mapping[str, LaunchRequest] = {
    "one-device": ONE,
    "several-devices": SEVERAL,
    "container": CONTAINER,
    "container-command": replace(CONTAINER, command=("python3", "-m", "sglang.launch_server")),
    "embedding": replace(ONE, model_path=Path("/models/qwen3-embedding"), categories=("embedding",)),
    "reranker": replace(ONE, model_path=Path("/models/bge-reranker"), categories=("reranker",), context_length=None),
    "pictures": PICTURES,
    "remote-code": replace(ONE, trust_remote_code=True, api_key=""),
    "host-cache": replace(SEVERAL, extended_kv_cache=replace(CACHE, chunk_size=64)),
    "lora": replace(
        ONE,
        adapters=(Adapter(name="law", path=Path("/models/law")), Adapter(name="med", path=Path("/models/med"))),
    ),
    "eagle3": replace(
        ONE, speculative=Speculative(algorithm="eagle3", draft_path=Path("/models/draft"), draft_tokens=4)
    ),
    "mtp": replace(ONE, speculative=Speculative(algorithm="mtp")),
    "ngram": replace(ONE, speculative=Speculative(algorithm="ngram", draft_tokens=12)),
    "parameters": replace(
        SEVERAL,
        parameters=(
            Parameter(option="mem-fraction-static", values=("0.7",)),
            Parameter(option="tp-size", values=("2",)),
            Parameter(option="dp-size", values=("2",)),
            Parameter(option="json-model-override-args", values=('{"rope_scaling": {"factor": 2.0}}',)),
            Parameter(option="kv-cache-dtype", values=("fp8_e5m2",)),
            Parameter(option="enable-metrics"),
            Parameter(option="--brand-new", values=("1",), known=False),
        ),
    ),
    "rocm": replace(
        SEVERAL,
        backend_version="0.5.15.post1-rocm",
        framework="rocm",
        executable="",
        image="lmsysorg/sglang:v0.5.15.post1-rocm720-mi30x",
    ),
    "cann": ASCEND,
    "cann-host-cache": replace(ASCEND, extended_kv_cache=CACHE),
    "two-nodes-leader": LEADER,
    "two-nodes-follower": FOLLOWER,
    "two-nodes-embedding-leader": replace(LEADER, categories=("embedding",)),
    "cann-two-nodes-leader": replace(
        ASCEND, listen_address=LEADER.listen_address, gang=LEADER.gang, parallelism=LEADER.parallelism
    ),
    "cann-two-nodes-follower": replace(
        ASCEND, listen_address=FOLLOWER.listen_address, gang=FOLLOWER.gang, parallelism=FOLLOWER.parallelism
    ),
    "dtk": replace(SEVERAL, backend_version="0.5.10", framework="dtk"),
    "maca": replace(ONE, backend_version="0.5.11", framework="maca"),
    "musa": replace(ONE, backend_version="0.5.9", framework="musa"),
}
