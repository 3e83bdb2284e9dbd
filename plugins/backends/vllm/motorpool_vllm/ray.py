"""vLLM over several nodes by Ray: a cluster of its own for each instance, and on the leader's node vLLM itself.

https://docs.ray.io/en/latest/cluster/cli.html#ray-start has the options, and
https://docs.ray.io/en/latest/ray-core/configure.html#ports-configurations the ports. 2.60.0 was run so (tests/e2e).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from motorpool_sdk import DistributedStyle, Gang, Launch, LaunchFile, LaunchRequest, PortRange, StartOrder
from motorpool_vllm import node

PROGRAM = "ray"
PACKAGE = "ray"
WORKERS = 32
"""Ports of processes: one for each device and data-parallel engine, and a few for whoever asks the cluster."""

_PORT_OPTIONS = {
    "--node-manager-port": "node_manager",
    "--object-manager-port": "object_manager",
    "--runtime-env-agent-port": "runtime_env",
    # These three listen where Ray was installed with its dashboard's parts.
    "--metrics-export-port": "metrics",
    "--dashboard-agent-listen-port": "agent_http",
    "--dashboard-agent-grpc-port": "agent_grpc",
}
_EVERY = (*(PortRange(name) for name in _PORT_OPTIONS.values()), PortRange("worker", WORKERS))

RAY = DistributedStyle(
    style="ray",
    leader_ports=(PortRange("gcs"), PortRange("client"), PortRange("dashboard"), PortRange("dp_rpc"), *_EVERY),
    follower_ports=_EVERY,
    # Followers wait for the leader's port, and the leader for them to have joined.
    start_order=StartOrder.TOGETHER,
    # Ray compares both to the last digit, and lets no other node join.
    alike=("python", PACKAGE),
)

_FILE = "node.py"
_OBJECT_BYTES = 2**30
"""Ray's own would be 30 % of the node's memory. vLLM passes its configuration that way, and no tensors."""

_RESOURCES = {"cann": "NPU"}
"""What Ray calls a framework's devices where that is not GPU: vLLM's platforms ask for them by that name."""


def arguments(gang: Gang, data_parallel: int) -> Iterator[str]:
    """Yield what vLLM is told beside what it is on one node: where engines that are replicas of it meet."""
    if data_parallel > 1:
        yield from ("--data-parallel-backend", "ray", "--data-parallel-address", gang.leader.address)
        yield from ("--data-parallel-rpc-port", str(gang.leader.ports["dp_rpc"]))


def node_of(request: LaunchRequest, gang: Gang, engine: Launch, devices: int) -> Launch:
    """Return the launch of one node of the cluster, on the leader's with the engine's launch as the second program.

    A launch says one program: it is `node.py`, which goes along with it.
    """
    file = LaunchFile(path=request.files_dir / _FILE, text=Path(node.__file__).read_text(encoding="utf-8"))
    python = "python3" if request.image else str(Path(request.executable).with_name("python"))
    command = (*engine.entrypoint, *engine.argv) if gang.leads else ()
    arguments = (str(file.path), *_argv(request, gang, command, devices))
    env = {**engine.env, "RAY_USAGE_STATS_ENABLED": "0", "RAY_COLOR_PREFIX": "0"}
    secrets = dict(engine.secrets)
    if gang.leads:
        env["DASHBOARD_METRIC_PORT"] = str(gang.own.ports["dashboard"])
    # Whoever may speak to a cluster may run code on it: from Ray 2.52 on that may take a token, from 2.61 on it does
    # where nothing is said. https://docs.ray.io/en/latest/ray-security/token-auth.html
    env["RAY_AUTH_MODE"] = "token" if request.api_key else "disabled"
    if request.api_key:
        secrets["RAY_AUTH_TOKEN"] = hashlib.sha256(b"ray\0" + request.api_key.encode()).hexdigest()
    return replace(
        engine,
        argv=arguments if request.image else (python, *arguments),
        entrypoint=(python,) if request.image else (),
        env=env,
        secrets=secrets,
        files=(*engine.files, file),
    )


def _argv(request: LaunchRequest, gang: Gang, engine: tuple[str, ...], devices: int) -> Iterator[str]:
    own = gang.own
    ray = PROGRAM if request.image else str(Path(request.executable).with_name(PROGRAM))
    head = _at(gang.leader.address, gang.leader.ports["gcs"])
    folder = _folder(request)
    yield from ("--head", head, "--address", own.address, "--nodes", str(len(gang.members)), "--folder", folder)
    yield from ("--", ray, "start", "--block", "--temp-dir", folder, "--node-ip-address", own.address)
    if gang.leads:
        yield from ("--head", "--port", str(own.ports["gcs"]), "--include-dashboard", "false", "--no-monitor")
        yield from ("--ray-client-server-port", str(own.ports["client"]))
    else:
        yield from ("--address", head)
    for option, name in _PORT_OPTIONS.items():
        yield from (option, str(own.ports[name]))
    first = own.ports["worker"]
    yield from ("--min-worker-port", str(first), "--max-worker-port", str(first + WORKERS - 1))
    yield from _resources(request, devices)
    yield from ("--object-store-memory", str(_OBJECT_BYTES), "--disable-usage-stats", "--log-color", "false")
    if engine:
        yield from ("--", *engine)


def _folder(request: LaunchRequest) -> str:
    """Return where Ray keeps its sockets: this instance's alone, and short, as their paths have at most 107 bytes."""
    return f"/tmp/mpray-{hashlib.sha256(str(request.files_dir).encode()).hexdigest()[:8]}"  # noqa: S108


def _resources(request: LaunchRequest, devices: int) -> Iterator[str]:
    name = _RESOURCES.get(request.framework)
    # Data-parallel engines ask for a processor each, and nothing else does; each that Ray has is a process that waits.
    yield from ("--num-cpus", str(devices))
    yield from ("--num-gpus", str(devices if name is None else 0))
    if name is not None:
        yield from ("--resources", json.dumps({name: devices}))


def _at(address: str, port: int) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
