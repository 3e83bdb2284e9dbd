"""What the shim leaves on disk: who was executed, and how it ended."""

from __future__ import annotations

import os

from motorpool_agent.runtime.shim.specification import EXIT_NAME, PROCESS_NAME, Specification

LOOK_SECONDS = 60


def write_process(specification: Specification, engine: int, engine_ticks: int, *, cgroup: str) -> None:
    """Say who is executed, before it is."""
    shim = os.getpid()
    _write(
        PROCESS_NAME,
        f'{{"version":1,"run":{specification.run},"boot_id":{_quoted(specification.boot_id)},'
        f'"engine_pid":{engine},"engine_ticks":{engine_ticks},'
        f'"shim_pid":{shim},"shim_ticks":{start_ticks(shim)},"cgroup":{_quoted(cgroup)}}}\n',
    )


class Kills:
    """Whether the kernel killed for lack of memory just now.

    Where the engine has no counter of its own, others' ends count as well: so what counts is since a look one to two
    periods ago, and not since the start. One look alone might come between the kill and the news of it.
    """

    def __init__(self, counter: str, now: float) -> None:
        self._counter = counter
        self._before = self._last = oom_kills(counter)
        self._looked = now

    def look(self, now: float) -> None:
        """Take note of the count, once a period."""
        if now - self._looked >= LOOK_SECONDS:
            self._before, self._last, self._looked = self._last, oom_kills(self._counter), now

    def happened(self) -> bool:
        """Whether there was one since the look before the last."""
        return 0 <= self._before < oom_kills(self._counter)


def write_exit(specification: Specification, status: int | None, error: str, kills: Kills | None = None) -> None:
    """Say how the engine ended; ``status`` is as from waitpid, None if nobody saw it."""
    code = None if status is None or not os.WIFEXITED(status) else os.WEXITSTATUS(status)
    signal = None if status is None or not os.WIFSIGNALED(status) else os.WTERMSIG(status)
    killed = signal == 9 and kills is not None and kills.happened()
    try:
        _write(
            EXIT_NAME,
            f'{{"version":1,"run":{specification.run},"exit_code":{"null" if code is None else code},'
            f'"signal":{"null" if signal is None else signal},"out_of_memory":{"true" if killed else "false"},'
            f'"error":{_quoted(error)}}}\n',
        )
    except OSError:
        return  # A full disk costs the status; the engine's children still want their shim.


def start_ticks(pid: int) -> int:
    """Return a process's start in kernel ticks, 0 if there is none of that number."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:  # noqa: PTH123  # pathlib costs 5 ms
            return int(file.read().rpartition(b")")[2].split()[19])
    except OSError:
        return 0


def oom_kills(counter: str) -> int:
    """Return how often the kernel killed for memory where ``counter`` counts it; -1 if nobody counts."""
    try:
        with open(counter, "rb") as file:  # noqa: PTH123
            counts = dict(line.split(b" ", 1) for line in file.read().splitlines() if b" " in line)
    except OSError:
        return -1
    return int(counts.get(b"oom_kill", -1))


def overwrite(path: str, text: str) -> bool:
    """Write into a file of the kernel; return whether it took it."""
    try:
        with open(path, "w", encoding="ascii") as file:  # noqa: PTH123
            file.write(text)
    except OSError:
        return False
    return True


def _write(name: str, text: str) -> None:
    temporary = f".{name}.new"
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    content = text.encode("utf-8", "replace")
    while content:
        # A disk about to be full takes a part of it, and refuses the rest.
        content = content[os.write(descriptor, content) :]
    os.fsync(descriptor)
    os.close(descriptor)
    os.rename(temporary, name)  # noqa: PTH104


def _quoted(text: str) -> str:
    plain = (c if c.isprintable() and c not in '"\\' else f"\\u{min(ord(c), 0xFFFD):04x}" for c in text)
    return f'"{"".join(plain)}"'
