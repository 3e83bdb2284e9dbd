"""The command, as a process."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from importlib.metadata import version
from pathlib import Path

import grpc
import pytest

from motorpool_agent.config import sources
from motorpool_agent.identity.store import IdentityStore
from motorpool_agent.main.commands import app
from tests.agent.controllers import PATIENCE_SECONDS, RefusalError, TestController, serving

README = Path(__file__).parents[2] / "agent" / "README.md"
# No plugin is what these tests are about.
QUIET = {"MOTORPOOL_ALLOW_PLUGINS": "none-of-them", "MOTORPOOL_PORT_RANGE": "24000-24009"}


@pytest.fixture
async def controller() -> AsyncIterator[TestController]:
    async with serving(TestController()) as served:
        yield served


async def start(*arguments: str, **environment: str) -> asyncio.subprocess.Process:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MOTORPOOL_")}
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "motorpool_agent.main",
        *arguments,
        env={**kept, **QUIET, **environment},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def finish(process: asyncio.subprocess.Process) -> tuple[int, str, str]:
    async with asyncio.timeout(PATIENCE_SECONDS):
        output, errors = await process.communicate()
    assert process.returncode is not None
    return process.returncode, output.decode(), errors.decode()


async def run(*arguments: str, **environment: str) -> tuple[int, str, str]:
    return await finish(await start(*arguments, **environment))


def joining(controller: TestController, data_dir: Path) -> list[str]:
    token = data_dir.with_name("token")
    token.write_text(controller.authority.token())
    common = ["--data-dir", str(data_dir), "--server", controller.public, "--node-name", "alpha"]
    return [*common, "--token-file", str(token)]


async def test_run_enrols_serves_and_leaves_cleanly(controller: TestController, tmp_path: Path) -> None:
    """
    `run` enrols, tells systemd that it is ready, opens its session, and exits 0 soon after SIGTERM.
    """
    told = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    told.bind(str(tmp_path / "notify"))
    told.setblocking(False)
    process = await start("run", *joining(controller, tmp_path / "data"), NOTIFY_SOCKET=str(tmp_path / "notify"))
    session = await controller.next_session()
    session.desired(1)
    await session.ack(1)

    process.send_signal(signal.SIGTERM)
    code, _, errors = await finish(process)

    assert code == 0, errors
    assert (told.recv(64), told.recv(64)) == (b"READY=1", b"STOPPING=1")
    told.close()
    events = [line.partition(" ")[2] for line in errors.splitlines()]
    assert any(line.startswith("info session opened ") for line in events), errors
    assert "5555" not in errors


async def test_an_enrolled_machine_needs_no_token(controller: TestController, tmp_path: Path) -> None:
    """
    After `enroll`, `run` opens a session with nothing but the data directory, and a second `enroll` does nothing.
    """
    code, output, errors = await run("enroll", *joining(controller, tmp_path / "data"))
    assert (code, "nodes/alpha enrolled in cluster cluster-1" in output) == (0, True), errors
    code, output, _ = await run("enroll", *joining(controller, tmp_path / "data"))
    assert (code, "already" in output, len(controller.enrolments)) == (0, True, 1)

    process = await start("run", "--data-dir", str(tmp_path / "data"))
    await controller.next_session()
    busy = await run("run", "--data-dir", str(tmp_path / "data"))
    process.send_signal(signal.SIGINT)

    assert (await finish(process))[0] == 0
    assert busy[0] == 5
    assert f"in use by another agent (pid {process.pid})" in busy[2]


async def test_status_shows_no_secret(controller: TestController, tmp_path: Path) -> None:
    """
    `status` tells node, cluster and instances, also as JSON, and no key.
    """
    await run("enroll", *joining(controller, tmp_path / "data"))

    code, output, _ = await run("status", "--data-dir", str(tmp_path / "data"), "--output", "json")
    text = await run("status", "--data-dir", str(tmp_path / "data"))

    status = json.loads(output)
    assert (code, status["node"], status["cluster"], status["instances"]) == (0, "nodes/alpha", "cluster-1", [])
    assert "nodes/alpha" in text[1]
    assert "PRIVATE KEY" not in output + text[1]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["run", "--port-range", "x"], 2, "flag --port-range is 'x'"),
        (["run"], 2, "this machine is no node yet"),
        (["run", "--no-such-flag"], 2, "No such option"),
        (["run", "--config", "/nowhere.toml"], 2, "/nowhere.toml cannot be read"),
        (["run", "--server", "127.0.0.1:9", "--token", "mpj_x_secretsecret_" + "0" * 64], 3, "127.0.0.1:9"),
        (["run", "--server", "127.0.0.1:9", "--token", "wrong"], 4, "malformed"),
        (["status", "--output", "xml"], 2, "give text, json or yaml"),
        (["engine", "install", "nothing"], 2, "no plugin on this machine offers a backend 'nothing'"),
    ],
)
async def test_faults_are_one_paragraph_and_an_exit_code(
    tmp_path: Path, arguments: list[str], code: int, said: str
) -> None:
    """
    Whatever is wrong is said in words, without a traceback, under a documented exit code.
    """
    found, _, errors = await run(*arguments, MOTORPOOL_DATA_DIR=str(tmp_path / "data"))

    assert found == code, errors
    assert said in errors
    assert "Traceback" not in errors


async def test_a_refused_token_exits_4(controller: TestController, tmp_path: Path) -> None:
    """
    The controller's no is passed on with its reason, and nothing half-made stays.
    """
    controller.refuse_enrolment = RefusalError(grpc.StatusCode.UNAUTHENTICATED, "TOKEN_EXPIRED")

    code, _, errors = await run("run", *joining(controller, tmp_path / "data"))

    assert (code, "TOKEN_EXPIRED" in errors, "token join" in errors) == (4, True, True)
    assert IdentityStore(tmp_path / "data").load() is None


@pytest.mark.parametrize("file", ["identity/identity.json", "desired.json"])
async def test_spoilt_state_exits_5(controller: TestController, tmp_path: Path, file: str) -> None:
    """
    A file that cannot be understood stops the agent before it touches anything, and says which.
    """
    await run("enroll", *joining(controller, tmp_path / "data"))
    (tmp_path / "data" / file).write_text("{")

    code, _, errors = await run("run", "--data-dir", str(tmp_path / "data"))

    assert (code, Path(file).name in errors) == (5, True), errors


async def test_version() -> None:
    """
    `version` prints a version.
    """
    assert await run("version") == (0, f"{version('motorpool-agent')}\n", "")


async def test_idle_modules_stay_out(tmp_path: Path) -> None:
    """
    The agent's own process loads neither cryptography nor pyOpenSSL: its key work is done in short-lived ones.
    """
    program = "import sys, motorpool_agent.main; print([m for m in ('cryptography', 'OpenSSL') if m in sys.modules])"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )

    assert (await finish(process))[1] == "[]\n"


def test_every_setting_and_command_is_documented() -> None:
    """
    The README names each setting, command and exit code.
    """
    text = README.read_text()

    for setting in sources._SETTINGS:
        assert f"`{setting}`" in text, setting
    for command in app.registered_commands:
        assert f"`{command.name}" in text
    for code in range(8):
        assert f"| {code} |" in text
