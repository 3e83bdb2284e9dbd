"""vLLM over several nodes, by its own launcher: the same command on each, its rank, and where they meet.

https://docs.vllm.ai/en/stable/serving/parallelism_scaling/ ; 0.32.0 was run so on two nodes (tests/e2e).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from motorpool_sdk import DistributedStyle, Gang, PortRange, StartOrder

MP = DistributedStyle(
    style="mp",
    # Torch's store and collectives meet at the first, data-parallel engines at the second. vLLM's message queues take
    # ports of the kernel's choice beside them, and cannot be told others.
    leader_ports=(PortRange("master"), PortRange("dp_rpc")),
    # Whoever is first waits for the rest.
    start_order=StartOrder.TOGETHER,
)

_NCCL = {"cuda", "rocm", "dtk", "corex", "maca"}
"""Frameworks whose collective library is NCCL or reads its variables."""


def arguments(gang: Gang, data_parallel: int) -> Iterator[str]:
    """Yield what a member is told beside what every node is, and by which launcher it spans them."""
    leader = gang.leader
    yield from ("--nnodes", str(len(gang.members)))
    yield from ("--node-rank", str(gang.rank))
    yield from ("--master-addr", leader.address)
    yield from ("--master-port", str(leader.ports["master"]))
    if data_parallel > 1:
        yield from ("--data-parallel-address", leader.address)
        yield from ("--data-parallel-rpc-port", str(leader.ports["dp_rpc"]))
    if not gang.leads:
        yield "--headless"


def environment(gang: Gang, framework: str) -> Mapping[str, str]:
    """Return which address and interface a member's collective libraries use; left alone they guess, and differ."""
    env = {
        "VLLM_HOST_IP": gang.own.address,
        "GLOO_SOCKET_IFNAME": gang.interface,
        "TP_SOCKET_IFNAME": gang.interface,
    }
    if framework in _NCCL:
        env["NCCL_SOCKET_IFNAME"] = f"={gang.interface}"  # exactly this one, not all that begin so
    elif framework == "musa":
        env["MCCL_SOCKET_IFNAME"] = f"={gang.interface}"
    elif framework == "cann":
        env |= {"HCCL_IF_IP": gang.own.address, "HCCL_SOCKET_IFNAME": f"={gang.interface}"}
    return env
