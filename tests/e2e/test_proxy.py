"""A machine with a proxy in its environment."""

from __future__ import annotations

from pathlib import Path

import pytest

from motorpool import v1
from tests.e2e.chat import ask
from tests.e2e.fleet import Fleet, free_port

pytestmark = [pytest.mark.e2e, pytest.mark.slow]


def test_a_proxy_reaches_engines_where_configured_and_the_session_never(
    fleet: Fleet, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    Enrolment and session pass by a proxy that nobody answers at; with `engine_proxy` the engine has it, and answers.
    """
    proxy = f"http://me:secret@127.0.0.1:{free_port()}"
    for name in ("https_proxy", "HTTPS_PROXY", "http_proxy", "grpc_proxy"):
        monkeypatch.setenv(name, proxy)
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MOTORPOOL_ENGINE_PROXY", "true")

    fleet.start_agent()
    fleet.deploy("tiny", tiny_model)
    instance = fleet.wait_state("tiny", v1.INSTANCE_STATE_RUNNING)
    environ = Path(f"/proc/{instance.pid}/environ").read_bytes().split(b"\0")

    assert f"https_proxy={proxy}".encode() in environ
    assert any(line.startswith(b"no_proxy=localhost,127.0.0.1,::1") for line in environ)
    assert proxy.replace("me:secret", "***") == instance.launch.env["https_proxy"]
    assert ask(fleet.credentials("tiny"))
