"""Layers on other nodes' devices: the leader is llama-server, each follower rpc-server, which hands its devices over.

https://github.com/ggml-org/llama.cpp/blob/master/tools/rpc/README.md : whoever reaches an rpc-server may use it, and it
was not made to be exposed. It is offered where the node's operator says so.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from motorpool_llama_cpp.programs import Program
from motorpool_sdk import DistributedStyle, Gang, StartOrder
from motorpool_sdk.gang import HTTP

SETTING = "MOTORPOOL_LLAMA_RPC"
SERVER = "rpc-server"
# A leader ends where a server does not answer: it comes last.
RPC = DistributedStyle(style="rpc", start_order=StartOrder.FOLLOWERS_FIRST)
_ON = {"1", "true", "yes", "on"}


def styles(program: Program | None, env: Mapping[str, str] = os.environ) -> tuple[DistributedStyle, ...]:
    """Return how llama.cpp spans nodes from here: by rpc-server, beside llama-server, where the operator allows it."""
    if program is None or env.get(SETTING, "").lower() not in _ON:
        return ()
    if not os.access(server_of(program.path), os.X_OK):
        print(f"{SETTING} is on, and there is no {server_of(program.path)}: build llama.cpp with GGML_RPC=ON")  # noqa: T201  # the agent logs it
        return ()
    return (RPC,)


def server_of(llama_server: str) -> str:
    """Return the rpc-server of the same build."""
    return str(Path(llama_server).with_name(SERVER))


def serving(gang: Gang, llama_server: str, devices: str) -> Iterator[str]:
    """Yield a follower's command: its devices, at its own address and port."""
    yield from (server_of(llama_server), "--host", gang.own.address, "--port", str(gang.own.ports[HTTP]))
    yield from ("--device", devices)


def servers(gang: Gang) -> str:
    """Return where the leader finds its servers, in the order in which their devices come before its own."""
    followers = (member for member in gang.members if member.rank)
    return ",".join(f"{_bracketed(member.address)}:{member.ports[HTTP]}" for member in followers)


def _bracketed(address: str) -> str:
    return f"[{address}]" if ":" in address else address
