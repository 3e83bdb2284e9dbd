"""The launcher: what it takes while it runs, and how long it judges a start. Only root may run it.

The starts are such as the policy denies, for an unknown program: everything is looked at, and systemd is not asked. An
exchange is a connection, a line and an answer, as the agent does it. Beside it, in the same run, one with a server
that answers the same bytes at once.
"""

from __future__ import annotations

import asyncio
import os
import pwd
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec
import psutil

from benchmarks.figures import BenchmarkError, Figure, median
from motorpool_agent.runtime.systemd.requests import Answer, Start
from motorpool_agent.runtime.systemd.units import Units

MB = 1e6
EXCHANGES, ROUNDS = 300, 5
_SECONDS = 20.0


def measure() -> Sequence[Figure]:
    """Measure memory and exchanges."""
    if os.geteuid() != 0:
        raise BenchmarkError("the launcher is root's: run this by sudo")
    with tempfile.TemporaryDirectory(prefix="motorpool-bench-") as name:
        return measured(Path(name), EXCHANGES, ROUNDS)


def measured(folder: Path, exchanges: int, rounds: int) -> Sequence[Figure]:
    """Measure with so many exchanges, so many times."""
    policy = folder / "policy.toml"
    policy.write_text(f'roots = ["{folder}"]\nexecutables = ["/opt/tgi/bin/*"]\n', encoding="utf-8")
    data_dir = folder / "data"
    (data_dir / "engines").mkdir(parents=True)
    start = Start(
        unit=Units(data_dir, user=False).name("a1", 1),
        title="bench",
        backend="tgi",
        argv=["/opt/other/bin/engine", *(f"--option-{number}=value" for number in range(40))],
        environment={f"NAME_{number}": "value" for number in range(30)},
    )
    line = msgspec.json.encode(start) + b"\n"
    with _launcher(folder, data_dir, policy) as (process, socket):
        idle = process.memory_info().rss / MB
        answer, _ = asyncio.run(_exchanged(socket, line, 1))
        if msgspec.json.decode(answer, type=Answer).reason != "POLICY_DENIED":
            raise BenchmarkError(f"the launcher was to deny, and said {answer!r}")
        pairs = [
            asyncio.run(_round(folder / f"echo-{number}", socket, line, answer, exchanges)) for number in range(rounds)
        ]
        after = process.memory_info().rss / MB
    judged, echoed = median([pair[0] for pair in pairs]), median([pair[1] for pair in pairs])
    return (
        Figure(key="launcher_resident_mb", value=idle, meaning="launcher, resident memory"),
        Figure(key="launcher_after_resident_mb", value=after, meaning=f"the same after {exchanges * rounds} requests"),
        Figure(key="judged_ms", value=judged, meaning="a start that is judged and denied, p50"),
        Figure(key="echoed_ms", value=echoed, meaning="the same exchange with a server that only answers, p50"),
        Figure(key="judged_ratio", value=judged / echoed, meaning="judged / only answered"),
    )


@contextmanager
def _launcher(folder: Path, data_dir: Path, policy: Path) -> Iterator[tuple[psutil.Process, Path]]:
    socket = folder / "socket"
    code = "import sys; from motorpool_agent.launcher.main import main; sys.exit(main())"
    process = subprocess.Popen(
        [
            *(sys.executable, "-c", code, "--data-dir", str(data_dir), "--user", _somebody()),
            *("--policy-file", str(policy), "--folder", str(folder / "run"), "--socket", str(socket)),
        ],
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + _SECONDS
        while not socket.exists():
            if process.poll() is not None or time.monotonic() > deadline:
                raise BenchmarkError("the launcher did not start")
            time.sleep(0.02)
        yield psutil.Process(process.pid), socket
    finally:
        process.terminate()
        process.wait()


def _somebody() -> str:
    """Return a user who is not root, and who need not do anything."""
    return next(each.pw_name for each in pwd.getpwall() if each.pw_uid != 0)


async def _round(echo: Path, socket: Path, line: bytes, answer: bytes, exchanges: int) -> tuple[float, float]:
    """Return milliseconds an exchange: with the launcher, and with a server that only answers."""

    async def answered(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(answer)
        await writer.drain()
        writer.close()

    server = await asyncio.start_unix_server(answered, echo)
    async with server:
        _, echoed = await _exchanged(echo, line, exchanges)
    _, judged = await _exchanged(socket, line, exchanges)
    return judged, echoed


async def _exchanged(socket: Path, line: bytes, count: int) -> tuple[bytes, float]:
    answer = b""
    began = time.perf_counter()
    for _ in range(count):
        reader, writer = await asyncio.open_unix_connection(socket)
        writer.write(line)
        answer = await reader.readline()
        writer.close()
    return answer, (time.perf_counter() - began) / count * 1e3
