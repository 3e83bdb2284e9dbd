"""Requests whose whole launches stand in ``launches/``: a file a request."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from motorpool_mindie.plugin import VERSIONS
from motorpool_sdk import Adapter, Gang, GangDevice, GangMember, LaunchRequest, Parallelism, Parameter


def given(name: str, *values: str) -> Parameter:
    return Parameter(option=name, values=values)


ONE = LaunchRequest(
    backend_version="2.1.RC2",
    framework="cann",
    model_path=Path("/models/qwen3-8b"),
    served_model_name="qwen",
    listen_address="0.0.0.0",
    port=40093,
    image=VERSIONS[0].image,
    device_ids=("npu-3",),
    device_indexes=(3,),
    device_memory_bytes=(51 * 2**30,),
    memory_fraction=0.8,
    context_length=8192,
    cpu_count=64,
    categories=("llm",),
    files_dir=Path("/var/lib/motorpool/instances/a1/launch"),
)
SEVERAL = replace(ONE, device_ids=("npu-2", "npu-3", "npu-4", "npu-5"), device_indexes=(2, 3, 4, 5))
EARLY = replace(ONE, backend_version="2.0.RC2", image=VERSIONS[1].image, memory_fraction=0.9)
MEMBERS = tuple(
    GangMember(
        rank=rank,
        node=f"nodes/{node}",
        address=f"10.7.0.{rank + 1}",
        devices=tuple(
            GangDevice(device_id=f"npu-{node}{index}", index=index, address=f"29.50.{rank}.{index}")
            for index in (2, 3, 4, 5)
        ),
        ports={"http": 40093, "rendezvous": 40100} if rank == 0 else {"http": 40094},
    )
    for rank, node in enumerate("ab")
)
LEADER = replace(
    SEVERAL,
    listen_address="10.7.0.1",
    gang=Gang(style="rank_table", rank=0, members=MEMBERS, interface="bond0"),
    parallelism=Parallelism(tensor=4, pipeline=2),
)
FOLLOWER = replace(
    LEADER,
    listen_address="10.7.0.2",
    port=40094,
    gang=Gang(style="rank_table", rank=1, members=MEMBERS, interface="eth1"),
)

WHOLE_TABLE = (
    given("trust-remote-code"),
    given("npu-memory-fraction", "0.7"),
    given("max-link-num", "300"),
    given("token-timeout", "60"),
    given("e2e-timeout", "90"),
    given("max-input-token-len", "2048"),
    given("truncation"),
    given("cpu-mem-size", "7"),
    given("cache-block-size", "64"),
    given("max-batch-size", "48"),
    given("max-prefill-batch-size", "24"),
    given("max-preempt-count", "2"),
    given("max-queue-delay-microseconds", "600"),
    given("prefill-time-ms-per-req", "120"),
    given("prefill-policy-type", "3"),
    given("decode-time-ms-per-req", "40"),
    given("decode-policy-type", "2"),
    given("support-select-batch"),
    given("enforce-eager"),
    given("dtype", "half"),
    given("rope-scaling", '{"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768}'),
    given("rope-theta", "1000000"),
    given("override-generation-config", '{"temperature": 0.5}'),
    given("metrics"),
    given("log-level", "Debug"),
)
"""Every parameter of seed 003 but the length, which the placement tells, and prefix caching, which excludes some."""

GOLDEN: Mapping[str, LaunchRequest] = {
    "one-device": ONE,
    "several-devices": SEVERAL,
    "early-version": EARLY,
    "whole-table": replace(SEVERAL, memory_fraction=0.7, context_length=4096, parameters=WHOLE_TABLE),
    "command": replace(ONE, command=("/opt/own/start",)),
    "prefix-caching": replace(ONE, parameters=(given("enable-prefix-caching"),)),
    "split-fuse": replace(ONE, parameters=(given("enable-split"), given("split-chunk-tokens", "1024"))),
    "memory-decoding": replace(ONE, parameters=(given("enable-memory-decoding"),)),
    "lookahead": replace(ONE, parameters=(given("enable-lookahead"),)),
    "multi-token-prediction": replace(ONE, parameters=(given("enable-multi-token-prediction"),)),
    "experts": replace(
        SEVERAL,
        parameters=(
            given("data-parallel-size", "2"),
            given("tensor-parallel-size", "2"),
            given("moe-expert-parallel-size", "4"),
            given("moe-tensor-parallel-size", "1"),
        ),
    ),
    "lora": replace(ONE, adapters=(Adapter(name="law", path=Path("/models/law")),)),
    "two-nodes-leader": LEADER,
    "two-nodes-follower": FOLLOWER,
}
