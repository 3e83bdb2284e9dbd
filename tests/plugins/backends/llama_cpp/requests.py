"""Requests whose whole launches stand in ``launches/``: a file a request."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from motorpool_llama_cpp.plugin import LAUNCHER_VERSION
from motorpool_sdk import Gang, GangDevice, GangMember, LaunchRequest, Parameter

LAUNCHER = LaunchRequest(
    backend_version=LAUNCHER_VERSION,
    framework="cpu",
    model_path=Path("/models/smol.gguf"),
    served_model_name="smol",
    listen_address="127.0.0.93",
    port=40093,
    engine_dir=Path("/var/lib/motorpool/engines/llama_cpp/xllamacpp"),
    api_key="sesame",
    memory_bytes=560 * 2**20,
    offloaded_layers=0,
    context_length=8192,
    parallel=1,
    cpu_count=16,
    categories=("llm",),
)
PROGRAM = replace(LAUNCHER, backend_version="b11434", engine_dir=None, executable="/usr/bin/llama-server")
ONE = replace(
    PROGRAM,
    framework="cuda",
    device_ids=("GPU-a",),
    device_indexes=(0,),
    device_memory_bytes=(9 * 2**30,),
    offloaded_layers=33,
)
SEVERAL = replace(
    ONE,
    device_ids=("GPU-a", "GPU-b"),
    device_indexes=(0, 1),
    device_memory_bytes=(24 * 2**30, 22 * 2**30),
    offloaded_layers=81,
    tensor_split=(41.0, 40.0),
)
CONTAINER = replace(ONE, executable="", image="ghcr.io/ggml-org/llama.cpp:server-cuda", listen_address="0.0.0.0")

MEMBERS = tuple(
    GangMember(
        rank=rank,
        node=f"nodes/{node}",
        address=address,
        devices=tuple(GangDevice(device_id=f"GPU-{node}{index}", index=index) for index in range(2)),
        ports={"http": 24000 + rank},
    )
    for rank, (node, address) in enumerate((("a", "10.7.0.1"), ("b", "10.7.0.2"), ("c", "fd00::3")))
)


def member(rank: int) -> LaunchRequest:
    """What one of three nodes is asked, whose devices hold a model together."""
    gang = Gang(style="rpc", rank=rank, members=MEMBERS, interface="eth1")
    split = (14.0, 13.0, 14.0, 13.0, 14.0, 13.0)
    return replace(SEVERAL, gang=gang, listen_address=gang.own.address, port=gang.own.ports["http"], tensor_split=split)


GOLDEN: Mapping[str, LaunchRequest] = {
    "three-nodes-leader": member(0),
    "three-nodes-server": member(1),
    "launcher": LAUNCHER,
    "cpu": PROGRAM,
    "one-device": ONE,
    "several-devices": SEVERAL,
    "partly-offloaded": replace(ONE, offloaded_layers=17, memory_bytes=5 * 2**30),
    # Each vendor's build lists its devices by a name of its own: rocm's is ROCm0, musa's MUSA0, cann's CANN0.
    "rocm": replace(SEVERAL, framework="rocm"),
    "musa": replace(SEVERAL, framework="musa"),
    "cann": replace(ONE, framework="cann"),
    "container": CONTAINER,
    "container-cpu": replace(
        LAUNCHER, engine_dir=None, image="ghcr.io/ggml-org/llama.cpp:server", listen_address="0.0.0.0"
    ),
    "container-command": replace(CONTAINER, command=("/app/llama-server",)),
    "embedding": replace(PROGRAM, categories=("embedding",), model_path=Path("/models/bge-small.gguf")),
    "reranker": replace(PROGRAM, categories=("reranker",), model_path=Path("/models/bge-reranker.gguf")),
    "embedding-by-hand": replace(
        LAUNCHER,
        categories=("embedding",),
        parameters=(Parameter(option="embeddings"), Parameter(option="pooling", values=("last",))),
    ),
    "pictures": replace(
        ONE,
        model_path=Path("/models/gemma/gemma-Q4_K_M.gguf"),
        projectors=(Path("/models/gemma/mmproj-F16.gguf"), Path("/models/gemma/mmproj-Q8_0.gguf")),
    ),
    "parameters": replace(
        SEVERAL,
        context_length=None,
        parallel=None,
        parameters=(
            Parameter(option="ctx-size", values=("32768",)),
            Parameter(option="parallel", values=("4",)),
            Parameter(option="tensor-split", values=("3,1",)),
            Parameter(option="main-gpu", values=("1",)),
            Parameter(option="flash-attn", values=("on",)),
            Parameter(option="chat-template-kwargs", values=('{"enable_thinking": false}',)),
            Parameter(option="threads", values=("8",)),
            Parameter(option="--not-known-yet", values=("1",), known=False),
        ),
    ),
}
