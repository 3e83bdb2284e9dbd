"""The machine below the agent: its clock, its ports, its container engine."""

from __future__ import annotations

import asyncio
import ctypes
import errno
import os
import stat
from pathlib import Path

from motorpool_agent.config import Config
from motorpool_agent.main.doctor.findings import Finding, ok, problem, warning
from motorpool_agent.runtime.docker.daemon import Daemon, address
from motorpool_agent.runtime.docker.errors import RefusedError, UnreachableError
from motorpool_agent.runtime.ports import ephemeral_overlap, free

# <linux/timex.h>: struct timex is at most 208 bytes, `status` its fifth word; adjtimex(2).
_TIMEX_BYTES = 208
_STATUS_OFFSET = 40
_UNSYNCHRONISED = 0x40
_ERROR = 5
_SOCKET = "unix://"


async def clock(config: Config) -> list[Finding]:
    """Whether something keeps the clock: certificates and tokens are judged by it."""
    del config
    buffer = ctypes.create_string_buffer(_TIMEX_BYTES)
    state = ctypes.CDLL(None, use_errno=True).adjtimex(buffer)
    if state == -1:
        reason = os.strerror(ctypes.get_errno())
        return [warning("clock", f"the kernel does not say whether it is kept: {reason}", "see `timedatectl`")]
    status = ctypes.c_int.from_buffer(buffer, _STATUS_OFFSET).value
    if state == _ERROR or status & _UNSYNCHRONISED:
        return [
            warning(
                "clock",
                "nothing synchronises it, as far as the kernel knows",
                "`timedatectl set-ntp true`, or chrony: certificates and join tokens are judged by the time",
            )
        ]
    return [ok("clock", "synchronised")]


async def ports(config: Config) -> list[Finding]:
    """Whether instances will find ports to listen on."""
    configured = config.port_range
    span = f"{configured.start}-{configured.stop - 1}"
    usable = [port for port in configured if free("0.0.0.0", port)]  # noqa: S104  # bound for a moment, never listened on
    summary = f"{len(usable)} of {len(configured)} in {span} are free"
    if not usable:
        return [problem("ports", summary, "name others with --port-range, or end what holds them: `ss -ltnp`")]
    if overlap := ephemeral_overlap(configured):
        taken = f"{overlap.start}-{overlap.stop - 1}"
        remedy = f"name others with --port-range, or set net.ipv4.ip_local_reserved_ports={span}"
        return [warning("ports", f"{summary}, but the kernel hands out {taken} to outgoing connections", remedy)]
    return [ok("ports", summary)]


async def containers(config: Config) -> list[Finding]:
    """Whether a container engine answers; only backends that come as images need one."""
    del config
    closed = await asyncio.to_thread(_closed_socket)
    if closed:
        remedy = "add the agent's user to that group (`usermod -aG docker USER`), or run the agent as root"
        return [warning("containers", closed, remedy)]
    daemon = Daemon()
    try:
        told = await daemon.call(lambda client: client.info(), what="its description", seconds=8.0)
    except UnreachableError as error:
        remedy = "only backends that come as images need one: install Docker or Podman, start it, or set DOCKER_HOST"
        return [warning("containers", f"no engine answers at {address()}: {error.detail}", remedy)]
    except RefusedError as error:
        return [warning("containers", f"{address()} refused to describe itself: {error}", "see the engine's log")]
    finally:
        daemon.close()
    version = told.get("ServerVersion", "of no version")
    runtimes = ", ".join(sorted(told.get("Runtimes") or {})) or "none"
    return [ok("containers", f"engine {version} at {address()}, runtimes: {runtimes}")]


def _closed_socket() -> str:
    path = Path(address().removeprefix(_SOCKET))
    if not address().startswith(_SOCKET):
        return ""
    try:
        status = path.stat()
    except OSError as error:
        return f"{path}: {error.strerror}" if error.errno == errno.EACCES else ""
    if stat.S_ISSOCK(status.st_mode) and not os.access(path, os.R_OK | os.W_OK, effective_ids=True):
        return f"{path} belongs to group {status.st_gid}, which this user is not in"
    return ""
