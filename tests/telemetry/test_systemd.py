"""What systemd hears of a service, and when its watchdog hears nothing."""

from __future__ import annotations

import asyncio
import os
import socket
from pathlib import Path

import pytest

from motorpool_telemetry.systemd import notify, period_seconds, watch


@pytest.mark.parametrize("abstract", [False, True])
def test_state_reaches_the_socket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, abstract: bool) -> None:
    """
    Systemd names a file or an abstract address, which begins with @.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.settimeout(30)
        systemd.bind(f"\0{tmp_path}" if abstract else str(tmp_path / "notify"))
        monkeypatch.setenv("NOTIFY_SOCKET", f"@{tmp_path}" if abstract else str(tmp_path / "notify"))
        notify("READY=1")

        assert b"READY=1" == systemd.recv(100)


@pytest.mark.parametrize("address", [None, "", "/nobody/listens/here"])
def test_nobody_to_tell_ends_nothing(monkeypatch: pytest.MonkeyPatch, address: str | None) -> None:
    """
    Without a socket, or with one that is not there, the service goes on.
    """
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    if address is not None:
        monkeypatch.setenv("NOTIFY_SOCKET", address)

    notify("READY=1")


@pytest.mark.parametrize(
    ("environment", "seconds"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({"WATCHDOG_USEC": "60000000"}, 30.0),
        ({"WATCHDOG_USEC": "60000000", "WATCHDOG_PID": "7"}, 30.0),
        ({"WATCHDOG_USEC": "60000000", "WATCHDOG_PID": "8"}, None),
    ],
)
def test_half_of_the_limit_is_the_period(environment: dict[str, str], seconds: float | None) -> None:
    """
    Systemd is told twice within its limit, if it asked this very process to.
    """
    assert seconds == period_seconds(environment, 7)


async def test_what_stalls_is_not_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Nothing is said while something does not go on, and it is said again when it does.
    """
    monkeypatch.setenv("WATCHDOG_USEC", "2000000")
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()))
    stalls = iter(["", "a decision was begun", ""])
    told: list[str] = []
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        told.append("-")
        if len(slept) == 3:
            raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await watch(lambda: next(stalls), tell=told.append, sleep=sleep)

    assert ["WATCHDOG=1", "-", "-", "WATCHDOG=1", "-"] == told
    assert [1.0, 1.0, 1.0] == slept
